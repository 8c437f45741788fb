"""replay.py ADDR CLIENT: what Kopia or Duplicati sends, byte for byte but for the signatures, which are made
here; and what they need of the answers. The key is ADMIN, its secret adminsecret; the bucket is `bucket`.

Where the requests come from:
- kopia: the calls of kopia/kopia:repo/blob/s3/s3_storage.go with its transport, made by Debian 13's minio-go
  (7.0.89) and written down between client and server. With TLS, from minio/minio-go:api.go (newRequest) and
  net/http: no chunks, UNSIGNED-PAYLOAD, no body at all where there is nothing.
- duplicati: the calls of duplicati/duplicati:Duplicati/Library/Backend/S3/S3AwsClient.cs; how AWSSDK.NET
  makes them from aws/aws-sdk-net: a dump of a PUT in its issue 678, AWS4Signer.cs (what is signed),
  ChunkedUploadWrapperStream.cs (chunks of 81920 bytes, sizes in capitals, trailers),
  HttpRequestMessageFactory.cs (the order: Host, the request's headers, the content's)."""
import base64
import email.utils
import hashlib
import http.client
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ET
import zlib

from s3client import NS, TLS, connect
from sigv4 import EMPTY, STREAMING, STREAMING_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer, unsigned_chunks

ADDR = sys.argv[1]
SIGNER = Signer("ADMIN", "adminsecret")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def b64(data):
    return base64.b64encode(data).decode()


def md5(data):
    return hashlib.md5(data).digest()


def sha256(data):
    return hashlib.sha256(data).digest()


def content(name, size):
    return hashlib.shake_128(name.encode()).digest(size)


class Answer:
    def __init__(self, what, response):
        self.what, self.status, self.headers = what, response.status, response.headers
        self.body = response.read()

    def expect(self, status, code=None, **headers):
        """The status, S3's code in the body, headers; and what both clients read of every answer."""
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        if self.status != status or (code or "") != (found.group(1).decode() if found else ""):
            sys.exit("%s: %d %r, wanted %d %s" % (self.what, self.status, self.body[:400], status, code))
        for name, wanted in headers.items():
            got = self.headers.get(name.replace("_", "-"))
            if got != wanted:
                sys.exit("%s: %s is %r, wanted %r" % (self.what, name, got, wanted))
        if status == 204 and self.body or not self.headers.get("x-amz-request-id"):
            sys.exit("%s: a body or no id: %r" % (self.what, self.headers.items()))
        return self

    def expect_body(self, wanted):
        if self.body != wanted:
            sys.exit("%s: other bytes, %d of %d" % (self.what, len(self.body), len(wanted)))


class Wire:
    """One connection: clients keep theirs, so that what is wrong with one answer shows in the next."""

    def __init__(self):
        self.socket = connect(ADDR, timeout=60)

    def ask(self, method, target, headers, body=b""):
        head = "%s %s HTTP/1.1\r\n" % (method, target) + "".join("%s: %s\r\n" % h for h in headers) + "\r\n"
        if ("Expect", "100-continue") in headers:
            self.socket.sendall(head.encode())
            got = b""
            while len(got) < len(CONTINUE):
                got += self.socket.recv(len(CONTINUE) - len(got)) or sys.exit("closed instead of 100")
            if got != CONTINUE:
                sys.exit("%s %s: not 100 but %r" % (method, target, got))
            self.socket.sendall(body)
        else:
            self.socket.sendall(head.encode() + body)
        response = http.client.HTTPResponse(self.socket, method=method)
        response.begin()
        closes = response.will_close
        answer = Answer("%s %s" % (method, target), response)
        if closes:  # a body that was refused is not read to its end
            self.socket.close()
            self.socket = connect(ADDR, timeout=60)
        return answer


def authorization(method, target, headers, payload, stamp, unsigned, comma):
    """Of all headers but those named in `unsigned`."""
    names = sorted({n.lower() for n, _ in headers} - unsigned)
    return "AWS4-HMAC-SHA256 Credential=ADMIN/%s%sSignedHeaders=%s%sSignature=%s" % (
        SIGNER.scope(stamp), comma, ";".join(names), comma,
        SIGNER.signature(method, target, headers, names, stamp, payload))


