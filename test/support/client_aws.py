"""The AWS command line against a server with passwords (clients-awscli.sh). Its commands run in this one
process, as each start of it costs a second; all else is as with `aws ...` in a shell: arguments, files
of settings, output, exit codes.

usage: client_aws.py ADDR TREE WORK"""
import base64
import contextlib
import filecmp
import hashlib
import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import zlib

from awscli.clidriver import create_clidriver

ADDR, TREE, WORK = sys.argv[1:]
URL = "http://" + ADDR
MIB = 1 << 20
driver = None


def fresh():
    """A new process, as far as the commands are concerned: get-object leaves a hook behind, for example."""
    global driver
    driver = create_clidriver()


def fail(text):
    sys.exit("FAILED: awscli: " + text)


def expect(what, got, wanted):
    if got != wanted:
        fail("%s: got %r, wanted %r" % (what, got, wanted))


def run(*arguments):
    """Exit code, output and what it says."""
    out, words = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(words):
        try:
            code = driver.main(["--endpoint-url", URL, *arguments])
        except SystemExit as end:
            code = end.code
    out.flush()
    return code, out.buffer.getvalue().decode("utf-8"), words.getvalue()


def aws(*arguments):
    code, out, words = run(*arguments)
    if code != 0:
        fail("aws %s: exit code %s\n%s" % (" ".join(arguments), code, (out + words)[-2000:]))
    return out


def api(operation, *arguments):
    """Its answer; the bucket is ours."""
    out = aws("s3api", operation, "--bucket", "bucket", *arguments)
    return json.loads(out) if out.strip() else {}


def refused(code, *arguments):
    status, out, words = run(*arguments)
    if status == 0 or "(%s)" % code not in words + out:
        fail("%s: exit code %s, %r, not %s" % (" ".join(arguments), status, words + out, code))


def work(name, body=None):
    path = os.path.join(WORK, name)
    if body is not None:
        with open(path, "wb") as file:
            file.write(body)
    return path


def read(path):
    with open(path, "rb") as file:
        return file.read()


def etag(body):
    return '"%s"' % hashlib.md5(body).hexdigest()


def same_trees(a, b):
    done = subprocess.run(["diff", "-r", a, b], capture_output=True)
    expect("%s and %s" % (a, b), done.stdout + done.stderr, b"")


def with_key(access, secret, code, *arguments):
    """Is refused with that code."""
    os.environ.update(AWS_ACCESS_KEY_ID=access, AWS_SECRET_ACCESS_KEY=secret)
    fresh()
    refused(code, *arguments)
    os.environ.update(AWS_ACCESS_KEY_ID="ADMIN", AWS_SECRET_ACCESS_KEY="adminsecret")
    fresh()


def passwords():
    with_key("ADMIN", "wrong", "SignatureDoesNotMatch", "s3", "ls", "s3://bucket")
    with_key("NOBODY", "adminsecret", "InvalidAccessKeyId", "s3", "ls", "s3://bucket")
    with_key("READER", "readersecret", "AccessDenied", "s3", "cp", __file__, "s3://bucket/x")
    with_key("ADMIN", "adminsecret", "AccessDenied", "--no-sign-request", "s3", "ls", "s3://bucket")
    print("ok - awscli: a wrong secret, an unknown key, a reader who writes and nobody are told so")


def trees():
    """sync, cp, mv, rm, ls of a tree of odd names, with parts of 5 MiB."""
    aws("s3", "sync", "--only-show-errors", TREE, "s3://bucket/tree")
    expect("a second sync", aws("s3", "sync", TREE, "s3://bucket/tree"), "")
    aws("s3", "sync", "--only-show-errors", "s3://bucket/tree", work("back"))
    same_trees(TREE, work("back"))
    aws("s3", "sync", "--only-show-errors", "s3://bucket/tree", "s3://bucket/copy")
    aws("s3", "cp", "--only-show-errors", "--recursive", "s3://bucket/copy", work("copy"))
    same_trees(TREE, work("copy"))
    aws("s3", "mv", "--only-show-errors", "--recursive", "s3://bucket/copy", "s3://bucket/gone")
    expect("what mv leaves", aws("s3", "ls", "s3://bucket/"), "%30s gone/\n%30s tree/\n" % ("PRE", "PRE"))
    aws("s3", "mv", "--only-show-errors", "--recursive", "s3://bucket/gone", work("moved"))
    same_trees(TREE, work("moved"))
    n_files = sum(len(names) for _, _, names in os.walk(TREE))
    expect("ls --recursive", "Total Objects: %d\n" % n_files in
           aws("s3", "ls", "--recursive", "--summarize", "s3://bucket/tree/"), True)
    os.remove(work("back/plain"))
    aws("s3", "sync", "--only-show-errors", "--delete", work("back"), "s3://bucket/tree")
    expect("what sync --delete leaves", run("s3", "ls", "s3://bucket/tree/plain")[1], "")
    aws("s3", "rm", "--only-show-errors", "--recursive", "s3://bucket/tree", "--exclude", "size/*")
    aws("s3", "rm", "--only-show-errors", "--recursive", "--page-size", "2", "s3://bucket/tree")
    expect("what rm leaves", run("s3", "ls", "s3://bucket")[:2], (0, ""))
    print("ok - awscli: sync, cp, mv, rm and ls of a tree of %d files" % n_files)


