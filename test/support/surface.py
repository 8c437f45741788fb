#!/usr/bin/python3
"""surface.py ADDR ACCESS SECRET: what programs ask for beside the great operations, by Debian's boto3 with
signatures: versions, access lists, tags, headers of one answer, checksums of objects in parts, and what
must be refused. Each line is one thing shown. `surface.py ADDR ACCESS SECRET again` looks at what the
first run left."""
import base64
import hashlib
import http.client
import os
import sys
import urllib.parse
import zlib

import boto3
import botocore.config
import botocore.exceptions

ADDR, ACCESS, SECRET = sys.argv[1:4]
MIB = 1 << 20
BUCKET = "bucket"
s3 = boto3.client(
    "s3", endpoint_url="http://" + ADDR, region_name="us-east-1", aws_access_key_id=ACCESS,
    aws_secret_access_key=SECRET,
    config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"},
                                  retries={"max_attempts": 0}))


def expect(what, got, wanted):
    if got != wanted:
        sys.exit("%s: got %r, wanted %r" % (what, got, wanted))


def refused(code, call, **arguments):
    try:
        call(Bucket=BUCKET, **arguments)
    except botocore.exceptions.ClientError as failure:
        expect("%s %s" % (call.__name__, arguments), failure.response["Error"]["Code"], code)
        return
    sys.exit("%s %s was not refused" % (call.__name__, arguments))


def ok(text):
    print("ok - " + text, flush=True)


def b64(data):
    return base64.b64encode(data).decode()


def crc32(data):
    return zlib.crc32(data).to_bytes(4, "big")


DIGESTS = {"CRC32": crc32, "SHA1": lambda d: hashlib.sha1(d).digest(),
           "SHA256": lambda d: hashlib.sha256(d).digest()}
