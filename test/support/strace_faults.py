#!/usr/bin/env python3
"""System calls of the real program that fail: strace makes the n-th one of a kind return an error, or
kills the process there.

  strace_faults.py SERVER WORK short|long [SEED [PATTERN]]

A run: the server is started on a store that a kill -9 left, or is attached to when it listens; four
clients make some requests each (swarm.py); it is stopped, if it has not ended by itself. Then:
  - every answer was true: an order of the requests explains all of them (history.py), and what was
    answered with 5xx has not happened, neither while it went on serving nor after a new start;
    unless it ended with an error, or its index could not be written for a while: then it may not
    have been able to make that sure
  - a failed write or sync of a block or the history is in the log: answering as if it had worked
    would not show otherwise, for the page cache has the bytes (but for the room of an upload that was
    given up, which finds no space to be marked so, and does later)
  - it served on, or ended in order: with exit code 1 and an error in its log, never by a signal
    (but for the kills), and not with 0 if it said that something was not written
  - if it serves on, and the fault was once, it soon takes objects again
  - the next start, without faults, has everything acknowledged; zipkvverify finds nothing wrong

long: for each fault n = 1, 2, ... until nothing is hit any more, once and from then on.
short: some n of each, by dice; the seed is printed.
PATTERN: of the faults that are made, such as "pwritev error=EIO" or "* signal=KILL".

strace counts calls by thread, so the server runs with one worker. Calls of SQLite are hit too."""
import asyncio
import collections
import fnmatch
import http.client
import itertools
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import history as h
import kill9
import swarm
from s3client import Client

LOAD = swarm.MIXED._replace(
    n_shared=4, n_own=2, sizes=[0, 100, 5000, 70000, 300000],
    actions={name: n for name, n in swarm.MIXED.actions.items() if name != "hang_up"})
N_CLIENTS, N_REQUESTS = 4, 12
OPTIONS = ("-bs", "200000")
OUR_WRITE = r".*(?:fdatasync|fsync|pwritev)\(\d+<[^>]*/(?:open|block|db)\d+>.*-1 E.*INJECTED"
# The head alone, as VOID: is written again when there is space, with nothing lost.
ROOM_GIVEN_UP = r'\[\{iov_base="ZKFR\\2\\5.*, iov_len=64\}\], 1, \d+\) = -1 ENOSPC'
INDEX_WAITED = "look-up index: cannot be written"
HANG_SECONDS = 60
WELL, WELL_SECONDS = "well-again", 30
MISSES = 3  # so many n without a hit end a sweep

# where: "serve", "start" or both; by how much a long run steps n.
Fault = collections.namedtuple("Fault", "call what where step")
Run = collections.namedtuple("Run", "fault where when sync")  # when: strace's; sync: the option
KILL = "signal=KILL"
FAULTS = [
    Fault("fdatasync", "error=EIO", ("serve", "start"), 1),
    Fault("fsync", "error=EIO", ("serve", "start"), 1),
    Fault("pwritev", "error=ENOSPC", ("serve", "start"), 1),
    Fault("pwritev", "error=EIO", ("serve", "start"), 1),
    Fault("ftruncate", "error=EIO", ("serve", "start"), 1),
    Fault("renameat", "error=EIO", ("serve", "start"), 1),
    Fault("unlinkat", "error=EIO", ("serve", "start"), 1),
    Fault("fallocate", "error=EOPNOTSUPP", ("serve",), 1),
    Fault("fallocate", "error=ENOSPC", ("serve",), 1),
    Fault("openat", "error=EMFILE", ("serve",), 1),
    Fault("openat", "error=EIO", ("start",), 1),
    Fault("accept4", "error=EMFILE", ("serve",), 1),
    Fault("fdatasync", KILL, ("serve", "start"), 1),
    Fault("fsync", KILL, ("serve", "start"), 1),
    Fault("pwritev", KILL, ("serve", "start"), 1),
    Fault("pwrite64", KILL, ("serve", "start"), 5),
    Fault("renameat", KILL, ("serve", "start"), 1),
    Fault("ftruncate", KILL, ("serve", "start"), 1),
    Fault("unlinkat", KILL, ("serve", "start"), 1),
    # These hit the index most of the time, and wait for it for 10 s.
    Fault("pwrite64", "error=ENOSPC", ("serve", "start"), 5),
    Fault("pwrite64", "error=EIO", ("serve", "start"), 5),
    Fault("pread64", "error=EIO", ("serve", "start"), 5),
]


def suffixes(fault):
    """Once, and from then on; but nobody is served by a server that can accept no connection."""
    return [""] if fault.what == KILL or fault.call == "accept4" else ["", "+"]


