"""The real server as a child, and what it has acknowledged, for tests in Python.

A Ledger remembers for each key what it may be: the MD5 of a body, or None for absent. While a
change is under way, and after one that was not acknowledged, either outcome will do; an
acknowledged one is the only one."""
import contextlib
import hashlib
import os
import re
import subprocess
import threading
import time

from s3client import Client, Failure


class Server:
    def __init__(self, log, wrap=()):
        self.log = log  # a path; each start appends
        self.wrap = list(wrap)
        self.child = None
        self.address = None
        self.begun = 0
        self.killed = False  # clients may find their connections cut

    def start(self, directory, *options, seconds=60):
        """True if it listens, False if it has ended instead."""
        program = os.path.join(os.environ["ZKV_BIN"], "zipkvserver")
        words = self.wrap + [program, "-addr", "127.0.0.1:0", "-dir", directory] + list(options)
        self.killed = False
        with open(self.log, "ab") as log:
            self.begun = log.tell()
            self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(r"^listening on ([^ ,\n]*)", self.said(), re.M)
            if found:
                self.address = found.group(1)
                return True
            if self.child.poll() is not None:
                return False
            time.sleep(0.01)
        raise Failure("the server neither listens nor ends")

    def said(self):
        """What this start has written."""
        with open(self.log, "rb") as log:
            log.seek(self.begun)
            return log.read().decode(errors="replace")

    def stop(self, seconds=60):
        """Ctrl+C; the exit code."""
        self.child.terminate()
        return self.child.wait(seconds)

    def kill(self):
        self.killed = True
        self.child.kill()
        self.child.wait()

    def client(self, timeout=60):
        return Client(self.address, timeout=timeout)


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.allowed = {}  # key -> set of outcomes
        self.acknowledged = 0

    def begin(self, key, outcome):
        with self.lock:
            self.allowed.setdefault(key, {None}).add(outcome)

    def confirm(self, key, outcome):
        with self.lock:
            self.allowed[key] = {outcome}
            self.acknowledged += 1

    def copy(self):
        with self.lock:
            other = Ledger()
            other.allowed = {key: set(outcomes) for key, outcomes in self.allowed.items()}
            other.acknowledged = self.acknowledged
            return other

    def put(self, client, key, body, headers=None):
        """The reply, whatever it is. A key is changed by one client at a time."""
        md5 = hashlib.md5(body).hexdigest()
        fields = {"X-Amz-Meta-Md5": md5}
        fields.update(headers or {})
        self.begin(key, md5)
        reply = client.raw("PUT", client.path(key), body, fields)
        if reply.status == 200:
            self.confirm(key, md5)
        return reply

    def delete(self, client, key):
        self.begin(key, None)
        reply = client.raw("DELETE", client.path(key))
        if reply.status == 204:
            self.confirm(key, None)
        return reply

    def copy_object(self, client, source, key):
        """source must be one outcome for sure, and there."""
        (md5,) = self.allowed[source]
        self.begin(key, md5)
        reply = client.raw("PUT", client.path(key), b"", {"x-amz-copy-source": client.path(source)})
        if reply.status == 200 and b"<Error>" not in reply.body:
            self.confirm(key, md5)
        return reply

    def multipart(self, client, key, body, source=None, end="complete"):
        """As put(), with an upload of one part, which replaces one that came before it; or which has
        the bytes of `source`, as in copy_object(). end: "complete", "abort", or "leave" it under way,
        which change nothing."""
        md5 = next(iter(self.allowed[source])) if source else hashlib.md5(body).hexdigest()
        path = client.path(key)
        reply = client.raw("POST", path + "?uploads", b"", {"X-Amz-Meta-Md5": md5})
        if reply.status != 200:
            return reply
        upload = re.search(rb"<UploadId>([^<]+)</UploadId>", reply.body).group(1).decode()
        part = path + "?partNumber=1&uploadId=" + upload
        reply = client.raw("PUT", part, body[:1000] + b"replaced")
        if reply.status != 200:
            return reply
        fields = {"x-amz-copy-source": client.path(source)} if source else {}
        reply = client.raw("PUT", part, b"" if source else body, fields)
        if reply.status != 200 or end == "leave":
            return reply
        if end == "abort":
            return client.raw("DELETE", path + "?uploadId=" + upload)
        etag = reply.etag or re.search(rb"([0-9a-f]{32})", reply.body).group(1).decode()
        self.begin(key, md5)
        reply = client.raw("POST", path + "?uploadId=" + upload,
                           ("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag>"
                            "</Part></CompleteMultipartUpload>" % etag).encode())
        if reply.status == 200 and b"<Error>" not in reply.body:
            self.confirm(key, md5)
        return reply

    def check(self, client, settle=False, keys=None):
        """Everything is as it may be, and LIST agrees with GET. settle: what is found now is what
        must be found later. keys: only some of them are read; the list is looked at in any case."""
        listed = set(client.list())
        unknown = listed - set(self.allowed)
        if unknown:
            raise Failure("listed, but nobody put it: %s" % sorted(unknown)[:5])
        for key in self.allowed if keys is None else keys:
            outcomes = self.allowed[key]
            reply = client.raw("GET", client.path(key))
            if reply.status == 200:
                found = hashlib.md5(reply.body).hexdigest()
                in_parts = re.fullmatch(r"[0-9a-f]{32}-\d+", reply.etag) is not None
                if (reply.etag != found and not in_parts) or reply.meta.get("md5") != found:
                    raise Failure("%s: body, ETag and metadata disagree" % key)
            elif reply.status == 404 and reply.code == "NoSuchKey" and b"damaged" not in reply.body:
                found = None
            else:
                raise Failure("GET %s: status %d %s" % (key, reply.status, reply.body.decode()))
            if found not in outcomes:
                raise Failure("%s is %s, should be %s" % (key, found, outcomes))
            if (found is not None) != (key in listed):
                raise Failure("%s: LIST and GET disagree" % key)
            if settle:
                self.allowed[key] = {found}
        for key, outcomes in self.allowed.items():
            if None not in outcomes and key not in listed:
                raise Failure("%s is not listed" % key)


def in_threads(n, work):
    """Runs work(0) .. work(n - 1), each in a thread; the first failure is raised."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except Exception as failure:  # raised below, whatever it is
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(i,), daemon=True) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@contextlib.contextmanager
def telling(server):
    """What the server said last is shown with a failure."""
    try:
        yield
    except BaseException:
        print("--- the server's last words:")
        print("\n".join(server.said().splitlines()[-20:]), flush=True)
        raise
    finally:
        if server.child is not None and server.child.poll() is None:
            server.kill()
