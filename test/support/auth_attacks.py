"""The operations of a server with -auth and the ways to ask for them without the right, for auth_matrix.py,
whose command line this reads."""
import base64
import hashlib
import re
import sys
import time
import zlib
from email.utils import formatdate

from sigv4 import EMPTY, STREAMING, STREAMING_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer, unsigned_chunks

ADDR, BUCKET = sys.argv[1:3]
B, E = "/" + BUCKET, "/elsewhere"
BODY = b"content " * 5000
PART = b"a part that has come"
DELETE = b"<Delete><Object><Key>victim</Key></Object></Delete>"
COMPLETE = (b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
            b"</CompleteMultipartUpload>" % hashlib.md5(PART).hexdigest().encode())
ACL = (b"<AccessControlPolicy><AccessControlList><Grant><Grantee><ID>zipkvserver</ID></Grantee>"
       b"<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>")
PLACE = (b"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint>"
         b"</CreateBucketConfiguration>")
NOT_ASKED_FOR = b"a body that nobody asked for"
ADMIN = Signer("ADMIN", "adminsecret")
READER = Signer("READER", "readersecret")
OTHER = Signer("OTHER", "othersecret")  # of "elsewhere" alone
FIRST = Signer("FIRST", "firstsecret")  # of BUCKET alone
COPY = [("x-amz-copy-source", BUCKET + "/victim")]
COPY_ELSEWHERE = [("x-amz-copy-source", E + "/victim")]
UPLOADS = {B: "", E: ""}  # the upload of BUCKET/partial and elsewhere/partial that is under way


class Route:
    """offered False: whatever else is asked for with it, there is nothing to be had."""

    def __init__(self, name, method, target, status, headers=(), body=b"", offered=True):
        self.name, self.method, self.raw_target, self.status = name, method, target, status
        self.headers, self.body, self.offered = list(headers), body, offered
        self.reads = method in ("GET", "HEAD")
        self.bucket = target.split("?")[0].split("/")[1]
        self.about_uploads = "upload" in target.lower()

    @property
    def target(self):
        return self.raw_target.replace("UPLOAD", UPLOADS.get("/" + self.bucket, ""))


PARTIAL = B + "/partial?uploadId=UPLOAD"
PARTIAL_1 = B + "/partial?partNumber=1&uploadId=UPLOAD"
ROUTES = [
    Route("ListBuckets", "GET", "/", 200),
    Route("HeadBucket", "HEAD", B, 200),
    Route("HeadBucket/", "HEAD", B + "/", 200),
    Route("CreateBucket", "PUT", B, 200),
    Route("CreateBucket of another", "PUT", "/another", 200),
    Route("CreateBucket in a place", "PUT", "/another", 200, body=PLACE),
    Route("no such bucket", "GET", "/no-such/key", 404, offered=False),
    Route("DeleteBucket of the directory's own", "DELETE", B, 405),
    Route("DeleteBucket", "DELETE", "/another", 204),
    Route("DeleteBucket with objects", "DELETE", E, 409),
    Route("ListObjects elsewhere", "GET", E, 200),
    Route("GetObject elsewhere", "GET", E + "/victim", 200),
    Route("PutObject elsewhere", "PUT", E + "/new", 200, body=BODY),
    Route("DeleteObject elsewhere", "DELETE", E + "/new", 204),
    Route("CopyObject from elsewhere", "PUT", B + "/new", 200, COPY_ELSEWHERE),
    Route("CopyObject to elsewhere", "PUT", E + "/new", 200, COPY),
    Route("UploadPart elsewhere", "PUT", E + "/partial?partNumber=1&uploadId=UPLOAD", 200, body=BODY),
    Route("UploadPartCopy from elsewhere", "PUT", PARTIAL_1, 200, COPY_ELSEWHERE),
    Route("AbortMultipartUpload elsewhere", "DELETE", E + "/partial?uploadId=UPLOAD", 204),
    Route("GetBucketLocation", "GET", B + "?location", 200),
    Route("GetBucketVersioning", "GET", B + "/?versioning=", 200),
    Route("GetBucketAcl", "GET", B + "?acl", 200),
    Route("PutBucketAcl", "PUT", B + "?acl", 200, body=ACL),
    Route("GetBucketPolicy", "GET", B + "/?policy", 404, offered=False),
    Route("PutBucketPolicy", "PUT", B + "/?policy", 501, body=b"{}", offered=False),
    Route("ListObjects", "GET", B + "?prefix=a%20b&max-keys=2&marker=%2B", 200),
    Route("ListObjectsV2", "GET", B + "/?list-type=2&delimiter=/", 200),
    Route("ListMultipartUploads", "GET", B + "/?uploads", 200),
    Route("DeleteObjects", "POST", B + "/?delete", 200, body=DELETE),
    Route("form upload", "POST", B + "/", 501, body=b"x", offered=False),
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
    Route("PutObjectTagging", "PUT", B + "/victim?tagging", 501, body=b"<x/>", offered=False),
    Route("GetObjectAcl", "GET", B + "/victim?acl", 200),
    Route("PutObjectAcl", "PUT", B + "/victim?acl", 200, body=ACL),
    Route("PutObjectAcl, canned", "PUT", B + "/victim?acl", 200, [("x-amz-acl", "private")]),
    Route("GetObjectAttributes", "GET", B + "/victim?attributes", 200,
          [("x-amz-object-attributes", "ETag,ObjectSize")]),
    Route("GetObjectTagging", "GET", B + "/victim?tagging", 200),
    Route("ListObjectVersions", "GET", B + "/?versions", 200),
    Route("CreateMultipartUpload", "POST", B + "/new?uploads", 200),
    Route("UploadPart", "PUT", PARTIAL_1, 200, body=BODY),
    Route("UploadPart of another number", "PUT", B + "/partial?partNumber=2&uploadId=UPLOAD", 200, body=BODY),
    Route("UploadPartCopy", "PUT", PARTIAL_1, 200, COPY),
    Route("CompleteMultipartUpload", "POST", PARTIAL, 200, body=COMPLETE),
    Route("AbortMultipartUpload", "DELETE", PARTIAL, 204),
    Route("ListParts", "GET", PARTIAL, 200),
    Route("no such upload", "PUT", B + "/new?partNumber=1&uploadId=0123456789abcdef", 404, body=BODY,
          offered=False),
    Route("OPTIONS", "OPTIONS", B + "/victim", 403, offered=False),
]