def streams():
    """From standard input and to standard output, of unknown length."""
    shell = ["/usr/bin/aws", "--endpoint-url", URL, "s3", "cp"]
    body = read(os.path.join(TREE, "size", "30000000"))
    subprocess.run(shell + ["-", "s3://bucket/stream"], input=body, check=True)
    done = subprocess.run(shell + ["s3://bucket/stream", "-"], capture_output=True, check=True)
    expect("a stream", done.stdout == body, True)
    expect("parts of a stream", api("head-object", "--key", "stream")["ETag"][-3:], '-6"')
    url = aws("s3", "presign", "s3://bucket/stream", "--expires-in", "60").strip()
    expect("presign", urllib.request.urlopen(url).read() == body, True)
    try:
        urllib.request.urlopen(url.replace("stream", "another"))
        fail("a changed link is let in")
    except urllib.error.HTTPError as failure:
        expect("a changed link", failure.code, 403)
    print("ok - awscli: streams in and out, presign")


def objects():
    """s3api on single objects."""
    body = os.urandom(100000)
    path = work("body", body)
    for name, digest in (("crc32", lambda data: zlib.crc32(data).to_bytes(4, "big")),
                         ("sha1", lambda data: hashlib.sha1(data).digest()),
                         ("sha256", lambda data: hashlib.sha256(data).digest())):
        value, wrong = (base64.b64encode(digest(data)).decode() for data in (body, b"other"))
        field = "Checksum" + name.upper()
        put = api("put-object", "--key", "a+b %41", "--body", path, "--checksum-algorithm", name.upper())
        expect(name, (put["ETag"], put[field]), (etag(body), value))
        head = api("head-object", "--key", "a+b %41", "--checksum-mode", "ENABLED")
        expect(name + " later", (head["ContentLength"], head[field]), (len(body), value))
        api("put-object", "--key", "given", "--body", path, "--checksum-" + name, value)
        refused("BadDigest", "s3api", "put-object", "--bucket", "bucket", "--key", "bad", "--body", path,
                "--checksum-" + name, wrong)
    # Which this version computes in C.
    expect("crc32c", "ChecksumCRC32C" in api("put-object", "--key", "c", "--body", path,
                                              "--checksum-algorithm", "CRC32C"), True)
    refused("404", "s3api", "head-object", "--bucket", "bucket", "--key", "bad")
    refused("NoSuchKey", "s3api", "get-object", "--bucket", "bucket", "--key", "bad", work("out"))
    api("put-object", "--key", "meta", "--body", path, "--metadata", "a=1,b=two  spaces", "--content-type",
        "text/x-test", "--cache-control", "no-store", "--content-disposition", "attachment; filename=\"x\"",
        "--content-language", "de", "--content-encoding", "gzip", "--expires", "2033-01-01T00:00:00Z")
    kept = ("Metadata", "ContentType", "CacheControl", "ContentDisposition", "ContentLanguage", "ContentEncoding",
            "Expires")
    wanted = [{"a": "1", "b": "two  spaces"}, "text/x-test", "no-store", 'attachment; filename="x"', "de", "gzip",
              "2033-01-01T00:00:00+00:00"]
    head = api("head-object", "--key", "meta")
    expect("headers", [head.get(k) for k in kept], wanted)
    api("copy-object", "--key", "copy of meta", "--copy-source", "bucket/meta", "--metadata-directive", "COPY")
    head = api("head-object", "--key", "copy of meta")
    expect("headers of a copy", [head.get(k) for k in kept], wanted)
    api("copy-object", "--key", "meta", "--copy-source", "bucket/meta", "--metadata-directive", "REPLACE",
        "--metadata", "c=3", "--content-type", "text/plain")
    head = api("head-object", "--key", "meta")
    expect("headers replaced", (head["Metadata"], head["ContentType"], head["ETag"]),
           ({"c": "3"}, "text/plain", etag(body)))
    refused("InvalidRequest", "s3api", "copy-object", "--bucket", "bucket", "--key", "meta", "--copy-source",
            "bucket/meta")
    refused("NoSuchKey", "s3api", "copy-object", "--bucket", "bucket", "--key", "x", "--copy-source", "bucket/none")
    got = api("get-object", "--key", "a+b %41", "--range", "bytes=99990-", work("out"))
    expect("a range", (got["ContentRange"], read(work("out"))), ("bytes 99990-99999/100000", body[99990:]))
    refused("InvalidRange", "s3api", "get-object", "--bucket", "bucket", "--key", "meta", "--range",
            "bytes=100000-", work("out"))
    api("get-object", "--key", "meta", "--if-match", etag(body), work("out"))
    refused("PreconditionFailed", "s3api", "get-object", "--bucket", "bucket", "--key", "meta", "--if-match",
            '"0"', work("out"))
    refused("304", "s3api", "get-object", "--bucket", "bucket", "--key", "meta", "--if-none-match", etag(body),
            work("out"))
    refused("304", "s3api", "head-object", "--bucket", "bucket", "--key", "meta", "--if-modified-since",
            "2033-01-01T00:00:00Z")
    got = api("get-object", "--key", "meta", "--response-content-type", "text/html", work("out"))
    expect("response-content-type", got["ContentType"], "text/html")
    print("ok - awscli: s3api put-, get-, head- and copy-object with checksums, headers, ranges, conditions")


