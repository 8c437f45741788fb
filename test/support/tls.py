#!/usr/bin/env python3
"""What clients of a server with TLS see of it; ZKV_CA names the CA (s3client.py).

  tls.py ends ADDR                      bodies that are cut, and how connections end
  tls.py garbage ADDR                   what is not TLS, or breaks off in the middle of it
  tls.py renew ADDR SECONDS COMMAND...  requests all the time, on old and new connections, while
                                        COMMAND replaces the certificate; none may fail
  tls.py idle ADDR PID N                N connections at rest: what each costs
  tls.py slow ADDR PID N                N readers of a large object that take nothing of it"""
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

from s3client import TLS, Client, connect

MIB = 1 << 20
failures = []


def expect(what, got, wanted):
    if got != wanted:
        failures.append(what)
        print("not ok - %s: %s, wanted %s" % (what, got, wanted))


def resident(pid):
    for line in open("/proc/%s/status" % pid):
        if line.startswith("VmRSS"):
            return int(line.split()[1])


def raw(address, timeout=20):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout)


def read_all(sock):
    """What comes until the end, and whether the end was announced."""
    got = b""
    try:
        while more := sock.recv(65536):
            got += more
    except ssl.SSLEOFError:
        return got, False
    except ConnectionResetError:
        return got, False
    return got, True


# ---- ends ----

HEADS = {
    "length": b"PUT /bucket/cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
    "chunked": b"PUT /bucket/cut HTTP/1.1\r\nHost: localhost\r\nx-amz-decoded-content-length: 1000\r\n"
               b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n",
}