V4, QUERY, V2, V2_QUERY = "version 4", "presigned", "version 2", "version 2 in the query"
ALL = (V4, QUERY, V2, V2_QUERY)
FORM = "form"  # signatures and times that are none: not of the matrix
KINDS = {
    "no credentials": (V4,),
    "wrong secret": ALL,
    "unknown key": ALL,
    "tampered path": ALL,
    "tampered query": ALL,
    "tampered header": ALL,
    "tampered body": ALL,
    "tampered chunk": (V4,),  # the others have no chunks, see below
    "tampered trailer": (V4,),
    "tampered date": ALL,
    "expired": (QUERY, V2_QUERY),  # the others have no end of their own
    "skewed": (V4, QUERY, V2),  # only an end has no skew
    "another method": ALL,
    "another bucket": ALL,
    "read-only key": ALL,
    "key of another bucket": ALL,
    "streaming body": (QUERY, V2, V2_QUERY),
}


def left_out(r, kind):
    """The rule by which an operation has no attack of a kind, or None."""
    if kind in ("another bucket", "key of another bucket") and not r.bucket:
        return "it names no bucket"
    if kind == "read-only key" and r.reads:
        return "it reads"
    if kind in ("tampered body", "tampered chunk", "tampered trailer") and not r.offered:
        return "it is refused before the body is asked for"
    return None


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


def base64_md5(body):
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def time_text(minutes):
    """A time as Date has it, so many minutes from now."""
    return formatdate(time.time() + 60 * minutes, usegmt=True)


# ---- ways to be refused: each yields kind, what, (status, codes), request, options of send() ----

NO_MATCH = (403, {"SignatureDoesNotMatch"})
DENIED = (403, {"AccessDenied"})
UNKNOWN = (403, {"InvalidAccessKeyId"})
SKEWED = (403, {"RequestTimeTooSkewed"})
MALFORMED = (400, {"AuthorizationHeaderMalformed"})
BAD_QUERY = (400, {"AuthorizationQueryParametersError"})
TWICE = (400, {"InvalidArgument", "InvalidRequest"})
BAD_HTTP = (400, {"BadRequest"})
WRONG_HASH = (400, {"XAmzContentSHA256Mismatch"})
BAD_DIGEST = (400, {"BadDigest"})
BAD_TRAILER = (400, {"MalformedTrailerError"})
INCOMPLETE = (400, {"IncompleteBody"})


def longer_path(target):
    return target.replace("?", "x?", 1) if "?" in target else target + "x"


