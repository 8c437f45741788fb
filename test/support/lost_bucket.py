#!/usr/bin/env python3
"""Buckets whose disk fails or is slow while they are used, or opened.

  lost_bucket.py fail WORK       syncs of one bucket's blocks fail (strace), for good, under GETs that are
                                 read slowly, an upload that stands still, PUTs, lists and copies
  lost_bucket.py opening WORK    Ctrl+C while a bucket without its index is opened, slowly (strace)
  lost_bucket.py copy WORK       a copy into a bucket whose disk is slow (strace), and its client

Each in a directory of its own below WORK. The program is $ZKV_BIN's."""
import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET

from s3client import Client, Failure, connect
from served import Ledger, Server, in_threads, telling

MIB = 1 << 20
SLOW = 20 * MIB  # more than sockets hold
READERS = 3


def expect(what, good, got=""):
    if not good:
        raise Failure("%s: %r" % (what, got))


def body_of(name, size):
    return hashlib.shake_128(name.encode()).digest(size)


class Tracer:
    """strace on a running server, with what it makes of some calls on some files."""

    def __init__(self, server, calls, inject, paths):
        words = ["strace", "-qq", "-f", "-o", "/dev/null", "-p", str(server.child.pid), "-e", "trace=" + calls,
                 "-e", "inject=%s:%s" % (calls, inject)]
        for path in paths:
            words += ["-P", path]
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not re.search(r"TracerPid:\s*[1-9]", open("/proc/%d/status" % server.child.pid).read()):
            expect("strace", time.monotonic() < end and self.child.poll() is None, self.child.poll())
            time.sleep(0.01)

    def end(self):
        self.child.send_signal(signal.SIGINT)
        self.child.wait(20)


# ---- a bucket that fails ----

class World:
    def __init__(self, server):
        self.server = server
        self.over = threading.Event()  # nothing fails any more
        self.lock = threading.Lock()
        self.seen = {}  # what: set of outcomes
        self.ledger = {name: Ledger() for name in ("dying", "calm")}
        self.slowest = self.n_cut = 0

    def client(self, bucket):
        return Client(self.server.address, bucket, timeout=60)

    def saw(self, what, outcome):
        with self.lock:
            self.seen.setdefault(what, set()).add(outcome)

    def slow_get(self, bucket):
        """Reads 1 MiB/s until it is over; how it ended."""
        wanted, got = body_of(bucket, SLOW), b""
        sock = connect(self.server.address, rcvbuf=65536, timeout=60)
        sock.sendall(b"GET /%s/big HTTP/1.1\r\nHost: %s\r\n\r\n" % (bucket.encode(), self.server.address.encode()))
        response = http.client.HTTPResponse(sock)
        response.begin()
        try:
            while len(got) < SLOW:
                more = response.read(16384)
                if not more:
                    break
                got += more
                if not self.over.is_set():
                    time.sleep(0.016)
        except (OSError, http.client.HTTPException):
            pass
        sock.close()
        expect("GET %s/big: status and bytes" % bucket, response.status == 200 and wanted.startswith(got), len(got))
        self.saw("GET " + bucket, "whole" if len(got) == SLOW else "cut")
        with self.lock:
            self.n_cut += bucket == "dying"

    def half_put(self):
        """Its body stops in the middle; it is answered, or cut."""
        sock = connect(self.server.address, timeout=60)
        sock.sendall(b"PUT /dying/half HTTP/1.1\r\nHost: %s\r\nContent-Length: 200000\r\n\r\n" %
                     self.server.address.encode() + b"x" * 100000)
        response = http.client.HTTPResponse(sock)
        try:
            response.begin()
            outcome = response.status
        except (OSError, http.client.HTTPException):
            outcome = "cut"
        sock.close()
        self.saw("half PUT", outcome)

    def ask(self, bucket, number):
        """PUTs, GETs and lists, one after the other."""
        client, n = self.client(bucket), 0
        while not self.over.is_set():
            n += 1
            key = "k%d-%d" % (number, n)
            began = time.monotonic()
            try:
                reply = self.ledger[bucket].put(client, key, body_of(key, 20000))
                self.saw("PUT " + bucket, reply.status)
                for path in (client.path("fixed"), "/%s/?max-keys=50" % bucket):
                    got = client.raw("GET", path)
                    self.saw("GET and LIST " + bucket, got.status)
                    expect("an answer without a code", got.status == 200 or got.code, got.status)
                    expect(path, got.status != 200 or "max-keys" not in path or
                           got.body.endswith(b"</ListBucketResult>"), got.body[-100:])
                    expect(path, got.status != 200 or "fixed" not in path or got.body == body_of("fixed", 1000))
            except (OSError, http.client.HTTPException):
                self.saw("PUT " + bucket, "cut")
                client = self.client(bucket)
            with self.lock:
                self.slowest = max(self.slowest, time.monotonic() - began if bucket == "calm" else 0)
            time.sleep(0.01)

    def copy(self):
        client, n = self.client("calm"), 0
        while not self.over.is_set():
            n += 1
            try:
                reply = client.raw("PUT", "/calm/copy", headers={"x-amz-copy-source": "/dying/big"})
                self.saw("copy", reply.status)
            except (OSError, http.client.HTTPException):
                self.saw("copy", "cut")
                client = self.client("calm")
            time.sleep(0.05)

    def fail(self, directory):
        """From now on no sync of the bucket works, in blocks to come neither."""
        time.sleep(1)
        folder = os.path.join(directory, "buckets", "dying")
        taken = [int(name[-10:]) for name in os.listdir(folder) if re.fullmatch(r"(open|block)\d{10}", name)]
        paths = ["%s/open%010d" % (folder, n) for n in range(min(taken), max(taken) + 20)]
        tracer = Tracer(self.server, "fdatasync", "error=EIO", paths)
        end = time.monotonic() + 30
        while "bucket dying: out of service" not in self.server.said():
            expect("the bucket does not fail", time.monotonic() < end, self.server.said())
            time.sleep(0.05)
        while self.n_cut < READERS and time.monotonic() < end:  # who holds it longer than 5 s is cut
            time.sleep(0.05)
        tracer.end()
        self.over.set()


