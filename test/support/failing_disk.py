#!/usr/bin/env python3
"""A disk on which writes fail while a file is there, below a store that is being loaded.

  failing_disk.py DIR FAULT some|all ROUNDS SEED REMOUNT...
      DIR: the mounted file system; FAULT: the file; REMOUNT: a command that unmounts and mounts DIR

In each round some of the writes, or all of them, fail for a while under the load of eight clients.
Then the disk is well again. The server either goes on by itself (what failed was declared void: none
of it may ever be seen), or it has stopped with words and an exit code (what failed may be there whole
or not at all). What was acknowledged is there in any case, also after kill -9 and a start.

all: every write fails, the journal's, too, so that ext4 makes itself read-only, and no round can be
survived: the server stops, or it refuses whatever is to be written. some: rounds go on until both
endings have been seen ROUNDS times. Here, too, ext4 gives up now and then, as late as in the next
round or never, when what failed was a write of its own outside the journal; in some rounds it is made
to write just then."""
import errno
import http.client
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time

from s3client import Failure
from served import Ledger, Server, in_threads, telling

CLIENTS = 8
MAX_ROUNDS = 60
ROUNDS_A_STORE = 20  # nothing is deleted, and the disk is small
ENDS = ("not everything could be written", "could not be", "is damaged: it is removed", "error: the look-up index ")
CAUSES = r"^error: .*: (?:Input/output error|Structure needs cleaning|Bad message|Read-only file system)$"
SIZES = (100, 900, 5000, 30000, 200000)


