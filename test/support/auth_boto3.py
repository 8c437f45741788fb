"""boto3 against a server with -auth: what a program does, with names that need care, and refused
with a wrong password.

usage: auth_boto3.py HOST:PORT BUCKET"""
import hashlib
import io
import sys
import urllib.request

import boto3
import botocore
from botocore.client import Config
from botocore.exceptions import ClientError

ADDR, BUCKET = sys.argv[1:]
NAMES = ["plain", "with space", "a+b", "100%", "a%2Fb", "é/日本", "//twice//", "quote'\"", "a&b=c?d#e", "~*()!"]


def client(secret="adminsecret", access="ADMIN", signature="s3v4", region="us-east-1"):
    return boto3.client("s3", endpoint_url="http://" + ADDR, aws_access_key_id=access,
                        aws_secret_access_key=secret, region_name=region,
                        config=Config(signature_version=signature, retries={"max_attempts": 0},
                                      s3={"addressing_style": "path"}))


def fail(text):
    sys.exit("FAILED: boto3 %s: %s" % (boto3.__version__, text))


def expect_code(code, function, **arguments):
    try:
        function(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] == code:
            return
        fail("%s, not %s" % (error, code))
    fail("let in, not " + code)


def round_trip(c, what):
    for name in NAMES:
        body = hashlib.sha256(name.encode()).digest() * 1000
        c.put_object(Bucket=BUCKET, Key=name, Body=body, Metadata={"double": "two  spaces"})
        got = c.get_object(Bucket=BUCKET, Key=name)
        if got["Body"].read() != body or got["Metadata"] != {"double": "two  spaces"}:
            fail("%s: %r comes back changed" % (what, name))
        if c.get_object(Bucket=BUCKET, Key=name, Range="bytes=5-9")["Body"].read() != body[5:10]:
            fail("%s: a range of %r" % (what, name))
        c.copy_object(Bucket=BUCKET, Key=name + " copy", CopySource={"Bucket": BUCKET, "Key": name})
    c.upload_fileobj(io.BytesIO(b"x" * 100000), BUCKET, "file")
    keys = []
    for page in c.get_paginator("list_objects").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 7}):
        keys += [entry["Key"] for entry in page["Contents"]]
    wanted = sorted(NAMES + [n + " copy" for n in NAMES] + ["file"], key=str.encode)
    if keys != wanted:
        fail("%s: lists %r" % (what, keys))
    if what == "version 2":  # for which botocore 1.29 signs delete_objects wrongly ("/bucket?delete?delete")
        for key in keys:
            c.delete_object(Bucket=BUCKET, Key=key)
    else:
        answer = c.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in keys]})
        if sorted(d["Key"] for d in answer["Deleted"]) != sorted(keys) or answer.get("Errors"):
            fail("%s: delete_objects: %r" % (what, answer))
    print("ok - boto3 %s, %s: names of every kind go there and back" % (boto3.__version__, what))


def presigned(signature):
    c = client(signature=signature)
    put = c.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "a b+c"}, 60)
    request = urllib.request.Request(put, b"by link", {"Content-Type": ""}, method="PUT")
    request.remove_header("Content-type")
    request.add_unredirected_header("Content-Type", "")
    urllib.request.urlopen(request).read()
    get = c.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "a b+c"}, 60)
    if urllib.request.urlopen(get).read() != b"by link":
        fail("a presigned GET")
    c.delete_object(Bucket=BUCKET, Key="a b+c")
    print("ok - boto3 %s, %s: presigned PUT and GET" % (boto3.__version__, signature))


def checksums():
    c = client()
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        put = c.put_object(Bucket=BUCKET, Key="sum", Body=b"hello" * 1000, ChecksumAlgorithm=algorithm)
        got = c.get_object(Bucket=BUCKET, Key="sum", ChecksumMode="ENABLED")
        name = "Checksum" + algorithm
        if not put.get(name) or put[name] != got.get(name) or got["Body"].read() != b"hello" * 1000:
            fail("%s: %r, %r" % (algorithm, put.get(name), got.get(name)))
        expect_code("BadDigest", c.put_object, Bucket=BUCKET, Key="bad", Body=b"hullo",
                    **{name: put[name]})
    expect_code("404", c.head_object, Bucket=BUCKET, Key="bad")
    c.delete_object(Bucket=BUCKET, Key="sum")
    print("ok - boto3 %s: checksums are verified and returned" % boto3.__version__)


def refused():
    expect_code("SignatureDoesNotMatch", client("wrong").list_objects, Bucket=BUCKET)
    expect_code("SignatureDoesNotMatch", client("wrong", signature="s3").list_objects, Bucket=BUCKET)
    expect_code("InvalidAccessKeyId", client(access="NOBODY").list_objects, Bucket=BUCKET)
    anonymous = client(signature=botocore.UNSIGNED)
    expect_code("AccessDenied", anonymous.list_objects, Bucket=BUCKET)
    expect_code("AccessDenied", client("readersecret", "READER").put_object, Bucket=BUCKET, Key="k",
                Body=b"x")
    client("readersecret", "READER").list_objects(Bucket=BUCKET)
    print("ok - boto3 %s: a wrong password, an unknown key, none, and a reader who writes" %
          boto3.__version__)


round_trip(client(), "version 4")
round_trip(client(region="eu-west-3"), "version 4, another region")
round_trip(client(signature="s3"), "version 2")
presigned("s3v4")
presigned("s3")
checksums()
refused()