def elsewhere(r, target):
    """The same of another bucket."""
    to = B if "/" + r.bucket == E else E
    return to + target[1 + len(r.bucket):]


def other_method(r):
    return "DELETE" if r.method != "DELETE" else "PUT"


def flip(data):
    return bytes([data[0] ^ 1]) + data[1:]


def v4_attacks(r):
    method, target, headers, body = signed(r)
    join = "&" if "?" in target else "?"

    def sent(h=headers, t=target, m=method, b=body):
        return m, t, h, b

    def auth(function):
        return sent(change(headers, "authorization", function))

    yield "no credentials", "none", DENIED, sent(r.headers), {}
    yield "wrong secret", "a changed signature", NO_MATCH, auth(other_digit), {}
    yield "wrong secret", "a made-up signature", NO_MATCH, auth(lambda v: v[:-64] + "0" * 64), {}
    yield "wrong secret", "a wrong secret", NO_MATCH, signed(r, Signer("ADMIN", "adminsecreu")), {}
    yield "wrong secret", "somebody else's", NO_MATCH, signed(r, Signer("ADMIN", "readersecret")), {}
    yield "unknown key", "an unknown key", UNKNOWN, signed(r, Signer("NOBODY", "adminsecret")), {}
    yield "skewed", "an old time", SKEWED, signed(r, Signer("ADMIN", "adminsecret", shift=-960)), {}
    yield "skewed", "a time to come", SKEWED, signed(r, Signer("ADMIN", "adminsecret", shift=960)), {}
    yield "tampered date", "another time than signed", NO_MATCH, sent(
        change(headers, "x-amz-date", lambda v: v[:-3] + ("58Z" if v[-3:] != "58Z" else "57Z"))), {}
    yield "tampered date", "another day in the scope", MALFORMED, auth(
        lambda v: re.sub(r"/\d{8}/", "/20200101/", v)), {}
    yield "tampered header", "another region than signed", NO_MATCH, auth(
        lambda v: v.replace("us-east-1", "eu-west-1")), {}
    yield "tampered header", "an unsigned x-amz-meta-", DENIED, sent(headers + [("x-amz-meta-evil", "1")]), {}
    yield "tampered header", "a copy source", \
        DENIED if ("x-amz-copy-source" not in dict(r.headers)) else NO_MATCH, \
        sent(headers + [("x-amz-copy-source", BUCKET + "/victim")]), {}
    yield "tampered header", "a signed header twice", NO_MATCH, sent(
        headers + [("x-amz-date", dict(headers)["x-amz-date"])]), {"any": True}
    yield "tampered header", "another host", NO_MATCH, sent(), {"host": "127.0.0.2:1"}
    yield "tampered header", "no host, HTTP/1.0", NO_MATCH, sent(), {"host": None, "version": 10}
    yield "tampered header", "an unsigned host", MALFORMED, auth(lambda v: v.replace("host;", "")), {}
    yield "tampered path", "a longer path", NO_MATCH, sent(t=longer_path(target)), {}
    yield "tampered query", "one parameter more", NO_MATCH, sent(t=target + join + "versionId=null"), {}
    yield "another method", "another", NO_MATCH, sent(m=other_method(r)), {}
    if r.bucket:
        yield "another bucket", "another", NO_MATCH, sent(t=elsewhere(r, target)), {}
        yield "another bucket", "one that is not there", NO_MATCH, sent(
            t="/not-there" + target[1 + len(r.bucket):]), {}
    yield FORM, "no signature", MALFORMED, auth(lambda v: v[:-64]), {}
    yield FORM, "a signature cut short", MALFORMED, auth(lambda v: v[:-2]), {}
    yield FORM, "another kind of authorization", MALFORMED, auth(lambda v: "Bearer x"), {}
    yield FORM, "another service", MALFORMED, signed(r, Signer("ADMIN", "adminsecret", service="ec2")), {}
    yield FORM, "two payload hashes", TWICE, sent(headers + [("x-amz-content-sha256", UNSIGNED)]), {}
    yield FORM, "two authorizations", TWICE, sent(headers + [("Authorization", "AWS a:b")]), {}
    yield FORM, "credentials in the query too", TWICE, sent(t=target + join + "X-Amz-Signature=0"), {}
    yield FORM, "no host", BAD_HTTP, sent(), {"host": None}
    yield FORM, "two hosts", BAD_HTTP, sent(), {"host": [ADDR, ADDR]}
    yield FORM, "no payload hash", (400, {"InvalidRequest"}), sent(
        [h for h in headers if h[0] != "x-amz-content-sha256"]), {}


