"""Every operation of a server with -auth x every way to ask without the right: each must be refused
with its code and change nothing, which is looked at after each. And each operation properly signed, in
each of the five ways, must be let in, or the rest would show nothing.

The matrix is operations x KINDS x the ways to sign (KINDS says which of them a kind can have). Where a
kind does not apply to an operation a rule with a name says so (left_out()); a cell that is neither
filled nor left out by a rule is a failure, and so is one that is both.

usage: auth_matrix.py HOST:PORT BUCKET

The keys must be ADMIN:adminsecret, READER:readersecret:ro, OTHER:othersecret:elsewhere and
FIRST:firstsecret:BUCKET. Buckets "elsewhere" and "another" are made here."""
import base64
import collections
import hashlib
import http.client
import re
import socket
import sys
import time
import zlib

from auth_attacks import (ADDR, ADMIN, ALL, B, BUCKET, COPY, COPY_ELSEWHERE, E, FIRST, FORM, KINDS, OTHER, PART,
                          QUERY, READER, ROUTES, UPLOADS, V2, V2_QUERY, Route, attacks_of, left_out, signed,
                          signed_by)
from sigv4 import EMPTY, STREAMING, STREAMING_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer, unsigned_chunks

n_refused = n_allowed = 0


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


# ---- the runs ----

class Watch:
    """Looks at all there is: requests that are signed once (for as long as that holds), one behind the
    other over one connection."""

    def __init__(self):
        host, port = ADDR.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.answers = self.socket.makefile("rb")
        self.since = 0

    def request(self, target):
        headers = ADMIN.v4("GET", target, [("Host", ADDR)], EMPTY)
        return ("GET %s HTTP/1.1\r\n%s\r\n" % (
            target, "".join("%s: %s\r\n" % header for header in headers))).encode()

    def answer(self):
        line = self.answers.readline()
        if line.split()[1:2] != [b"200"]:
            fail("what there is cannot be looked at: %r" % line)
        length = 0
        while line not in (b"\r\n", b""):
            line = self.answers.readline()
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        return self.answers.read(length)

    def state(self):
        """Buckets, objects, uploads and their parts."""
        if time.time() - self.since > 300:
            targets = ["/"] + [t % b for b in (B, E) for t in ("%s/", "%s/?uploads")]
            targets += ["%s/partial?uploadId=%s" % upload for upload in UPLOADS.items()]
            self.requests, self.since = [self.request(t) for t in targets], time.time()
        self.socket.sendall(b"".join(self.requests))
        return [self.answer() for _ in self.requests]


def ask(method, target, body=b""):
    return send(*signed(Route("", method, target, 200, body=body)))[2]


def put_uploads():
    """One upload with one part in each of the two buckets."""
    for bucket in (B, E):
        for key, upload in re.findall(rb"<Key>(.*?)</Key><UploadId>(.*?)</UploadId>", ask("GET", bucket + "/?uploads")):
            ask("DELETE", "%s/%s?uploadId=%s" % (bucket, key.decode(), upload.decode()))
        found = re.search(rb"<UploadId>(.*?)</UploadId>", ask("POST", bucket + "/partial?uploads"))
        UPLOADS[bucket] = found.group(1).decode()
        ask("PUT", "%s/partial?partNumber=1&uploadId=%s" % (bucket, UPLOADS[bucket]), PART)


def put_victim():
    """Buckets and objects as they are at the beginning."""
    victim = (b"victim", b"&quot;%s&quot;" % hashlib.md5(b"precious").hexdigest().encode())
    for bucket in (B, E, "/another"):
        ask("PUT", bucket)
    for bucket in (B, E):
        found = re.findall(rb"<Key>(.*?)</Key>.*?<ETag>(.*?)</ETag>", ask("GET", bucket + "/"))
        if victim not in found:
            ask("PUT", bucket + "/victim", b"precious")
        for key in {key for key, _ in found} - {b"victim"}:
            ask("DELETE", bucket + "/" + key.decode())


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
    put_uploads()
    watch = Watch()
    before = watch.state()
    found = [len(re.findall(rb"<(?:CreationDate|Size|Initiated)>", answer)) for answer in before]
    if found != [3, 1, 1, 1, 1, 1, 1]:
        fail("the state before: %r" % before)
    filled, left = 0, collections.Counter()
    for route in ROUTES:
        for scheme in ALL:
            kinds = set()
            for kind, what, wanted, request, options in attacks_of(route, scheme):
                refused(route, "%s, %s: %s" % (scheme, kind, what), wanted, request, options)
                after = watch.state()
                if after != before:
                    fail("%s, %s, %s: something has changed: %r" % (route.name, scheme, what, after))
                kinds.add(kind)
            for kind in (k for k, schemes in KINDS.items() if scheme in schemes):
                rule = left_out(route, kind)
                if (rule is None) != (kind in kinds):
                    fail("%s, %s, %s: %s" % (route.name, scheme, kind, rule or "there is no attack"))
                filled += rule is None
                if rule is not None:
                    left[rule] += 1
            if kinds - {FORM} - {k for k, schemes in KINDS.items() if scheme in schemes}:
                fail("%s, %s: attacks of kinds that it cannot have: %r" % (route.name, scheme, kinds))
    print("ok - %d operations x %d kinds of attack x the ways to sign: %d cells, %d requests, all refused, "
          "nothing has changed after any (left out: %s)" % (
              len(ROUTES), len(KINDS), filled, n_refused,
              ", ".join("%d because %s" % (n, rule) for rule, n in left.items())))


def allowed(route, how, request):
    global n_allowed
    status, code, data = send(*request)
    if status != route.status:
        fail("%s, %s: %d %s, not %d\n%s" % (route.name, how, status, code, route.status,
                                           data.decode(errors="replace")))
    n_allowed += 1


def ways(r):
    """The next is signed when it is asked for: the upload may be another one by then."""
    yield "hashed", signed(r)
    yield "unsigned body", signed(r, payload=UNSIGNED)
    yield "another region", signed(r, Signer("ADMIN", "adminsecret", region="pi-attic-1"))
    yield "a late clock", signed(r, Signer("ADMIN", "adminsecret", shift=-840))
    for scheme in (QUERY, V2, V2_QUERY):
        yield scheme, signed_by(r, ADMIN, scheme)
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
        put_victim()
        put_uploads()
        for how, request in ways(route):
            allowed(route, how, request)
            if not route.reads:
                put_victim()
            if not route.reads and route.about_uploads:
                put_uploads()
    for name in ("PutObject", "PutObject, empty"):
        route = next(r for r in ROUTES if r.name == name)
        for how, request in ways(route):
            allowed(route, how, request)
            status, _, data = send(*signed(Route("", "GET", B + "/new", 200)))
            if status != 200 or data != route.body:
                fail("%s, %s: the object is not what was sent" % (name, how))
            put_victim()
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