# ---- minio-go, on Go's net/http ----

class Kopia(Wire):
    def go(self, method, target, headers=(), body=None, payload=None):
        """Host, User-Agent and length, then all by name, then what the transport adds."""
        stamp = SIGNER.now()
        streams = payload == STREAMING
        payload = payload or (EMPTY if body is None else hashlib.sha256(body).hexdigest())
        fields = list(headers) + [("X-Amz-Content-Sha256", payload), ("X-Amz-Date", stamp)]
        if streams:
            fields.append(("X-Amz-Decoded-Content-Length", str(len(body))))
        signature = authorization(method, target, fields + [("Host", ADDR)], payload, stamp,
                                  {"content-type"} if streams else set(), "," if streams else ", ")
        fields.append(("Authorization", signature))
        length = []
        if streams:
            body = SIGNER.chunks(fields, body, 65536)
        if streams and len(body) == 88:  # nothing: Go sees a body without a length
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            length = [("Transfer-Encoding", "chunked")]
        elif body is not None:
            length = [("Content-Length", str(len(body)))]
        after = [] if method == "HEAD" or any(n == "Range" for n, _ in headers) else [("Accept-Encoding", "gzip")]
        return self.ask(method, target, [("Host", ADDR), ("User-Agent", "MinIO (linux; amd64) minio-go/v7.0.89")] +
                        length + sorted(fields) + after, body or b"")

    def put(self, key, body, more=()):
        return self.go("PUT", "/bucket/" + key,
                       [("Content-Md5", b64(md5(body))), ("Content-Type", "application/x-kopia")] + list(more), body,
                       UNSIGNED if TLS else STREAMING)

    def list(self, prefix):
        """ListBlobs: (name, size) of all, by as many pages as it takes."""
        found, token, pages = [], None, 0
        while token is not None or not pages:
            query = [("continuation-token", token)] if token else []
            query += [("delimiter", "/"), ("encoding-type", "url"), ("fetch-owner", "true"), ("list-type", "2"),
                      ("prefix", prefix)]
            answer = self.go("GET", "/bucket/?" + urllib.parse.urlencode(query)).expect(200)
            root = ET.fromstring(answer.body)
            if root.findtext(NS + "EncodingType") != "url" or root.findtext(NS + "Name") != "bucket":
                sys.exit("a list without EncodingType or Name: %r" % answer.body[:400])
            for entry in root.iterfind(NS + "Contents"):
                if not entry.findtext("%sOwner/%sID" % (NS, NS)) or entry.findtext(NS + "LastModified")[-1] != "Z":
                    sys.exit("an entry without owner or time: %r" % ET.tostring(entry))
                found.append((urllib.parse.unquote(entry.findtext(NS + "Key")), int(entry.findtext(NS + "Size"))))
            pages += 1
            token = root.findtext(NS + "NextContinuationToken") if root.findtext(NS + "IsTruncated") == "true" else None
        return found, pages


