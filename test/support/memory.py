#!/usr/bin/env python3
"""Fills a server with objects and watches its resident memory.

  memory.py ADDR PID fill N         N objects like S3QL's, 16 connections
  memory.py ADDR PID upload MIB     eight uploads of 10 MiB at once, then a listing of everything;
                                    fails if the server was ever above MIB MiB
"""
import multiprocessing
import os
import socket
import sys
import threading

from s3client import Client


def resident(pid):
    """(now, highest ever) in MiB."""
    fields = dict(line.split(":", 1) for line in open("/proc/%s/status" % pid))
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))


def tell(what, pid):
    print("%-44s %6.1f MiB now, %6.1f MiB at most" % (what, *resident(pid)), flush=True)


def connect(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=120)


def answer(sock):
    got = b""
    while b"\r\n\r\n" not in got:
        more = sock.recv(4096)
        if not more:
            sys.exit("the server closed the connection")
        got += more
    if not got.startswith(b"HTTP/1.1 200"):
        sys.exit("answer: %r" % got[:300])


def put_small(address, first, n, step):
    """Not by http.client, which would take five times as long."""
    sock = connect(address)
    body = os.urandom(300)
    for i in range(first, n, step):
        meta = "".join("X-Amz-Meta-%03d: %s\r\n" % (j, "x" * 180) for j in range(2))
        sock.sendall(("PUT /bucket/s3ql_data_%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
                      "Content-Type: application/octet-stream\r\n%sX-Amz-Meta-Format: raw2\r\n"
                      "X-Amz-Meta-Md5: 4PtzbGTyZTr9G5FLGrvNAA==\r\n\r\n" % (i, len(body), meta)
                      ).encode() + body)
        answer(sock)


def fill(address, pid, n):
    tell("empty", pid)
    clients = 16
    processes = [multiprocessing.Process(target=put_small, args=(address, i, n, clients))
                 for i in range(clients)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit("not everything was stored")
    tell("%d objects put" % n, pid)


def upload(address, pid, limit):
    tell("before: just started", pid)
    body = os.urandom(10 << 20)
    barrier = threading.Barrier(9)
    peak = [0.0]

    def work(number):
        sock = connect(address)
        sock.sendall(b"PUT /bucket/large-%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                     % (number, len(body)))
        barrier.wait()  # all eight are begun
        sock.sendall(body)
        answer(sock)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait()
    while any(thread.is_alive() for thread in threads):
        peak[0] = max(peak[0], resident(pid)[0])
        threads[0].join(0.005)
    print("%-44s %6.1f MiB at most" % ("during eight uploads of 10 MiB", peak[0]))
    tell("after them", pid)
    client = Client(address)
    print("%-44s %6d" % ("objects listed", len(client.list())))
    for number in range(8):
        if client.get("large-%d" % number).body != body:
            sys.exit("large-%d: wrong bytes" % number)
    tell("after listing and getting", pid)
    if resident(pid)[1] > limit:
        sys.exit("more than %d MiB" % limit)


def main():
    address, pid, command, n = sys.argv[1:]
    {"fill": fill, "upload": upload}[command](address, pid, int(n))


main()
