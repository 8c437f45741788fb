#!/usr/bin/env python3
"""Bad requests and what they must be answered with.

  bad_input.py ADDR                 each of the requests below, on a connection of its own
  bad_input.py ADDR damaged FILE    of FILE's objects (load.py) some are served right and others
                                    are not there: never a wrong byte"""
import base64
import hashlib
import re
import socket
import sys

from s3client import Client

MD5_OF_X = base64.b64encode(hashlib.md5(b"x").digest()).decode()


def exchange(address, data, then_close=False):
    """Sends, and reads until the server closes or is silent: (status, code, rest). 0: closed."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host.strip("[]"), int(port)), timeout=15) as sock:
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # an early answer is on its way
        if then_close:
            sock.shutdown(socket.SHUT_WR)
        got = b""
        try:
            while not complete(got):
                more = sock.recv(65536)
                if not more:
                    break
                got += more
        except (socket.timeout, ConnectionResetError):
            pass
    if not got:
        return 0, "", got
    found = re.search(rb"<Code>([^<]*)</Code>", got)
    return int(got.split(b" ", 2)[1]), found.group(1).decode() if found else "", got


def complete(got):
    head, end, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(end) and (length is None or len(body) >= int(length.group(1)))


def request(method, target, *headers, body=b"", host="localhost", length=True):
    lines = ["%s %s HTTP/1.1" % (method, target), "Host: " + host, *headers]
    if length and not any(h.lower().startswith(("content-length", "transfer-enc")) for h in headers):
        lines.append("Content-Length: %d" % len(body))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def put(*headers, key="bad", body=b"x", **more):
    return request("PUT", "/bucket/" + key, *headers, body=body, **more)


def post_delete(body, *headers):
    return request("POST", "/bucket/?delete", *headers, body=body)


# name, what is sent, status (0: the connection is closed), S3 code ("" any)
CASES = [
    # heads
    ("unknown method", request("BREW", "/bucket/bad"), (400, 405, 501), ""),
    ("lower-case method", request("put", "/bucket/bad", body=b"x"), (400, 405, 501), ""),
    ("CONNECT", request("CONNECT", "/bucket/bad"), (400, 405), ""),
    ("no Host", b"GET /bucket/ HTTP/1.1\r\n\r\n", 400, ""),
    ("two Hosts", request("GET", "/bucket/", "Host: localhost"), 400, ""),
    ("HTTP/2.0", b"GET /bucket/ HTTP/2.0\r\nHost: localhost\r\n\r\n", (400, 505), ""),
    ("HTTP/0.9", b"GET /bucket/\r\n\r\n", (400, 505), ""),
    ("no request at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100 + b"\r\n\r\n",
     400, ""),
    ("space before colon", request("GET", "/bucket/", "X-A : b"), 400, ""),
    ("folded header", request("GET", "/bucket/", "X-A: b\r\n c"), 400, ""),
    ("header without colon", request("GET", "/bucket/", "nonsense"), 400, ""),
    ("bare CR in a header", request("GET", "/bucket/", "X-A: b\rc"), 400, ""),
    ("NUL in a header", request("GET", "/bucket/", "X-A: b\0c"), 400, ""),
    ("a header of 40 KiB", request("GET", "/bucket/", "X-A: " + "a" * 40960), (400, 431), ""),
    ("a target of 40 KiB", request("GET", "/bucket/" + "a" * 40960), (400, 414, 431), ""),
    ("200 headers", request("GET", "/bucket/", *["X-%d: a" % i for i in range(200)]), (400, 431), ""),
    ("a host that is not us", request("GET", "/bucket/", host="evil.example"), 403, "AccessDenied"),
    ("a web page's request", put("Origin: http://evil.example"), 403, "AccessDenied"),
    ("a browser's request", put("Sec-Fetch-Site: cross-site"), 403, "AccessDenied"),
    ("OPTIONS", request("OPTIONS", "/bucket/bad"), 403, ""),
    # bodies
    ("no length", put(length=False, body=b""), 411, "MissingContentLength"),
    ("Content-Length: -1", put("Content-Length: -1"), 400, ""),
    ("Content-Length: 1x", put("Content-Length: 1x"), 400, ""),
    ("Content-Length: 2^64", put("Content-Length: 18446744073709551616"), 400, ""),
    ("two Content-Lengths", put("Content-Length: 1", "Content-Length: 2", body=b"xy"), 400, ""),
    ("a length and chunks", put("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
     400, ""),
    ("a chunk size that is none", post_delete(b"zz\r\n\r\n", "Transfer-Encoding: chunked"), 400, ""),
    ("Content-Length: 2^64 - 1", put("Content-Length: 18446744073709551615"), 400, ""),
    ("6 TiB", put("Content-Length: 6597069766656"), 400, "EntityTooLarge"),
    ("Content-MD5 of something else", put("Content-MD5: " + MD5_OF_X, body=b"y"), 400, "BadDigest"),
    ("Content-MD5 that is none", put("Content-MD5: abc"), 400, "InvalidDigest"),
    ("Content-MD5 too short", put("Content-MD5: YWJj"), 400, "InvalidDigest"),
    # targets
    ("%zz", put(key="%zz"), 400, "InvalidURI"),
    ("% at the end", put(key="a%4"), 400, "InvalidURI"),
    ("%00", put(key="a%00b"), 400, "InvalidURI"),
    ("a key of 1,025 bytes", put(key="k" * 1025), 400, "KeyTooLongError"),
    ("a key of 1,025 bytes when decoded", put(key="%41" * 1025), 400, "KeyTooLongError"),
    ("unknown bucket", request("PUT", "/other/bad", body=b"x"), 404, "NoSuchBucket"),
    ("unknown bucket, list", request("GET", "/other/"), 404, "NoSuchBucket"),
    ("bucket ..", request("GET", "/../etc/passwd"), 404, "NoSuchBucket"),
    ("bucket %2e%2e", request("GET", "/%2e%2e/etc"), 404, "NoSuchBucket"),
    ("POST to an object", request("POST", "/bucket/bad", body=b"x"), (405, 501), ""),
    ("tagging", request("PUT", "/bucket/good?tagging", body=b"<Tagging/>"), 501, "NotImplemented"),
    ("acl", request("PUT", "/bucket/good?acl", "x-amz-acl: public-read"), 501, "NotImplemented"),
    ("encryption", put("x-amz-server-side-encryption: AES256"), 501, "NotImplemented"),
    ("policy", request("DELETE", "/bucket/?policy"), 501, "NotImplemented"),
    ("an object of no version", request("GET", "/bucket/good?versionId=7"), 404, ""),
    # lists
    ("max-keys=abc", request("GET", "/bucket/?max-keys=abc"), 400, "InvalidArgument"),
    ("max-keys=-1", request("GET", "/bucket/?max-keys=-1"), 400, "InvalidArgument"),
    ("encoding-type=x", request("GET", "/bucket/?encoding-type=x"), 400, "InvalidArgument"),
    ("%zz in a query", request("GET", "/bucket/?prefix=%zz"), 400, "InvalidURI"),
    # ranges: what is no range is ignored, what cannot be had is refused
    ("bytes=9-", request("GET", "/bucket/good", "Range: bytes=9-"), 416, "InvalidRange"),
    ("bytes=-0", request("GET", "/bucket/good", "Range: bytes=-0"), 416, "InvalidRange"),
    ("bytes=5-2", request("GET", "/bucket/good", "Range: bytes=5-2"), 200, ""),
    ("bytes=x", request("GET", "/bucket/good", "Range: bytes=x"), 200, ""),
    ("lines=1-2", request("GET", "/bucket/good", "Range: lines=1-2"), 200, ""),
    ("bytes=99999999999999999999-", request("GET", "/bucket/good",
                                            "Range: bytes=99999999999999999999-"), (200, 416), ""),
    # XML
    ("no XML", post_delete(b"keys"), 400, "MalformedXML"),
    ("no body", post_delete(b""), 400, "MalformedXML"),
    ("XML that ends", post_delete(b"<Delete><Object><Key>good</Key></Object>"), 400, "MalformedXML"),
    ("another XML", post_delete(b"<Remove/>"), 400, "MalformedXML"),
    ("a DOCTYPE", post_delete(b'<!DOCTYPE d [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object>'
                              b"</Delete>"), 400, "MalformedXML"),
    ("deep XML", post_delete(b"<Delete>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</Delete>"), 400,
     "MalformedXML"),
    ("1,001 keys", post_delete(b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>"),
     400, "MalformedXML"),
    ("XML of 3 MiB", post_delete(b"<Delete>" + b" " * 3145728 + b"</Delete>"), 400,
     "MaxMessageLengthExceeded"),
    ("XML and another MD5", post_delete(b"<Delete><Object><Key>good</Key></Object></Delete>",
                                        "Content-MD5: " + MD5_OF_X), 400, "BadDigest"),
    # copies
    ("copy of nothing", put("x-amz-copy-source: /bucket/nothing", body=b""), 404, "NoSuchKey"),
    ("copy from another bucket", put("x-amz-copy-source: /other/good", body=b""), 404, ""),
    ("an empty copy source", put("x-amz-copy-source:", body=b""), 400, ""),
    ("copy source %zz", put("x-amz-copy-source: /bucket/%zz", body=b""), 400, ""),
    ("copy onto itself", put("x-amz-copy-source: /bucket/good", key="good", body=b""), 400,
     "InvalidRequest"),
    # ends in the middle
    ("a body cut short", put("Content-Length: 1000", body=b"x" * 500), (0, 400), ""),
    ("a head cut short", b"PUT /bucket/bad HTTP/1.1\r\nHo", (0, 400, 408), ""),
]


def bad_requests(address):
    client = Client(address)
    client.put("good", b"12345")
    failures = 0
    for name, data, wanted, wanted_code in CASES:
        cut = name.endswith("cut short")
        status, code, got = exchange(address, data, then_close=cut)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        if status not in wanted or (wanted_code and code != wanted_code):
            failures += 1
            print("not ok - %s: got %d %s %.200r, wanted %s %s" %
                  (name, status, code, got, "/".join(map(str, wanted)), wanted_code))
        elif client.list() != ["good"] or client.get("good").body != b"12345":
            failures += 1
            print("not ok - %s: it changed what is stored" % name)
        else:
            print("ok - %s: %d %s" % (name, status, code))
    return failures


def damaged(address, path):
    client, right, missing = Client(address), 0, 0
    for line in open(path):
        key, md5 = line.split()
        # The first answer may be cut in the middle; from then on the object is known to be damaged.
        for attempt in range(2):
            try:
                reply = client.raw("GET", client.path(key))
                break
            except Exception:
                client.close()
        if reply.status == 200:
            right += 1
            if hashlib.md5(reply.body).hexdigest() != md5:
                sys.exit("%s: wrong bytes" % key)
        elif reply.status == 404 and reply.code == "NoSuchKey":
            missing += 1
        else:
            sys.exit("%s: status %d %s" % (key, reply.status, reply.code))
    if not right or not missing:
        sys.exit("%d objects served, %d missing" % (right, missing))


def main():
    if sys.argv[2:3] == ["damaged"]:
        damaged(sys.argv[1], sys.argv[3])
    else:
        sys.exit(bad_requests(sys.argv[1]) > 0)


main()
