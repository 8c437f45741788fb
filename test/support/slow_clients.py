#!/usr/bin/env python3
"""A good client beside many that misbehave.

  slow_clients.py ADDR PID SECONDS FLOOR HEADS BODIES READERS LISTS

HEADS connections never end their request's head, BODIES send a body of 200 KB at 300 bytes a second,
READERS get a large object and LISTS get listings, and take 300 bytes a second of it. Each sends its
bytes one by one, and comes again when it is closed. The good client puts and gets small objects all
the time, for a while alone and then for SECONDS beside the others.

It fails if the good client is ever refused or cut off, if the 99th percentile of its times (the
median over windows of a second) gets above twice what it was alone and FLOOR ms, if the server
(PID) is ever above 64 MiB (with TLS 128), or if a head lives longer than 10 s or a body longer than 30 s (and 4 s:
the server looks twice a second, the client once, and machines are busy)."""
import multiprocessing
import os
import resource
import socket
import ssl
import sys
import time

from s3client import TLS, Client, connect

LARGE = 24 << 20
MIB_MAX = 128 if TLS else 64
HEAD_S, BODY_S, LATE_S = 10, 30, 4
TRICKLE = 300
TURNS = 50
N_KEYS = 1000


# ---- the good client: a process of its own, which says (when, milliseconds) of each request ----

def answer(sock, body_too):
    got = b""
    while b"\r\n\r\n" not in got or (body_too and len(got.partition(b"\r\n\r\n")[2]) < 1000):
        more = sock.recv(65536)
        if not more:
            sys.exit("the good client was cut off")
        got += more
    if not got.startswith(b"HTTP/1.1 200"):
        sys.exit("the good client was refused: %r" % got[:300])


def good_client(address, stop, out):
    sock = connect(address)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(20)
    times, i, head = [], 0, "%s /bucket/good-%d HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    while not stop.is_set():
        for method, length in (("PUT", "Content-Length: 1000\r\n"), ("GET", "")):
            began = time.monotonic()
            body = b"x" * 1000 if method == "PUT" else b""
            sock.sendall((head % (method, i % 50, length)).encode() + body)
            answer(sock, method == "GET")
            times.append((began, (time.monotonic() - began) * 1000))
        i += 1
        time.sleep(0.002)
    out.send(times)


def p99(times, begin, end):
    """The median, over windows of a second, of the 99th percentile in each."""
    windows = {}
    for when, ms in times:
        if begin <= when < end:
            windows.setdefault(int(when - begin), []).append(ms)
    worst = sorted(sorted(w)[int(len(w) * 0.99)] for w in windows.values() if len(w) > 20)
    return worst[len(worst) // 2]


# ---- the others: one process for all of them ----

class Slow:
    """One of them, and how long it has been connected."""

    def __init__(self, kind, number, address):
        self.kind = kind
        self.sock = connect(address, 4096 if kind in ("reader", "list") else 0)
        self.sock.setblocking(False)
        self.began = time.monotonic()
        first = {
            "head": "GET /bucket/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
            "body": "PUT /bucket/slow-%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\nx"
                    % number,
            "reader": "GET /bucket/large HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "list": "GET /bucket/?prefix=0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        }[kind]
        self.sock.send(first.encode())

    def go_on(self):
        """False: the server has closed it, or has answered and is waiting for that."""
        try:
            if self.kind in ("head", "body"):
                self.sock.send(b"x" * (TRICKLE if self.kind == "body" else 1))
            got = self.sock.recv(TRICKLE)
            return bool(got) and b" 408 " not in got and b" 503 " not in got
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False


def others(address, wanted, end, out):
    """Each is looked after once a second, a fiftieth of them at a time."""
    kinds = [kind for kind, n in wanted.items() for _ in range(n)]
    slow, lives, most = [None] * len(kinds), [], dict.fromkeys(wanted, 0)
    turn, began = 0, time.monotonic()
    while time.monotonic() < end:
        for i in range(turn % TURNS, len(kinds), TURNS):
            if slow[i] and not slow[i].go_on():
                slow[i] = lives_end(slow[i], lives)
            if not slow[i]:
                try:
                    slow[i] = Slow(kinds[i], i, address)
                except OSError:
                    pass  # next time
        turn += 1
        if turn % TURNS == 0:
            for kind in wanted:
                most[kind] = max(most[kind], sum(1 for s in slow if s and s.kind == kind))
        time.sleep(max(0, began + turn / TURNS - time.monotonic()))
    for s in filter(None, slow):  # what is still there has lived so long at least
        lives_end(s, lives)
    out.send((lives, most))


def lives_end(s, lives):
    lives.append((s.kind, time.monotonic() - s.began))
    s.sock.close()


def resident(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


def prepare(address):
    client = Client(address)
    client.put("large", os.urandom(LARGE))
    for i in range(N_KEYS):  # a listing of nearly a megabyte
        client.put("%0700d" % i, b"")
    client.close()


def main():
    address, pid, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    floor = int(sys.argv[4])
    wanted = dict(zip(("head", "body", "reader", "list"), map(int, sys.argv[5:])))
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    prepare(address)
    alone = max(4, seconds // 4)
    stop = multiprocessing.Event()
    good_in, good_out = multiprocessing.Pipe(False)
    slow_in, slow_out = multiprocessing.Pipe(False)
    good = multiprocessing.Process(target=good_client, args=(address, stop, good_out))
    good.start()
    time.sleep(alone)
    began = time.monotonic()
    slow = multiprocessing.Process(target=others,
                                   args=(address, wanted, began + seconds, slow_out))
    slow.start()
    highest = 0
    while not slow_in.poll(0.1):
        highest = max(highest, resident(pid))
        if not slow.is_alive() and not slow_in.poll(1):
            sys.exit("the slow clients gave up")
    lives, most = slow_in.recv()
    stop.set()
    if not good_in.poll(30):
        sys.exit(1)  # it said why
    times = good_in.recv()
    before, beside = p99(times, began - alone, began), p99(times, began + 2, began + seconds)
    longest = {k: max([s for kind, s in lives if kind == k] or [0]) for k in wanted}
    print("good client: %d requests, p99 %.2f ms alone, %.2f ms beside %s" %
          (len(times), before, beside, ", ".join("%d x %s" % (n, k) for k, n in most.items())))
    print("server: %.1f MiB at most; connections lived %s" %
          (highest, ", ".join("%s %.1f s" % (k, s) for k, s in longest.items())))
    if beside > max(2 * before, floor):
        sys.exit("the good client suffers")
    if highest > MIB_MAX:
        sys.exit("more than %d MiB" % MIB_MAX)
    if min(most.values()) == 0 or sum(most.values()) < 0.7 * sum(wanted.values()):
        sys.exit("not so many came about")
    if longest["head"] > HEAD_S + LATE_S or longest["body"] > BODY_S + LATE_S:
        sys.exit("not closed in time")


main()