def fail(work):
    directory = os.path.join(work, "fail")
    os.mkdir(directory, 0o700)
    server = Server(directory + ".log")
    with telling(server):
        expect("start", server.start(directory, "-bs", "4000000"), server.said())
        world = World(server)
        for bucket in ("dying", "calm"):
            client = world.client(bucket)
            expect("making " + bucket, client.raw("PUT", "/" + bucket).status == 200)
            for key, body in (("big", body_of(bucket, SLOW)), ("fixed", body_of("fixed", 1000))):
                expect("PUT " + key, world.ledger[bucket].put(client, key, body).status == 200)
        world.ledger["calm"].begin("copy", hashlib.md5(body_of("dying", SLOW)).hexdigest())
        work = [lambda: world.slow_get("dying")] * READERS + [
            lambda: world.slow_get("calm"), world.half_put, world.copy, lambda: world.ask("dying", 1),
            lambda: world.ask("dying", 2), lambda: world.ask("calm", 3), lambda: world.fail(directory)]
        in_threads(len(work), lambda number: work[number]())
        seen = world.seen
        expect("slow readers of what has failed", seen["GET dying"] == {"cut"}, seen)
        expect("a slow reader of another bucket", seen["GET calm"] == {"whole"}, seen)
        expect("an upload that stood still", seen["half PUT"] <= {500, 503, "cut"}, seen)
        for what in ("PUT dying", "GET and LIST dying", "copy"):
            expect(what, 500 in seen[what] and seen[what] <= {200, 500, 503, "cut"}, seen)
        for what in ("PUT calm", "GET and LIST calm"):
            expect(what, seen[what] == {200}, seen)
        expect("the other bucket waits", world.slowest < 10, world.slowest)
        client = world.client("dying")
        end = time.monotonic() + 30
        while client.raw("GET", "/dying/fixed").status != 200:
            expect("the bucket does not come back", time.monotonic() < end, server.said())
            time.sleep(0.2)
        for bucket, ledger in world.ledger.items():
            ledger.check(world.client(bucket), settle=True)
        expect("half", client.absent("half"))
        expect("said once", server.said().count("bucket dying: out of service") == 1, server.said())
        expect("exit code of a session in which a bucket failed", server.stop() == 1)
    print("ok - a bucket fails under load: GETs are cut, the rest is told so, another bucket goes on (%d ms at most)"
          % (world.slowest * 1000))
    print("ok - it comes back with all that was acknowledged (%d PUTs)" % world.ledger["dying"].acknowledged)


