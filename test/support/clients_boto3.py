"""boto3 as it is since 2025 (1.36 and later), which sends a checksum with every body and checks that of every
answer: names of every kind, files in parts with each algorithm, what is wrong, conditional writes.

usage: clients_boto3.py URL BUCKET [CA-FILE]

With a CA-FILE and a URL of https the checksum comes behind the body, and what concerns that is shown. Only
Debian's own Python. Each "ok - " line is a thing shown."""
import base64
import hashlib
import io
import os
import sys
import tempfile
import urllib.request
import zlib

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

URL, BUCKET = sys.argv[1:3]
VERIFY = sys.argv[3] if sys.argv[3:] else None
MIB = 1 << 20
# CRC64NVME is not among them: Debian builds awscrt without a version that botocore knows. awscli has it.
ALGORITHMS = ("CRC32", "CRC32C", "SHA1", "SHA256")
# S3 has no composite CRC64NVME and no SHA of a whole object in parts.
COMPOSITE = ("CRC32", "CRC32C", "SHA1", "SHA256")
PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
NAMES = [
    "plain", "with space", "two  spaces", " in front", "behind ", "+", "a+b c", "100%", "%41", "a%2Fb%20c", "%",
    "a&b=c;d", "?x=y", "#hash", "quote'\"`", "back\\slash", "<xml>&amp;]]>", "$HOME", "*[!a]{b,c}?", "~tilde",
    "(a)!*'", "@:,;|^", "-rf", "...", ".hidden", "caf\u00e9", "cafe\u0301", "\u65e5\u672c\u8a9e", "\U0001f4be",
    "\u00a0nbsp", "\u202eright to left", "//", "/in front", "behind/", "a//b", "./a", "a/../b", "..",
    "tab\there", "line\nfeed", "return\rhere", "bell\x07", "\x01", "delete\x7f", "\u0085", "x" * 1024,
]


def client(**config):
    return boto3.client(
        "s3", endpoint_url=URL, region_name="us-east-1", verify=VERIFY,
        aws_access_key_id="ADMIN", aws_secret_access_key="adminsecret",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, **config))


s3 = client()


def fail(text):
    sys.exit("FAILED: boto3 %s: %s" % (boto3.__version__, text))


def ok(text):
    print("ok - boto3 %s: %s" % (boto3.__version__, text), flush=True)


def expect(what, got, wanted):
    if got != wanted:
        fail("%s: got %.300r, wanted %.300r" % (what, got, wanted))


def refused(code, call, **arguments):
    try:
        call(Bucket=BUCKET, **arguments)
    except ClientError as failure:
        expect(call.__name__, failure.response["Error"]["Code"], code)
        return
    fail("%s(%r) was not refused" % (call.__name__, arguments))


def absent(key):
    refused("404", s3.head_object, Key=key)


def keys(paginator="list_objects_v2", **arguments):
    pages = s3.get_paginator(paginator).paginate(Bucket=BUCKET, **arguments)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def read(key, **arguments):
    """The body, which boto3 has compared with its checksum."""
    got = s3.get_object(Bucket=BUCKET, Key=key, **arguments)
    return got["Body"].read()


def is_checked(got):
    return type(got["Body"]).__name__ == "StreamingChecksumBody"


def names():
    for name in NAMES:
        body = hashlib.shake_128(name.encode()).digest(1000)
        s3.put_object(Bucket=BUCKET, Key=name, Body=body, Metadata={"double": "two  spaces"})
        got = s3.get_object(Bucket=BUCKET, Key=name)
        expect("%r is checked" % name, is_checked(got), True)
        expect("body of %r" % name, got["Body"].read(), body)
        expect("metadata of %r" % name, got["Metadata"], {"double": "two  spaces"})
        s3.copy_object(Bucket=BUCKET, Key="c/" + name[:1000], CopySource={"Bucket": BUCKET, "Key": name})
        expect("copy of %r" % name, read("c/" + name[:1000]), body)
        expect("bytes of %r" % name, read(name, Range="bytes=5-9"), body[5:10])
    wanted = sorted(NAMES + ["c/" + name[:1000] for name in NAMES], key=str.encode)
    for paginator in ("list_objects", "list_objects_v2"):
        expect(paginator, keys(paginator, PaginationConfig={"PageSize": 7}), wanted)
    by_one = [k for k in wanted if any(c in k for c in "\r\x01\x07")] # which boto3 does not write as XML
    together = [k for k in wanted if k not in by_one]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in together]})
    expect("deleted", sorted((d["Key"] for d in answer["Deleted"]), key=str.encode), together)
    for key in by_one:
        s3.delete_object(Bucket=BUCKET, Key=key)
    expect("left", keys(), [])
    ok("%d names of every kind go there and back" % len(NAMES))


def wrong_of(value):
    """Another checksum of the same length."""
    raw = base64.b64decode(value)
    return base64.b64encode(bytes([raw[0] ^ 1]) + raw[1:]).decode()


