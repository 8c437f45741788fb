#!/usr/bin/env python3
"""Power cuts of a real ext4 with a store on it, by replaying what its disk was told.

  power_cut.py MOUNTED MARKS LOG record SECONDS [SEED] [-- WRAP...]
      loads a server with its store in MOUNTED/store, and writes into MARKS what it sends and what
      it is answered. WRAP is put in front of the server
  power_cut.py IMAGE LOG DIR replay STATES [SEED] [FIRST]
      IMAGE as it was before; LOG as block_log.py wrote it. Makes STATES states that a power cut may
      have left, mounts each at DIR, starts a server on it and looks at everything

A state: the log is cut at a random place. What was written before the last flush is there; of the
4 KiB blocks written after it any may be there, each on its own. So an entry of the log that says
"acknowledged" before the cut must hold.

The last line of replay is "N states, N caught"; exit code 1 if any was caught."""
import http.client
import os
import random
import subprocess
import sys
import threading
import time

from block_log import FLUSH, MARK, WRITE, read_log
from s3client import Failure
from served import Ledger, Server, in_threads, telling

CLIENTS = 8
KEYS = 25  # of each client, so that most PUTs overwrite
SIZES = (0, 1, 900, 900, 900, 4000, 4000, 5000, 20000, 150000)
BLOCK = 4096
SMALL_BLOCKS = "200000"  # of the store: rolls over all the time
MiB = 1 << 20


class Marks(Ledger):
    """Writes down what happens, in the order of the ledger."""

    def __init__(self, path):
        super().__init__()
        self.file = os.open(path, os.O_WRONLY)

    def note(self, *words):
        os.write(self.file, (" ".join(words) + "\n").encode())

    def begin(self, key, outcome):
        with self.lock:
            self.note("B", key, outcome or "-")
            self.allowed.setdefault(key, {None}).add(outcome)

    def confirm(self, key, outcome):
        with self.lock:
            self.allowed[key] = {outcome}
            self.acknowledged += 1
            self.note("A", key, outcome or "-")


def load(server, ledger, dice, seconds):
    """PUT, overwrite, DELETE, COPY and multipart uploads by eight clients, for a while or until the server is gone."""
    end = time.monotonic() + seconds
    seeds = [dice.random() for _ in range(CLIENTS)]

    def work(number):
        dice = random.Random(seeds[number])
        client = server.client()
        while time.monotonic() < end:
            key = "c%d-%d" % (number, dice.randrange(KEYS))
            sure = [k for k, o in list(ledger.allowed.items())
                    if k.startswith("c%d-" % number) and len(o) == 1 and None not in o]
            act = dice.random()
            try:
                if act < 0.2:
                    reply = ledger.delete(client, key)
                elif act < 0.35 and sure:
                    reply = ledger.copy_object(client, dice.choice(sure), key)
                elif act < 0.55:
                    reply = ledger.multipart(
                        client, key, dice.randbytes(dice.choice(SIZES)),
                        dice.choice(sure) if sure and dice.random() < 0.3 else None,
                        dice.choice(("complete", "complete", "complete", "abort", "leave")))
                else:
                    size = dice.choice(SIZES)
                    reply = ledger.put(client, key, dice.randbytes(size))
            except (OSError, http.client.HTTPException):
                if not server.killed:
                    raise
                return
            if reply.status == 503:
                return  # the disk is full, which is fine, too
            if reply.status not in (200, 204):
                # A copy onto itself changes nothing and is refused.
                if not (reply.status == 400 and act < 0.35):
                    raise Failure("status %d %s" % (reply.status, reply.body.decode()))

    in_threads(CLIENTS, work)