def lists():
    names = ["d/%d" % n for n in range(25)] + ["e", "\u00e9", "f/ /g"]
    for name in names:
        api("put-object", "--key", name)
    for page in ("1", "3", "1000"):
        listed = api("list-objects-v2", "--prefix", "d/", "--page-size", page)
        expect("pages of " + page, [o["Key"] for o in listed["Contents"]], sorted(names[:25]))
    listed = api("list-objects", "--delimiter", "/", "--page-size", "2")
    expect("delimiter", [p["Prefix"] for p in listed["CommonPrefixes"]], ["d/", "f/"])
    listed = api("list-objects-v2", "--delimiter", "/", "--start-after", "d0", "--page-size", "1")
    expect("start-after", (listed["Contents"][0]["Key"], [p["Prefix"] for p in listed["CommonPrefixes"]]), ("e", ["f/"]))
    listed = api("list-objects-v2", "--fetch-owner", "--max-items", "1")
    expect("owner", "ID" in listed["Contents"][0]["Owner"], True)
    answer = api("delete-objects", "--delete", json.dumps({"Objects": [{"Key": n} for n in names + ["none"]]}))
    expect("delete-objects", sorted(d["Key"] for d in answer["Deleted"]), sorted(names + ["none"]))
    answer = api("delete-objects", "--delete", json.dumps({"Objects": [{"Key": "none"}], "Quiet": True}))
    expect("delete-objects, quiet", answer, {})
    expect("head-bucket", api("head-bucket"), {})
    refused("404", "s3api", "head-bucket", "--bucket", "nowhere")
    expect("get-bucket-location", api("get-bucket-location"), {"LocationConstraint": None})
    expect("list-buckets", "bucket" in [b["Name"] for b in json.loads(aws("s3api", "list-buckets"))["Buckets"]], True)
    print("ok - awscli: s3api lists in pages, delete-objects, head-bucket, get-bucket-location, list-buckets")