def one_piece():
    body = os.urandom(3 * MIB)
    for algorithm in ALGORITHMS:
        field = "Checksum" + algorithm
        put = s3.put_object(Bucket=BUCKET, Key="sum", Body=body, ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        expect("type of " + field, (put.get("ChecksumType"), head.get("ChecksumType")), ("FULL_OBJECT",) * 2)
        expect(field, put[field], head[field])
        got = s3.get_object(Bucket=BUCKET, Key="sum")
        expect(field + " is checked", is_checked(got), True)
        expect("body", got["Body"].read() == body, True)
        refused("BadDigest", s3.put_object, Key="bad", Body=body, **{field: wrong_of(put[field])})
        absent("bad")
        s3.put_object(Bucket=BUCKET, Key="given", Body=body, **{field: put[field]})
    expect("CRC32", s3.put_object(Bucket=BUCKET, Key="sum", Body=b"a")["ChecksumCRC32"],
           base64.b64encode(zlib.crc32(b"a").to_bytes(4, "big")).decode())
    refused("BadDigest", s3.put_object, Key="bad", Body=b"a", ContentMD5=base64.b64encode(bytes(16)).decode())
    absent("bad")
    ok("each checksum is compared, kept, returned; a wrong one is BadDigest and nothing is stored")


def composite(algorithm, values):
    """The checksum of the parts' checksums."""
    joined = b"".join(base64.b64decode(v) for v in values)
    got = s3.put_object(Bucket=BUCKET, Key="joined", Body=joined, ChecksumAlgorithm=algorithm)
    return "%s-%d" % (got["Checksum" + algorithm], len(values))


def files(folder):
    body = os.urandom(12 * MIB + 17)
    pieces = [body[at:at + 5 * MIB] for at in range(0, len(body), 5 * MIB)]
    path = os.path.join(folder, "file")
    with open(path, "wb") as file:
        file.write(body)
    for algorithm in ALGORITHMS:
        field = "Checksum" + algorithm
        whole = s3.put_object(Bucket=BUCKET, Key="whole", Body=body, ChecksumAlgorithm=algorithm)[field]
        sums = [s3.put_object(Bucket=BUCKET, Key="piece", Body=piece, ChecksumAlgorithm=algorithm)[field]
                for piece in pieces]
        wanted = [("FULL_OBJECT", whole)] if algorithm.startswith("CRC") else []
        if algorithm in COMPOSITE:
            wanted.append(("COMPOSITE", composite(algorithm, sums)))
        for kind, value in wanted:
            key = "in parts %s %s" % (algorithm, kind)
            extra = {"ChecksumAlgorithm": algorithm, "ChecksumType": kind, "Metadata": {"a": "b"}}
            if kind == "COMPOSITE":
                del extra["ChecksumType"]
            upload(key, body, path, extra)
            head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
            expect(key, (head.get("ChecksumType"), head.get(field)), (kind, value))
            s3.download_file(BUCKET, key, path + ".got", Config=PARTS)
            with open(path + ".got", "rb") as file:
                expect("file of " + key, file.read() == body, True)
            expect("body of " + key, read(key) == body, True)
            expect("part of " + key, read(key, PartNumber=2) == pieces[1], True)
    ok("upload_file, upload_fileobj, download_file in parts with each algorithm, composite and of the whole")


def upload(key, body, path, extra):
    """upload_file() does not take the type of the checksum, which CRC64NVME has anyway."""
    if extra.get("ChecksumType") in (None, "FULL_OBJECT") and extra["ChecksumAlgorithm"] == "CRC64NVME":
        extra.pop("ChecksumType", None)
    if "ChecksumType" not in extra:
        s3.upload_file(path, BUCKET, key, ExtraArgs=extra, Config=PARTS)
        return
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key=key, **extra)
    expect("answer to the creation", (begun.get("ChecksumAlgorithm"), begun.get("ChecksumType")),
           (extra["ChecksumAlgorithm"], extra["ChecksumType"]))
    field = "Checksum" + extra["ChecksumAlgorithm"]
    named = []
    for at in range(0, len(body), 5 * MIB):
        part = s3.upload_part(Bucket=BUCKET, Key=key, UploadId=begun["UploadId"], PartNumber=len(named) + 1,
                              Body=body[at:at + 5 * MIB], ChecksumAlgorithm=extra["ChecksumAlgorithm"])
        named.append({"PartNumber": len(named) + 1, "ETag": part["ETag"], field: part[field]})
    listed = s3.list_parts(Bucket=BUCKET, Key=key, UploadId=begun["UploadId"])
    expect("parts listed", [p.get(field) for p in listed["Parts"]], [p[field] for p in named])
    arguments = dict(Key=key, UploadId=begun["UploadId"])
    bad = [dict(named[0], **{field: wrong_of(named[0][field])})] + named[1:]
    refused("InvalidPart", s3.complete_multipart_upload, **arguments, MultipartUpload={"Parts": bad})
    whole = s3.head_object(Bucket=BUCKET, Key="whole", ChecksumMode="ENABLED")[field]
    refused("BadDigest", s3.complete_multipart_upload, **arguments, MultipartUpload={"Parts": named},
            ChecksumType="FULL_OBJECT", **{field: wrong_of(whole)})
    absent(key)
    done = s3.complete_multipart_upload(Bucket=BUCKET, **arguments, MultipartUpload={"Parts": named},
                                        ChecksumType="FULL_OBJECT", **{field: whole})
    expect("answer to the completion", (done.get(field), done.get("ChecksumType")), (whole, "FULL_OBJECT"))


