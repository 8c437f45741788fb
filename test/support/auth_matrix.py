"""Every operation of a server with -auth x every way to ask without the right: each must be refused
with its code and change nothing. And each operation properly signed, in each of the five ways, must
be let in, or the rest would show nothing.

usage: auth_matrix.py HOST:PORT BUCKET

The keys must be ADMIN:adminsecret, READER:readersecret:ro, OTHER:othersecret:elsewhere and
FIRST:firstsecret:BUCKET. Buckets "elsewhere" and "another" are made here."""
import base64
import hashlib
import http.client
import re
import sys
import zlib

from sigv4 import (EMPTY, STREAMING, STREAMING_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer, quote,
                   unsigned_chunks)

ADDR, BUCKET = sys.argv[1:]
B, E = "/" + BUCKET, "/elsewhere"
BODY = b"content " * 5000
DELETE = b"<Delete><Object><Key>victim</Key></Object></Delete>"
ADMIN = Signer("ADMIN", "adminsecret")
READER = Signer("READER", "readersecret")
OTHER = Signer("OTHER", "othersecret")  # of "elsewhere" alone
FIRST = Signer("FIRST", "firstsecret")  # of BUCKET alone
COPY = [("x-amz-copy-source", BUCKET + "/victim")]
COPY_ELSEWHERE = [("x-amz-copy-source", E + "/victim")]
n_refused = n_allowed = 0


class Route:
    def __init__(self, name, method, target, status, headers=(), body=b"", reads=None):
        self.name, self.method, self.target, self.status = name, method, target, status
        self.headers, self.body = list(headers), body
        self.reads = method in ("GET", "HEAD") if reads is None else reads


ROUTES = [
    Route("ListBuckets", "GET", "/", 200),
    Route("HeadBucket", "HEAD", B, 200),
    Route("HeadBucket/", "HEAD", B + "/", 200),
    Route("CreateBucket", "PUT", B, 200),
    Route("CreateBucket of another", "PUT", "/another", 200),
    Route("no such bucket", "GET", "/no-such/key", 404),
    Route("DeleteBucket of the directory's own", "DELETE", B, 405),
    Route("DeleteBucket", "DELETE", "/another", 204),
    Route("DeleteBucket with objects", "DELETE", E, 409),
    Route("ListObjects elsewhere", "GET", E, 200),
    Route("GetObject elsewhere", "GET", E + "/victim", 200),
    Route("PutObject elsewhere", "PUT", E + "/new", 200, body=BODY),
    Route("DeleteObject elsewhere", "DELETE", E + "/new", 204),
    Route("CopyObject from elsewhere", "PUT", B + "/new", 200, COPY_ELSEWHERE),
    Route("CopyObject to elsewhere", "PUT", E + "/new", 200, COPY),
    Route("UploadPartCopy from elsewhere", "PUT", B + "/new?partNumber=1&uploadId=0123456789abcdef", 404,
          COPY_ELSEWHERE),
    Route("GetBucketLocation", "GET", B + "?location", 200),
    Route("GetBucketVersioning", "GET", B + "/?versioning=", 200),
    Route("GetBucketPolicy", "GET", B + "/?policy", 404),
    Route("PutBucketPolicy", "PUT", B + "/?policy", 501, body=b"{}"),
    Route("ListObjects", "GET", B + "?prefix=a%20b&max-keys=2&marker=%2B", 200),
    Route("ListObjectsV2", "GET", B + "/?list-type=2&delimiter=/", 200),
    Route("ListMultipartUploads", "GET", B + "/?uploads", 200),
    Route("DeleteObjects", "POST", B + "/?delete", 200, body=DELETE),
    Route("form upload", "POST", B + "/", 501, body=b"x"),
    Route("GetObject", "GET", B + "/victim", 200),
    Route("GetObject, a range", "GET", B + "/victim", 206, [("Range", "bytes=0-3")]),
    Route("GetObject, odd name", "GET", B + "/a%20b/%2B%25//%C3%A9~!'()*%3F", 404),
    Route("HeadObject", "HEAD", B + "/victim", 200),
    Route("PutObject", "PUT", B + "/new", 200, [("x-amz-meta-a", "1"), ("Content-Type", "text/plain")],
          BODY),
    Route("PutObject over another", "PUT", B + "/victim", 200, body=BODY),
    Route("PutObject, empty", "PUT", B + "/new", 200),
    Route("DeleteObject", "DELETE", B + "/victim", 204),
    Route("CopyObject", "PUT", B + "/new", 200, COPY),
    Route("PutObjectTagging", "PUT", B + "/victim?tagging", 501, body=b"<x/>"),
    Route("GetObjectAcl", "GET", B + "/victim?acl", 200),
    Route("PutObjectAcl", "PUT", B + "/victim?acl", 200),
    Route("GetObjectAttributes", "GET", B + "/victim?attributes", 200,
          [("x-amz-object-attributes", "ETag,ObjectSize")]),
    Route("GetObjectTagging", "GET", B + "/victim?tagging", 200),
    Route("ListObjectVersions", "GET", B + "/?versions", 200),
    Route("CreateMultipartUpload", "POST", B + "/new?uploads", 200),
    Route("UploadPart", "PUT", B + "/new?partNumber=1&uploadId=0123456789abcdef", 404, body=BODY),
    Route("UploadPartCopy", "PUT", B + "/new?partNumber=1&uploadId=0123456789abcdef", 404, COPY),
    Route("CompleteMultipartUpload", "POST", B + "/new?uploadId=0123456789abcdef", 404,
          body=b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>"
               b"</CompleteMultipartUpload>"),
    Route("AbortMultipartUpload", "DELETE", B + "/new?uploadId=0123456789abcdef", 404),
    Route("ListParts", "GET", B + "/new?uploadId=0123456789abcdef", 404),
    Route("OPTIONS", "OPTIONS", B + "/victim", 403),
]


