#!/usr/bin/env python3
"""What is too much, and what comes too late.

  limits.py ADDR PID        sizes and numbers, each at its limit and one above
  limits.py ADDR deadlines  who says nothing for how long is closed when (two minutes)

Over TLS where s3client.py says so."""
import os
import re
import socket
import sys
import ssl
import threading
import time

import s3client

HOST = "Host: localhost\r\n"
failures = []


def connect(address, rcvbuf=0):
    return s3client.connect(address, rcvbuf, 200)


def ask(address, data):
    """The first answer's status and S3 code; 0: closed without one."""
    with connect(address) as sock:
        got = b""
        try:
            sock.sendall(data)
            while not complete(got) and (more := sock.recv(65536)):
                got += more
        except (BrokenPipeError, ConnectionResetError):
            pass
    code = re.search(rb"<Code>(\w*)<", got)
    return int(got[9:12] or 0), code.group(1).decode() if code else ""


def complete(got):
    head, end, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
    return bool(end) and (not length or len(body) >= int(length.group(1)))


def expect(what, got, wanted):
    print("%s - %s: %s" % ("ok" if got == wanted else "not ok", what, got))
    if got != wanted:
        failures.append(what)
        print("    wanted %s" % (wanted,))


# ---- sizes ----

def head(n):
    """A GET whose head has n bytes."""
    start = "GET /bucket/ HTTP/1.1\r\n" + HOST + "X: "
    return (start + "a" * (n - len(start) - 4) + "\r\n\r\n").encode()


def fields(n):
    return ("GET /bucket/ HTTP/1.1\r\n" + HOST + "X: a\r\n" * (n - 1) + "\r\n").encode()


def chunked(body):
    return b"PUT /bucket HTTP/1.1\r\n" + HOST.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body