def kopia():
    wire = Kopia()
    location = wire.go("GET", "/bucket/?location=", payload=UNSIGNED if TLS else None).expect(200)
    if ET.fromstring(location.body).tag != NS + "LocationConstraint":
        sys.exit("location: %r" % location.body)
    for name in (".storageconfig", "kopia.repository", "kopia.blobcfg"):
        wire.go("GET", "/bucket/k/" + name).expect(404, "NoSuchKey")
    bodies = {"kopia.repository": content("format", 1067), "kopia.blobcfg": content("blobcfg", 30),
              "p" + "0f" * 16 + "-s0123": content("pack", 21 << 20), "_log_empty": b"",
              "q" + "a0" * 16 + "-s0124": content("q", 65536), "xn0_" + "b1" * 16: content("x", 65537)}
    for name, body in bodies.items():
        wire.put("k/" + name, body).expect(200, ETag='"%s"' % md5(body).hex()).expect_body(b"")
        stat = wire.go("HEAD", "/bucket/k/" + name).expect(
            200, ETag='"%s"' % md5(body).hex(), Content_Length=str(len(body)), Content_Type="application/x-kopia")
        email.utils.parsedate_to_datetime(stat.headers["Last-Modified"])
        wire.go("GET", "/bucket/k/" + name).expect(
            200, Content_Length=str(len(body)), Content_Encoding=None).expect_body(body)
    name, pack = "k/p" + "0f" * 16 + "-s0123", bodies["p" + "0f" * 16 + "-s0123"]
    for first, last in ((0, 0), (10, 65545), (1 << 20, (9 << 20) + 4), (len(pack) - 1, len(pack) - 1)):
        wire.go("GET", "/bucket/" + name, [("Range", "bytes=%d-%d" % (first, last))]).expect(
            206, Content_Range="bytes %d-%d/%d" % (first, last, len(pack))).expect_body(pack[first:last + 1])
    beyond = [("Range", "bytes=%d-%d" % (len(pack), len(pack) + 9))]
    wire.go("GET", "/bucket/" + name, beyond).expect(416, "InvalidRange")
    wire.go("HEAD", "/bucket/k/none").expect(404)
    print("ok - kopia: opens, writes, reads in ranges; %d MiB, no bytes, and what is not there" % (len(pack) >> 20))

    found, _ = wire.list("k/")
    if found != sorted(("k/" + n, len(b)) for n, b in bodies.items()):
        sys.exit("list: %r" % found)
    for n in range(1003):
        wire.put("k/n%04d" % n, b"%d" % n).expect(200)
    found, pages = wire.list("k/n")
    if pages != 2 or found != [("k/n%04d" % n, len(str(n))) for n in range(1003)]:
        sys.exit("list: %d pages, %d names" % (pages, len(found)))
    for n in range(1003):
        wire.go("DELETE", "/bucket/k/n%04d" % n).expect(204)
    wire.go("DELETE", "/bucket/k/n0000").expect(204)
    if wire.list("k/n") != ([], 1):
        sys.exit("there is still something")
    print("ok - kopia: lists 1,003 blobs in two pages, deletes them, and one that is gone")

    until = "2030-01-02T03:04:05Z"
    wire.put("k/locked", b"x", [("X-Amz-Object-Lock-Mode", "GOVERNANCE"),
                                ("X-Amz-Object-Lock-Retain-Until-Date", until)]).expect(501, "NotImplemented")
    wire.go("HEAD", "/bucket/k/locked").expect(404)
    retention = "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>" % until
    wire.go("PUT", "/bucket/%s?retention=" % name, [("Content-Md5", b64(md5(retention.encode())))],
            retention.encode()).expect(501, "NotImplemented")
    wire.go("GET", "/bucket/" + name).expect(200).expect_body(pack)
    versioning = wire.go("GET", "/bucket/?versioning=", payload=UNSIGNED).expect(200)
    if len(ET.fromstring(versioning.body)) != 0:
        sys.exit("versioning: %r" % versioning.body)
    wire.put("k/class", b"x", [("X-Amz-Storage-Class", "STANDARD_IA")]).expect(200)
    print("ok - kopia: retention is refused and changes nothing, versioning is off, storage classes are taken")


# ---- AWSSDK.NET, on HttpClient ----

