#!/usr/bin/env python3
"""Much goes through the server, and its memory stays as it is.

  streams.py ADDR PID MIB SECONDS LIMIT

An object of MIB MiB is put and got, made up as it goes and checked as it comes. Then 64 clients put,
get, list and delete objects of up to 4 MiB for SECONDS. Fails if a byte is wrong, if the resident
memory of PID is ever above LIMIT MiB, or if it grows by more than 1 MiB from the second third of the time
to the last (the medians of each). In less than five minutes it may still be on its way to what so many
clients need: then the limit alone counts."""
import hashlib
import os
import random
import socket
import sys
import threading
import time

from s3client import Client

CLIENTS = 64
LARGE_BYTES = 3 << 30  # put by all together; then only small objects are put: the disk is not endless
PART = os.urandom(1 << 20)


def resident(pid):
    for line in open("/proc/%d/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


class Watch(threading.Thread):
    """Looks at the memory ten times a second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.seen = pid, []
        self.start()

    def run(self):
        while True:
            self.seen.append((time.monotonic(), resident(self.pid)))
            time.sleep(0.1)

    def between(self, begin, end):
        part = sorted(mib for when, mib in self.seen if begin <= when < end)
        return part[len(part) // 2]


def head_of(sock):
    got = b""
    while b"\r\n\r\n" not in got:
        more = sock.recv(65536)
        if not more:
            sys.exit("cut off")
        got += more
    head, _, rest = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        sys.exit("answer: %r" % got[:300])
    return rest


def one_large(address, mib):
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=120)
    sock.sendall(b"PUT /bucket/large HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (mib << 20))
    for i in range(mib):
        sock.sendall(b"%08d" % i + PART[8:])
    head_of(sock)
    sock.sendall(b"GET /bucket/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got, n = bytearray(head_of(sock)), 0
    while n < mib:
        more = sock.recv(1 << 20)
        if not more:
            sys.exit("the large object ends after %d MiB" % n)
        got += more
        while len(got) >= 1 << 20:
            if got[:1 << 20] != b"%08d" % n + PART[8:]:
                sys.exit("wrong bytes in MiB %d" % n)
            del got[:1 << 20]
            n += 1
    sock.close()
    Client(address).delete("large")


put_bytes = [0]


def one_client(address, number, end, counts):
    dice, client, there = random.Random(number), Client(address, timeout=120), {}
    while time.monotonic() < end:
        key = "c%d-%d" % (number, dice.randrange(8))
        if key in there and dice.random() < 0.5:
            if hashlib.md5(client.get(key).body).digest() != there[key]:
                raise SystemExit("wrong bytes of " + key)
        elif key in there and dice.random() < 0.5:
            client.delete(key)
            del there[key]
        else:
            size = dice.choice((0, 300, 5000, 70000, 400000, 4 << 20))
            put_bytes[0] += size
            size = size if put_bytes[0] < LARGE_BYTES else size % 7000
            at = dice.randrange(len(PART))
            body = (PART[at:] + PART * 4)[:size]
            client.put(key, body)
            there[key] = hashlib.md5(body).digest()
            if dice.random() < 0.05:
                client.page(prefix="c%d-" % number)
        counts[number] += 1


def main():
    address, pid, mib, seconds, limit = sys.argv[1], *map(int, sys.argv[2:])
    watch, began = Watch(pid), time.monotonic()
    one_large(address, mib)
    took = time.monotonic() - began
    begin, counts = time.monotonic(), [0] * CLIENTS
    threads = [threading.Thread(target=one_client, args=(address, i, begin + seconds, counts))
               for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    end = time.monotonic()
    third = (end - begin) / 3
    second, last = watch.between(begin + third, end - third), watch.between(end - third, end)
    most = max(mib for _, mib in watch.seen)
    print("%d MiB put and got in %.0f s; %d requests of %d clients in %.0f s; resident: %.1f MiB, then %.1f, "
          "%.1f at most" % (mib, took, sum(counts), CLIENTS, end - begin, second, last, most))
    if min(counts) == 0:
        sys.exit("a client did nothing")
    if most > limit:
        sys.exit("more than %d MiB" % limit)
    if seconds >= 300 and last - second > 1:
        sys.exit("it grows")


main()