def query_attacks(r):
    def pre(signer=ADMIN, more=(), body=r.body, **kw):
        headers = [("Host", ADDR)] + r.headers + list(more)
        return r.method, signer.presigned(r.method, r.target, headers, **kw), headers, body

    method, target, headers, body = pre()

    def sent(h=headers, t=target, m=method):
        return m, t, h, body

    yield "wrong secret", "a changed signature", NO_MATCH, sent(t=other_digit(target)), {}
    yield "wrong secret", "a wrong secret", NO_MATCH, pre(Signer("ADMIN", "x")), {}
    yield "unknown key", "an unknown key", UNKNOWN, pre(Signer("NOBODY", "adminsecret")), {}
    yield "expired", "expired", DENIED, pre(Signer("ADMIN", "adminsecret", shift=-700)), {}
    yield "skewed", "not yet valid", DENIED, pre(Signer("ADMIN", "adminsecret", shift=960)), {}
    yield "tampered date", "longer than signed", NO_MATCH, sent(
        t=target.replace("Expires=600", "Expires=6000")), {}
    yield "tampered date", "another time than signed", NO_MATCH, sent(
        t=re.sub(r"(X-Amz-Date=\w+)(\d\d)Z", lambda m: m[1] + ("58Z" if m[2] != "58" else "57Z"), target)), {}
    yield "tampered date", "two ends", BAD_QUERY, sent(t=target + "&X-Amz-Expires=600"), {}
    yield "another method", "another", NO_MATCH, sent(m=other_method(r)), {}
    if r.bucket:
        yield "another bucket", "another", NO_MATCH, sent(t=elsewhere(r, target)), {}
    yield "tampered path", "a longer path", NO_MATCH, sent(t=target.replace("?", "x?", 1)), {}
    yield "tampered query", "a parameter more", NO_MATCH, sent(t=target + "&delete"), {}
    yield "tampered header", "an unsigned x-amz-acl", \
        DENIED if ("x-amz-acl" not in dict(r.headers)) else NO_MATCH, \
        sent(headers + [("x-amz-acl", "private")]), {}
    yield "tampered header", "another host", NO_MATCH, sent(), {"host": "127.0.0.2:1"}
    chunked = [("x-amz-content-sha256", UNSIGNED_TRAILER), ("x-amz-decoded-content-length", "5")]
    yield "streaming body", "signed", DENIED, pre(more=chunked, payload=UNSIGNED_TRAILER), {}
    yield "streaming body", "not signed", DENIED, sent(headers + chunked), {}
    yield "streaming body", "signed chunks", DENIED, pre(
        more=[("x-amz-content-sha256", STREAMING), ("x-amz-decoded-content-length", "5")],
        payload=STREAMING), {}
    if r.offered:
        body = r.body or NOT_ASKED_FOR
        m, t, h, _ = pre(more=[("x-amz-content-sha256", sha(body))], payload=sha(body))
        yield "tampered body", "another body than signed", WRONG_HASH, (m, t, h, flip(body)), {}
    yield FORM, "for too long", BAD_QUERY, pre(expires=604801), {}
    yield FORM, "for no time", BAD_QUERY, pre(expires=0), {}
    yield FORM, "without an algorithm", BAD_QUERY, sent(t=target.replace("X-Amz-Algorithm", "X-Algorithm")), {}