class Duplicati(Wire):
    CONTENT = ("Content-Length", "Content-Type", "Content-MD5", "Content-Encoding")
    UNSIGNED = {"user-agent", "expect", "amz-sdk-invocation-id", "amz-sdk-request", "transfer-encoding"}

    def net(self, method, target, headers=(), body=None, payload=None, trailers=None):
        """trailers: pairs behind the chunks. Everything that the SDK sets is signed, also the length."""
        stamp = SIGNER.now()
        raw, size = body, 81920
        if payload in (STREAMING, STREAMING_TRAILER):
            fake = [("authorization", "0" * 64), ("x-amz-date", stamp)]
            length = len(SIGNER.chunks(fake, raw, size, trailers, hexadecimal=b"%X"))
        elif payload == UNSIGNED_TRAILER:
            body = unsigned_chunks(raw, len(raw) or 1, trailers)
            length = len(body)
        else:
            length = None if body is None else len(body)
            payload = payload or hashlib.sha256(raw or b"").hexdigest()
        fields = [("User-Agent", "aws-sdk-dotnet-coreclr/4.0.6.0 ua/2.1 os/linux md/ARCH#Arm64 lang/.NET_Core#8.0 "
                   "md/aws-sdk-dotnet-core#4.0.0.20 api/S3#4.0.6.0 cfg/retry-mode#standard md/ClientAsync"),
                  ("amz-sdk-invocation-id", "0c7bd0f4-7b5c-4a0b-9b8e-6d1bd5a6c0f1"),
                  ("amz-sdk-request", "attempt=1; max=5")]
        fields += list(headers) + [("X-Amz-Date", stamp)]
        if trailers:
            fields.append(("x-amz-trailer", ",".join(n for n, _ in trailers)))
        if payload.startswith("STREAMING"):
            fields += [("X-Amz-Decoded-Content-Length", str(len(raw))), ("Content-Encoding", "aws-chunked")]
        fields.append(("X-Amz-Content-SHA256", payload))
        if length is not None:
            fields.append(("Content-Length", str(length)))
        fields.append(("Authorization", authorization(method, target, fields + [("Host", ADDR)], payload, stamp,
                                                      self.UNSIGNED, ", ")))
        if payload in (STREAMING, STREAMING_TRAILER):
            body = SIGNER.chunks(fields, raw, size, trailers, hexadecimal=b"%X")
        rank = {name: i for i, name in enumerate(self.CONTENT)}
        fields.sort(key=lambda h: rank.get(h[0], -1))  # stable: the request's first, as they came
        return self.ask(method, target, [("Host", ADDR)] + fields, body or b"")

    def put(self, key, body, payload, expect=True):
        """AddFileStreamAsync: both hashes are known beforehand."""
        headers = [("Expect", "100-continue")] if expect else []
        headers += [("x-amz-checksum-sha256", b64(sha256(body))), ("x-amz-sdk-checksum-algorithm", "SHA256"),
                    ("Content-Type", "application/octet-stream"), ("Content-MD5", b64(md5(body)))]
        return self.net("PUT", "/bucket/" + key, headers, body, payload)

    def list(self, prefix, v2):
        found, after, pages = [], None, 0
        while after is not None or not pages:
            name = "continuation-token" if v2 else "marker"
            query = [("list-type", "2")] if v2 else []
            query += sorted([("delimiter", "/"), ("max-keys", "1000"), ("prefix", prefix)] +
                            ([(name, after)] if after else []))
            text = "&".join("%s=%s" % (n, urllib.parse.quote(v, safe="")) for n, v in query)
            answer = self.net("GET", "/bucket%s?%s" % ("" if v2 else "/", text)).expect(200)
            root = ET.fromstring(answer.body)
            found += [(e.findtext(NS + "Key"), int(e.findtext(NS + "Size"))) for e in root.iterfind(NS + "Contents")]
            found += [(e.findtext(NS + "Prefix"), -1) for e in root.iterfind(NS + "CommonPrefixes")]
            pages += 1
            after = root.findtext(NS + ("NextContinuationToken" if v2 else "NextMarker"))
            if (after is not None) != (root.findtext(NS + "IsTruncated") == "true"):
                sys.exit("IsTruncated and the next page disagree: %r" % answer.body[:400])
        return found, pages


