#!/usr/bin/env python3
"""Fills a small disk with a store on it, again and again.

  disk_full.py DIR FILLS [SEED]   DIR: a mounted, empty file system of some 64 MiB

A ballast file leaves room for a few uploads; eight clients fill it until all of them are told to come
back later; then something happens to the full disk (EVENTS), everything is looked at, and a smaller
ballast gives room again. Every answer must be 200 or 204, or 503 SlowDown with Retry-After, and come
within LATEST seconds; what was acknowledged is there, always."""
import errno
import hashlib
import http.client
import os
import random
import shutil
import sys
import threading
import time

from s3client import Failure
from served import Ledger, Server, in_threads, telling

MIB = 1 << 20
WRITERS = 8
ROOM = 2 * MIB  # for uploads, at each fill
LATEST = 10
COMES_BACK = 8  # seconds after there is room again
SIZES = (0, 100, 900, 900, 5000, 5000, 30000, 30000, 70000, 300000)
BLOCK_SIZES = ("100000", "1000000", "1000000", "41943040")


class Disk:
    def __init__(self, path):
        self.path = path
        self.ballast = os.path.join(path, "ballast")
        self.file = os.open(self.ballast, os.O_RDWR | os.O_CREAT, 0o600)

    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def total(self):
        st = os.statvfs(self.path)
        return st.f_blocks * st.f_frsize

    def leave(self, wanted):
        """Sets the ballast so that about `wanted` bytes are free; false: there is not so much."""
        size = os.fstat(self.file).st_size + self.free() - wanted
        if size < 0:
            os.ftruncate(self.file, 0)
            return False
        os.ftruncate(self.file, min(size, os.fstat(self.file).st_size))
        if size > 0:
            os.posix_fallocate(self.file, 0, size)
        return True

    def eat(self):
        """Takes what is free, to the last block; says what it got."""
        step, took = 4 * MIB, 0
        while step >= 512:
            size = os.fstat(self.file).st_size
            try:
                os.posix_fallocate(self.file, size, step)
                took += step
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                os.ftruncate(self.file, size)
                step //= 2
        return took

    def give_back(self, took):
        os.ftruncate(self.file, max(0, os.fstat(self.file).st_size - took))


