#!/usr/bin/env python3
"""An object of many parts goes up and comes back, without ever being anywhere as a whole.

  big_object.py ADDR PID MIB LIMIT

Bytes are those of a cipher over a counter, so that any range of them can be made again. Debian's boto3
uploads MIB MiB of them from a stream, in parts of 16 MiB; the whole object is read and its hash compared,
then ranges across parts and parts by number. The resident memory of PID must never have been above LIMIT
MiB (the kernel's own high-water mark, and a look ten times a second)."""
import hashlib
import subprocess
import sys
import threading
import time

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

MIB = 1 << 20
PART = 16 * MIB
BUCKET, KEY = "bucket", "big/object"


def made_up(off, size):
    """A process whose output goes on for ever, and begins before byte off; the bytes too many."""
    command = ["openssl", "enc", "-aes-128-ctr", "-nosalt", "-K", "5a" * 16, "-iv", "%032x" % (off // 16),
               "-in", "/dev/zero"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL), off % 16


def bytes_of(off, size):
    process, extra = made_up(off, size)
    data = process.stdout.read(size + extra)[extra:]
    process.kill()
    process.wait()
    process.stdout.close()
    return data


class Stream:
    """So many bytes, read once, from the beginning; hashed on the way."""

    def __init__(self, size):
        self.process, _ = made_up(0, size)
        self.left = size
        self.sha256 = hashlib.sha256()

    def read(self, size=-1):
        data = self.process.stdout.read(min(size, self.left) if size >= 0 else self.left)
        self.left -= len(data)
        self.sha256.update(data)
        return data


def status(pid, field):
    for line in open("/proc/%d/status" % pid):
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no %s of process %d" % (field, pid))


class Watch(threading.Thread):
    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.looks = pid, 0, 0
        self.start()

    def run(self):
        while True:
            self.most = max(self.most, status(self.pid, "VmRSS"))
            self.looks += 1
            time.sleep(0.1)


def expect(what, got, wanted):
    if got != wanted:
        sys.exit("%s: got %.200r, wanted %.200r" % (what, got, wanted))


def main():
    addr, pid, mib, limit = sys.argv[1], *map(int, sys.argv[2:])
    size = mib * MIB + 12345  # the last part is smaller
    watch = Watch(pid)
    s3 = boto3.client("s3", endpoint_url="http://" + addr, region_name="us-east-1", aws_access_key_id="any",
                      aws_secret_access_key="any",
                      config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0},
                                    read_timeout=120))
    began = time.monotonic()
    stream = Stream(size)
    s3.upload_fileobj(stream, BUCKET, KEY, Config=TransferConfig(multipart_chunksize=PART, max_concurrency=2))
    stream.process.kill()
    up = time.monotonic() - began

    head = s3.head_object(Bucket=BUCKET, Key=KEY)
    n_parts = -(-size // PART)
    expect("size", head["ContentLength"], size)
    expect("parts", head["ETag"].strip('"').split("-")[1], str(n_parts))
    began = time.monotonic()
    back = hashlib.sha256()
    for piece in s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].iter_chunks(MIB):
        back.update(piece)
    down = time.monotonic() - began
    expect("hash", back.hexdigest(), stream.sha256.hexdigest())

    for first, length in ((0, 1), (PART - 5, 10), (3 * PART - 100000, PART + 200000), (size // 2, 300000),
                          (size - 10, 10)):
        got = s3.get_object(Bucket=BUCKET, Key=KEY, Range="bytes=%d-%d" % (first, first + length - 1))
        expect("range from %d" % first, got["Body"].read() == bytes_of(first, length), True)
    got = s3.get_object(Bucket=BUCKET, Key=KEY, Range="bytes=-77777")
    expect("end", got["Body"].read() == bytes_of(size - 77777, 77777), True)
    for number in (1, n_parts // 2, n_parts):
        got = s3.get_object(Bucket=BUCKET, Key=KEY, PartNumber=number)
        first = (number - 1) * PART
        expect("part %d" % number, got["Body"].read() == bytes_of(first, min(PART, size - first)), True)
        expect("count with part %d" % number, got["PartsCount"], n_parts)

    most = max(watch.most, status(pid, "VmHWM"))
    print("%d MiB in %d parts: up in %.0f s, back in %.0f s; the server had at most %.1f MiB (%d looks)" %
          (mib, n_parts, up, down, most, watch.looks))
    if most > limit:
        sys.exit("more memory than %d MiB" % limit)


main()