BODY = b"".join(hashlib.sha512(b"%d" % n).digest() for n in range(11 * MIB // 64)) + b"tail"
PARTS = [BODY[:5 * MIB], BODY[5 * MIB:10 * MIB], BODY[10 * MIB:]]


def composite(name):
    return "%s-%d" % (b64(DIGESTS[name](b"".join(DIGESTS[name](p) for p in PARTS))), len(PARTS))


def kept():
    for name in DIGESTS:
        for key in ("sum-" + name, "copy-" + name):
            head = s3.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
            expect(key, head["Checksum" + name], composite(name))
            got = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
            expect(key, got["Body"].read() == BODY, True)
    head = raw("HEAD", "/bucket/whole", {"x-amz-checksum-mode": "ENABLED"})[1]
    expect("whole", (head["x-amz-checksum-crc32"], head["x-amz-checksum-type"]),
           (b64(crc32(BODY)), "FULL_OBJECT"))


def raw(method, path, headers=None, body=b"", query=None):
    """With any headers, signed: (status, headers, body)."""
    signed = dict(headers or {})
    request = botocore.awsrequest.AWSRequest(method, "http://" + ADDR + path, params=query or {},
                                             headers=signed, data=body)
    botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(ACCESS, SECRET), "s3",
                              "us-east-1").add_auth(request)
    sent = request.prepare()
    connection = http.client.HTTPConnection(ADDR, timeout=30)
    target = urllib.parse.urlsplit(sent.url)
    connection.request(method, target.path + ("?" + target.query if target.query else ""), body,
                       dict(sent.headers))
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, answer.headers, data


def checksums():
    for name in DIGESTS:
        element = "Checksum" + name
        key = "sum-" + name
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key, ChecksumAlgorithm=name)
        expect("algorithm", upload["ChecksumAlgorithm"], name)
        arguments = {"Bucket": BUCKET, "Key": key, "UploadId": upload["UploadId"]}
        sent = [s3.upload_part(PartNumber=i, Body=p, ChecksumAlgorithm=name, **arguments)
                for i, p in enumerate(PARTS, 1)]
        listed = s3.list_parts(**arguments)
        expect("listed", (listed["ChecksumAlgorithm"], [p[element] for p in listed["Parts"]]),
               (name, [b64(DIGESTS[name](p)) for p in PARTS]))
        named = [{"PartNumber": i, "ETag": p["ETag"], element: p[element]}
                 for i, p in enumerate(sent, 1)]
        wrong = [dict(p) for p in named]
        wrong[1][element] = wrong[0][element]
        refused("InvalidPart", s3.complete_multipart_upload, Key=key, UploadId=upload["UploadId"],
                MultipartUpload={"Parts": wrong})
        done = s3.complete_multipart_upload(MultipartUpload={"Parts": named}, **arguments)
        expect("completed", done[element], composite(name))
        copied = s3.copy_object(Bucket=BUCKET, Key="copy-" + name,
                                CopySource={"Bucket": BUCKET, "Key": key})
        expect("copied", copied["CopyObjectResult"][element], composite(name))
        said = s3.get_object_attributes(Bucket=BUCKET, Key=key, ObjectAttributes=[
            "ETag", "Checksum", "ObjectParts", "ObjectSize"])
        expect("attributes", (said["ETag"], said["Checksum"][element], said["ObjectSize"],
                              said["ObjectParts"]["TotalPartsCount"]),
               (done["ETag"].strip('"'), composite(name).split("-")[0], len(BODY), len(PARTS)))
    ok("checksums of parts, COMPOSITE: " + ", ".join(DIGESTS))

    # Debian's boto3 does not know FULL_OBJECT yet.
    status, headers, data = raw("POST", "/bucket/whole", {
        "x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}, query={"uploads": ""})
    expect("begin", (status, headers["x-amz-checksum-type"]), (200, "FULL_OBJECT"))
    upload = data.split(b"<UploadId>")[1].split(b"<")[0].decode()
    xml = ""
    for i, part in enumerate(PARTS, 1):
        status, headers, _ = raw("PUT", "/bucket/whole", {}, part,
                                 {"partNumber": str(i), "uploadId": upload})
        expect("part", (status, headers["x-amz-checksum-crc32"]), (200, b64(crc32(part))))
        xml += "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>" % (i, headers["ETag"])
    xml = ("<CompleteMultipartUpload>%s</CompleteMultipartUpload>" % xml).encode()
    for value, wanted in ((b"none", 400), (crc32(BODY), 200)):
        status, _, data = raw("POST", "/bucket/whole", {
            "x-amz-checksum-crc32": b64(value), "x-amz-checksum-type": "FULL_OBJECT",
            "x-amz-mp-object-size": str(len(BODY))}, xml, {"uploadId": upload})
        expect("complete", (status, b"BadDigest" in data), (wanted, wanted == 400))
    ok("checksum of the whole object, FULL_OBJECT, from those of its parts")
    kept()


def versions():
    for i in range(5):
        s3.put_object(Bucket=BUCKET, Key="v/%d \u00e4" % i, Body=b"x")
    pages = s3.get_paginator("list_object_versions").paginate(
        Bucket=BUCKET, Prefix="v/", PaginationConfig={"PageSize": 2})
    found = [v for page in pages for v in page["Versions"]]
    expect("versions", [(v["Key"], v["VersionId"], v["IsLatest"]) for v in found],
           [("v/%d \u00e4" % i, "null", True) for i in range(5)])
    head = s3.head_object(Bucket=BUCKET, Key="v/1 \u00e4", VersionId="null")
    expect("size", head["ContentLength"], 1)
    refused("NoSuchVersion", s3.get_object, Key="v/1 \u00e4", VersionId="17")
    done = s3.delete_objects(Bucket=BUCKET, Delete={
        "Objects": [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in found]})
    expect("deleted", (len(done["Deleted"]), done.get("Errors")), (5, None))
    expect("status", s3.get_bucket_versioning(Bucket=BUCKET).get("Status"), None)
    ok("each object has one version: null")


def headers_of_one_answer():
    s3.put_object(Bucket=BUCKET, Key="page", Body=b"<p>", ContentType="text/plain")
    url = s3.generate_presigned_url("get_object", Params={
        "Bucket": BUCKET, "Key": "page", "ResponseContentType": "text/html; charset=utf-8",
        "ResponseContentDisposition": 'attachment; filename="a b.html"'})
    connection = http.client.HTTPConnection(ADDR, timeout=30)
    for wanted, target in ((200, url), (403, url.replace("text%2Fhtml", "text%2Fxml"))):
        connection.request("GET", target[len("http://" + ADDR):])
        answer = connection.getresponse()
        answer.read()
        expect("status", answer.status, wanted)
        if wanted == 200:
            expect("headers", (answer.headers["Content-Type"], answer.headers["Content-Disposition"]),
                   ("text/html; charset=utf-8", 'attachment; filename="a b.html"'))
    connection.close()
    expect("kept", s3.head_object(Bucket=BUCKET, Key="page")["ContentType"], "text/plain")
    ok("a presigned link sets headers of its answer, and cannot be changed")


def signed_link(method, path, headers):
    """As the SDK for JavaScript writes it: every x-amz-* header is in the query. (status, body)"""
    request = botocore.awsrequest.AWSRequest(method, "http://" + ADDR + path, params=headers)
    botocore.auth.S3SigV4QueryAuth(botocore.credentials.Credentials(ACCESS, SECRET), "s3", "us-east-1",
                                   expires=60).add_auth(request)
    connection = http.client.HTTPConnection(ADDR, timeout=30)
    connection.request(method, request.url[len("http://" + ADDR):])
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data


def links_with_headers():
    s3.put_object(Bucket=BUCKET, Key="from \u00e4", Body=b"source")
    s3.put_object(Bucket=BUCKET, Key="to", Body=b"there before")
    source = urllib.parse.quote(BUCKET + "/from \u00e4")
    for wanted, code, headers in (
            (501, b"NotImplemented", {"x-amz-server-side-encryption": "AES256"}),
            (501, b"NotImplemented", {"x-amz-tagging": "a=b"}),
            (501, b"NotImplemented", {"x-amz-object-lock-legal-hold": "ON"}),
            (412, b"PreconditionFailed", {"x-amz-copy-source": source,
                                          "x-amz-copy-source-if-none-match": "*"})):
        status, data = signed_link("PUT", "/bucket/to", headers)
        expect("link %s" % headers, (status, code in data), (wanted, True))
    expect("untouched", s3.get_object(Bucket=BUCKET, Key="to")["Body"].read(), b"there before")
    status, data = signed_link("PUT", "/bucket/to", {
        "x-amz-copy-source": source, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "b",
        "x-id": "CopyObject"})
    expect("copied by a link", (status, b"<CopyObjectResult" in data), (200, True))
    got = s3.get_object(Bucket=BUCKET, Key="to")
    expect("copied by a link", (got["Body"].read(), got["Metadata"]), (b"source", {"a": "b"}))
    ok("a presigned link copies, or is refused, by headers in its query")


def settings():
    for acl in (s3.get_bucket_acl(Bucket=BUCKET), s3.get_object_acl(Bucket=BUCKET, Key="page")):
        expect("grants", [g["Permission"] for g in acl["Grants"]], ["FULL_CONTROL"])
    s3.put_object_acl(Bucket=BUCKET, Key="page", ACL="private")
    s3.put_object_acl(Bucket=BUCKET, Key="page", AccessControlPolicy={
        "Grants": acl["Grants"], "Owner": acl["Owner"]})
    refused("NotImplemented", s3.put_object_acl, Key="page", ACL="public-read")
    expect("tags", s3.get_object_tagging(Bucket=BUCKET, Key="page")["TagSet"], [])
    for call, code in (
            (s3.get_bucket_policy, "NoSuchBucketPolicy"), (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
            (s3.get_bucket_tagging, "NoSuchTagSet"), (s3.get_bucket_website, "NoSuchWebsiteConfiguration"),
            (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
            (s3.get_bucket_encryption, "ServerSideEncryptionConfigurationNotFoundError"),
            (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
            (s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration"),
            (s3.get_bucket_logging, "NotImplemented"),
            (s3.get_bucket_notification_configuration, "NotImplemented")):
        refused(code, call)
    ok("who may do what, and what is not set up, is told as S3 does")

    secret = b"k" * 32
    for code, arguments in (
            ("NotImplemented", {"ServerSideEncryption": "AES256"}),
            ("NotImplemented", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "id"}),
            ("NotImplemented", {"Tagging": "a=b"}),
            ("NotImplemented", {"ObjectLockMode": "COMPLIANCE",
                                "ObjectLockRetainUntilDate": "2030-01-01T00:00:00Z"}),
            ("NotImplemented", {"ObjectLockLegalHoldStatus": "ON"})):
        refused(code, s3.put_object, Key="false", Body=b"x", **arguments)
        refused(code, s3.create_multipart_upload, Key="false", **arguments)
    # boto3 sends such keys over TLS alone.
    status, _, data = raw("PUT", "/bucket/false", {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": b64(secret),
        "x-amz-server-side-encryption-customer-key-MD5": b64(hashlib.md5(secret).digest())}, b"x")
    expect("customer's key", (status, b"NotImplemented" in data), (501, True))
    refused("404", s3.head_object, Key="false")
    ok("what the server would not keep is refused: encryption, tags, locks")


if sys.argv[4:] == ["again"]:
    kept()
    ok("checksums of objects in parts are kept")
else:
    versions()
    headers_of_one_answer()
    links_with_headers()
    settings()
    checksums()