def duplicati():
    wire = Duplicati()
    wire.net("PUT", "/duplicati-new/", [("Content-Type", "application/xml")], b"").expect(200)
    wire.net("PUT", "/bucket/", [("Content-Type", "application/xml")], b"").expect(200)
    wire.net("GET", "/absent-bucket/?delimiter=%2F&max-keys=1000&prefix=d%2F").expect(404, "NoSuchBucket")
    if wire.list("d/", False) != ([], 1):
        sys.exit("an empty folder has something")
    bodies = {"duplicati-20261122T101500Z.dlist.zip.aes": content("dlist", 5001),
              "duplicati-b0123456789abcdef.dblock.zip.aes": content("dblock", (20 << 20) + 7),
              "duplicati-i%41+ b&c.dindex.zip.aes": content("dindex", 81920), "two-chunks": content("two", 163840),
              "empty": b""}
    ways = [STREAMING, None] + ([UNSIGNED] if TLS else [])  # by default; s3-disable-chunk-encoding; -payload-signing
    for way in ways:
        for name, body in bodies.items():
            at = "d/" + urllib.parse.quote(name, safe="")
            etag = '"%s"' % md5(body).hex()
            wire.put(at, body, way).expect(200, ETag=etag, x_amz_checksum_sha256=b64(sha256(body))).expect_body(b"")
            wire.net("HEAD", "/bucket/" + at, [("x-amz-checksum-mode", "ENABLED")]).expect(
                200, ETag=etag, Content_Length=str(len(body)))
            wire.net("GET", "/bucket/" + at, [("x-amz-checksum-mode", "ENABLED")]).expect(
                200, ETag=etag, Content_Encoding=None, Content_Type="application/octet-stream",
                x_amz_checksum_sha256=b64(sha256(body))).expect_body(body)
            wire.net("DELETE", "/bucket/" + at).expect(204)
            wire.net("HEAD", "/bucket/" + at).expect(404)
    print("ok - duplicati: volumes there and back, %d ways to sign them" % len(ways))

    # Without hashes of its own: the SDK's default since 2025.
    body = content("trailer", 200000)
    for payload in [STREAMING_TRAILER] + ([UNSIGNED_TRAILER] if TLS else []):
        crc = b64(zlib.crc32(body).to_bytes(4, "big"))
        for value, status, code in ((crc, 200, None), (b64(b"abcd"), 400, "BadDigest")):
            wire.net("PUT", "/bucket/d/trailer", [("Expect", "100-continue"), ("x-amz-sdk-checksum-algorithm", "CRC32"),
                                                  ("Content-Type", "application/octet-stream")],
                     body, payload, [("x-amz-checksum-crc32", value)]).expect(status, code)
        wire.net("GET", "/bucket/d/trailer", [("x-amz-checksum-mode", "ENABLED")]).expect(
            200, x_amz_checksum_crc32=crc).expect_body(body)
    print("ok - duplicati: checksums behind the body, a wrong one is refused")

    for n in range(1002):
        wire.put("d/list/%04d" % n, b"%d" % n, STREAMING, n % 100 == 0).expect(200)
    wire.put("d/list/sub/one", b"1", STREAMING).expect(200)
    wanted = [("d/list/%04d" % n, len(str(n))) for n in range(1002)] + [("d/list/sub/", -1)]
    for v2 in (False, True):
        found, pages = wire.list("d/list/", v2)
        if pages != 2 or found != wanted:
            sys.exit("list %d: %d pages, %d names" % (v2 + 1, pages, len(found)))
    renamed = wire.net("PUT", "/bucket/d/to", [("x-amz-copy-source", "/bucket/d/trailer")], b"").expect(200)
    if ET.fromstring(renamed.body).tag != NS + "CopyObjectResult":
        sys.exit("rename: %r" % renamed.body)
    wire.net("DELETE", "/bucket/d/trailer").expect(204)
    wire.net("GET", "/bucket/d/to").expect(200).expect_body(body)
    wire.net("GET", "/bucket/d/trailer").expect(404, "NoSuchKey")
    print("ok - duplicati: lists of both versions in two pages, renames")

    wire.net("GET", "/bucket/d/to?retention").expect(501, "NotImplemented")
    wire.net("PUT", "/bucket/d/to?retention", [("Content-Type", "application/xml")],
             b'<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>GOVERNANCE</Mode>'
             b"<RetainUntilDate>2030-01-02T03:04:05Z</RetainUntilDate></Retention>").expect(501, "NotImplemented")
    wire.net("GET", "/bucket/d/to").expect(200).expect_body(body)
    print("ok - duplicati: retention is refused and changes nothing")


{"kopia": kopia, "duplicati": duplicati}[sys.argv[2]]()