def record(mounted, marks, log, seconds, seed, wrap):
    """Sessions that end in each way: Ctrl+C, kill -9 in the middle, and running on."""
    dice = random.Random(seed)
    ledger = Marks(marks)
    store = os.path.join(mounted, "store")
    os.mkdir(store, 0o700)
    server = Server(os.environ["WORK"] + "/power-cut.log", wrap)
    with telling(server):
        for session in range(4):
            if not server.start(store, "-bs", SMALL_BLOCKS if session != 2 else "41943040"):
                raise Failure("the server does not start")
            ledger.check(server.client(), settle=True)
            if session == 1:
                killer = threading.Timer(seconds / 4, server.kill)
                killer.start()
                load(server, ledger, dice, seconds)
                killer.join()
            else:
                load(server, ledger, dice, seconds / 4)
            if session in (0, 2) and server.stop() != 0:
                raise Failure("the stop")
        # The last one still runs: what it holds is as it would be when the power goes.
        server.kill()
    print("%d changes acknowledged, %d MiB in the log" % (ledger.acknowledged, os.path.getsize(log) // MiB))


# ---- replay ----


def ledger_of(marks):
    """What a server may show that has answered so far."""
    ledger = Ledger()
    for line in b"".join(marks).decode().split("\n")[:-1]:
        kind, key, outcome = line.split()
        outcome = None if outcome == "-" else outcome
        (ledger.begin if kind == "B" else ledger.confirm)(key, outcome)
    return ledger


def pieces_of(writes):
    """The 4 KiB blocks of the writes, in their order; a block may come several times."""
    for offset, data in writes:
        for at in range(0, len(data), BLOCK):
            yield offset + at, data[at : at + BLOCK]


def choose(dice, pieces):
    """Which of the blocks reached the disk. Of one block written twice, any version may have."""
    mode = dice.randrange(6)
    if mode == 0 or not pieces:
        return []
    if mode == 1:
        return pieces
    if mode == 2:  # all but one
        gone = dice.randrange(len(pieces))
        return pieces[:gone] + pieces[gone + 1 :]
    if mode == 3:  # a beginning
        return pieces[: dice.randrange(len(pieces) + 1)]
    part = dice.random()
    return [piece for piece in pieces if dice.random() < part]


class State:
    def __init__(self, directory, image):
        self.directory = directory
        self.image = image
        self.server = Server(os.environ["WORK"] + "/power-cut.log")

    def mount(self, content):
        with open(self.image, "wb") as file:
            file.write(content)
        for wait in range(10):
            done = subprocess.run(["mount", "-o", "loop", self.image, self.directory],
                                  stderr=subprocess.PIPE, text=True)
            if done.returncode == 0:
                return
            if "loop device" not in done.stderr:
                raise Failure("ext4 itself: " + done.stderr)
            time.sleep(wait)
        raise Failure("no loop device is free")

    def unmount(self):
        subprocess.run(["umount", self.directory], check=True)

    def look(self, content, ledger, twice):
        self.mount(content)
        try:
            store = os.path.join(self.directory, "store")
            if not os.path.isdir(store):
                if any(None not in outcomes for outcomes in ledger.allowed.values()):
                    raise Failure("the store is gone")
                return
            if not self.server.start(store):
                raise Failure("no start: " + self.server.said())
            try:
                ledger.check(self.server.client(), settle=True)
                if "damaged" in self.server.said():
                    raise Failure(self.server.said())
            finally:
                self.server.kill()
            if twice:  # recovery, once more
                if not self.server.start(store):
                    raise Failure("no second start: " + self.server.said())
                try:
                    ledger.check(self.server.client())
                finally:
                    if self.server.stop() != 0:
                        raise Failure("the stop: " + self.server.said())
        finally:
            self.unmount()


def replay(image, log_path, directory, states, seed, first):
    with open(image, "rb") as file:
        base = bytearray(file.read())
    entries = list(read_log(log_path))
    dice = random.Random(seed)
    # The last cut is the end; the others lie where something is written.
    cuts = sorted(dice.randrange(len(entries) + 1) for _ in range(states))
    state = State(directory, os.environ["WORK"] + "/state.img")
    marks, pending, at = [], [], 0
    caught = 0
    for number, cut in enumerate(cuts):
        for kind, offset, data in entries[at:cut]:
            if kind == WRITE:
                pending.append((offset, data))
            elif kind == FLUSH:
                for offset, data in pending:
                    base[offset : offset + len(data)] = data
                pending = []
            elif kind == MARK:
                marks.append(data)
        at = cut
        dice = random.Random("%s %d" % (seed, number))
        content = bytearray(base)
        for offset, data in choose(dice, list(pieces_of(pending))):
            content[offset : offset + len(data)] = data
        if number < first:
            continue
        try:
            state.look(content, ledger_of(marks), number % 3 == 0)
        except Failure as failure:
            caught += 1
            print("state %d of seed %s, cut at %d of %d: %s" % (number, seed, cut, len(entries), failure))
    print("%d states, %d caught" % (states - first, caught))
    return caught


def main():
    one, two, three, command, count, *rest = sys.argv[1:]
    if command == "record":
        wrap = rest[rest.index("--") + 1 :] if "--" in rest else []
        record(one, two, three, float(count), rest[0], wrap)
    else:
        first = int(rest[1]) if len(rest) > 1 else 0
        sys.exit(replay(one, two, three, int(count), rest[0], first) > 0)


main()