def send(method, target, headers, body, host=ADDR, version=11):
    """host None: no Host header; a list: several."""
    connection = http.client.HTTPConnection(ADDR, timeout=30)
    connection._http_vsn = version
    connection._http_vsn_str = "HTTP/1.%d" % (version - 10)
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for value in [host] if isinstance(host, str) else host or []:
        connection.putheader("Host", value)
    for name, value in headers:
        if name.lower() != "host":
            connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    try:
        connection.endheaders(body)
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all of it was sent: the answer is there
    response = connection.getresponse()
    data = response.read()
    connection.close()
    code = re.search(rb"<Code>([^<]*)</Code>", data)
    return response.status, code.group(1).decode() if code else "", data


def fail(text):
    sys.exit("FAILED: " + text)


def sha(body):
    return hashlib.sha256(body).hexdigest()


def signed(route, signer=ADMIN, payload=None, **changed):
    """A route's request, signed in the header: method, target, headers, body."""
    method = changed.get("method", route.method)
    target = changed.get("target", route.target)
    body = changed.get("body", route.body)
    headers = [("Host", ADDR)] + route.headers + list(changed.get("more", ()))
    return method, target, signer.v4(method, target, headers, payload or sha(body)), body


def change(headers, name, function):
    return [(n, function(v) if n.lower() == name else v) for n, v in headers]


