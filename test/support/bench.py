#!/usr/bin/env python3
"""The measurements of scripts/bench, which says what they are. Runs as root in namespaces of its own."""
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import ssl
import statistics
import subprocess
import tempfile
import time

from s3client import Client

HERE = pathlib.Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
daemon off;
user root;
worker_processes auto;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path {dir}/body;
    server {{
        listen 127.0.0.1:{port}{listen};
        root {dir}/files;
        location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
    }}
}}
"""


class Pair:
    """A certificate for 127.0.0.1, made for this run."""

    def __init__(self, work, kind, *options):
        self.kind = kind
        self.cert, self.key = work / (kind + ".pem"), work / (kind + ".key")
        subprocess.run(["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=bench", "-addext",
                        "subjectAltName=IP:127.0.0.1", "-newkey", *options, "-keyout", self.key, "-out",
                        self.cert], check=True, capture_output=True)


class Target:
    """A running server: name, address, and the processes that do its work."""

    def __init__(self, name, directory, options=(), pair=None):
        self.name = name
        self.pair = pair
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(mode=0o700)
        self.context = ssl.create_default_context(cafile=pair.cert) if pair else None
        if pair and not name.startswith("nginx"):
            options = (*options, "-tls-cert", pair.cert, "-tls-key", pair.key)
        if name.startswith("nginx"):
            self.start_nginx()
        else:
            self.start_zipkv(options)

    def start_nginx(self):
        self.address = "127.0.0.1:7790"
        (self.directory / "files" / "bucket").mkdir(parents=True)
        config = self.directory / "nginx.conf"
        listen = (" ssl; ssl_certificate %s; ssl_certificate_key %s" % (self.pair.cert, self.pair.key)
                  if self.pair else "")
        config.write_text(NGINX.format(dir=self.directory, port=7790, listen=listen))
        self.process = subprocess.Popen(["nginx", "-e", self.directory / "error.log", "-c", config])
        for _ in range(100):
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                self.client().raw("GET", "/")
                return
        raise SystemExit("nginx does not start")

    def start_zipkv(self, options):
        log = self.directory.with_suffix(".log")
        with open(log, "w") as err:
            self.process = subprocess.Popen(
                [os.environ["ZKV_BIN"] + "/zipkvserver", "-addr", "127.0.0.1:0", "-dir", self.directory,
                 *options], stderr=err)
        for _ in range(200):
            time.sleep(0.05)
            line = log.read_text().partition("\n")[0]
            if line.startswith("listening on "):
                self.address = line.split()[2].rstrip(",").removeprefix("https://")
                return
        raise SystemExit("zipkvserver does not start: " + log.read_text())

    def client(self):
        return Client(self.address, context=self.context)

    def url(self):
        return ("https://" if self.pair else "http://") + self.address

    def pids(self):
        children = pathlib.Path("/proc/%d/task/%d/children" % ((self.process.pid,) * 2)).read_text()
        return [self.process.pid, *map(int, children.split())]

    def cpu(self):
        fields = [pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
                  for pid in self.pids()]
        return sum(int(f[11]) + int(f[12]) for f in fields) / TICKS

    def resident(self):
        """MiB, of all its processes; pages that they share are counted once."""
        total = 0
        for pid in self.pids():
            rollup = pathlib.Path("/proc/%d/smaps_rollup" % pid).read_text()
            total += int(rollup.partition("\nPss:")[2].split()[0])
        return total / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.directory)


def wrk(target, method, size, seconds, connections, run, names=0):
    """One measurement: a dict of figures."""
    cpu = target.cpu()
    environment = dict(os.environ, BENCH_METHOD=method, BENCH_SIZE=str(size), BENCH_RUN=run,
                       BENCH_NAMES=str(names))
    said = subprocess.run(
        ["wrk", "-t", str(min(2, connections)), "-c", str(connections), "-d", "%ds" % seconds,
         "-s", HERE / "bench.lua", target.url()], env=environment,
        capture_output=True, text=True, check=True).stdout
    requests, took, p50, p99, errors = map(float, said.partition("RESULT ")[2].split())
    if errors:
        raise SystemExit("%s: %d of %d %ss failed\n%s" % (target.name, errors, requests, method, said))
    gigabytes = requests * size / 1e9
    return {"rate": requests / took, "p50": p50 / 1000, "p99": p99 / 1000,
            "cpu": (target.cpu() - cpu) / gigabytes, "rss": target.resident()}


def median(measurements):
    return {k: statistics.median(m[k] for m in measurements) for k in measurements[0]}


def row(size, name, method, m, base):
    ratio = "%6.2f" % (m["rate"] / base["rate"]) if base else "     -"
    print("%8s  %-15s %-4s %9.0f/s %s %8.2f %8.2f %8.2f %7.1f" %
          (size, name, method, m["rate"], ratio, m["p50"], m["p99"], m["cpu"], m["rss"]), flush=True)


def header(text):
    print("\n%s\n%8s  %-15s %-4s %11s %6s %8s %8s %8s %7s" %
          (text, "size", "server", "", "rate", "ratio", "p50 ms", "p99 ms", "CPU s/GB", "MiB"))


PLAIN = {"nginx": ((), None), "zkv -sync ack": (("-sync", "ack"), None),
         "zkv -sync block": (("-sync", "block"), None)}


def fast_disk(work, options, targets, base, text):
    header("8 connections, medians of %d rounds of %d s; ratio: %s" % (options.rounds, options.seconds, text))
    for size in map(int, options.sizes.split(",")):
        found = {}
        for number in range(options.rounds):
            for name, (flags, pair) in targets.items():
                target = Target(name, work / "store", flags, pair)
                names = max(64, min(2000, (64 << 20) // size))
                put = wrk(target, "PUT", size, options.seconds, 8, "r%d" % number)
                client, body = target.client(), os.urandom(size)
                for i in range(names):
                    client.raw("PUT", "/bucket/k-%d" % i, body)
                client.close()
                get = wrk(target, "GET", size, options.seconds, 8, "", names)
                target.stop()
                found.setdefault((name, "PUT"), []).append(put)
                found.setdefault((name, "GET"), []).append(get)
        for method in ("PUT", "GET"):
            for name in targets:
                row(size, name, method, median(found[name, method]), median(found[base, method]))


def handshakes(work, options, pairs):
    print("\nA handshake and one small answer, by one client without a pause; the server's CPU time\n"
          "%-15s %-4s %10s %12s" % ("key", "TLS", "rate", "CPU us"))
    for pair in pairs:
        target = Target("zkv", work / "store", (), pair)
        for version in ("1.2", "1.3"):
            for way in ("-new", "-reuse"):
                cpu, began = target.cpu(), time.monotonic()
                said = subprocess.run(
                    ["openssl", "s_time", "-connect", target.address, way, "-www", "/bucket/none", "-time", str(options.seconds),
                     *(["-tls1_2"] if version == "1.2" else []), "-CAfile", pair.cert],
                    capture_output=True, text=True, check=True).stdout
                n = int(re.search(r"(\d+) connections in \d+ real", said).group(1))
                took, cpu = time.monotonic() - began, target.cpu() - cpu
                print("%-15s %-4s %8.0f/s %12.0f" % (pair.kind + (" resumed" if way == "-reuse" else ""), version,
                                                    n / took, cpu / n * 1e6), flush=True)
        target.stop()


@contextlib.contextmanager
def slow_disk(work):
    """A file system on a device whose writes and flushes take some milliseconds."""
    image, sock, fuse, mount = (work / n for n in ("disk.img", "socket", "fuse", "disk"))
    with open(image, "wb") as file:
        file.truncate(2 << 30)
    fuse.mkdir()
    mount.mkdir()
    nbd = subprocess.Popen(["nbdkit", "-f", "-U", sock, "--filter=delay", "file", image, "wdelay=2ms"])
    device = None
    try:
        while not sock.exists():
            time.sleep(0.05)
        bridge = subprocess.Popen(["nbdfuse", fuse, "--unix", sock])
        while not (fuse / "nbd").exists():
            time.sleep(0.05)
        device = subprocess.run(["losetup", "-f", "--show", fuse / "nbd"], capture_output=True,
                                text=True, check=True).stdout.strip()
        subprocess.run(["mkfs.ext4", "-qF", "-E", "nodiscard", device], check=True)
        subprocess.run(["mount", device, mount], check=True)
        yield mount
    finally:
        subprocess.run(["umount", mount], check=False)
        if device:
            subprocess.run(["losetup", "-d", device], check=False)
        subprocess.run(["fusermount3", "-u", fuse], check=False)
        nbd.terminate()
        nbd.wait()


def on_slow_disk(work, options):
    with slow_disk(work) as mount:
        descriptor = os.open(mount / "probe", os.O_CREAT | os.O_WRONLY)
        began = time.monotonic()
        for _ in range(50):
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
        took = (time.monotonic() - began) / 50
        os.close(descriptor)
        header("A slow disk: %.1f ms for each fdatasync, so %.0f/s one by one; ratio: to one connection"
               % (took * 1000, 1 / took))
        base = None
        for connections in (1, 8, 64):
            target = Target("zkv -sync ack", mount / "store")
            m = wrk(target, "PUT", 4096, options.seconds, connections, "s")
            base = base or m
            row(4096, "ack, %d conn." % connections, "PUT", m, base)
            target.stop()
        target = Target("zkv -sync block", mount / "store", ("-sync", "block"))
        row(4096, "block, 8 conn.", "PUT", wrk(target, "PUT", 4096, options.seconds, 8, "s"), base)
        target.stop()


def main():
    parser = argparse.ArgumentParser(prog="bench", allow_abbrev=False)
    parser.add_argument("-seconds", type=int, default=5)
    parser.add_argument("-rounds", type=int, default=3)
    parser.add_argument("-sizes", default="4096,65536,1048576")
    parser.add_argument("-no-slow", action="store_true")
    parser.add_argument("-tls", action="store_true")
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="zkv-bench."))
    signal.signal(signal.SIGTERM, lambda *_: exit(143))
    try:
        print("%s, %d CPUs" % (" ".join(os.uname()[0:3:2]), os.cpu_count()))
        if options.tls:
            ec = Pair(work, "ECDSA", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
            handshakes(work, options, [ec, Pair(work, "RSA", "rsa:2048")])
            fast_disk(work, options, {"zkv": ((), None), "zkv TLS": ((), ec), "nginx TLS": ((), ec)}, "zkv",
                      "to zipkvserver without TLS")
            return
        fast_disk(work, options, PLAIN, "nginx", "to nginx, which never syncs")
        if not options.no_slow:
            on_slow_disk(work, options)
    finally:
        shutil.rmtree(work)


main()