def v2_attacks(r):
    def by(signer=ADMIN, more=(), body=r.body):
        return r.method, r.target, signer.v2(r.method, r.target, r.headers + list(more)), body

    method, target, headers, body = by()
    join = "&" if "?" in target else "?"

    def sent(h=headers, t=target, m=method):
        return m, t, h, body

    yield "wrong secret", "a made-up signature", NO_MATCH, sent(
        change(headers, "authorization", lambda v: "AWS ADMIN:" + "A" * 27 + "=")), {}
    yield "wrong secret", "a wrong secret", NO_MATCH, by(Signer("ADMIN", "x")), {}
    yield "unknown key", "an unknown key", UNKNOWN, by(Signer("NOBODY", "adminsecret")), {}
    yield "skewed", "an old time", SKEWED, by(Signer("ADMIN", "adminsecret", shift=-960)), {}
    yield "skewed", "a time to come", SKEWED, by(Signer("ADMIN", "adminsecret", shift=960)), {}
    yield "tampered date", "another time than signed", NO_MATCH, sent(change(
        headers, "date", lambda v: time_text(+1) if v != time_text(+1) else time_text(+2))), {}
    yield "tampered header", "a header more", NO_MATCH, sent(headers + [("x-amz-meta-evil", "1")]), {}
    yield "tampered header", "another type", NO_MATCH, sent([("Content-Type", "text/evil")] + headers), {}
    yield "another method", "another", NO_MATCH, sent(m=other_method(r)), {}
    yield "tampered path", "a longer path", NO_MATCH, sent(t=longer_path(target)), {}
    if r.bucket:
        yield "another bucket", "another", NO_MATCH, sent(t=elsewhere(r, target)), {}
    yield "tampered query", "another sub-resource", NO_MATCH, sent(t=target + join + "torrent"), {}
    yield "streaming body", "signed", DENIED, by(more=[
        ("x-amz-content-sha256", UNSIGNED_TRAILER), ("x-amz-decoded-content-length", "5")]), {}
    if r.offered:
        body = r.body or NOT_ASKED_FOR
        m, t, h, _ = by(more=[("Content-MD5", base64_md5(body))])
        yield "tampered body", "another body than signed", BAD_DIGEST, (m, t, h, flip(body)), {}
    yield FORM, "no signature", MALFORMED, sent(change(headers, "authorization", lambda v: "AWS ADMIN:")), {}
    yield FORM, "no time", DENIED, sent([h for h in headers if h[0] != "Date"]), {}


def v2_query_attacks(r):
    def pre(signer=ADMIN, more=(), expires=600):
        headers = r.headers + list(more)
        return r.method, signer.v2_presigned(r.method, r.target, headers, expires), headers, r.body

    method, target, headers, body = pre()

    def sent(h=headers, t=target, m=method):
        return m, t, h, body

    yield "wrong secret", "a wrong secret", NO_MATCH, pre(Signer("ADMIN", "x")), {}
    yield "unknown key", "an unknown key", UNKNOWN, pre(Signer("NOBODY", "adminsecret")), {}
    yield "expired", "expired", DENIED, pre(expires=-1), {}
    yield "tampered date", "longer than signed", NO_MATCH, sent(t=re.sub(r"Expires=(\d+)", r"Expires=9\1", target)), {}
    yield "another method", "another", NO_MATCH, sent(m=other_method(r)), {}
    yield "tampered path", "a longer path", NO_MATCH, sent(t=target.replace("?", "x?", 1)), {}
    if r.bucket:
        yield "another bucket", "another", NO_MATCH, sent(t=elsewhere(r, target)), {}
    yield "tampered query", "another sub-resource", NO_MATCH, sent(t=target + "&torrent"), {}
    yield "tampered header", "a header more", NO_MATCH, sent(headers + [("x-amz-meta-evil", "1")]), {}
    yield "tampered header", "another type", NO_MATCH, sent([("Content-Type", "text/evil")] + headers), {}
    chunked = [("x-amz-content-sha256", UNSIGNED_TRAILER), ("x-amz-decoded-content-length", "5")]
    yield "streaming body", "signed", DENIED, pre(more=chunked), {}
    yield "streaming body", "not signed", DENIED, sent(headers + chunked), {}
    if r.offered:
        body = r.body or NOT_ASKED_FOR
        m, t, h, _ = pre(more=[("Content-MD5", base64_md5(body))])
        yield "tampered body", "another body than signed", BAD_DIGEST, (m, t, h, flip(body)), {}
    yield FORM, "no signature", BAD_QUERY, sent(t=target.replace("&Signature", "&S")), {}


def presigned(r, signer):
    return (r.method, signer.presigned(r.method, r.target, [("Host", ADDR)] + r.headers),
            [("Host", ADDR)] + r.headers, r.body)


def signed_by(r, signer, scheme):
    if scheme == V4:
        return signed(r, signer)
    if scheme == QUERY:
        return presigned(r, signer)
    if scheme == V2:
        return r.method, r.target, signer.v2(r.method, r.target, r.headers), r.body
    return r.method, signer.v2_presigned(r.method, r.target, r.headers), r.headers, r.body


def permission_attacks(r, scheme):
    if not r.reads:
        yield "read-only key", "a key that may only read", DENIED, signed_by(r, READER, scheme), {}
    touched = {t.lstrip("/").split("/")[0] for t in
               ["/" + r.bucket] + [v for n, v in r.headers if n == "x-amz-copy-source"]} - {""}
    for who, mine in ((OTHER, "elsewhere"), (FIRST, BUCKET)):
        if touched - {mine}:
            yield "key of another bucket", "a key of " + mine, DENIED, signed_by(r, who, scheme), {}


