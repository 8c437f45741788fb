"""boto3 against a server with passwords (clients-boto3.sh), beyond what auth_boto3.py and boto.py do: keys
that no file system has, objects from and into streams in parts, pages of every list, links for PUT and
GET, forms, conditions.

usage: client_boto3.py ADDR"""
import hashlib
import io
import random
import sys
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

ADDR = sys.argv[1]
BUCKET = "bucket"
MIB = 1 << 20
KEYS = [
    "/", "//", "/leading", "//leading twice", "trailing/", "trailing//", "in//the//middle", ".", "..", "./a", "../a",
    "a/../b", "a/./b", "a/..", "%2F", "%00", "+", " ", "  ", "\t", "\n", "\r\n", "\x01\x1f\x7f", "\x85\u2028", "\ufeff",
    "\ufffe\uffff", "caf\u00e9", "cafe\u0301", "\U0001f4be\U0010ffff", "?", "#", "&", "&amp;", "<Key>", "]]>", "'\"`",
    "\\", "a:b@c", "x=y&z", "?acl", "?uploads", "a?delete", "trailing.", "trailing ", "*", "k" * 1024,
    "\u00e9" * 512, "bucket/k", "-", "~", "null", "xn--", "CON", "$(id)", "{}", "|", "^", ";", ",", "!", "(", ")",
]


def expect(what, got, wanted):
    if got != wanted:
        sys.exit("FAILED: boto3: %s: got %r, wanted %r" % (what, got, wanted))


def client(signature="s3v4"):
    return boto3.client("s3", endpoint_url="http://" + ADDR,
                        config=Config(signature_version=signature, retries={"max_attempts": 0},
                                      s3={"addressing_style": "path"}))


def refused(code, function, **arguments):
    try:
        function(Bucket=BUCKET, **arguments)
    except ClientError as failure:
        expect("code of " + function.__name__, failure.response["Error"]["Code"], code)
        return
    sys.exit("FAILED: boto3: %s is done, not %s" % (function.__name__, code))


def pages(s3, operation, item, size, **arguments):
    found = s3.get_paginator(operation).paginate(Bucket=BUCKET, PaginationConfig={"PageSize": size}, **arguments)
    return [entry for page in found for entry in page.get(item, [])]


def keys(s3):
    bodies = {key: hashlib.sha256(key.encode()).digest() for key in KEYS}
    for key, body in bodies.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    wanted = sorted(KEYS, key=str.encode)
    for key in KEYS:
        expect("body of %r" % key, s3.get_object(Bucket=BUCKET, Key=key)["Body"].read(), bodies[key])
        expect("head of %r" % key, s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"], 32)
    for operation, item in (("list_objects", "Contents"), ("list_objects_v2", "Contents"),
                            ("list_object_versions", "Versions")):
        for size in (1, 7, 1000):
            expect("%s by %d" % (operation, size), [o["Key"] for o in pages(s3, operation, item, size)], wanted)
    # Level by level, as a file manager does, every key is found once.
    found, prefixes = [], [""]
    while prefixes:
        prefix = prefixes.pop()
        found += [o["Key"] for o in pages(s3, "list_objects_v2", "Contents", 3, Prefix=prefix, Delimiter="/")]
        prefixes += [p["Prefix"] for p in
                     pages(s3, "list_objects_v2", "CommonPrefixes", 3, Prefix=prefix, Delimiter="/")]
    expect("levels", sorted(found, key=str.encode), wanted)
    for key in KEYS:
        if len(key.encode()) < 1024:
            s3.copy_object(Bucket=BUCKET, Key=key + "C", CopySource={"Bucket": BUCKET, "Key": key})
            expect("copy of %r" % key, s3.get_object(Bucket=BUCKET, Key=key + "C")["Body"].read(), bodies[key])
            s3.delete_object(Bucket=BUCKET, Key=key + "C")
    refused("KeyTooLongError", s3.put_object, Key="k" * 1025)
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in KEYS if k.isprintable()]})
    expect("deleted", len(answer["Deleted"]), len([k for k in KEYS if k.isprintable()]))
    for key in KEYS:  # XML has no room for the others; botocore leaves a line end to be made another one
        s3.delete_object(Bucket=BUCKET, Key=key)
    expect("what is left", pages(s3, "list_objects_v2", "Contents", 1000), [])
    print("ok - boto3: %d keys that no file system has" % len(KEYS))


def streams(s3):
    body = random.Random(1).randbytes(17 * MIB + 5)
    small = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3,
                           io_chunksize=65536)
    for size in (0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, len(body)):
        s3.upload_fileobj(io.BytesIO(body[:size]), BUCKET, "stream", Config=small)
        out = io.BytesIO()
        s3.download_fileobj(BUCKET, "stream", out, Config=small)
        expect("a stream of %d" % size, out.getvalue() == body[:size], True)
    bucket = boto3.resource("s3", endpoint_url="http://" + ADDR).Bucket(BUCKET)
    expect("a resource", [(o.key, o.size) for o in bucket.objects.all()], [("stream", len(body))])
    bucket.objects.all().delete()
    print("ok - boto3: upload_fileobj, download_fileobj around the size of a part, resources")


