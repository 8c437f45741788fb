#!/usr/bin/python3
"""boto.py ADDR: multipart uploads by boto3, as programs use it: files up and down in parts, copies, lists,
clean-up. Debian's Python, which has Debian's boto3. Ends with a line of what was done."""
import hashlib
import io
import os
import sys
import tempfile

import boto3
import botocore.config
import botocore.exceptions
from boto3.s3.transfer import TransferConfig

MIB = 1 << 20
BUCKET = "bucket"
s3 = boto3.client(
    "s3", endpoint_url="http://" + sys.argv[1], region_name="us-east-1", aws_access_key_id="any",
    aws_secret_access_key="any",
    config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)


def expect(what, got, wanted):
    if got != wanted:
        sys.exit("%s: got %r, wanted %r" % (what, got, wanted))


def refused(code, call, **arguments):
    try:
        call(Bucket=BUCKET, **arguments)
    except botocore.exceptions.ClientError as failure:
        expect(call.__name__, failure.response["Error"]["Code"], code)
        return
    sys.exit("%s was not refused" % call.__name__)


def download(key):
    out = io.BytesIO()
    s3.download_fileobj(BUCKET, key, out, Config=parts)
    return out.getvalue()


body = os.urandom(23 * MIB + 17)
key = "photos/a+b %41 \u00e4&'\".raw"
with tempfile.NamedTemporaryFile() as file:
    file.write(body)
    file.flush()
    s3.upload_file(file.name, BUCKET, key, Config=parts,
                   ExtraArgs={"Metadata": {"owner": "somebody"}, "ContentType": "image/x-raw"})
head = s3.head_object(Bucket=BUCKET, Key=key)
pieces = [body[at:at + 5 * MIB] for at in range(0, len(body), 5 * MIB)]
etag = '"%s-5"' % hashlib.md5(b"".join(hashlib.md5(p).digest() for p in pieces)).hexdigest()
expect("ETag", head["ETag"], etag)
expect("metadata", (head["Metadata"], head["ContentType"]), ({"owner": "somebody"}, "image/x-raw"))
expect("body", download(key) == body, True)
third = s3.get_object(Bucket=BUCKET, Key=key, PartNumber=3)
expect("third part", (third["Body"].read() == pieces[2], third["PartsCount"]), (True, 5))
middle = s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=%d-%d" % (5 * MIB - 3, 15 * MIB + 3))
expect("range across parts", middle["Body"].read() == body[5 * MIB - 3:15 * MIB + 4], True)

# In parts of the object's ranges, which are not where its parts are; and as a whole.
s3.copy({"Bucket": BUCKET, "Key": key}, BUCKET, "copy",
        Config=TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=7 * MIB))
expect("copy in parts", download("copy") == body, True)
s3.copy_object(Bucket=BUCKET, Key="whole", CopySource={"Bucket": BUCKET, "Key": key})
expect("ETag of a copy", s3.head_object(Bucket=BUCKET, Key="whole")["ETag"], etag)
s3.delete_object(Bucket=BUCKET, Key=key)
expect("copy of what is gone", download("whole") == body, True)
listed = {o["Key"]: o["ETag"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
expect("ETag listed", listed["whole"], etag)

# By hand: parts out of order and replaced, lists in pages, refusals.
upload = s3.create_multipart_upload(Bucket=BUCKET, Key="hand")["UploadId"]
for number, data in ((7, b"tail"), (2, pieces[0]), (2, pieces[1]), (9, b"not named")):
    s3.upload_part(Bucket=BUCKET, Key="hand", UploadId=upload, PartNumber=number, Body=data)
pages = s3.get_paginator("list_parts").paginate(
    Bucket=BUCKET, Key="hand", UploadId=upload, PaginationConfig={"PageSize": 1})
found = [p for page in pages for p in page.get("Parts", [])]
expect("parts", [(p["PartNumber"], p["Size"]) for p in found], [(2, 5 * MIB), (7, 4), (9, 9)])
tags = {p["PartNumber"]: p["ETag"] for p in found}
named = [{"PartNumber": n, "ETag": tags[n]} for n in (2, 7)]
arguments = {"Key": "hand", "UploadId": upload}
refused("InvalidPartOrder", s3.complete_multipart_upload, **arguments,
        MultipartUpload={"Parts": named[::-1]})
refused("InvalidPart", s3.complete_multipart_upload, **arguments,
        MultipartUpload={"Parts": [dict(named[0], PartNumber=3)]})
refused("EntityTooSmall", s3.complete_multipart_upload, **arguments,
        MultipartUpload={"Parts": [named[1], {"PartNumber": 9, "ETag": tags[9]}]})
refused("NoSuchKey", s3.get_object, Key="hand")
s3.complete_multipart_upload(Bucket=BUCKET, **arguments, MultipartUpload={"Parts": named})
expect("by hand", download("hand") == pieces[1] + b"tail", True)
refused("NoSuchUpload", s3.list_parts, **arguments)

for name in ("x/1", "x/2", "y"):
    s3.create_multipart_upload(Bucket=BUCKET, Key=name)
pages = s3.get_paginator("list_multipart_uploads").paginate(
    Bucket=BUCKET, PaginationConfig={"PageSize": 2})
under_way = [u for page in pages for u in page.get("Uploads", [])]
expect("uploads", [u["Key"] for u in under_way], ["x/1", "x/2", "y"])
if sys.argv[2:] == ["leave"]:
    under_way = under_way[1:]
for u in under_way:
    s3.abort_multipart_upload(Bucket=BUCKET, Key=u["Key"], UploadId=u["UploadId"])
print("boto3 %s: %d objects in parts" % (boto3.__version__, 4))
