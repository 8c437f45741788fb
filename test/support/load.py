#!/usr/bin/env python3
"""Loads a server and writes down what it acknowledged, or checks it against what was written down.

  load.py put ADDR N              N PUTs by eight clients
  load.py delete ADDR FILE N      DELETEs of the first N objects in FILE
  load.py mixed ADDR SEED         PUTs and DELETEs by eight clients until the server goes away
  load.py check ADDR FILE         the server has exactly what FILE says
  load.py list ADDR WRITERS N     LISTs while WRITERS clients PUT N objects each

A line is "KEY MD5", "KEY -" (deleted) or "KEY MD5 ?" or "KEY - ?" (sent, not answered: either way
will do). The last line of a key counts, with the unanswered ones behind it."""
import hashlib
import http.client
import random
import sys
import threading

from s3client import Client, Failure

CLIENTS = 8
LOCK = threading.Lock()


def say(*words):
    with LOCK:
        print(*words, flush=True)


def body_of(key, size):
    return random.Random(key).randbytes(size)


def in_threads(n, work):
    """Runs work(0) .. work(n - 1), each in a thread; the first failure ends the program."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except Exception as failure:  # reported below, whatever it is
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def put(address, n):
    def work(number):
        client = Client(address)
        for i in range(number, n, CLIENTS):
            key = "s3ql_data_%d" % i
            body = body_of(key, i * 7 % 5000)
            md5 = hashlib.md5(body).hexdigest()
            client.put(key, body, {"000": "x" * (i % 200 + 1), "format": "raw2", "md5": md5})
            say(key, md5)

    in_threads(CLIENTS, work)


def delete(address, path, n):
    client = Client(address)
    for i, line in enumerate(open(path)):
        key, md5 = line.split()
        if i < n:
            client.delete(key)
            md5 = "-"
        print(key, md5)


def mixed(address, seed):
    def work(number):
        dice = random.Random("%s %d" % (seed, number))
        client = Client(address)
        for i in range(100000):
            # Each client has its own keys, so that the order of the lines is the order of events.
            key = "c%d-%d" % (number, dice.randrange(40))
            body = body_of("%s %d %d" % (seed, number, i), dice.choice((0, 1, 900, 5000, 70000, 200000)))
            outcome = hashlib.md5(body).hexdigest() if dice.random() < 0.7 else "-"
            try:
                if outcome == "-":
                    client.delete(key)
                else:
                    client.put(key, body, {"md5": outcome})
            except (OSError, http.client.HTTPException):
                say(key, outcome, "?")
                return
            say(key, outcome)

    in_threads(CLIENTS, work)


def check(address, path):
    allowed = {}  # key -> what it may be
    for line in open(path):
        key, outcome, *unanswered = line.split()
        if unanswered:
            allowed.setdefault(key, {"-"}).add(outcome)
        else:
            allowed[key] = {outcome}
    client = Client(address)
    listed = set(client.list())
    unknown = listed - set(allowed)
    if unknown:
        sys.exit("listed, but nobody put it: %s" % sorted(unknown)[:5])
    for key, outcomes in allowed.items():
        reply = client.raw("GET", client.path(key))
        if reply.status == 200:
            found = hashlib.md5(reply.body).hexdigest()
            if reply.etag != found or reply.meta.get("md5") != found:
                sys.exit("%s: body, ETag and metadata disagree" % key)
        elif reply.status == 404 and reply.code == "NoSuchKey":
            found = "-"
        else:
            sys.exit("%s: status %d %s" % (key, reply.status, reply.code))
        if found not in outcomes:
            sys.exit("%s is %s, should be %s" % (key, found, " or ".join(outcomes)))
        if (found != "-") != (key in listed):
            sys.exit("%s: LIST and GET disagree" % key)


def list_while_writing(address, writers, n):
    acked = []
    running = [writers]

    def work(number):
        client = Client(address)
        if number == writers:
            while running[0] > 0:
                before = set(acked)
                missing = before - set(client.list(prefix="w", max_keys=100))
                if missing:
                    raise Failure("acknowledged, then not listed: %s" % sorted(missing)[:5])
            return
        try:
            for i in range(n):
                key = "w%d-%d" % (number, i)
                client.put(key, body_of(key, i * 13 % 3000))
                acked.append(key)
        finally:
            running[0] -= 1

    in_threads(writers + 1, work)
    if len(Client(address).list(prefix="w")) != writers * n:
        sys.exit("not everything is listed")


def main():
    command, address, *rest = sys.argv[1:]
    if command == "put":
        put(address, int(rest[0]))
    elif command == "delete":
        delete(address, rest[0], int(rest[1]))
    elif command == "mixed":
        mixed(address, rest[0])
    elif command == "check":
        check(address, rest[0])
    elif command == "list":
        list_while_writing(address, int(rest[0]), int(rest[1]))
    else:
        sys.exit(__doc__)


main()