class World:
    def __init__(self, disk, dice):
        self.disk = disk
        self.dice = dice
        self.store = os.path.join(disk.path, "store")
        self.server = Server(disk.path + ".log")
        self.ledger = Ledger()
        self.serial = 0
        self.stores = self.puts = self.refused = self.cut = self.gone = 0
        self.slowest = 0.0
        self.lock = threading.Lock()
        st = disk.total()
        self.reserve = min(64 * MIB, max(st // 50, 8 * MIB), st // 4)
        self.new_store()

    # ---- the server ----

    def new_store(self):
        if self.server.child is not None and self.server.child.poll() is None:
            self.stop()
        shutil.rmtree(self.store, ignore_errors=True)
        os.mkdir(self.store, 0o700)
        self.ledger = Ledger()
        self.stores += 1
        self.disk.leave(self.reserve + ROOM)
        self.start()

    def start(self):
        if not self.server.start(self.store, "-bs", self.dice.choice(BLOCK_SIZES)):
            raise Failure("the server does not start")

    def stop(self):
        code = self.server.stop()
        if code != 0:
            raise Failure("exit code %d" % code)

    # ---- requests ----

    def timed(self, call, *args):
        """The reply, or None if the connection was cut."""
        began = time.monotonic()
        try:
            reply = call(*args)
        except (ConnectionError, http.client.HTTPException):
            return None
        took = time.monotonic() - began
        with self.lock:
            self.slowest = max(self.slowest, took)
        if took > LATEST:
            raise Failure("an answer after %.1f s: %d" % (took, reply.status))
        if reply.status == 503:
            if reply.code != "SlowDown" or "retry-after" not in reply.headers:
                raise Failure("503 %s %s" % (reply.code, reply.headers))
        elif reply.status not in (200, 204):
            raise Failure("status %d %s" % (reply.status, reply.body.decode()))
        return reply

    def body(self, dice):
        size = 1500000 if dice.random() < 0.02 else dice.choice(SIZES)
        return dice.randbytes(dice.randrange(size + 1) if size > 0 else 0)

    def key(self):
        with self.lock:
            self.serial += 1
            return "k%d" % self.serial

    def one_put(self, client, dice):
        """True: stored; False: refused; None: cut, as a server may do with a large body."""
        body = self.body(dice)
        reply = self.timed(self.ledger.put, client, self.key(), body)
        with self.lock:
            if reply is None:
                if len(body) < 65536 and self.server.child.poll() is None:
                    raise Failure("a small PUT was cut")
                self.cut += 1
                client.close()
                return None
            if reply.status == 200:
                self.puts += 1
            else:
                self.refused += 1
            return reply.status == 200

    def slow_put(self, client, dice):
        """An upload in pieces, so that some are running when the disk is full."""
        body = dice.randbytes(300000)

        def pieces():
            for at in range(0, len(body), 60000):
                time.sleep(0.05)
                yield body[at : at + 60000]

        class Slow:
            def __init__(self):
                self.left = pieces()

            def read(self, n):
                return next(self.left, b"")

        key = self.key()
        md5 = hashlib.md5(body).hexdigest()
        self.ledger.begin(key, md5)
        fields = {"Content-Length": str(len(body)), "X-Amz-Meta-Md5": md5}
        try:
            client.connection.request("PUT", client.path(key), Slow(), fields)
            response = client.connection.getresponse()
            response.read()
        except (ConnectionError, http.client.HTTPException):
            client.close()
            return
        if response.status == 200:
            self.ledger.confirm(key, md5)
        elif response.status != 503:
            raise Failure("slow PUT: status %d" % response.status)

    def fill(self, eat_at=None):
        """Until every writer was refused three times; eat_at: after so many PUTs the rest of the
        disk is taken away. Returns what that took."""
        seeds = [self.dice.random() for _ in range(WRITERS + 1)]
        took = [0]
        begun = self.puts

        def work(number):
            dice = random.Random(seeds[number])
            client = self.server.client()
            refused = 0
            while refused < 3:
                if number == WRITERS:
                    self.slow_put(client, dice)
                    refused += 1
                    continue
                if self.one_put(client, dice):
                    refused = 0
                else:
                    refused += 1
                    time.sleep(0.03)
                if number == 0 and eat_at is not None and self.puts - begun >= eat_at and not took[0]:
                    took[0] = self.disk.eat()
            client.close()

        in_threads(WRITERS + 1, work)
        if eat_at is not None and not took[0]:
            took[0] = self.disk.eat()
        return took[0]

    # ---- what must hold ----

    def look(self, everything=False):
        keys = list(self.ledger.allowed)
        if not everything and len(keys) > 40:
            keys = self.dice.sample(keys, 40)
        client = self.server.client(LATEST)
        self.ledger.check(client, settle=everything, keys=None if everything else keys)
        client.close()

    def expect_refusal(self, call, *args):
        reply = self.timed(call, *args)
        if reply is None or reply.status != 503:
            raise Failure("not refused: %s" % (reply and reply.status))

    def live_keys(self, n):
        live = [k for k, o in self.ledger.allowed.items() if None not in o]
        return self.dice.sample(live, min(n, len(live)))

    def full_but_for_the_reserve(self):
        if self.disk.free() < self.reserve // 2:
            raise Failure("only %d of the reserve of %d left" % (self.disk.free(), self.reserve))
        if self.disk.free() > self.reserve:  # a start makes the index's files shorter
            self.disk.leave(self.reserve)
        client = self.server.client()
        self.expect_refusal(self.ledger.put, client, self.key(), b"x" * 70000)
        for key in self.live_keys(3):
            reply = self.timed(self.ledger.delete, client, key)
            if reply is None or reply.status != 204:
                raise Failure("DELETE on a full disk: %s" % (reply and reply.code))
        client.close()
        self.look()

    def full_to_the_last_byte(self):
        client = self.server.client()
        self.expect_refusal(self.ledger.put, client, self.key(), b"x")
        keys = self.live_keys(1)
        if keys:
            self.expect_refusal(self.ledger.delete, client, keys[0])
        client.close()
        self.look()

    def comes_back(self):
        client = self.server.client()
        end = time.monotonic() + COMES_BACK
        while True:
            reply = self.timed(self.ledger.put, client, self.key(), b"again")
            if reply is not None and reply.status == 200:
                break
            if time.monotonic() > end:
                raise Failure("there is room again, and still %s" % (reply and reply.code))
            time.sleep(0.1)
        client.close()

    # ---- what happens to the full disk ----

    def nothing(self):
        self.fill()
        self.full_but_for_the_reserve()

    def stop_and_start(self):
        self.fill()
        self.full_but_for_the_reserve()
        self.stop()
        self.start()
        self.full_but_for_the_reserve()

    def kill_and_start(self):
        self.fill()
        self.server.kill()
        self.start()
        self.full_but_for_the_reserve()
        self.look(True)

    def index_rebuilt(self):
        self.fill()
        self.stop()
        self.remove_index()
        self.start()
        self.full_but_for_the_reserve()
        self.look(True)

    def reserve_eaten(self):
        self.fill()
        took = self.disk.eat()
        self.full_to_the_last_byte()
        self.disk.give_back(took)
        self.disk.leave(self.reserve + MIB)
        self.comes_back()
        self.look(True)

    def eaten_under_load(self):
        took = self.fill(eat_at=self.dice.randrange(40))
        self.full_to_the_last_byte()
        self.disk.give_back(took)
        self.disk.leave(self.reserve + MIB)
        self.comes_back()
        self.look(True)

    def stop_at_nothing(self):
        took = self.fill(eat_at=self.dice.randrange(40))
        code = self.server.stop()
        said = "not everything could be written" in self.server.said()
        if (code != 0) != said or code not in (0, 1):
            raise Failure("exit code %d, and %s" % (code, "said so" if said else "nothing said"))
        if code != 0 and "cannot be written (no space left)" not in self.server.said():
            raise Failure("nothing is said of the full disk")
        self.gone += code
        self.start_at_nothing(took)

    def kill_at_nothing(self):
        took = self.fill(eat_at=self.dice.randrange(40))
        self.server.kill()
        if self.dice.random() < 0.5:
            self.remove_index()
            self.disk.eat()
        self.start_at_nothing(took)

    def start_at_nothing(self, took):
        """With no room it may serve or give up in words; with room again nothing is missing."""
        if self.server.start(self.store):
            self.look(True)
            self.server.kill()
        elif "no space" not in self.server.said().lower():
            raise Failure("ended at once without saying why")
        self.disk.give_back(took)
        self.disk.leave(self.reserve + MIB)
        self.start()
        self.look(True)
        self.comes_back()

    def remove_index(self):
        for name in os.listdir(self.store):
            if name.startswith("index.sqlite"):
                os.unlink(os.path.join(self.store, name))

    EVENTS = (nothing, stop_and_start, kill_and_start, reserve_eaten, index_rebuilt,
              eaten_under_load, stop_at_nothing, kill_at_nothing)


def main():
    path, fills = sys.argv[1], int(sys.argv[2])
    seed = sys.argv[3] if len(sys.argv) > 3 else str(random.SystemRandom().randrange(1 << 32))
    print("seed", seed, flush=True)
    world = World(Disk(path), random.Random(seed))
    with telling(world.server):
        for fill in range(fills):
            if not world.disk.leave(world.reserve + ROOM):
                world.new_store()
            event = World.EVENTS[fill % len(World.EVENTS)]
            try:
                event(world)
            except Exception as failure:
                raise Failure("fill %d of seed %s, %s: %r" % (fill, seed, event.__name__, failure)) from failure
        world.disk.leave(world.reserve + ROOM)
        world.comes_back()
        world.look(True)
        world.stop()
    print("%d fills of %d stores: %d PUTs stored, %d refused, %d cut; %d stops could not write all; "
          "the slowest answer took %.2f s"
          % (fills, world.stores, world.puts, world.refused, world.cut, world.gone, world.slowest))


main()