def ends(address):
    client = Client(address)
    for name, head in HEADS.items():
        for announced in (True, False):
            sock = connect(address, timeout=20)
            sock.sendall(head + b"x" * 500)
            time.sleep(0.1)
            if announced:
                try:
                    sock.unwrap()
                except (ssl.SSLError, OSError):
                    pass
                sock.close()
            else:
                plain = sock.detach()
                socket.socket(fileno=plain).close()
            time.sleep(0.1)
            expect("%s, end announced: %s" % (name, announced), client.raw("GET", "/bucket/cut").status, 404)
    whole = connect(address, timeout=20)
    whole.sendall(HEADS["length"] + b"x" * 1000)
    expect("the same body, whole", whole.recv(12), b"HTTP/1.1 200")
    whole.close()
    for request, name in ((b"GET /bucket/cut HTTP/1.0\r\n\r\n", "1.0"),
                          (b"GET /bucket/cut HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "close"),
                          (b"rubbish\r\n\r\n", "rubbish")):
        sock = connect(address, timeout=20)
        sock.sendall(request)
        got, clean = read_all(sock)
        expect("the end behind %s" % name, (got[:9], clean), (b"HTTP/1.1 ", True))
    # The client has closed its half, in order or not, and still gets its answer.
    ask = b"GET /bucket/cut HTTP/1.1\r\nHost: localhost\r\n\r\n"
    sock = connect(address, timeout=20)
    sock.sendall(ask * 2)
    socket.socket.shutdown(sock, socket.SHUT_WR)
    got, _ = read_all(sock)
    expect("answers behind a half-closed connection", got.count(b"HTTP/1.1 200"), 2)


# ---- garbage ----

def garbage(address):
    hello = client_hello()
    cases = {
        "nothing": (b"", b""),
        "a byte": (b"\x16", b""),
        "half a hello": (hello[:len(hello) // 2], b""),
        "a hello with a changed byte": (hello[:20] + bytes([hello[20] ^ 1]) + hello[21:], None),
        "zeros": (bytes(1000), None),
        "random, not a letter first": (b"\xff" + os.urandom(999), None),
        "an oversized record": (b"\x16\x03\x01\xff\xff" + bytes(1000), None),
        "a hello, then garbage": (hello + b"\x17\x03\x03\x00\x20" + os.urandom(32), None),
    }
    for name, (data, wanted) in cases.items():
        sock = raw(address)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        got, _ = read_all(sock)
        if wanted is not None:
            expect(name, got, wanted)
        expect("%s: no answer of HTTP" % name, b"HTTP/" in got, False)
        sock.close()
    for data in (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                 b"PUT /bucket/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n" + bytes(3000000)):
        for step in (len(data), 7):
            sock = raw(address)
            for i in range(0, min(len(data), 1000 if step == 7 else len(data)), step):
                sock.sendall(data[i:i + step])
            sock.shutdown(socket.SHUT_WR)
            got, clean = read_all(sock)
            expect("a plain %r" % data[:4], (got[:12], b"speaks TLS" in got, clean), (b"HTTP/1.1 400", True, True))
    expect("served as always", Client(address).raw("GET", "/bucket/").status, 200)


def client_hello():
    out = ssl.MemoryBIO()
    shaking = TLS.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    try:
        shaking.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


# ---- renewal ----

def renew(address, seconds, command):
    end, counts, problems = time.monotonic() + seconds, [], []
    old = Client(address)
    old.put("old", b"o" * 1000)

    def work(number):
        body, n = os.urandom(3000), 0
        client = Client(address)
        try:
            while time.monotonic() < end:
                if number % 2:
                    client.close()  # each request on a new connection
                client.put("k-%d" % number, body)
                if client.raw("GET", "/bucket/k-%d" % number).body != body:
                    problems.append("another body")
                n += 2
        except Exception as problem:  # any is one too many
            problems.append(repr(problem))
        counts.append(n)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    subprocess.run(command, check=True)
    for thread in threads:
        thread.join()
    expect("requests that failed", problems, [])
    expect("the oldest connection", old.raw("GET", "/bucket/old").status, 200)
    print("%d requests while the certificate changed" % sum(counts))


# ---- memory ----

def is_open(sock):
    """Reads what has come."""
    sock.setblocking(False)
    try:
        while sock.recv(4096):
            pass
        return False
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False


def idle(address, pid, n):
    """Of more than the server has room for it closes the longest idle ones."""
    Client(address).raw("GET", "/bucket/")
    before, socks = resident(pid), []
    for _ in range(n):
        sock = connect(address, timeout=30)
        sock.sendall(b"HEAD /bucket HTTP/1.1\r\nHost: localhost\r\n\r\n")
        expect("an answer", sock.recv(12), b"HTTP/1.1 200")
        socks.append(sock)
    after, n_open = resident(pid), sum(map(is_open, socks))
    each = (after - before) / n_open
    print("%d idle connections with TLS, %d open: %.1f KiB each" % (n, n_open, each))
    expect("as many open as there is room for", n_open >= min(n, 4000), True)
    expect("at most 64 KiB each", each <= 64, True)


def slow(address, pid, n):
    client = Client(address)
    client.put("large", os.urandom(32 * MIB))
    client.raw("GET", "/bucket/large")
    before, socks = resident(pid), []
    for _ in range(n):
        sock = connect(address, rcvbuf=4096, timeout=30)
        sock.sendall(b"GET /bucket/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        socks.append(sock)
    highest, end = 0, time.monotonic() + 3
    while time.monotonic() < end:
        highest = max(highest, resident(pid))
        time.sleep(0.05)
    each = (highest - before) / n
    print("%d readers that take nothing: %.0f KiB each" % (n, each))
    expect("at most 640 KiB each", each <= 640, True)
    began = time.monotonic()
    expect("another is served", client.raw("GET", "/bucket/large").status, 200)
    expect("... at once", time.monotonic() - began < 10, True)


def main():
    what, rest = sys.argv[1], sys.argv[2:]
    if what == "renew":
        renew(rest[0], float(rest[1]), rest[2:])
    elif what in ("idle", "slow"):
        {"idle": idle, "slow": slow}[what](rest[0], rest[1], int(rest[2]))
    else:
        {"ends": ends, "garbage": garbage}[what](rest[0])
    sys.exit(bool(failures))


main()