def links(s3):
    def ask(url, **arguments):
        with urllib.request.urlopen(urllib.request.Request(url, **arguments)) as answer:
            return answer.read(), answer.headers
    parameters = {"Bucket": BUCKET, "Key": "a link/\u00e9+%41"}
    put = s3.generate_presigned_url("put_object", dict(parameters, ContentType="text/x", Metadata={"k": "v"}), 60)
    ask(put, data=b"body", method="PUT", headers={"Content-Type": "text/x", "x-amz-meta-k": "v"})
    get = s3.generate_presigned_url("get_object", dict(
        parameters, ResponseContentType="text/y", ResponseContentDisposition='attachment; filename="\u00fc"'), 60)
    body, headers = ask(get)
    expect("what is behind a link", (body, headers["Content-Type"], headers["x-amz-meta-k"]), (b"body", "text/y", "v"))
    for url, arguments in ((put, {"data": b"body", "method": "PUT", "headers": {"Content-Type": "text/x"}}),
                           (get.replace("text", "test"), {}), (get, {"method": "DELETE"})):
        try:
            ask(url, **arguments)
            sys.exit("FAILED: boto3: a link is good for something else")
        except urllib.error.HTTPError as failure:
            expect("another use of a link", failure.code, 403)
    ask(s3.generate_presigned_url("delete_object", parameters, 60), method="DELETE")
    refused("NoSuchKey", s3.get_object, Key=parameters["Key"])
    form = s3.generate_presigned_post(BUCKET, "form")
    boundary = "b0undary"
    text = "".join("--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n" % (boundary, name, value)
                   for name, value in [*form["fields"].items(), ("file", "x")]) + "--%s--\r\n" % boundary
    try:
        ask(form["url"], data=text.encode(), headers={"Content-Type": "multipart/form-data; boundary=" + boundary})
        sys.exit("FAILED: boto3: a form is accepted")
    except urllib.error.HTTPError as failure:
        expect("a form", (failure.code, b"<Code>AccessDenied</Code>" in failure.read()), (403, True))
    refused("NoSuchKey", s3.get_object, Key="form")
    print("ok - boto3: links for PUT, GET and DELETE; a form is refused")


def conditions(s3):
    first = s3.put_object(Bucket=BUCKET, Key="c", Body=b"1")["ETag"]
    second = s3.put_object(Bucket=BUCKET, Key="d", Body=b"2")["ETag"]
    head = s3.head_object(Bucket=BUCKET, Key="c")
    refused("PreconditionFailed", s3.get_object, Key="c", IfMatch=second)
    refused("304", s3.get_object, Key="c", IfNoneMatch=first)
    refused("304", s3.get_object, Key="c", IfModifiedSince=head["LastModified"])
    refused("PreconditionFailed", s3.get_object, Key="c", IfUnmodifiedSince="2001-01-01")
    refused("412", s3.head_object, Key="c", IfMatch=second)
    expect("If-Match", s3.get_object(Bucket=BUCKET, Key="c", IfMatch=first)["Body"].read(), b"1")
    source = {"Bucket": BUCKET, "Key": "d"}
    refused("PreconditionFailed", s3.copy_object, Key="c", CopySource=source, CopySourceIfMatch=first)
    refused("PreconditionFailed", s3.copy_object, Key="c", CopySource=source, CopySourceIfNoneMatch=second)
    s3.copy_object(Bucket=BUCKET, Key="c", CopySource=source, CopySourceIfMatch=second)
    expect("a copy on condition", s3.get_object(Bucket=BUCKET, Key="c")["Body"].read(), b"2")

    # This boto3 knows no conditions on writes: they are headers like others.
    def put(name, value):
        def add(params, **_):
            params["headers"][name] = value
        s3.meta.events.register("before-call.s3.PutObject", add, unique_id="condition")
        try:
            s3.put_object(Bucket=BUCKET, Key="c", Body=b"3")
            return ""
        except ClientError as failure:
            return failure.response["Error"]["Code"]
        finally:
            s3.meta.events.unregister("before-call.s3.PutObject", unique_id="condition")
    expect("If-None-Match: *", put("If-None-Match", "*"), "PreconditionFailed")
    expect("If-Match, of another", put("If-Match", first), "PreconditionFailed")
    expect("If-Match", put("If-Match", second), "")
    print("ok - boto3: conditions on reads, copies and writes")


keys(client())
streams(client())
for version in ("s3v4", "s3"):
    links(client(version))
    conditions(client(version))