def streams():
    body = os.urandom(11 * MIB + 1)
    for key, config in (("in parts", PARTS), ("in one", TransferConfig())):
        s3.upload_fileobj(io.BytesIO(body), BUCKET, "stream", Config=config)
        out = io.BytesIO()
        s3.download_fileobj(BUCKET, "stream", out, Config=config)
        expect("stream " + key, out.getvalue() == body, True)
    s3.upload_fileobj(io.BytesIO(b""), BUCKET, "empty")
    expect("empty", read("empty"), b"")
    expect("default algorithm", s3.head_object(Bucket=BUCKET, Key="empty", ChecksumMode="ENABLED")["ChecksumCRC32"],
           "AAAAAA==")
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="refused", ChecksumAlgorithm="SHA256")
    refused("BadDigest", s3.upload_part, Key="refused", UploadId=begun["UploadId"], PartNumber=1, Body=b"abc",
            ChecksumSHA256=base64.b64encode(bytes(32)).decode())
    expect("parts", s3.list_parts(Bucket=BUCKET, Key="refused", UploadId=begun["UploadId"]).get("Parts"), None)
    s3.abort_multipart_upload(Bucket=BUCKET, Key="refused", UploadId=begun["UploadId"])
    s3.copy({"Bucket": BUCKET, "Key": "stream"}, BUCKET, "copy", Config=PARTS)
    expect("copy in parts", read("copy") == body, True)
    ok("streams of every size, a copy in parts; a part with a wrong checksum is not there")


def conditions():
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Key="once", Body=b"2", IfNoneMatch="*")
    tag = s3.head_object(Bucket=BUCKET, Key="once")["ETag"]
    refused("PreconditionFailed", s3.put_object, Key="once", Body=b"3", IfMatch='"%s"' % ("0" * 32))
    expect("kept", read("once"), b"1")
    s3.put_object(Bucket=BUCKET, Key="once", Body=b"4", IfMatch=tag)
    refused("NoSuchKey", s3.put_object, Key="never", Body=b"5", IfMatch=tag)
    refused("PreconditionFailed", s3.get_object, Key="once", IfMatch=tag)
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="once")
    part = s3.upload_part(Bucket=BUCKET, Key="once", UploadId=begun["UploadId"], PartNumber=1, Body=b"6")
    arguments = dict(Key="once", UploadId=begun["UploadId"],
                     MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    refused("PreconditionFailed", s3.complete_multipart_upload, **arguments, IfNoneMatch="*")
    expect("kept", read("once"), b"4")
    s3.abort_multipart_upload(Bucket=BUCKET, Key="once", UploadId=begun["UploadId"])
    ok("conditional writes: once only, and only over what was seen")


def links():
    signer = client(signature_version="s3v4")
    for name in ("plain", "a b+c%d/\u00e9"):
        put = signer.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": name}, 60)
        urllib.request.urlopen(urllib.request.Request(put, b"by link", {"Content-Type": "text/x"}, method="PUT"))
        get = signer.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": name,
                                                           "ResponseContentType": "a/b"}, 60)
        with urllib.request.urlopen(get) as answer:
            expect("link", (answer.read(), answer.headers["Content-Type"]), (b"by link", "a/b"))
    ok("presigned PUT and GET")


def behind_the_body():
    """What boto3 sends, where TLS keeps it: bodies that are not signed, in chunks, their checksum last."""
    forms = {}

    def note(request, **_):
        if request.method == "PUT":
            form = request.headers.get("x-amz-content-sha256", b"")
            forms.setdefault(form.decode() if isinstance(form, bytes) else form, set()).add(
                request.headers.get("x-amz-trailer"))

    s3.meta.events.register("before-send.s3", note)
    one_piece()
    streams()
    s3.meta.events.unregister("before-send.s3", note)
    names = {n.decode() if isinstance(n, bytes) else n for n in forms.get("STREAMING-UNSIGNED-PAYLOAD-TRAILER", ())}
    expect("trailers", names, {"x-amz-checksum-" + a.lower() for a in ALGORITHMS})
    ok("with TLS, checksums behind the body: %s" % ", ".join(ALGORITHMS))


if VERIFY is not None:
    behind_the_body()
    sys.exit()
names()
one_piece()
with tempfile.TemporaryDirectory() as scratch:
    files(scratch)
streams()
conditions()
links()
