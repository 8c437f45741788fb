#!/usr/bin/env python3
"""Keys and buckets that look like paths, or are at the edge of what a name may be.

  paths.py ADDR

Each key is put, got, listed, copied and deleted: what comes back must be what was put under it, and
nothing else may have changed. Then what must be refused."""
import re
import sys
import urllib.parse

from s3client import Client

# As they are sent, behind "/bucket/". One decoding, nothing made shorter, nothing joined.
KEYS = [
    "..", "../x", "../../../../etc/passwd", "/", "//", "/etc/passwd", "a/../../x", "./x", ".", "a//b", "a/",
    "%2e%2e/x", "%2E%2E%2Fx", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "%252e%252e%252fx", "a%5c..%5cb", "a\\..\\b",
    "db0000000000", "block0000000000", "open0000000000", "index.sqlite", "lock", "buckets/x/db0000000000", "../bucket/x",
    "%01", "a%0ab", "a%0d%0ab", "%7f", "a%20b", "a+b", "a%2bb", "%25", "%3f", "x%3Fprefix=", "%23", "a;b=c", "a&b", "%26amp;",
    "%c3%a4", "%e2%82%ac", "%f0%9f%92%be",
    # no UTF-8: overlong "." and "/", a surrogate, cut short, above U+10FFFF. Names are bytes.
    "%c0%ae%c0%ae%c0%afx", "%e0%80%ae%e0%80%af", "%f0%80%80%ae", "%ed%a0%80", "%c3", "%ff%fe", "%f4%90%80%80",
    "k" * 1024, "%41" * 1024, "%c3%a4" * 512, "../" * 341,
]
LONG = ["k" * 1025, "%41" * 1025, "%c3%a4" * 512 + "k", "../" * 342]
REFUSED = [
    ("PUT", "/bucket/a%00b", 400, "InvalidURI"), ("PUT", "/bucket/%00", 400, "InvalidURI"),
    ("GET", "/bucket/a%00", 400, "InvalidURI"), ("PUT", "/bucket/a%", 400, "InvalidURI"),
    ("PUT", "/bucket/a%4", 400, "InvalidURI"), ("PUT", "/bucket/a%zz", 400, "InvalidURI"),
    ("PUT", "/bucket/a%u002e", 400, "InvalidURI"), ("GET", "/bucket/?prefix=%00", 400, "InvalidURI"),
    ("GET", "/bucket/?prefix=%", 400, "InvalidURI"), ("GET", "/bucket%00/x", 400, "InvalidURI"),
    ("GET", "/../x", 404, "NoSuchBucket"), ("GET", "/%2e%2e/x", 404, "NoSuchBucket"),
    ("GET", "/..", 404, "NoSuchBucket"), ("GET", "/./bucket/x", 404, "NoSuchBucket"),
    ("GET", "/%2e%2e%2fbucket/x", 404, "NoSuchBucket"), ("GET", "//bucket/x", 404, "NoSuchBucket"),
    ("GET", "/bucket%2fx", 404, "NoSuchBucket"), ("GET", "/bucket%2f..%2f..", 404, "NoSuchBucket"),
    ("GET", "/%2fetc/passwd", 404, "NoSuchBucket"), ("GET", "/BUCKET/x", 404, "NoSuchBucket"),
    ("PUT", "/..", 400, "InvalidBucketName"), ("PUT", "/%2e%2e/x", 404, "NoSuchBucket"),
    ("GET", "/etc/passwd", 404, "NoSuchBucket"),
]
failures = []


def expect(what, got, wanted):
    if got != wanted:
        failures.append(what)
        print("%s: %r, wanted %r" % (what, got, wanted))


def listed(client):
    """The keys, as bytes, by a listing that can show them all."""
    reply = client.raw("GET", "/bucket/?encoding-type=url")
    return [urllib.parse.unquote_to_bytes(key.decode())
            for key in re.findall(rb"<Key>([^<]*)</Key>", reply.body)]


def one_key(client, key):
    path, name, body = "/bucket/" + key, urllib.parse.unquote_to_bytes(key), key.encode()
    source = {"x-amz-copy-source": "/bucket/" + key}
    expect("PUT " + key, client.raw("PUT", path, body).status, 200)
    expect("GET " + key, client.raw("GET", path).body, body)
    expect("LIST " + key, listed(client), sorted([b"stays", name]))
    expect("copy of " + key, client.raw("PUT", "/bucket/copy", b"", source).status, 200)
    expect("GET of the copy of " + key, client.raw("GET", "/bucket/copy").body, body)
    expect("DELETE of the copy", client.raw("DELETE", "/bucket/copy").status, 204)
    expect("DELETE " + key, client.raw("DELETE", path).status, 204)
    expect("GET behind DELETE " + key, client.raw("GET", path).status, 404)
    expect("LIST behind DELETE " + key, listed(client), [b"stays"])


def main():
    client = Client(sys.argv[1])
    client.put("stays", b"here")
    for key in KEYS:
        one_key(client, key)
    for key in LONG:
        for method in ("PUT", "GET", "DELETE"):
            reply = client.raw(method, "/bucket/" + key)
            expect("%s, %d bytes" % (method, len(key)), (reply.status, reply.code), (400, "KeyTooLongError"))
    for method, path, status, code in REFUSED:
        reply = client.raw(method, path)
        expect("%s %s" % (method, path), (reply.status, reply.code), (status, code))
    expect("what is listed in the end", listed(client), [b"stays"])
    print("%d keys, %d refusals, %d failures" % (len(KEYS), 3 * len(LONG) + len(REFUSED), len(failures)))
    sys.exit(bool(failures))


main()