class World:
    def __init__(self, directory, fault, dice, remount):
        self.dir = directory
        self.remount = remount
        self.store = os.path.join(directory, "store")
        self.acknowledged = 0  # in stores that came before
        self.fault = fault
        self.dice = dice
        self.server = Server(directory + ".log")
        self.ledger = Ledger()
        self.lock = threading.Lock()
        self.serial = 0
        self.failed = []  # keys of PUTs that got 500 in this round
        self.n_failed = self.survived = self.stopped = self.remounted = 0

    def new_store(self):
        running = self.server.child is not None and self.server.child.poll() is None
        if running and self.server.stop() != 0 and not self.is_read_only():
            raise Failure("the stop of a store that is well")
        if self.is_read_only():
            self.mount_again()
        shutil.rmtree(self.store, ignore_errors=True)
        os.mkdir(self.store, 0o700)
        self.acknowledged += self.ledger.acknowledged
        self.ledger = Ledger()

    def start(self):
        size = self.dice.choice(("200000", "41943040"))
        if not self.server.start(self.store, "-bs", size):
            # ext4 has given up, or a file of it can be neither read nor written: that is said with its cause.
            if not self.is_read_only() and not re.search(CAUSES, self.server.said(), re.M):
                raise Failure("no start: " + self.server.said())
            self.mount_again()
            if not self.server.start(self.store, "-bs", size):
                raise Failure("no start: " + self.server.said())

    def put(self, client, dice):
        """False: the server is gone."""
        with self.lock:
            self.serial += 1
            key = "k%d" % self.serial
        body = dice.randbytes(dice.choice(SIZES))
        try:
            reply = self.ledger.put(client, key, body)
        except (OSError, http.client.HTTPException):
            return False
        if reply.status == 500:
            with self.lock:
                self.failed.append(key)
        elif reply.status not in (200, 503):
            raise Failure("PUT: status %d %s" % (reply.status, reply.body.decode()))
        return True

    def is_read_only(self):
        probe = os.path.join(self.dir, "probe")
        try:
            open(probe, "w").close()
            os.unlink(probe)
        except OSError as failure:
            return failure.errno == errno.EROFS
        return False

    def mount_again(self):
        if subprocess.run(self.remount).returncode != 0:
            raise Failure("the file system cannot be mounted again")
        self.remounted += 1

    def load(self, sick_seconds, flush):
        """Well, then sick until something failed (at least for a while), then well again. flush: ext4
        writes all it has while it is sick."""
        seeds = [self.dice.random() for _ in range(CLIENTS)]
        over = threading.Event()

        def work(number):
            if number == CLIENTS:
                time.sleep(0.2)
                open(self.fault, "w").close()
                if flush:
                    subprocess.run(["sync", "-f", self.dir], stderr=subprocess.DEVNULL)
                end = time.monotonic() + 20
                time.sleep(sick_seconds)
                while not self.failed and self.server.child.poll() is None and not self.is_read_only():
                    if time.monotonic() > end:
                        raise Failure("writes fail, and nobody hears of it")
                    time.sleep(0.01)
                os.unlink(self.fault)
                time.sleep(0.2)
                over.set()
                return
            dice = random.Random(seeds[number])
            client = self.server.client()
            while not over.is_set() and self.put(client, dice):
                pass

        try:
            in_threads(CLIENTS + 1, work)
        finally:
            if os.path.exists(self.fault):
                os.unlink(self.fault)

    def is_undecided(self):
        """Whether an index that cannot be written is still tried again."""
        said = self.server.said()
        return self.server.child.poll() is None and not any(s in said for s in ENDS) and (
            said.rfind("look-up index: cannot be written") > said.rfind("look-up index: written again"))

    def has_stopped(self):
        """It stops by itself when a failure could not be declared void, or the index is not to be believed
        or cannot be written."""
        end = time.monotonic() + 30
        while self.is_undecided():
            if time.monotonic() > end:
                raise Failure("the index is tried again for ever")
            time.sleep(0.05)
        if any(s in self.server.said() for s in ENDS):
            try:
                code = self.server.child.wait(30)
            except subprocess.TimeoutExpired:
                raise Failure("it said that it stops, and runs")
            if code == 0:
                raise Failure("stopped by an error with exit code 0")
            return True
        if self.server.child.poll() is not None:
            raise Failure("gone without a word, exit code %d" % self.server.child.returncode)
        return False

    def stands_still(self):
        """No commit has failed, but the history cannot be written any more: writes are refused, reads
        go on, and the stop says so. Or the PUT is what the index cannot note, and that is the end."""
        client = self.server.client()
        try:
            if self.ledger.put(client, "too-late", b"x").status != 503:
                raise Failure("a PUT on a read-only file system is not refused")
            self.ledger.check(client)
        except (Failure, OSError, http.client.HTTPException):
            if not self.has_stopped():
                raise
            return
        if self.server.stop() == 0:
            raise Failure("stopped on a read-only file system as if nothing were")

    def goes_on(self, gentle):
        self.ledger.allowed.update({key: {None} for key in self.failed})
        client = self.server.client()
        if self.ledger.put(client, "well-again", b"x" * 5000).status != 200:
            raise Failure("the disk is well again, and PUT fails")
        self.ledger.check(client)
        if gentle:
            self.server.stop()
        else:
            self.server.kill()

    def round(self, every):
        gentle, flush = self.dice.random() < 0.5, not every and self.dice.random() < 0.2
        if self.server.child is None or self.server.child.poll() is not None:
            self.start()
        self.failed = []
        self.load(self.dice.random() * 0.3, flush)
        self.n_failed += len(self.failed)
        if self.has_stopped():
            self.stopped += 1
        elif every or self.is_read_only():
            self.stands_still()
            self.stopped += 1
        else:
            try:
                self.goes_on(gentle)
                self.survived += 1
            except (Failure, OSError, http.client.HTTPException):
                stopped = self.has_stopped()
                if not stopped and not self.is_read_only():
                    raise
                if not stopped:
                    self.stands_still()
        if every or self.is_read_only():
            self.mount_again()
        self.start()
        self.ledger.check(self.server.client(), settle=True)
        if "damaged" in self.server.said():
            raise Failure("damage where there is none")

    def enough(self, rounds, every):
        return self.stopped >= rounds and (every or self.survived >= rounds)


def main():
    directory, fault, kind, rounds, seed, *remount = sys.argv[1:]
    world = World(directory, fault, random.Random(seed), remount)
    with telling(world.server):
        number = 0
        while not world.enough(int(rounds), kind == "all"):
            if number % ROUNDS_A_STORE == 0:
                world.new_store()
            number += 1
            if number > MAX_ROUNDS * int(rounds):
                raise Failure("%d rounds: %d survived, %d stopped" % (number, world.survived, world.stopped))
            try:
                world.round(kind == "all")
            except Exception as failure:
                raise Failure("round %d of seed %s: %r" % (number, seed, failure)) from failure
        if world.server.stop() != 0:
            raise Failure("the last stop")
    print("%d failures: the server went on after %d of them and stopped with an error after %d; "
          "ext4 gave up %d times; %d PUTs got 500, %d were acknowledged"
          % (number, world.survived, world.stopped, world.remounted, world.n_failed,
             world.acknowledged + world.ledger.acknowledged))


main()
