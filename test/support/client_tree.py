"""Files for the tests of real clients, and what the server has of them, asked without any client.

    client_tree.py make [-xml] [-line] [-bytes] DIR SIZE...
                                           a tree of every kind of name, and a file of each size in it;
                                           without names that XML cannot hold, without line ends in
                                           names, with names that are no UTF-8
    client_tree.py same ADDR PREFIX DIR    the keys below PREFIX are DIR's files, byte for byte; DIR/ and
                                           the like, empty objects that stand for folders, are left out
    client_tree.py kept ADDR PREFIX N      there are N keys below PREFIX

Bodies are made up from the names. Requests are signed as by the owner of lib's key (clients.sh)."""
import hashlib
import http.client
import os
import sys
import urllib.parse
import xml.etree.ElementTree

from sigv4 import EMPTY, Signer

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
# What file systems and people put into names, and what URLs, XML, signatures and shells take ill.
NAMES = [
    "plain", "with space", "two  spaces", " in front", "behind ", "+", "a+b c", "100%", "%41", "a%2Fb%20c", "%",
    "a&b=c;d", "?x=y", "#hash", "quote'\"`", "back\\slash", "<xml>&amp;]]>", "$HOME", "*[!a]{b,c}?", "~tilde",
    "(a)!*'", "@:,;|^", "-rf", "--", "...", ".hidden", "trailing.", "caf\u00e9", "cafe\u0301",
    "\u65e5\u672c\u8a9e", "\U0001f4be", "\u00a0nbsp", "\u202eright to left", "tab\there", "delete\x7f",
]
LINE_ENDS = ["line\nfeed", "return\rhere", "\u0085"]
NOT_XML = ["bell\x07", "\x01", "\x1b[1m", "\ufffe", "\uffff"]
NO_UTF8 = [b"latin1-\xe9", b"\xff\xfe"]


def content(name, size):
    """Made-up bytes, others for each name, that do not repeat every few KiB."""
    return hashlib.shake_128(name).digest(size)


def make(top, options, sizes):
    top = os.fsencode(top)
    names = [name.encode() for name in NAMES]
    if "-line" not in options:
        names += [name.encode() for name in LINE_ENDS]
    if "-xml" not in options:
        names += [name.encode() for name in NOT_XML]
    if "-bytes" in options:
        names += NO_UTF8
    files = {name: 100 + len(name) for name in names}
    files.update((b"in/" + name + b"/" + name, 1) for name in names)
    files[b"/".join([b"long"] + [b"%d" % n + b"x" * 198 for n in range(4)] + [b"y" * 214])] = 7
    files.update((b"size/%d" % size, size) for size in sizes)
    for name, size in files.items():
        path = os.path.join(top, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content(name, size))


class Server:
    def __init__(self, addr):
        self.addr = addr
        self.connection = http.client.HTTPConnection(addr, timeout=60)

    def get(self, target):
        headers = Signer("ADMIN", "adminsecret").v4("GET", target, [("Host", self.addr)], EMPTY)
        self.connection.request("GET", target, headers=dict(headers))
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit("GET %s: %d %r" % (target, answer.status, body[:500]))
        return body

    def keys(self, prefix):
        """Keys below PREFIX and their sizes; both are bytes and without PREFIX."""
        token, found = "", {}
        while True:
            query = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            tree = xml.etree.ElementTree.fromstring(self.get("/bucket?" + urllib.parse.urlencode(query)))
            for entry in tree.findall(NAMESPACE + "Contents"):
                key = urllib.parse.unquote_to_bytes(entry.findtext(NAMESPACE + "Key").replace("+", " "))
                found[key[len(os.fsencode(prefix)):]] = int(entry.findtext(NAMESPACE + "Size"))
            token = tree.findtext(NAMESPACE + "NextContinuationToken")
            if not token:
                return found


def same(addr, prefix, top):
    server = Server(addr)
    wanted, found = {}, server.keys(prefix)
    for folder, _, names in os.walk(os.fsencode(top)):
        for name in names:
            path = os.path.join(folder, name)
            wanted[os.path.relpath(path, os.fsencode(top))] = path
    for key, size in found.items():
        if key not in wanted and not (key.endswith(b"/") and size == 0):
            sys.exit("%r is on the server, and no file" % key)
    for key, path in wanted.items():
        if key not in found:
            sys.exit("%r is a file, and not on the server" % key)
        with open(path, "rb") as file:
            body = server.get("/bucket/" + urllib.parse.quote(os.fsencode(prefix) + key))
            if body != file.read():
                sys.exit("%r is another file on the server" % key)
    print(len(wanted))


def main():
    what, *arguments = sys.argv[1:]
    if what == "make":
        options = [a for a in arguments if a.startswith("-")]
        top, *sizes = [a for a in arguments if not a.startswith("-")]
        make(top, options, [int(s) for s in sizes])
    elif what == "same":
        same(*arguments)
    elif what == "kept":
        found = Server(arguments[0]).keys(arguments[1])
        if len(found) != int(arguments[2]):
            sys.exit("%d keys, wanted %s: %r" % (len(found), arguments[2], sorted(found)[:20]))


main()