def post(xml):
    return ("POST /bucket/?delete HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (HOST, len(xml), xml)).encode()


def xml_of(n):
    text = "<Delete><Object><Key>k</Key></Object>%s</Delete>"
    return text % (" " * (n - len(text) + 2))


def deep(n):
    """XML in which the deepest element has n around it, itself included."""
    return "<Delete>%s%s<Object><Key>k</Key></Object></Delete>" % ("<a>" * (n - 1), "</a>" * (n - 1))


def length(n):
    return ("PUT /bucket/huge HTTP/1.1\r\n%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (HOST, n)).encode()


def virtual(pid):
    for line in open("/proc/%s/status" % pid):
        if line.startswith("VmPeak"):
            return int(line.split()[1]) // 1024


def sizes(address, pid):
    refused, too_large = (400, "BadRequest"), (400, "RequestHeaderSectionTooLarge")
    expect("a head of 32 KiB", ask(address, head(32768)), (200, ""))
    expect("and a byte", ask(address, head(32769)), too_large)
    expect("100 headers", ask(address, fields(100)), (200, ""))
    expect("101 headers", ask(address, fields(101)), too_large)
    expect("an extension of 256 bytes", ask(address, chunked(b"1;%s\r\na\r\n0\r\n\r\n" % (b"e" * 255))),
           (400, "MalformedXML"))  # it is read, and is no XML
    expect("and a byte", ask(address, chunked(b"1;%s\r\na\r\n0\r\n\r\n" % (b"e" * 256))), refused)
    expect("trailers of 8 KiB", ask(address, chunked(b"0\r\nX: %s\r\n\r\n" % (b"a" * 8186))), (200, ""))
    expect("and two bytes", ask(address, chunked(b"0\r\nX: %s\r\n\r\n" % (b"a" * 8189))), refused)
    expect("XML of 2 MiB", ask(address, post(xml_of(2 << 20))), (200, ""))
    expect("and a byte", ask(address, post(xml_of((2 << 20) + 1))), (400, "MaxMessageLengthExceeded"))
    expect("XML 16 deep", ask(address, post(deep(16))), (200, ""))
    expect("XML 17 deep", ask(address, post(deep(17))), (400, "MalformedXML"))
    bomb = '<!DOCTYPE d [<!ENTITY a "%s">%s]><Delete>&z;</Delete>' % (
        "x" * 100, "".join('<!ENTITY %s "%s">' % (chr(98 + i), "&%s;" % chr(97 + i) * 50) for i in range(24)))
    expect("entities in entities", ask(address, post(bomb)), (400, "MalformedXML"))
    before = virtual(pid)
    for n in (5 << 30, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64):
        status, _ = ask(address, length(n))
        expect("a length of %d is %s" % (n, "waited for or refused" if n <= 5 << 30 else "refused"),
               status in ((100, 503) if n <= 5 << 30 else (400, 503)), True)
    expect("no memory was taken for them", virtual(pid) - before < 16, True)
    expect("an object as always", ask(address, length(0)), (100, ""))


# ---- deadlines: each connection in a thread of its own ----

def lifetime(sock, trickle=b"", every=1.0):
    """Seconds until the server closes, and what it said; sends and does not read before."""
    began, got = time.monotonic(), b""
    sock.settimeout(every)
    while time.monotonic() - began < 150:
        try:
            if trickle:
                sock.sendall(trickle)
                time.sleep(every)
                sock.setblocking(False)
            more = sock.recv(65536)
            if not more:
                return time.monotonic() - began, got
            got += more
        except (socket.timeout, BlockingIOError, ssl.SSLWantReadError):
            pass
        except (BrokenPipeError, ConnectionResetError):
            return time.monotonic() - began, got
        sock.settimeout(every)
    return time.monotonic() - began, got


def stalled(sock):
    """The same for one that reads nothing: the kernel tells when it is cut."""
    began = time.monotonic()
    while time.monotonic() - began < 150:
        time.sleep(0.2)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        if info[0] != 1:  # ESTABLISHED
            break
    return time.monotonic() - began, b""


def put_head(n):
    return ("PUT /bucket/slow-%d HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (n, HOST, n)).encode()


CASES = [  # what, how, first bytes, trickle each second, seconds, part of what is said
    ("nothing at all", lifetime, b"", b"", 120, b""),
    ("nothing behind an answer", lifetime, b"HEAD /bucket HTTP/1.1\r\n" + HOST.encode() + b"\r\n", b"", 120, b" 200 "),
    ("half a head", lifetime, b"GET / HTTP/1.1\r\n", b"", 10, b" 408 "),
    ("a head byte by byte", lifetime, b"GET /", b"a", 10, b" 408 "),
    ("an empty line", lifetime, b"\r\n", b"", 10, b" 408 "),
    ("a body of which nothing comes", lifetime, put_head(1000), b"", 30, b" 408 "),
    ("a body at 900 bytes a second", lifetime, put_head(1000000), b"x" * 900, 30, b" 408 "),
    ("a body at 1,200 bytes a second", lifetime, put_head(1000001), b"x" * 1200, None, b""),
    ("an answer that is not taken", stalled, b"GET /bucket/large HTTP/1.1\r\n" + HOST.encode() + b"\r\n", b"", 120, b""),
]


def deadline(address, what, how, first, trickle, seconds, says):
    sock = connect(address, 4096 if how is stalled else 0)
    if first:
        sock.sendall(first)
    lived, got = how(sock, trickle) if how is lifetime else how(sock)
    in_time = lived >= 149 if seconds is None else seconds - 1.5 <= lived <= seconds + 4
    expect("%s: after %.1f s, %s" % (what, lived, got[9:12].decode() or "silently"), in_time and says in got, True)
    sock.close()


def deadlines(address):
    size = 64 << 20
    with connect(address) as sock:
        sock.sendall(("PUT /bucket/large HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (HOST, size)).encode())
        for _ in range(size >> 20):
            sock.sendall(os.urandom(1 << 20))
        sock.recv(1000)
    threads = [threading.Thread(target=deadline, args=(address, *case)) for case in CASES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if sys.argv[2] == "deadlines":
    deadlines(sys.argv[1])
else:
    sizes(sys.argv[1], sys.argv[2])
sys.exit(bool(failures))
