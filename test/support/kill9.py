#!/usr/bin/env python3
"""kill -9 under mixed load, again and again, and nothing that was acknowledged is missing.

  kill9.py SERVER WORK CYCLES [SEED]

SERVER is the program, WORK an empty directory. A cycle: the server starts on what the last one
left, sometimes killed once or twice while it does; everything touched since is read and compared
with what the clients were told (history.py, swarm.py); then 8 to 64 clients load it for a moment,
and it is killed, in one of four cases while it stops. Block sizes, -sync and the number of threads
change from cycle to cycle, stores after STORE_CYCLES of them; each is then stopped in order, and
zipkvverify and zipkvhistory must agree with LIST.

-sync block makes the same promise here: what the kernel was given survives the process. So this
says nothing about syncs: the crash tests on a simulated disk do.

The seed is printed; with it the server's options, the moments of the kills and the choices of every
client are the same again. How far each client gets is up to the machine."""
import asyncio
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import history as h
import swarm

STORE_CYCLES = 50
START_SECONDS = 60
HANG_SECONDS = 60


class Server:
    """A started program; listening after wait()."""

    def __init__(self, program, directory, log, options=(), threads=4, prefix=()):
        self.log = Path(log)
        env = dict(os.environ, UV_THREADPOOL_SIZE=str(threads))
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(
                [*prefix, program, "-addr", "127.0.0.1:0", "-dir", str(directory), *options],
                stdin=subprocess.DEVNULL, stderr=out, env=env)
        self.began = time.monotonic()

    def text(self):
        return self.log.read_text(errors="replace")

    def address(self):
        """Where it listens; None: not yet."""
        for line in self.text().splitlines(True):
            if line.startswith("listening on ") and line.endswith("\n"):
                return line.split()[2].rstrip(",")
        return None

    def wait(self):
        while True:
            address = self.address()
            if address is not None:
                return address
            if self.process.poll() is not None:
                raise h.Wrong("the server ended at start:\n" + self.text())
            if time.monotonic() > self.began + START_SECONDS:
                raise h.Wrong("the server does not listen:\n" + self.text())
            time.sleep(0.002)

    def kill(self, signo=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(signo)

    def stop(self):
        """In order; everything must have been written."""
        self.kill(signal.SIGINT)
        code = self.process.wait(HANG_SECONDS)
        if code != 0:
            raise h.Wrong("the server ended with %d:\n%s" % (code, self.text()))


class Torture:
    def __init__(self, program, work, seed):
        self.program, self.work, self.seed = program, Path(work), seed
        self.log = self.work / "log"
        self.server = None
        self.kills = collections.Counter()
        self.n_acked = self.n_open = self.n_cut = self.n_rolling = self.n_uploads = 0
        self.unhappy = collections.Counter()
        self.start_seconds = 0.02
        self.new_store(0)

    def new_store(self, number):
        self.dir = self.work / ("store-%d" % number)
        self.dir.mkdir(mode=0o700)
        self.history = h.History()
        self.uploads = {}

    def start(self, options=(), threads=4):
        self.server = Server(self.program, self.dir, self.log, options, threads)
        address = self.server.wait()
        self.start_seconds = time.monotonic() - self.server.began
        if "amage" in self.server.text():
            raise h.Wrong("damage after a kill -9:\n" + self.server.text())
        return address

    def kill_at_start(self, dice):
        server = self.server = Server(self.program, self.dir, self.log)
        time.sleep(dice.uniform(0, 1.2) * self.start_seconds)
        server.kill()
        server.process.wait()
        self.kills["start" if server.address() is None else "idle"] += 1

    def compare(self, address, wanted):
        found = asyncio.run(swarm.survey(address, self.history, wanted))
        self.history.settle(found)
        return found

    def compare_uploads(self, address, dice):
        self.n_uploads += asyncio.run(
            swarm.survey_uploads(address, self.history, self.uploads, dice))

    def load(self, address, dice, cycle):
        """Ends with the server gone."""
        process = self.server.process
        clients = swarm.Swarm(address, self.history, swarm.MIXED, dice.choice((8, 8, 16, 32, 64)),
                              "%s.%d" % (self.seed, cycle))
        clients.uploads = self.uploads
        last = dice.uniform(0.02, 0.13)
        stops = dice.random() < 0.25
        grace = dice.uniform(0, 0.03) if stops else 0

        def end():
            time.sleep(last)
            if stops:
                self.server.kill(signal.SIGINT)
                time.sleep(grace)
            self.server.kill()

        ender = threading.Thread(target=end)
        ender.start()
        asyncio.run(asyncio.wait_for(clients.run(), HANG_SECONDS))
        ender.join()
        code = process.wait()
        if code not in (-signal.SIGKILL, 0 if stops else -signal.SIGKILL):
            raise h.Wrong("the server ended with %d:\n%s" % (code, self.server.text()))
        self.kills["none, stopped in time" if code == 0 else "stop" if stops else "load"] += 1
        if code != 0 and len(list(self.dir.glob("open*"))) > 1:
            self.n_rolling += 1
        self.n_cut += clients.cut
        self.unhappy += clients.unhappy
        return clients

    def cycle(self, number):
        dice = random.Random("%s.%d" % (self.seed, number))
        if number > 0 and number % STORE_CYCLES == 0:
            self.finish_store()
            self.new_store(number // STORE_CYCLES)
        while dice.random() < 0.3:
            self.kill_at_start(dice)
        options = ["-bs", dice.choice(("8000", "30000", "100000", "100000", "1000000")),
                   "-sync", dice.choice(("ack", "ack", "block"))]
        address = self.start(options, dice.choice((1, 2, 4)))
        every = number % 10 == 0
        wanted = [k for k in self.history.state if every or dice.random() < 0.1]
        groups = getattr(self, "clients", None)
        found = self.compare(address, wanted)
        if groups is not None:
            groups.check_groups(found)
        self.compare_uploads(address, dice)
        acked, opened = self.history.n_acked, self.history.n_open
        self.clients = self.load(address, dice, number)
        self.n_acked += self.history.n_acked - acked
        self.n_open += self.history.n_open - opened

    def finish_store(self):
        """Everything is read; then the tools look at what an orderly stop leaves."""
        address = self.start()
        found = self.compare(address, list(self.history.state))
        self.clients.check_groups(found)
        dice = random.Random(self.seed)
        while self.uploads:
            self.compare_uploads(address, dice)
        found = self.compare(address, list(self.history.state))
        self.clients = None
        self.server.stop()
        verify = subprocess.run([self.tool("zipkvverify"), "-dir", self.dir], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if verify.returncode != 0:
            raise h.Wrong("zipkvverify: exit code %d\n%s" % (verify.returncode, verify.stdout))
        told = subprocess.run([self.tool("zipkvhistory"), "-dir", self.dir], check=True,
                              stdout=subprocess.PIPE).stdout.decode().splitlines()
        live = set()
        for rev, line in enumerate(told[1:]):
            number, operation, key = line.split("\t")
            if int(number) != rev:
                raise h.Wrong("zipkvhistory: revision %s instead of %d" % (number, rev))
            (live.add if operation == "put" else live.remove)(key)
        if live != set(found):
            raise h.Wrong("zipkvhistory: %s" % sorted(live ^ set(found)))
        shutil.rmtree(self.dir)

    def tool(self, name):
        return Path(self.program).parent / "tools" / name


def main():
    program, work, cycles = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seed = sys.argv[4] if len(sys.argv) > 4 else str(random.SystemRandom().randrange(1 << 32))
    print("seed %s" % seed, flush=True)
    torture = Torture(program, work, seed)
    for number in range(cycles):
        try:
            torture.cycle(number)
        except (h.Wrong, TimeoutError, OSError) as failure:
            torture.server.kill()
            sys.exit("cycle %d, seed %s: %r\n%s" % (number, seed, failure, failure))
        except BaseException:
            torture.server.kill()
            raise
    torture.finish_store()
    kills = ", ".join("%s %d" % k for k in sorted(torture.kills.items()))
    print("%d cycles: %d answers, %d requests without one, %d uploads cut, %d multipart uploads "
          "looked at; kills: %s; %d of them with more than one block open; refusals: %s" % (
              cycles, torture.n_acked, torture.n_open, torture.n_cut, torture.n_uploads, kills,
              torture.n_rolling,
              dict(torture.unhappy) or "none"))


if __name__ == "__main__":
    main()