def parts():
    """An upload by hand."""
    body = os.urandom(11 * MIB)
    files = [work("part%d" % n, body[n * 5 * MIB:(n + 1) * 5 * MIB]) for n in range(3)]
    key = ("--key", "hand/\u00e9 +")
    upload = api("create-multipart-upload", *key, "--metadata", "who=me", "--content-type", "image/x")["UploadId"]
    this = key + ("--upload-id", upload)
    tags = [api("upload-part", *this, "--part-number", str(n + 1), "--body", files[n])["ETag"] for n in range(2)]
    tags.append(api("upload-part-copy", *this, "--part-number", "3", "--copy-source", "bucket/stream",
                    "--copy-source-range", "bytes=7-1000006")["CopyPartResult"]["ETag"])
    listed = api("list-parts", *this, "--page-size", "1")["Parts"]
    expect("list-parts", [(p["PartNumber"], p["ETag"], p["Size"]) for p in listed],
           [(1, tags[0], 5 * MIB), (2, tags[1], 5 * MIB), (3, tags[2], 1000000)])
    other = api("create-multipart-upload", "--key", "other")["UploadId"]
    listed = api("list-multipart-uploads", "--page-size", "1")["Uploads"]
    expect("list-multipart-uploads", [(u["Key"], u["UploadId"]) for u in listed],
           [(key[1], upload), ("other", other)])
    api("abort-multipart-upload", "--key", "other", "--upload-id", other)
    refused("NoSuchUpload", "s3api", "abort-multipart-upload", "--bucket", "bucket", "--key", "other",
            "--upload-id", other)
    api("complete-multipart-upload", *this, "--multipart-upload",
        json.dumps({"Parts": [{"PartNumber": n + 1, "ETag": t} for n, t in enumerate(tags)]}))
    stream = read(os.path.join(TREE, "size", "30000000"))
    pieces = [body[:5 * MIB], body[5 * MIB:10 * MIB], stream[7:1000007]]
    got = api("get-object", *key, work("out"))
    expect("an upload by hand", (read(work("out")) == b"".join(pieces), got["Metadata"], got["ContentType"]),
           (True, {"who": "me"}, "image/x"))
    for number, piece in enumerate(pieces):
        got = api("get-object", *key, "--part-number", str(number + 1), work("out"))
        expect("part %d" % (number + 1), (got["PartsCount"], read(work("out")) == piece), (3, True))
    got = api("get-object", *key, "--range", "bytes=%d-%d" % (5 * MIB - 3, 10 * MIB + 2), work("out"))
    expect("a range across parts", read(work("out")) == b"".join(pieces)[5 * MIB - 3:10 * MIB + 3], True)
    print("ok - awscli: s3api create-, complete-, abort- and list-multipart-uploads, list-parts, upload-part-copy")


def buckets():
    fresh()
    aws("s3", "mb", "s3://another")
    aws("s3", "mb", "s3://bucket")
    aws("s3", "cp", "--only-show-errors", "s3://bucket/stream", "s3://another/\u00e9 +")
    aws("s3", "cp", "--only-show-errors", "s3://another/\u00e9 +", work("out"))
    same = filecmp.cmp(work("out"), os.path.join(TREE, "size", "30000000"), shallow=False)
    expect("a copy in parts to another bucket", same, True)
    aws("s3", "mv", "--only-show-errors", "s3://another/\u00e9 +", "s3://bucket/moved")
    aws("s3", "rb", "s3://another")
    refused("NoSuchBucket", "s3", "ls", "s3://another")
    aws("s3", "mb", "s3://another")
    expect("a bucket of the same name", aws("s3", "ls", "s3://another"), "")
    aws("s3", "sync", "--only-show-errors", os.path.join(TREE, "size"), "s3://another")
    refused("BucketNotEmpty", "s3", "rb", "s3://another")
    aws("s3", "rb", "--force", "s3://another")
    names = [b["Name"] for b in json.loads(aws("s3api", "list-buckets"))["Buckets"]]
    expect("buckets", names, ["bucket"])
    refused("InvalidBucketName", "s3api", "create-bucket", "--bucket", "A_B")
    print("ok - awscli: mb, rb, copies between buckets")


def not_offered():
    """What there is not is said so, and does nothing."""
    api("put-object", "--key", "stays", "--body", work("body"), "--storage-class", "STANDARD")
    for arguments in (
            ("put-object-tagging", "--key", "stays", "--tagging", "TagSet=[{Key=a,Value=b}]"),
            ("put-bucket-versioning", "--versioning-configuration", "Status=Enabled"),
            ("put-bucket-policy", "--policy", "{}"),
            ("put-bucket-lifecycle-configuration", "--lifecycle-configuration",
             '{"Rules": [{"Status": "Enabled", "Prefix": "", "Expiration": {"Days": 1}}]}'),
            ("put-object-retention", "--key", "stays", "--retention", "Mode=GOVERNANCE"),
            ("restore-object", "--key", "stays", "--restore-request", "Days=1"),
            ("put-object", "--key", "stays", "--sse-customer-algorithm", "AES256",
             "--sse-customer-key", "0" * 32)):
        refused("NotImplemented", "s3api", arguments[0], "--bucket", "bucket", *arguments[1:])
    for code, operation in (("NoSuchBucketPolicy", "get-bucket-policy"), ("NoSuchCORSConfiguration", "get-bucket-cors"),
                            ("NoSuchLifecycleConfiguration", "get-bucket-lifecycle-configuration"),
                            ("NoSuchTagSet", "get-bucket-tagging")):
        refused(code, "s3api", operation, "--bucket", "bucket")
    expect("get-bucket-versioning", api("get-bucket-versioning"), {})
    got = api("get-object", "--key", "stays", work("out"))
    expect("an object that all this was about", filecmp.cmp(work("out"), work("body"), shallow=False), True)
    print("ok - awscli: versioning, tags, policies and the like are refused and change nothing")


passwords()
trees()
streams()
objects()
lists()
parts()
buckets()
not_offered()
