#!/usr/bin/env python3
"""Sends the requests of test/http/vectors.txt to a real server.

  vectors.py ADDR          ours, started with -bucket x: each vector whole, byte by byte and cut in two
                           at a few places. It must give as many answers as the trace says, a refusal
                           where that says one, and close.
  vectors.py ADDR nginx    nginx with "return 200": what it refuses we must refuse, too, or there is a
                           reason in ACCEPTED_ANYWAY.

The sending end is closed behind each vector, so that every exchange ends at once."""
import os
import re
import socket
import sys

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../http/vectors.txt")
ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
ANSWER = re.compile(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*\r\nServer: ")
# Here the server may answer early, and close, where the handler of the unit test reads on: targets
# that mean something only there, bodies of methods that have none, no Host.
EARLY = re.compile(r" /(now|mid|bye|hold) |(GET|HEAD|DELETE|POST|OPTIONS) \S+ \d+h (len=[1-9]|chunked)")

# What a PUT of S3 refuses by its length.
TOO_LARGE = {"the largest length is 2^63 - 1"}

# Vectors of which nginx takes fewer requests than we do, and why that is no hole: nobody could place
# the end of a request elsewhere.
PATHS = "nginx decodes the path; here a key is no path, and is decoded when its operation is chosen"
SPACE = "RFC 9112 has tabs among the white space around a value"
CLOSE = "nginx finds the word close in any other"
ACCEPTED_ANYWAY = {
    "a target stays as it was received": PATHS,
    "a target is left as it is: dots": PATHS,
    "a target is left as it is: encoded dots": PATHS,
    "a target is left as it is: an encoded NUL": PATHS,
    "a target is left as it is: broken percent codes": PATHS,
    "OPTIONS may have the target *": "RFC 9110 allows it",
    "chunked is written in any case": SPACE,
    "chunked is taken with a tab before it": SPACE,
    "chunked is taken with white space behind it": SPACE,
    "of two Expects the first counts": "it may be a list, and says nothing of the body's length",
    "Connection: closed": CLOSE,
    "Connection: close in another word": CLOSE,
    "Connection: two words": CLOSE,
}


def unescape(text):
    return re.sub(rb"\\(x..|.)", lambda m: ESCAPES.get(m[1]) or bytes([int(m[1][1:], 16)]),
                  text.encode())


def read_vectors():
    """(name, bytes, trace) of each."""
    name, data = None, b""
    for line in open(FILE, encoding="ascii"):
        line = line.rstrip("\n")
        if line.startswith("= "):
            yield name, data, line[2:]
            name, data = None, b""
        elif line.startswith("  "):
            data += unescape(line[2:])
        elif line and not line.startswith("#"):
            name = line


def exchange(address, parts):
    """Statuses of the answers until the server closes."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        got = b""
        try:
            for part in parts:
                sock.sendall(part)
            sock.shutdown(socket.SHUT_WR)
            while more := sock.recv(65536):
                got += more
        except (BrokenPipeError, ConnectionResetError):
            pass  # it closed early, and what it said before may be lost
        except OSError as error:
            if error.errno != 107:  # ENOTCONN: the same, seen by shutdown()
                raise
    return [int(status) for status in ANSWER.findall(got)]


def cuts(data):
    yield "whole", [data]
    yield "byte by byte", [data[i:i + 1] for i in range(len(data))]
    for at in sorted({len(data) // 3, len(data) // 2, len(data) - 1} - {0}):
        yield "cut at %d" % at, [data[:at], data[at:]]


def wanted_statuses(trace):
    """None for an answer of the handler, a status for a refusal."""
    trace = trace.replace("BAD", "!400 BadRequest drain")
    trace = re.sub(r" \(.*?\) (?=end|cut|200)", " ", trace)
    return [int(word[1:]) if word[0] == "!" else None
            for word in re.findall(r"(?:^| )(!\d\d\d|200c?)(?= |$)", trace)]


def ours(address):
    failures = n = 0
    for name, data, trace in read_vectors():
        data = re.sub(rb"(?i)(?<=\nHost: )h(?=\r|:80\r)", b"localhost", data, 1)
        data = re.sub(rb"(?i)http://h(?=[:/ ])", b"http://localhost", data, 1)
        data = re.sub(rb"PUT /(now|mid) ", rb"PUT /none/\1 ", data)  # no such bucket: refused at once
        if b"chunked" not in data.lower():  # else S3 wants another header
            data = data.replace(b"PUT /x ", b"PUT /x/x ")
        wanted = wanted_statuses(trace)
        for how, parts in cuts(data):
            got = exchange(address, parts)
            n += 1
            same = len(got) == len(wanted) and all(w is None or w == g for w, g in zip(wanted, got))
            same = same or name in TOO_LARGE and got == [400]
            early = EARLY.search(" " + trace) or b"HTTP/1.0" in data
            if not same and not (early and 0 < len(got) < len(wanted)):
                failures += 1
                print("%s, %s: answers %s, wanted %s" % (name, how, got, wanted))
    print("%d exchanges, %d failures" % (n, failures))
    return failures


def nginx(address):
    failures = n = 0
    for name, data, trace in read_vectors():
        n += 1
        taken = sum(status is None for status in wanted_statuses(trace))
        by_nginx = sum(status == 200 for status in exchange(address, [data]))
        if taken > by_nginx and name not in ACCEPTED_ANYWAY:
            failures += 1
            print("%s: nginx takes %d, we take %d requests" % (name, by_nginx, taken))
        elif taken <= by_nginx and name in ACCEPTED_ANYWAY:
            failures += 1
            print("%s: nginx takes it" % name)
    print("%d vectors, %d failures" % (n, failures))
    return failures


sys.exit((nginx if sys.argv[2:] == ["nginx"] else ours)(sys.argv[1]) > 0)
