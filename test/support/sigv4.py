"""Signs requests as AWS Signature Version 4 and 2 say, by hand and with every part open to change: for
tests that need wrong signatures as well as right ones. Shares nothing with the server or botocore."""
import base64
import hashlib
import hmac
import time
import urllib.parse

UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_TRAILER = STREAMING + "-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY = hashlib.sha256(b"").hexdigest()

V2_SIGNED = {"acl", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy",
             "requestPayment", "restore", "tagging", "torrent", "uploadId", "uploads", "versionId",
             "versioning", "versions", "website", "cors"}


def mac(key, text):
    return hmac.new(key, text.encode() if isinstance(text, str) else text, hashlib.sha256).digest()


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-._~")


def split_target(target):
    path, _, query = target.partition("?")
    pairs = []
    for item in query.split("&"):
        if item:
            name, _, value = item.partition("=")
            pairs.append((urllib.parse.unquote_to_bytes(name.replace("+", " ")),
                          urllib.parse.unquote_to_bytes(value.replace("+", " "))))
    return path, pairs


class Signer:
    """One client: credentials, a clock and a scope."""

    def __init__(self, access, secret, region="us-east-1", service="s3", shift=0):
        self.access, self.secret = access, secret
        self.region, self.service, self.shift = region, service, shift

    def now(self):
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + self.shift))

    def scope(self, stamp):
        return "%s/%s/%s/aws4_request" % (stamp[:8], self.region, self.service)

    def key(self, stamp):
        key = ("AWS4" + self.secret).encode()
        for part in (stamp[:8], self.region, self.service, "aws4_request"):
            key = mac(key, part)
        return key

    def signature(self, method, target, headers, names, stamp, payload):
        path, pairs = split_target(target)
        canonical = "\n".join([
            method,
            quote(urllib.parse.unquote_to_bytes(path), "/"),
            "&".join("%s=%s" % pair for pair in sorted((quote(n), quote(v)) for n, v in pairs)),
            "".join("%s:%s\n" % (name, ",".join(
                " ".join(v.split()) for n, v in headers if n.lower() == name)) for name in names),
            ";".join(names), payload])
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, self.scope(stamp),
                          hashlib.sha256(canonical.encode()).hexdigest()])
        return mac(self.key(stamp), text).hex()

    def v4(self, method, target, headers, payload):
        """The headers with date, payload and Authorization; every one of them is signed."""
        stamp = self.now()
        headers = headers + [("x-amz-date", stamp), ("x-amz-content-sha256", payload)]
        names = sorted({n.lower() for n, _ in headers})
        signature = self.signature(method, target, headers, names, stamp, payload)
        return headers + [("Authorization", "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, "
                           "Signature=%s" % (self.access, self.scope(stamp), ";".join(names), signature))]

    def presigned(self, method, target, headers, expires=600, payload=UNSIGNED):
        stamp = self.now()
        names = sorted({n.lower() for n, _ in headers})
        target += "%sX-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s&X-Amz-Date=%s" \
            "&X-Amz-Expires=%s&X-Amz-SignedHeaders=%s" % (
                "&" if "?" in target else "?", quote(self.access + "/" + self.scope(stamp)), stamp,
                expires, quote(";".join(names)))
        return target + "&X-Amz-Signature=" + self.signature(method, target, headers, names, stamp,
                                                              payload)

    # ---- version 2 ----

    def v2_signature(self, method, target, headers, date):
        first = {n.lower(): v for n, v in reversed(headers)}
        path, pairs = split_target(target)
        amz = {}
        for name, value in headers:
            if name.lower().startswith("x-amz-"):
                amz.setdefault(name.lower(), []).append(value)
        subs = sorted((n.decode(), v.decode()) for n, v in pairs if n.decode() in V2_SIGNED)
        text = "\n".join([method, first.get("content-md5", ""), first.get("content-type", ""), date]) + "\n"
        text += "".join("%s:%s\n" % (n, ",".join(amz[n])) for n in sorted(amz)) + path
        if subs:
            text += "?" + "&".join(n + ("=" + v if v else "") for n, v in subs)
        return base64.b64encode(hmac.new(self.secret.encode(), text.encode(), hashlib.sha1).digest()).decode()

    def v2(self, method, target, headers):
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + self.shift))
        signature = self.v2_signature(method, target, headers, date)
        return headers + [("Date", date), ("Authorization", "AWS %s:%s" % (self.access, signature))]

    def v2_presigned(self, method, target, headers, expires=600):
        until = str(int(time.time() + self.shift) + expires)
        signature = self.v2_signature(method, target, headers, until)
        return "%s%sAWSAccessKeyId=%s&Expires=%s&Signature=%s" % (
            target, "&" if "?" in target else "?", quote(self.access), until, quote(signature))

    # ---- bodies ----

    def chunks(self, headers, body, size, trailers=None, spoil=None, hexadecimal=b"%x"):
        """The signed chunks of a body, continuing the signature in the headers. spoil: "chunk",
        "last", "trailer" or "trailer-signature" is made wrong. hexadecimal: how sizes are written."""
        first = {n.lower(): v for n, v in headers}
        previous, stamp = first["authorization"][-64:], first["x-amz-date"]
        out = b""
        for at in list(range(0, len(body), size)) + [len(body)]:
            data = body[at:at + size]
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, self.scope(stamp), previous, EMPTY,
                              hashlib.sha256(data).hexdigest()])
            previous = mac(self.key(stamp), text).hex()
            if spoil == ("chunk" if data else "last"):
                previous = ("0" if previous[0] != "0" else "1") + previous[1:]
            out += (hexadecimal + b";chunk-signature=%s\r\n") % (len(data), previous.encode())
            out += data + b"\r\n" if data else b""
        if trailers is None:
            return out + b"\r\n"
        lines = "".join("%s:%s\n" % pair for pair in trailers)
        text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", stamp, self.scope(stamp), previous,
                          hashlib.sha256(lines.encode()).hexdigest()])
        signature = mac(self.key(stamp), text).hex()
        if spoil == "trailer-signature":
            signature = ("0" if signature[0] != "0" else "1") + signature[1:]
        return out + lines.replace("\n", "\r\n").encode() + \
            b"x-amz-trailer-signature:%s\r\n\r\n" % signature.encode()


def unsigned_chunks(body, size, trailers=()):
    out = b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + size]), body[at:at + size])
                   for at in range(0, len(body), size))
    return out + b"0\r\n" + "".join("%s:%s\r\n" % pair for pair in trailers).encode() + b"\r\n"