def body_attacks(r):
    """What is wrong shows only when all of it has come."""
    if not r.offered:
        return
    body = r.body or NOT_ASKED_FOR
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    wrong_crc = base64.b64encode((zlib.crc32(body) ^ 1).to_bytes(4, "big")).decode()
    size = [("x-amz-decoded-content-length", str(len(body)))]
    trailer = size + [("x-amz-trailer", "x-amz-checksum-crc32")]
    sums, wrong_sums = [("x-amz-checksum-crc32", crc)], [("x-amz-checksum-crc32", wrong_crc)]
    m, t, h, _ = signed(r, payload=sha(body))
    yield "tampered body", "another body than signed", WRONG_HASH, (m, t, h, flip(body)), {}
    yield "tampered body", "a body for an empty one", WRONG_HASH, (m, t, signed(r, payload=EMPTY)[2], body), {}

    def chunked(form, more, wire):
        method, target, headers, _ = signed(r, payload=form, more=more)
        return method, target, headers, wire(headers)

    for what in ("chunk", "last"):
        yield "tampered chunk", "a wrong signature: " + what, NO_MATCH, chunked(
            STREAMING, size, lambda h, w=what: ADMIN.chunks(h, body, 8192, spoil=w)), {}
    yield "tampered chunk", "signed with another secret", NO_MATCH, chunked(
        STREAMING, size, lambda h: Signer("ADMIN", "x").chunks(h, body, 8192)), {}
    yield "tampered chunk", "changed bytes", NO_MATCH, chunked(
        STREAMING, size, lambda h: ADMIN.chunks(h, body, 8192).replace(body[:12], flip(body[:12]), 1)), {}
    yield "tampered chunk", "one left out", INCOMPLETE, chunked(
        STREAMING, size, lambda h: b"".join(ADMIN.chunks(h, body, len(body) // 2).split(b"\r\n", 2)[2:])), {}
    yield "tampered chunk", "the end left out", INCOMPLETE, chunked(
        STREAMING, size, lambda h: ADMIN.chunks(h, body, 8192)[:-90]), {}
    yield "tampered chunk", "no signatures", INCOMPLETE, chunked(
        STREAMING, size, lambda h: unsigned_chunks(body, 8192)), {}
    yield "tampered chunk", "unsigned, changed bytes", BAD_DIGEST, chunked(
        UNSIGNED_TRAILER, trailer, lambda h: unsigned_chunks(flip(body), 8192, sums)), {}
    yield "tampered trailer", "nobody announced it", BAD_TRAILER, chunked(
        STREAMING, size, lambda h: ADMIN.chunks(h, body, 8192)[:-2] + b"a:b\r\n\r\n"), {}
    yield "tampered trailer", "a wrong signature", NO_MATCH, chunked(
        STREAMING_TRAILER, trailer,
        lambda h: ADMIN.chunks(h, body, 8192, sums, spoil="trailer-signature")), {}
    yield "tampered trailer", "another than signed", NO_MATCH, chunked(
        STREAMING_TRAILER, trailer,
        lambda h: ADMIN.chunks(h, body, 8192, wrong_sums).replace(wrong_crc.encode(), crc.encode())), {}
    yield "tampered trailer", "left out", BAD_TRAILER, chunked(
        STREAMING_TRAILER, trailer, lambda h: ADMIN.chunks(h, body, 8192)), {}
    yield "tampered trailer", "a wrong checksum, signed", BAD_DIGEST, chunked(
        STREAMING_TRAILER, trailer, lambda h: ADMIN.chunks(h, body, 8192, wrong_sums)), {}
    yield "tampered trailer", "a wrong checksum", BAD_DIGEST, chunked(
        UNSIGNED_TRAILER, trailer, lambda h: unsigned_chunks(body, 8192, wrong_sums)), {}
    m, t, h, _ = signed(r, payload=UNSIGNED_TRAILER, more=trailer)
    yield "wrong secret", "unsigned chunks, a made-up signature", NO_MATCH, (
        m, t, change(h, "authorization", lambda v: v[:-64] + "0" * 64), unsigned_chunks(body, 8192, sums)), {}


ATTACKS = {V4: (v4_attacks, body_attacks), QUERY: (query_attacks,), V2: (v2_attacks,), V2_QUERY: (v2_query_attacks,)}


def attacks_of(r, scheme):
    for attacks in ATTACKS[scheme]:
        yield from attacks(r)
    yield from permission_attacks(r, scheme)
