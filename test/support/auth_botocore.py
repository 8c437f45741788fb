"""Requests signed by botocore, with odd names, parameters and headers: the server must read each of
them as botocore did.

usage: auth_botocore.py HOST:PORT BUCKET N [SEED]"""
import http.client
import random
import re
import sys
import urllib.parse

from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode

ADDR, BUCKET, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else random.SystemRandom().getrandbits(32)
CREDENTIALS = Credentials("ADMIN", "adminsecret")
PIECES = ["a", "B", "0", " ", "  ", "+", "%", "%41", "%2F", "/", "//", ".", "..", "~", "*", "'", "(", ")", "!",
          "&", "=", "?", "#", ";", ":", ",", "@", "$", "\\", '"', "<", ">", "[", "]", "{", "}", "|", "^", "`",
          "\t", "\n", "\x01", "\x7f", "é", "e\u0301", "日本", "\U0001f600", "-", "_"]
NAMES = ["prefix", "marker", "delimiter", "max-keys", "encoding-type", "x-id", "start-after", "list-type"]
CALM = {"max-keys": "3", "encoding-type": "url", "list-type": "2"}


def text(rng, longest):
    return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, longest)))


def make(rng):
    """method, target, headers, body"""
    method = rng.choice(["GET", "HEAD", "PUT", "DELETE"])
    key = text(rng, 12)
    path = "/" + BUCKET + "/" + (percent_encode(key, safe="/~") if key else "")
    if not key:
        method = rng.choice(["GET", "HEAD"])
    query = []
    for _ in range(rng.randint(0, 4)):
        name = rng.choice(NAMES) if rng.random() < 0.5 else "x" + text(rng, 3)
        query.append((name, CALM.get(name, text(rng, 4))))
    headers = {"x-amz-meta-" + rng.choice("abc"): rng.choice(["", "a", "a  b", "a   b\t c", "x,y", "'\"%41"])
               for _ in range(rng.randint(0, 3))}
    body = b""
    if method == "PUT":
        body = text(rng, 30).encode()
        if rng.random() < 0.5:
            headers["Content-Type"] = rng.choice(["text/plain", "text/plain;  charset=utf-8"])
    target = path
    if query:
        target += "?" + "&".join(percent_encode(n, safe="-._~") +
                                 ("=" + percent_encode(v, safe="-._~") if v or rng.random() < 0.8 else "=")
                                 for n, v in query)
    return method, target, headers, body


def sign(rng, method, target, headers, body):
    kind = rng.choice(["v4", "v4", "v4", "unsigned", "query", "v2", "v2query"])
    signed_body = b"" if "query" in kind else body  # else it would be taken for parameters
    request = AWSRequest(method=method, url="http://" + ADDR + target, data=signed_body, headers=headers)
    region = rng.choice(["us-east-1", "eu-central-1", "a"])
    if kind in ("v4", "unsigned"):
        request.context["payload_signing_enabled"] = kind == "v4"
        S3SigV4Auth(CREDENTIALS, "s3", region).add_auth(request)
    elif kind == "query":
        S3SigV4QueryAuth(CREDENTIALS, "s3", region, expires=60).add_auth(request)
    elif kind == "v2":
        HmacV1Auth(CREDENTIALS).add_auth(request)
    else:
        HmacV1QueryAuth(CREDENTIALS, expires=60).add_auth(request)
    return kind, request


def send(connection, method, request, body):
    url = urllib.parse.urlsplit(request.url)
    connection.putrequest(method, url.path + ("?" + url.query if url.query else ""), skip_host=True,
                          skip_accept_encoding=True)
    headers = dict(request.headers.items())
    headers.setdefault("Host", ADDR)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    response = connection.getresponse()
    return response.status, response.read()


def main():
    rng = random.Random(SEED)
    connection = http.client.HTTPConnection(ADDR, timeout=30)
    kinds, statuses = {}, {}
    for n in range(COUNT):
        method, target, headers, body = make(rng)
        kind, request = sign(rng, method, target, headers, body)
        status, data = send(connection, method, request, body)
        kinds[kind] = kinds.get(kind, 0) + 1
        statuses[status] = statuses.get(status, 0) + 1
        code = re.search(rb"<Code>([^<]*)", data)
        if status not in (200, 204, 404) and not (code and code.group(1) == b"KeyTooLongError"):
            sys.exit("FAILED: seed %d, request %d, %s: %s %s\n%s\n%d\n%s" % (
                SEED, n, kind, method, request.url, dict(request.headers.items()), status,
                data.decode(errors="replace")))
    print("ok - %d requests signed by botocore are understood (seed %d; %s; %s)" % (
        COUNT, SEED, kinds, statuses))


main()