def other_digit(text):
    """The same with its last hex digit changed."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


# ---- ways to be refused: each yields what, (status, codes), request, options of send() ----

NO_MATCH = (403, {"SignatureDoesNotMatch"})
DENIED = (403, {"AccessDenied"})
UNKNOWN = (403, {"InvalidAccessKeyId"})
SKEWED = (403, {"RequestTimeTooSkewed"})
MALFORMED = (400, {"AuthorizationHeaderMalformed"})
BAD_QUERY = (400, {"AuthorizationQueryParametersError"})
TWICE = (400, {"InvalidArgument", "InvalidRequest"})
BAD_HTTP = (400, {"BadRequest"})


def header_attacks(r):
    method, target, headers, body = signed(r)
    join = "&" if "?" in target else "?"

    def sent(h=headers, t=target, m=method, b=body):
        return m, t, h, b

    def auth(function):
        return sent(change(headers, "authorization", function))

    yield "no credentials", DENIED, sent(r.headers), {}
    yield "a changed signature", NO_MATCH, auth(other_digit), {}
    yield "a made-up signature", NO_MATCH, auth(lambda v: v[:-64] + "0" * 64), {}
    yield "no signature", MALFORMED, auth(lambda v: v[:-64]), {}
    yield "a signature cut short", MALFORMED, auth(lambda v: v[:-2]), {}
    yield "another kind of authorization", MALFORMED, auth(lambda v: "Bearer x"), {}
    yield "a wrong secret", NO_MATCH, signed(r, Signer("ADMIN", "adminsecreu")), {}
    yield "somebody else's secret", NO_MATCH, signed(r, Signer("ADMIN", "readersecret")), {}
    yield "an unknown key", UNKNOWN, signed(r, Signer("NOBODY", "adminsecret")), {}
    yield "an old time", SKEWED, signed(r, Signer("ADMIN", "adminsecret", shift=-960)), {}
    yield "a time to come", SKEWED, signed(r, Signer("ADMIN", "adminsecret", shift=960)), {}
    yield "another region than signed", NO_MATCH, auth(lambda v: v.replace("us-east-1", "eu-west-1")), {}
    yield "another service", MALFORMED, signed(r, Signer("ADMIN", "adminsecret", service="ec2")), {}
    yield "another day in the scope", MALFORMED, auth(lambda v: re.sub(r"/\d{8}/", "/20200101/", v)), {}
    yield "another time than signed", NO_MATCH, sent(
        change(headers, "x-amz-date", lambda v: v[:-3] + ("58Z" if v[-3:] != "58Z" else "57Z"))), {}
    yield "an unsigned x-amz-meta-", DENIED, sent(headers + [("x-amz-meta-evil", "1")]), {}
    yield "an unsigned copy source", DENIED if ("x-amz-copy-source" not in dict(r.headers)) else NO_MATCH, \
        sent(headers + [("x-amz-copy-source", BUCKET + "/victim")]), {}
    yield "a signed header twice", NO_MATCH, sent(
        headers + [("x-amz-date", dict(headers)["x-amz-date"])])[:3] + (body,), {"any": True}
    yield "two payload hashes", TWICE, sent(headers + [("x-amz-content-sha256", UNSIGNED)]), {}
    yield "two authorizations", TWICE, sent(headers + [("Authorization", "AWS a:b")]), {}
    yield "credentials in the query too", TWICE, sent(t=target + join + "X-Amz-Signature=0"), {}
    yield "a longer path", NO_MATCH, sent(t=target.replace("?", "x?", 1) if "?" in target else target + "x"), {}
    yield "one parameter more", NO_MATCH, sent(t=target + join + "versionId=null"), {}
    yield "another method", NO_MATCH, sent(m="DELETE" if method != "DELETE" else "PUT"), {}
    if BUCKET in target:
        yield "another bucket", NO_MATCH, sent(t=target.replace(BUCKET, "elsewhere", 1)), {}
        yield "no such bucket", NO_MATCH, sent(t=target.replace(BUCKET, "no-such", 1)), {}
    elif E in target:
        yield "another bucket", NO_MATCH, sent(t=target.replace(E, B, 1)), {}
    yield "another host", NO_MATCH, sent(), {"host": "127.0.0.2:1"}
    yield "no host", BAD_HTTP, sent(), {"host": None}
    yield "no host, HTTP/1.0", NO_MATCH, sent(), {"host": None, "version": 10}
    yield "two hosts", BAD_HTTP, sent(), {"host": [ADDR, ADDR]}
    no_hash = [h for h in headers if h[0] != "x-amz-content-sha256"]
    yield "no payload hash", (400, {"InvalidRequest"}), sent(no_hash), {}
    yield "an unsigned host", MALFORMED, auth(lambda v: v.replace("host;", "")), {}


def query_attacks(r):
    def pre(signer=ADMIN, more=(), **kw):
        headers = [("Host", ADDR)] + r.headers + list(more)
        return r.method, signer.presigned(r.method, r.target, headers, **kw), headers, r.body

    method, target, headers, body = pre()
    yield "presigned, a changed signature", NO_MATCH, (method, other_digit(target), headers, body), {}
    yield "presigned, an unknown key", UNKNOWN, pre(Signer("NOBODY", "adminsecret")), {}
    yield "presigned, a wrong secret", NO_MATCH, pre(Signer("ADMIN", "x")), {}
    yield "presigned, expired", DENIED, pre(Signer("ADMIN", "adminsecret", shift=-700)), {}
    yield "presigned, not yet valid", DENIED, pre(Signer("ADMIN", "adminsecret", shift=960)), {}
    yield "presigned, for too long", BAD_QUERY, pre(expires=604801), {}
    yield "presigned, for no time", BAD_QUERY, pre(expires=0), {}
    yield "presigned, longer than signed", NO_MATCH, (
        method, target.replace("Expires=600", "Expires=6000"), headers, body), {}
    yield "presigned, another method", NO_MATCH, (
        "DELETE" if method != "DELETE" else "PUT", target, headers, body), {}
    if target.startswith((B + "/", B + "?", E + "/")):
        yield "presigned, another bucket", NO_MATCH, (
            method, E + target[len(B):] if target.startswith(B) else B + target[len(E):], headers, body), {}
    yield "presigned, another path", NO_MATCH, (method, target.replace("?", "x?", 1), headers, body), {}
    yield "presigned, a parameter more", NO_MATCH, (method, target + "&delete", headers, body), {}
    yield "presigned, an unsigned x-amz-acl", DENIED, (
        method, target, headers + [("x-amz-acl", "private")], body), {}
    yield "presigned, chunks", DENIED, pre(
        more=[("x-amz-content-sha256", UNSIGNED_TRAILER), ("x-amz-decoded-content-length", "5")],
        payload=UNSIGNED_TRAILER), {}
    yield "presigned, unsigned chunks", DENIED, (
        method, target, headers + [("x-amz-content-sha256", UNSIGNED_TRAILER),
                                   ("x-amz-decoded-content-length", "5")], body), {}
    yield "presigned, signed chunks", DENIED, pre(
        more=[("x-amz-content-sha256", STREAMING), ("x-amz-decoded-content-length", "5")],
        payload=STREAMING), {}
    yield "presigned, without an algorithm", BAD_QUERY, (
        method, target.replace("X-Amz-Algorithm", "X-Algorithm"), headers, body), {}


def v2_attacks(r):
    headers = ADMIN.v2(r.method, r.target, r.headers)

    def sent(h=headers, t=r.target, m=r.method, b=r.body):
        return m, t, h, b

    yield "version 2, a made-up signature", NO_MATCH, sent(
        change(headers, "authorization", lambda v: "AWS ADMIN:" + "A" * 27 + "=")), {}
    yield "version 2, no signature", MALFORMED, sent(
        change(headers, "authorization", lambda v: "AWS ADMIN:")), {}
    yield "version 2, an unknown key", UNKNOWN, sent(
        Signer("NOBODY", "adminsecret").v2(r.method, r.target, r.headers)), {}
    yield "version 2, a wrong secret", NO_MATCH, sent(Signer("ADMIN", "x").v2(r.method, r.target, r.headers)), {}
    yield "version 2, an old time", SKEWED, sent(
        Signer("ADMIN", "adminsecret", shift=-960).v2(r.method, r.target, r.headers)), {}
    yield "version 2, no time", DENIED, sent([h for h in headers if h[0] != "Date"]), {}
    yield "version 2, a header more", NO_MATCH, sent(headers + [("x-amz-meta-evil", "1")]), {}
    yield "version 2, another type", NO_MATCH, sent([("Content-Type", "text/evil")] + headers), {}
    yield "version 2, another method", NO_MATCH, sent(m="DELETE" if r.method != "DELETE" else "PUT"), {}
    yield "version 2, another path", NO_MATCH, sent(
        t=r.target.replace("?", "x?", 1) if "?" in r.target else r.target + "x"), {}
    if r.target.startswith((B, E)):
        yield "version 2, another bucket", NO_MATCH, sent(
            t=E + r.target[len(B):] if r.target.startswith(B) else B + r.target[len(E):]), {}
    yield "version 2, another sub-resource", NO_MATCH, sent(
        t=r.target + ("&" if "?" in r.target else "?") + "torrent"), {}
    chunked = r.headers + [("x-amz-content-sha256", UNSIGNED_TRAILER),
                           ("x-amz-decoded-content-length", "5")]
    yield "version 2, chunks", DENIED, sent(ADMIN.v2(r.method, r.target, chunked)), {}
    yield "version 2 in the query, expired", DENIED, sent(
        r.headers, ADMIN.v2_presigned(r.method, r.target, r.headers, -1)), {}
    good = ADMIN.v2_presigned(r.method, r.target, r.headers)
    yield "version 2 in the query, longer than signed", NO_MATCH, sent(
        r.headers, re.sub(r"Expires=(\d+)", r"Expires=9\1", good)), {}
    yield "version 2 in the query, another method", NO_MATCH, sent(
        r.headers, good, "DELETE" if r.method != "DELETE" else "PUT"), {}
    yield "version 2 in the query, no signature", BAD_QUERY, sent(r.headers, good.replace("&Signature", "&S")), {}


def permission_attacks(r):
    if not r.reads:
        yield "a key that may only read", DENIED, signed(r, READER), {}
        yield "a key that may only read, version 2", DENIED, (
            r.method, r.target, READER.v2(r.method, r.target, r.headers), r.body), {}
    touched = {t.lstrip("/").split("/")[0].split("?")[0]
               for t in [r.target] + [v for n, v in r.headers if n == "x-amz-copy-source"]} - {""}
    for who, mine in ((OTHER, "elsewhere"), (FIRST, BUCKET)):
        if touched - {mine}:
            yield "a key of " + mine, DENIED, signed(r, who), {}
            yield "a key of %s, version 2" % mine, DENIED, (
                r.method, r.target, who.v2(r.method, r.target, r.headers), r.body), {}
            yield "a key of %s, presigned" % mine, DENIED, (
                r.method, who.presigned(r.method, r.target, [("Host", ADDR)] + r.headers), r.headers, r.body), {}


def body_attacks(r):
    """Of operations that take a body: what is wrong shows only when all of it has come."""
    if r.name not in ("PutObject", "PutObject over another", "DeleteObjects"):
        return
    crc = base64.b64encode(zlib.crc32(r.body).to_bytes(4, "big")).decode()
    wrong_crc = base64.b64encode((zlib.crc32(r.body) ^ 1).to_bytes(4, "big")).decode()
    half = len(r.body) // 2
    spoiled = r.body[:half] + bytes([r.body[half] ^ 1]) + r.body[half + 1:]
    m, t, h, b = signed(r)
    yield "another body than signed", (400, {"XAmzContentSHA256Mismatch"}), (m, t, h, spoiled), {}
    yield "a body for an empty one", (400, {"XAmzContentSHA256Mismatch"}), (
        m, t, signed(r, payload=EMPTY)[2], b), {}
    size = [("x-amz-decoded-content-length", str(len(r.body)))]
    trailer = size + [("x-amz-trailer", "x-amz-checksum-crc32")]
    sums, wrong_sums = [("x-amz-checksum-crc32", crc)], [("x-amz-checksum-crc32", wrong_crc)]

    def chunked(form, more, wire):
        method, target, headers, _ = signed(r, payload=form, more=more)
        return method, target, headers, wire(headers)

    for what in ("chunk", "last"):
        yield "chunks, a wrong signature: " + what, NO_MATCH, chunked(
            STREAMING, size, lambda h, w=what: ADMIN.chunks(h, r.body, 8192, spoil=w)), {}
    yield "chunks, signed with another secret", NO_MATCH, chunked(
        STREAMING, size, lambda h: Signer("ADMIN", "x").chunks(h, r.body, 8192)), {}
    yield "chunks, changed bytes", NO_MATCH, chunked(
        STREAMING, size, lambda h: ADMIN.chunks(h, r.body, 8192).replace(r.body[:20], spoiled[half - 10:half + 10], 1)
        if len(r.body) > 8192 else ADMIN.chunks(h, r.body, 8192).replace(r.body, spoiled)), {}
    yield "chunks, one left out", (400, {"IncompleteBody"}), chunked(
        STREAMING, size, lambda h: b"".join(ADMIN.chunks(h, r.body, half).split(b"\r\n", 2)[2:])), {}
    yield "chunks, the end left out", (400, {"IncompleteBody"}), chunked(
        STREAMING, size, lambda h: ADMIN.chunks(h, r.body, 8192)[:-90]), {}
    yield "chunks without signatures", (400, {"IncompleteBody"}), chunked(
        STREAMING, size, lambda h: unsigned_chunks(r.body, 8192)), {}
    yield "chunks, a trailer nobody announced", (400, {"MalformedTrailerError"}), chunked(
        STREAMING, size, lambda h: ADMIN.chunks(h, r.body, 8192)[:-2] + b"a:b\r\n\r\n"), {}
    yield "chunks, a wrong signature of the trailer", NO_MATCH, chunked(
        STREAMING_TRAILER, trailer,
        lambda h: ADMIN.chunks(h, r.body, 8192, sums, spoil="trailer-signature")), {}
    yield "chunks, another trailer than signed", (403, {"SignatureDoesNotMatch"}), chunked(
        STREAMING_TRAILER, trailer,
        lambda h: ADMIN.chunks(h, r.body, 8192, wrong_sums).replace(wrong_crc.encode(), crc.encode())), {}
    yield "chunks, a signed trailer left out", (400, {"MalformedTrailerError"}), chunked(
        STREAMING_TRAILER, trailer, lambda h: ADMIN.chunks(h, r.body, 8192)), {}
    yield "chunks, a wrong checksum, signed", (400, {"BadDigest"}), chunked(
        STREAMING_TRAILER, trailer, lambda h: ADMIN.chunks(h, r.body, 8192, wrong_sums)), {}
    yield "unsigned chunks, a wrong checksum", (400, {"BadDigest"}), chunked(
        UNSIGNED_TRAILER, trailer, lambda h: unsigned_chunks(r.body, 8192, wrong_sums)), {}
    yield "unsigned chunks, changed bytes", (400, {"BadDigest"}), chunked(
        UNSIGNED_TRAILER, trailer, lambda h: unsigned_chunks(spoiled, 8192, sums)), {}
    m, t, h, b = signed(r, payload=UNSIGNED_TRAILER, more=trailer)
    yield "unsigned chunks, a made-up signature", NO_MATCH, (
        m, t, change(h, "authorization", lambda v: v[:-64] + "0" * 64), unsigned_chunks(r.body, 8192, sums)), {}


# ---- the runs ----

def state():
    """What there is: buckets, names and entity tags."""
    answers = [send("GET", t, ADMIN.v4("GET", t, [("Host", ADDR)], EMPTY), b"")[2]
               for t in ("/", B + "/", E + "/")]
    return [re.findall(rb"<Name>(.*?)</Name>", answers[0])] + [
        re.findall(rb"<Key>(.*?)</Key>.*?<ETag>(.*?)</ETag>", a) for a in answers[1:]]


def put_victim():
    for bucket in (B, E):
        send(*signed(Route("", "PUT", bucket, 200)))
        send(*signed(Route("", "PUT", bucket + "/victim", 200, body=b"precious")))
        send(*signed(Route("", "DELETE", bucket + "/new", 204)))
    send(*signed(Route("", "PUT", "/another", 200)))


def refused(route, what, wanted, request, options):
    global n_refused
    options = dict(options)
    any_code = options.pop("any", False)
    status, code, data = send(*request, **options)
    where = "%s, %s: %d %s" % (route.name, what, status, code)
    if route.method == "OPTIONS" and status in (400, 403):
        pass
    elif any_code:  # several rules apply
        if status not in (400, 403):
            fail(where)
    elif status != wanted[0] or (request[0] != "HEAD" and code not in wanted[1]):
        fail("%s, not %s\n%s" % (where, wanted, data.decode(errors="replace")))
    if b"adminsecret" in data or b"readersecret" in data:
        fail(where + ": the secret is in the answer")
    n_refused += 1


def all_refused():
    put_victim()
    before = state()
    if before[0] != sorted([b"another", b"elsewhere", BUCKET.encode()]) or [len(k) for k in before[1:]] != [1, 1]:
        fail("the state before: %r" % before)
    for route in ROUTES:
        for attacks in (header_attacks, query_attacks, v2_attacks, permission_attacks, body_attacks):
            for what, wanted, request, options in attacks(route):
                refused(route, what, wanted, request, options)
            if state() != before:
                fail("%s, %s: something has changed: %r" % (route.name, attacks.__name__, state()))
    print("ok - %d requests without the right are refused, nothing has changed" % n_refused)


def allowed(route, how, request):
    global n_allowed
    put_victim()
    status, code, data = send(*request)
    if status != route.status:
        fail("%s, %s: %d %s, not %d\n%s" % (route.name, how, status, code, route.status,
                                           data.decode(errors="replace")))
    n_allowed += 1


def ways(r):
    plain = [("Host", ADDR)] + r.headers
    yield "hashed", signed(r)
    yield "unsigned body", signed(r, payload=UNSIGNED)
    yield "another region", signed(r, Signer("ADMIN", "adminsecret", region="pi-attic-1"))
    yield "a late clock", signed(r, Signer("ADMIN", "adminsecret", shift=-840))
    yield "presigned", (r.method, ADMIN.presigned(r.method, r.target, plain), plain, r.body)
    yield "version 2", (r.method, r.target, ADMIN.v2(r.method, r.target, r.headers), r.body)
    yield "version 2 in the query", (
        r.method, ADMIN.v2_presigned(r.method, r.target, r.headers), r.headers, r.body)
    if r.reads:
        yield "a key that may only read", signed(r, READER)
    if r.target.startswith(E) and r.headers != COPY:
        yield "a key of this bucket", signed(r, OTHER)
    if r.target.startswith(B) and r.headers != COPY_ELSEWHERE:
        yield "a key of this bucket", signed(r, FIRST)
    if not r.body or r.status not in (200, 204):
        return
    size = [("x-amz-decoded-content-length", str(len(r.body)))]
    crc = base64.b64encode(zlib.crc32(r.body).to_bytes(4, "big")).decode()
    trailer = size + [("x-amz-trailer", "x-amz-checksum-crc32")]
    sums = [("x-amz-checksum-crc32", crc)]
    for n in (1 << 16, 8192, 999):
        m, t, h, _ = signed(r, payload=STREAMING, more=size)
        yield "chunks of %d" % n, (m, t, h, ADMIN.chunks(h, r.body, n))
        m, t, h, _ = signed(r, payload=STREAMING_TRAILER, more=trailer)
        yield "chunks of %d, trailer" % n, (m, t, h, ADMIN.chunks(h, r.body, n, sums))
        m, t, h, _ = signed(r, payload=UNSIGNED_TRAILER, more=trailer)
        yield "unsigned chunks of %d, trailer" % n, (m, t, h, unsigned_chunks(r.body, n, sums))


def all_allowed():
    for route in ROUTES:
        for how, request in ways(route):
            allowed(route, how, request)
    for name in ("PutObject", "PutObject, empty"):
        route = next(r for r in ROUTES if r.name == name)
        for how, request in ways(route):
            allowed(route, how, request)
            status, _, data = send(*signed(Route("", "GET", B + "/new", 200)))
            if status != 200 or data != route.body:
                fail("%s, %s: the object is not what was sent" % (name, how))
    print("ok - %d requests with the right are let in" % n_allowed)


def other_bucket():
    for who, mine in ((OTHER, b"elsewhere"), (FIRST, BUCKET.encode())):
        status, _, data = send(*signed(ROUTES[0], who))
        if status != 200 or re.findall(b"<Name>(.*?)</Name>", data) != [mine]:
            fail("ListBuckets by the key of one bucket: %d %r" % (status, data))
        status, _, _ = send(*signed(Route("", "PUT", "/brand-new", 200), who))
        if status != 403:
            fail("CreateBucket of a bucket that is not the key's: %d" % status)
    print("ok - a key of another bucket sees nothing of this one")


all_allowed()
all_refused()
other_bucket()