# ---- a bucket that is left while it is being opened ----

def opening(work):
    directory = os.path.join(work, "opening")
    os.mkdir(directory, 0o700)
    server = Server(directory + ".log")
    with telling(server):
        expect("start", server.start(directory, "-sync", "block", "-bs", "4000000"), server.said())
        expect("making", Client(server.address, "long").raw("PUT", "/long").status == 200)

        def fill(number):
            client = Client(server.address, "long")
            for n in range(400):
                client.put("%d/%d %s" % (number, n, os.urandom(150).hex()), b"")

        in_threads(8, fill)
        expect("stop", server.stop() == 0)
        folder = os.path.join(directory, "buckets", "long")
        for name in os.listdir(folder):
            if name.startswith("index"):
                os.unlink(os.path.join(folder, name))
        expect("start", server.start(directory), server.said())
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("db")]
        tracer = Tracer(server, "pread64", "delay_enter=3000000", paths)
        wanted = threading.Thread(target=lambda: Client(server.address, "long").raw("GET", "/long/x"))
        wanted.start()
        time.sleep(2)  # in the first read of about eight
        began = time.monotonic()
        code = server.stop()
        took = time.monotonic() - began
        tracer.child.wait(20)
        wanted.join()
        expect("exit code of a stop while a bucket is opened", code == 0, server.said())
        expect("the stop waits for the opening", took < 10, took)
        expect("the log", "error" not in server.said() and "cannot be" not in server.said(), server.said())
        expect("start", server.start(directory), server.said())
        expect("all is there", len(Client(server.address, "long").list()) == 3200)
        expect("stop", server.stop() == 0)
    print("ok - Ctrl+C while a bucket's index is made anew: the stop takes %.1f s, and nothing is missing" % took)


# ---- a copy that takes long ----

def copy(work):
    directory = os.path.join(work, "copy")
    os.mkdir(directory, 0o700)
    server = Server(directory + ".log")
    with telling(server):
        expect("start", server.start(directory), server.said())
        client = Client(server.address, "source")
        for bucket in ("source", "target"):
            expect("making " + bucket, client.raw("PUT", "/" + bucket).status == 200)
        body = body_of("source", 6 * MIB)
        client.put("big", body)
        Client(server.address, "target").put("first", b"x")
        block = os.path.join(directory, "buckets", "target", "open0000000000")
        tracer = Tracer(server, "pwritev", "delay_enter=180000", [block])
        began = time.monotonic()
        client.connection.request("PUT", "/target/big", headers={
            "x-amz-copy-source": "/source/big", "Content-Length": "0"})
        reply = client.connection.getresponse()
        first = time.monotonic() - began
        got = reply.read()
        took = time.monotonic() - began
        tracer.end()
        expect("the status", reply.status == 200, got)
        expect("the first byte comes before the end", 4 < first < took - 0.5, (first, took))
        expect("the length", len(got) == int(reply.headers["Content-Length"]), len(got))
        root = ET.fromstring(got)
        expect("the result", root.tag.endswith("}CopyObjectResult"), got)
        expect("the ETag", root[1].text == '"%s"' % hashlib.md5(body).hexdigest(), got)
        expect("the copy, asked for on the same connection", client.raw("GET", "/target/big").body == body)
        expect("stop", server.stop() == 0)
    print("ok - a copy of %.1f s begins its answer after %.1f s, ends it in order, and the connection goes on"
          % (took, first))


{"fail": fail, "opening": opening, "copy": copy}[sys.argv[1]](sys.argv[2])