class Sweep:
    def __init__(self, program, work, seed, pattern):
        self.program, self.work, self.seed = program, Path(work), seed
        self.faults = [f for f in FAULTS if fnmatch.fnmatchcase(f.call + " " + f.what, pattern)]
        if not self.faults:
            sys.exit("no fault is like '%s'" % pattern)
        self.log, self.trace = self.work / "log", self.work / "trace"
        self.ends = collections.Counter()
        self.n_runs = self.n_failed = self.n_acked = self.n_refused = 0
        self.crashed = self.work / "crashed"  # what a kill -9 left, for the runs at start
        self.crashed.mkdir()
        self.crashed_history = self.make_crashed()

    # ---- parts of a run ----

    def swarm(self, server, address, history, name):
        """Who has waited too long for the index gets 503, and what he sent may yet be seen, by others who
        are still at it, too."""
        return swarm.Swarm(address, history, LOAD, N_CLIENTS, "%s.%s" % (self.seed, name),
                           n_requests=N_REQUESTS, strict=True,
                           excused=lambda: INDEX_WAITED in server.text())

    def make_crashed(self):
        history = h.History()
        server = kill9.Server(self.program, self.crashed, self.log, OPTIONS, 1)
        self.load(self.swarm(server, server.wait(), history, "crashed"))
        server.kill()
        server.process.wait()
        return history

    @staticmethod
    def load(clients):
        asyncio.run(asyncio.wait_for(clients.run(), HANG_SECONDS))

    def start(self, run):
        """The server and strace's process; the server may have ended already."""
        call = run.fault.call
        strace = ["strace", "-f", "-q", "-y", "-o", self.trace, "-e", "trace=" + call,
                  "-e", "inject=%s:%s:when=%s" % (call, run.fault.what, run.when)]
        options = (*OPTIONS, "-sync", run.sync)
        if run.where == "start":
            server = kill9.Server(self.program, self.dir, self.log, options, 1, [*strace, "-D"])
            return server, None
        server = kill9.Server(self.program, self.dir, self.log, options, 1)
        server.wait()
        tracer = subprocess.Popen([*strace, "-p", str(server.process.pid)],
                                  stderr=subprocess.DEVNULL)
        status = Path("/proc/%d/status" % server.process.pid)
        while "TracerPid:\t0\n" in status.read_text():
            if tracer.poll() is not None:
                raise h.Wrong("strace cannot attach")
            time.sleep(0.005)
        return server, tracer

    def judge_end(self, fault, code, text, hit):
        """How it ended must be what it said."""
        if fault.what == KILL and code == -signal.SIGKILL:
            self.ends["killed"] += 1
            return
        if code not in (0, 1) or (code == 0 and "not everything could be written" in text):
            raise h.Wrong("ended with %d" % code)
        told = "error: " in text or "warn: " in text
        if code == 1 and not told:
            raise h.Wrong("ended with 1 and without a word")
        failed = re.findall(OUR_WRITE, self.trace.read_text(), re.M)
        if not told and any(not re.search(ROOM_GIVEN_UP, line) for line in failed):
            raise h.Wrong("a call failed and nobody was told")
        if code == 1 and not hit:
            raise h.Wrong("ended with 1 and no fault was made")
        self.ends["in order" if code == 0 else "with an error"] += 1

    # ---- a run ----

    def run(self, run):
        """True if a call was hit."""
        self.clients = None
        self.dir = self.work / "store"
        shutil.rmtree(self.dir, ignore_errors=True)
        history = h.History()
        if run.where == "start":
            shutil.copytree(self.crashed, self.dir)
            history.ops = {k: list(v) for k, v in self.crashed_history.ops.items()}
            history.values = dict(self.crashed_history.values)
            history.clock = self.crashed_history.clock
        else:
            self.dir.mkdir()
        self.trace.write_text("")
        server, tracer = self.start(run)
        try:
            self.use(server, history, "-".join((run.fault.call, run.fault.what, *run[1:])))
            if not run.when.endswith("+"):
                self.well_again(server)
            server.kill(signal.SIGINT)
            code = server.process.wait(HANG_SECONDS)
        finally:
            server.kill()
            server.process.wait()
            if tracer is not None:
                tracer.wait()
        hit = self.was_hit(server.process.pid) or code == -signal.SIGKILL
        if code == 127 and run.where == "start":
            self.ends["not even loaded"] += 1  # the dynamic linker's calls are hit, too
            return True
        self.judge_end(run.fault, code, server.text(), hit)
        if code == 1 and self.clients is not None:
            self.clients.forgive()
        self.look_again(history)
        return hit

    def was_hit(self, pid):
        """Waits until strace has written everything down."""
        end = time.monotonic() + 10
        while not re.search(r"^%d +\+\+\+ " % pid, self.trace.read_text(), re.M):
            if time.monotonic() > end:
                raise h.Wrong("strace has not seen the end")
            time.sleep(0.005)
        return "INJECTED" in self.trace.read_text()

    def use(self, server, history, name):
        """Requests, as far as they go, and a look at what is there while it still serves."""
        address = None
        while address is None and server.process.poll() is None:
            address = server.address()
            time.sleep(0.002)
        if address is None:
            return
        self.clients = self.swarm(server, address, history, name)
        self.load(self.clients)
        if INDEX_WAITED in server.text():
            self.clients.forgive()
        self.n_refused += sum(self.clients.unhappy.values())
        self.n_acked += history.n_acked
        unread = set()
        try:
            found = asyncio.run(swarm.survey(address, history, history.state, unread))
        except swarm.GONE:
            return
        for key in set(history.ops) - unread:
            history.end(history.begin(h.GET, key, who="check"), h.GET, found.get(key))

    def well_again(self, server):
        """An upload and its removal, unless it ends."""
        end = time.monotonic() + WELL_SECONDS
        while server.process.poll() is None and server.address() is not None:
            client = Client(server.address(), timeout=HANG_SECONDS)
            try:
                if (client.raw("PUT", client.path(WELL), bytes(300000)).status == 200 and
                        client.raw("DELETE", client.path(WELL)).status == 204):
                    return
            except (OSError, http.client.HTTPException):
                pass  # it may be about to end
            finally:
                client.close()
            if time.monotonic() > end:
                raise h.Wrong("it serves, and takes no objects")
            time.sleep(0.2)

    def look_again(self, history):
        server = kill9.Server(self.program, self.dir, self.work / "log-2", OPTIONS)
        try:
            address = server.wait()
            Client(address).raw("DELETE", "/bucket/" + WELL)
            found = asyncio.run(swarm.survey(address, history, history.state))
            history.settle(found)
            server.stop()
        except (h.Wrong, *swarm.GONE) as failure:
            raise h.Wrong("%s\n--- at the next start:\n%s" % (failure, server.text())) from None
        finally:
            server.kill()
            server.process.wait()
        if not list(self.dir.glob("db*")) and not found:
            return  # nothing was ever written, which zipkvverify takes for a mistake
        verify = subprocess.run([Path(self.program).parent / "tools" / "zipkvverify", "-dir", self.dir],
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                check=False)
        if verify.returncode != 0:
            raise h.Wrong("zipkvverify: exit code %d\n%s" % (verify.returncode, verify.stdout))

    def tell(self, run, failure):
        return "%s %s, when=%s, in %s, -sync %s, seed %s: %r\n%s\n--- the server:\n%s--- strace:\n%s" % (
            *run.fault[:2], run.when, run.where, run.sync, self.seed, failure, failure,
            self.log.read_text(), "".join(self.trace.read_text().splitlines(True)[-8:]))

    def try_one(self, run):
        self.n_runs += 1
        try:
            return self.run(run)
        except (h.Wrong, TimeoutError, subprocess.TimeoutExpired) as failure:
            self.n_failed += 1
            print("FAILED: " + self.tell(run, failure), flush=True)
            return True

    # ---- all of them ----

    def sweep(self, fault, where, suffix, sync):
        n, misses = 1, 0
        while misses < MISSES:
            hit = self.try_one(Run(fault, where, "%d%s" % (n, suffix), sync))
            misses = 0 if hit else misses + 1
            n += fault.step
        print("%-10s %-17s %-5s %-14s -sync %-5s n up to %d" % (
            fault.call, fault.what, where, "from then on" if suffix else "once", sync, n), flush=True)

    def all(self):
        for fault in self.faults:
            for where, suffix in itertools.product(fault.where, suffixes(fault)):
                for sync in ("ack", "block") if fault.step == 1 else ("ack",):
                    self.sweep(fault, where, suffix, sync)

    def some(self):
        dice = random.Random(self.seed)
        for fault in self.faults:
            for where in fault.where:
                slow = fault.call in ("pwrite64", "pread64")  # the index is waited for: 10 s
                suffix = dice.choice([""] if slow else suffixes(fault))
                when = "%d%s" % (2 ** dice.uniform(0, 6) * fault.step, suffix)  # small ones most
                self.try_one(Run(fault, where, when, dice.choice(("ack", "ack", "block"))))


def main():
    program, work, form = sys.argv[1:4]
    seed = sys.argv[4] if len(sys.argv) > 4 else str(random.SystemRandom().randrange(1 << 32))
    print("seed %s" % seed, flush=True)
    sweep = Sweep(program, work, seed, sys.argv[5] if len(sys.argv) > 5 else "*")
    if form == "long":
        sweep.all()
    else:
        sweep.some()
    print("%d runs, %d failed: %d answers, %d refusals; the server ended: %s" % (
        sweep.n_runs, sweep.n_failed, sweep.n_acked, sweep.n_refused,
        ", ".join("%s %d" % end for end in sorted(sweep.ends.items()))))
    sys.exit(sweep.n_failed > 0)


if __name__ == "__main__":
    main()
