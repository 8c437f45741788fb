#!/usr/bin/env python3
"""Many large uploads at once, as S3QL makes them, and how long a client hears nothing.

  slow_disk.py ADDR CLIENTS MIB LIMIT

Each client sends one body with "Expect: 100-continue", waits for the 100, sends, waits for the answer;
at 503 it waits as long as Retry-After says, and up to half as long again, and begins anew. It hears
something when an answer comes or when the server takes more bytes. Fails if that takes longer than
LIMIT seconds anywhere. The last line has the figures."""
import hashlib
import os
import random
import re
import select
import socket
import sys
import time

from s3client import Client, Failure
from served import in_threads

MIB = 1 << 20
PIECE = 128 << 10


class Uploader:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.address = (host, int(port))
        self.silence = {"100": 0.0, "taking": 0.0, "answer": 0.0}
        self.refused = 0

    def waited(self, what, began):
        self.silence[what] = max(self.silence[what], time.monotonic() - began)

    def head(self, sock, what):
        """The next response's head; (status, text). A 102 is a sign of life, no more."""
        text = b""
        while True:
            began = time.monotonic()
            while b"\r\n\r\n" not in text:
                data = sock.recv(65536)
                if not data:
                    raise Failure("the connection was closed")
                text += data
            self.waited(what, began)
            status = int(text.split()[1])
            if status != 102:
                return status, text.decode()
            text = text[text.index(b"\r\n\r\n") + 4 :]

    def send(self, sock, body):
        """False: an answer came before the end."""
        sock.setblocking(False)
        view = memoryview(body)
        while view:
            began = time.monotonic()
            readable, _, _ = select.select([sock], [sock], [], 120)
            self.waited("taking", began)
            if readable:
                sock.setblocking(True)
                return False
            try:
                view = view[sock.send(view[:PIECE]) :]
            except BlockingIOError:
                pass
        sock.setblocking(True)
        return True

    def once(self, key, body):
        with socket.create_connection(self.address, timeout=120) as sock:
            head = "PUT /bucket/%s HTTP/1.1\r\nHost: %s:%d\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" \
                % (key, self.address[0], self.address[1], len(body))
            sock.sendall(head.encode())
            status, text = self.head(sock, "100")
            if status == 100:
                self.send(sock, body)
                status, text = self.head(sock, "answer")
            if status == 503:
                return float(re.search(r"Retry-After: (\d+)", text).group(1))
            if status != 200 or hashlib.md5(body).hexdigest() not in text:
                raise Failure("%s: %s" % (key, text))
            return None

    def upload(self, key, body):
        while True:
            wait = self.once(key, body)
            if wait is None:
                return
            self.refused += 1
            time.sleep(wait * random.uniform(1, 1.5))


def main():
    address, clients, mib, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    uploaders = [Uploader(address) for _ in range(clients)]
    bodies = [os.urandom(mib * MIB) for _ in range(clients)]
    began = time.monotonic()
    in_threads(clients, lambda n: uploaders[n].upload("large%d" % n, bodies[n]))
    took = time.monotonic() - began
    client = Client(address)
    for number, body in enumerate(bodies):
        if client.get("large%d" % number).body != body:
            raise Failure("large%d is not what was sent" % number)
    worst = {what: max(u.silence[what] for u in uploaders) for what in uploaders[0].silence}
    print("%d x %d MiB in %.0f s: the longest wait for 100 Continue was %.1f s, for more bytes to be "
          "taken %.1f s, for the answer %.1f s; %d refused, %d at most of one"
          % (clients, mib, took, worst["100"], worst["taking"], worst["answer"],
             sum(u.refused for u in uploaders), max(u.refused for u in uploaders)))
    if max(worst.values()) > limit:
        raise Failure("silence for longer than %.0f s" % limit)


main()
