"""Many clients at once against one server: what they send is chosen by dice with a seed, and what
they send and are told is kept in a History (history.py).

One thread, one event loop: the order of the history's clock is the order in which things happened
here. Every object carries the number of the write that made it in its metadata, with a text that
goes with the number; its body is made from the number, too. So whatever is read back says which
write it is from, and all of it can be compared: body with ETag, ETag and text with the number.

Clients share some keys, and each has some of its own. A client ends when the server goes away, or
when the swarm is told to stop: then after its present request."""
import asyncio
import collections
import hashlib
import random
import urllib.parse
import xml.etree.ElementTree as ET

import history as h

BUCKET = "/bucket/"
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
POOL = random.Random("pool").randbytes(5 << 20)
GONE = (ConnectionError, asyncio.IncompleteReadError, TimeoutError)

# What kind of load: how often which action, how large the bodies, how many keys.
Load = collections.namedtuple("Load", "actions sizes n_shared n_own shared_part")
MIXED = Load(
    actions={"put": 24, "get": 16, "head": 4, "delete": 10, "create": 6, "swap": 8, "copy": 8,
             "multi": 5, "list": 4, "abort": 6, "hang_up": 2, "expect": 5, "parts": 5},
    sizes=[0, 1, 100, 900, 900, 5000, 5000, 20000, 70000, 200000],
    n_shared=12, n_own=4, shared_part=0.5)
NARROW = Load(
    actions={"put": 20, "get": 40, "delete": 10, "create": 10, "swap": 15, "copy": 4, "list": 1},
    sizes=[0, 10, 100, 3000, 3000, 70000],
    n_shared=8, n_own=0, shared_part=1)

Reply = collections.namedtuple("Reply", "status headers body")


class Upload:
    """A multipart upload, of one part. acked: its part; ending: told to complete or to abort."""

    def __init__(self, key, number, md5):
        self.key, self.number, self.md5 = key, number, md5
        self.acked = self.ending = False

    def path(self, upload_id):
        return BUCKET + urllib.parse.quote(self.key) + "?uploadId=" + upload_id

    def etag(self):
        return hashlib.md5(bytes.fromhex(self.md5)).hexdigest() + "-1"

    async def complete(self, wire, history, upload_id, who):
        """The operation and the answer to it."""
        history.values[self.number] = h.Value(self.etag(), text_of(self.number), self.md5)
        op = history.begin(h.PUT, self.key, self.number, None, who)
        return op, await wire.request("POST", [self.path(upload_id)], (), (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
            "</CompleteMultipartUpload>" % self.md5).encode())


def body_of(number, size):
    begin = number.encode() + b"\n"
    at = hash_of(number) % (len(POOL) - size) if size < len(POOL) else 0
    return (begin + POOL[at:at + size])[:size]


def hash_of(text):
    return int.from_bytes(hashlib.md5(text.encode()).digest()[:6], "big")


def text_of(number):
    return ("%s/%s" % (number, "abcdefghij" * 20))[:20 + hash_of(number) % 180]


class Wire:
    """One connection."""

    def __init__(self, address):
        self.address = address
        self.reader = self.writer = None

    async def open(self):
        host, port = self.address.rsplit(":", 1)
        self.reader, self.writer = await asyncio.open_connection(host, int(port))

    def cut(self):
        if self.writer is not None:
            self.writer.transport.abort()
            self.reader = self.writer = None

    def head(self, method, key, headers, length):
        path = BUCKET + urllib.parse.quote(key) if isinstance(key, str) else key[0]
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: " + self.address]
        lines += ["%s: %s" % f for f in headers]
        return ("\r\n".join(lines) + "\r\nContent-Length: %d\r\n\r\n" % length).encode()

    async def read_head(self):
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(lines[0].split()[1]), headers

    async def reply(self, method="GET"):
        status, headers = await self.read_head()
        body = b""
        if method != "HEAD" and status not in (204, 304):
            body = await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.cut()
        return Reply(status, headers, body)

    async def request(self, method, key, headers=(), body=b"", expect=False):
        """key: an object's, or a list with the path."""
        if self.writer is None:
            await self.open()
        if expect and body:
            headers = list(headers) + [("Expect", "100-continue")]
            self.writer.write(self.head(method, key, headers, len(body)))
            status, fields = await self.read_head()
            if status != 100:
                data = await self.reader.readexactly(int(fields["content-length"]))
                self.cut()
                return Reply(status, fields, data)
            self.writer.write(body)
        else:
            self.writer.write(self.head(method, key, headers, len(body)) + body)
        await self.writer.drain()
        return await self.reply(method)


class Swarm:
    """strict: what was answered with 5xx must not have happened, unless forgive() takes it back; excused():
    may that be done while they still run? n_requests: of each client."""

    def __init__(self, address, history, load, n_clients, seed, strict=False, n_requests=1 << 60,
                 excused=lambda: False):
        self.address, self.history, self.load = address, history, load
        self.strict, self.n_requests, self.excused = strict, n_requests, excused
        self.stopping = False
        self.unhappy = collections.Counter()  # answers 5xx
        self.refused = []  # if strict: their operations, with the values they would have written
        self.cut = 0  # uploads cut by the client
        self.uploads = {}  # multipart uploads that are there: id -> Upload
        self.clients = [Client(self, i, "%s.%d" % (seed, i)) for i in range(n_clients)]

    async def run(self):
        """Until the server is gone, or stop() and all is answered."""
        await asyncio.gather(*[c.run() for c in self.clients])

    def stop(self):
        self.stopping = True

    def forgive(self):
        """What was answered with 5xx may have happened all the same."""
        for op, value in self.refused:
            ops = self.history.ops.setdefault(op.key, [])
            ops.append(op)
            ops.sort(key=lambda o: o.start)
            if value is not None:
                self.history.values[op.value] = value
        self.refused = []

    def check_groups(self, found):
        """A multi-delete without an answer: all of its keys or none."""
        for client in self.clients:
            gone = {key not in found for key in client.group}
            if len(gone) > 1:
                raise h.Wrong("a multi-delete of %s was done in part" % client.group)


class Client:
    def __init__(self, swarm, number, seed):
        self.swarm, self.history, self.load = swarm, swarm.history, swarm.load
        self.dice = random.Random(seed)
        self.name, self.n_ops = seed, 0
        self.wire = Wire(swarm.address)
        self.shared = ["s/é &<%d>" % i for i in range(self.load.n_shared)]
        self.own = ["c%02d %d" % (number, i) for i in range(self.load.n_own)]
        self.etags = {}  # what it knows of keys
        self.group = []  # keys of its own that were there, in a multi-delete under way
        self.actions = [getattr(self, "do_" + a) for a in self.load.actions]
        self.weights = list(self.load.actions.values())

    async def run(self):
        try:
            while not self.swarm.stopping and self.n_ops < self.swarm.n_requests:
                self.n_ops += 1
                await self.dice.choices(self.actions, self.weights)[0]()
        except GONE:
            pass
        finally:
            self.wire.cut()

    # ---- choices ----

    def key(self):
        shared = self.dice.random() < self.load.shared_part
        return self.dice.choice(self.shared if shared else self.own)

    def fresh(self):
        """A new write: its number, body and headers."""
        number = "%s.%d" % (self.name, self.n_ops)
        size = self.dice.choice(self.load.sizes)
        if size == self.load.sizes[-1] and self.dice.random() < 0.1:
            size *= self.dice.randrange(2, 20)
        body = body_of(number, size)
        md5 = hashlib.md5(body).hexdigest()
        value = h.Value(md5, text_of(number), md5)
        self.history.values[number] = value
        return number, body, [("x-amz-meta-number", number), ("X-Amz-Meta-Text", value.text)]

    # ---- writes ----

    def answered(self, op, reply, wanted, **otherwise):
        """Ends op by the status: as sent if `wanted`, as another kind, or not at all if 5xx."""
        if reply.status == wanted:
            self.history.end(op)
            return True
        if reply.status >= 500:
            self.swarm.unhappy[reply.status] += 1
            self.etags.pop(op.key, None)
            if self.swarm.strict:
                self.history.drop(op)
                self.swarm.refused.append((op, self.history.values.pop(op.value, None)))
                if self.swarm.excused():
                    self.swarm.forgive()
            return False
        kind = otherwise.get("s%d" % reply.status)
        if kind is None:
            raise h.Wrong("%s %r: status %d %s" % (op.kind, op.key, reply.status, reply.body))
        self.history.end(op, kind, None, op.etag if kind == h.OTHER else None)
        return False

    async def store(self, kind, etag=None, expect=False, condition=()):
        key = self.key()
        if kind == h.SWAP:
            etag = self.etags.get(key, etag)
            condition = [("If-Match", '"%s"' % etag)]
        number, body, headers = self.fresh()
        op = self.history.begin(kind, key, number, etag, self.name)
        reply = await self.wire.request("PUT", key, headers + list(condition), body, expect)
        if self.answered(op, reply, 200, s412=h.PRESENT if kind == h.CREATE else h.OTHER,
                         s404=h.ABSENT if kind == h.SWAP else None):
            self.etags[key] = reply.headers["etag"].strip('"')
            if self.etags[key] != self.history.values[number].etag:
                raise h.Wrong("PUT %r: ETag %s" % (key, self.etags[key]))

    async def do_put(self):
        await self.store(h.PUT)

    async def do_expect(self):
        await self.store(h.PUT, expect=True)

    async def do_create(self):
        await self.store(h.CREATE, condition=[("If-None-Match", "*")])

    async def do_swap(self):
        await self.store(h.SWAP, etag="0" * 32)

    async def do_parts(self):
        """A multipart upload; one in four is left where it is, one in four aborted."""
        key = self.key()
        number, body, headers = self.fresh()
        upload = Upload(key, number, hashlib.md5(body).hexdigest())
        del self.history.values[number]  # nothing may be seen before the end
        reply = await self.wire.request("POST", [BUCKET + urllib.parse.quote(key) + "?uploads"], headers)
        if reply.status == 200:
            upload_id = ET.fromstring(reply.body).findtext(NS + "UploadId")
            path = upload.path(upload_id)
            self.swarm.uploads[upload_id] = upload
            reply = await self.wire.request("PUT", [path + "&partNumber=1"], (), body)
            upload.acked = reply.status == 200
        end = self.dice.random()
        if reply.status == 200 and end < 0.25:
            return
        upload.ending = True
        if reply.status == 200 and end < 0.5:
            reply = await self.wire.request("DELETE", [path])
        elif reply.status == 200:
            op, reply = await upload.complete(self.wire, self.history, upload_id, self.name)
            if self.answered(op, reply, 200):
                if upload.etag().encode() not in reply.body:
                    raise h.Wrong("multipart %r: %s" % (key, reply.body))
                self.etags[key] = upload.etag()
                del self.swarm.uploads[upload_id]
            return
        if reply.status >= 500:
            self.swarm.unhappy[reply.status] += 1
        elif reply.status != 204:
            raise h.Wrong("multipart %r: status %d %s" % (key, reply.status, reply.body))
        else:
            del self.swarm.uploads[upload_id]

    async def do_abort(self):
        """Cuts the connection in the middle of the body: nothing of it may ever be seen."""
        key = self.key()
        number, body, headers = self.fresh()
        del self.history.values[number]
        body += b"more"
        if self.wire.writer is None:
            await self.wire.open()
        sent = self.dice.randrange(len(body))
        self.wire.writer.write(self.wire.head("PUT", key, headers, len(body)) + body[:sent])
        await self.wire.writer.drain()
        if self.dice.random() < 0.5:
            await asyncio.sleep(0.002)
            if self.dice.random() < 0.5:
                self.wire.writer.close()  # in order, and not with a reset
        self.wire.cut()
        self.swarm.cut += 1

    async def do_hang_up(self):
        """Sends a whole upload and does not wait for the answer."""
        key = self.dice.choice(self.shared)  # of its own keys it knows what is there (do_multi)
        number, body, headers = self.fresh()
        if self.wire.writer is None:
            await self.wire.open()
        self.history.begin(h.PUT, key, number, None, self.name)
        self.wire.writer.write(self.wire.head("PUT", key, headers, len(body)) + body)
        await self.wire.writer.drain()
        self.wire.cut()

    async def do_delete(self):
        key = self.key()
        op = self.history.begin(h.DELETE, key, who=self.name)
        if self.answered(op, await self.wire.request("DELETE", key), 204):
            self.etags.pop(key, None)

    async def do_multi(self):
        keys = sorted(set(self.own + [self.dice.choice(self.shared)]))
        names = "".join("<Object><Key>%s</Key></Object>" % k.replace("&", "&amp;").replace(
            "<", "&lt;") for k in keys)
        body = ("<Delete>%s</Delete>" % names).encode()
        ops = [self.history.begin(h.DELETE, k, who=self.name) for k in keys]
        self.group = [k for k in self.own if k in self.etags]
        reply = await self.wire.request("POST", ["/bucket/?delete"], (), body)
        self.group = []
        for op in ops:
            if self.answered(op, reply, 200):
                self.etags.pop(op.key, None)
        if reply.status == 200 and reply.body.count(b"<Deleted>") != len(keys):
            raise h.Wrong("multi-delete: %s" % reply.body)

    async def do_copy(self):
        source, key = self.key(), self.key()
        number = "%s.%d" % (self.name, self.n_ops)
        text = text_of(number)
        self.history.values[number] = h.Value(None, text, None)
        headers = [("x-amz-copy-source", BUCKET + urllib.parse.quote(source)),
                   ("x-amz-metadata-directive", "REPLACE"),
                   ("x-amz-meta-number", number), ("x-amz-meta-text", text)]
        look = self.history.begin(h.SEEN, source, who=self.name)
        try:
            op = self.history.begin(h.PUT, key, number, None, self.name)
            reply = await self.wire.request("PUT", key, headers)
        except GONE:
            self.history.drop(look)
            raise
        if reply.status == 404:
            self.history.drop(op)
            self.history.end(look, h.GET)
        elif self.answered(op, reply, 200):
            etag = ET.fromstring(reply.body).findtext(NS + "ETag").strip('"')
            self.history.values[number] = copied(self.history, key, number, etag, text)
            self.history.end(look, h.SEEN, None, etag)
            self.etags[key] = etag
        else:
            self.history.drop(look)

    # ---- reads ----

    async def look(self, method):
        key = self.key()
        op = self.history.begin(h.GET, key, who=self.name)
        try:
            reply = await self.wire.request(method, key)
        except GONE:
            self.history.drop(op)
            raise
        if reply.status >= 500:
            self.swarm.unhappy[reply.status] += 1
            self.history.drop(op)
            return
        number = object_number(self.history, method, key, reply)
        self.history.end(op, h.GET, number)
        if number is None:
            self.etags.pop(key, None)
        else:
            self.etags[key] = reply.headers["etag"].strip('"')

    async def do_get(self):
        await self.look("GET")

    async def do_head(self):
        await self.look("HEAD")

    async def do_list(self):
        shared = self.dice.random() < 0.5 or not self.own
        keys, prefix = (self.shared, "s/") if shared else (self.own, self.own[0][:4])
        ops = [self.history.begin(h.SEEN, k, who=self.name) for k in keys]
        try:
            reply = await self.wire.request("GET", ["/bucket/?prefix=" + prefix.replace(" ", "%20")])
        except GONE:
            for op in ops:
                self.history.drop(op)
            raise
        if reply.status >= 500:
            self.swarm.unhappy[reply.status] += 1
            for op in ops:
                self.history.drop(op)
            return
        listed = parse_list(reply)
        for op in ops:
            self.history.end(op, h.SEEN, None, listed.pop(op.key, (None, 0))[0])
        if listed:
            raise h.Wrong("listed, but no key of ours: %s" % list(listed))


async def survey_uploads(address, history, uploads, dice):
    """All is quiet: the uploads that began are there, with the parts that were acknowledged, and none
    that was ended. Then one in three is completed, one in three aborted, and the rest stay. Returns
    how many there were."""
    wire = Wire(address)
    listed = ET.fromstring((await wire.request("GET", ["/bucket/?uploads"])).body)
    listed = {e.findtext(NS + "UploadId") for e in listed.iterfind(NS + "Upload")}
    n = len(uploads)
    for upload_id, upload in list(uploads.items()):
        reply = await wire.request("GET", [upload.path(upload_id)])
        there = reply.status == 200
        if not there and (reply.status != 404 or b"<Code>NoSuchUpload</Code>" not in reply.body):
            raise h.Wrong("upload of %r: status %d %s" % (upload.key, reply.status, reply.body))
        if there != (upload_id in listed):
            raise h.Wrong("upload of %r: the two lists disagree" % upload.key)
        if not there and not upload.ending:
            raise h.Wrong("upload of %r is gone" % upload.key)
        if there:
            etags = [e.findtext(NS + "ETag").strip('"')
                     for e in ET.fromstring(reply.body).iterfind(NS + "Part")]
            if etags != [upload.md5] and (upload.acked or etags):
                raise h.Wrong("upload of %r: acknowledged: %s, listed: %s, sent: %s" % (
                    upload.key, upload.acked, etags, upload.md5))
        end = dice.random()
        if there and etags and not upload.ending and end < 0.33:
            op, reply = await upload.complete(wire, history, upload_id, "survey")
            if reply.status != 200:
                raise h.Wrong("upload of %r: status %d %s" % (upload.key, reply.status, reply.body))
            history.end(op)
        elif there and end < 0.66:
            reply = await wire.request("DELETE", [upload.path(upload_id)])
            if reply.status != 204:
                raise h.Wrong("upload of %r: status %d %s" % (upload.key, reply.status, reply.body))
        elif there:
            continue
        del uploads[upload_id]
    wire.cut()
    return n


def object_number(history, method, key, reply):
    """Which write a GET or HEAD shows; None: no object. All of it must fit together."""
    if reply.status == 404:
        if method == "GET" and b"<Code>NoSuchKey</Code>" not in reply.body or \
                b"damaged" in reply.body:
            raise h.Wrong("GET %r: %s" % (key, reply.body))
        return None
    number, etag = reply.headers.get("x-amz-meta-number"), reply.headers.get("etag", "").strip('"')
    if reply.status != 200 or number is None:
        raise h.Wrong("%s %r: status %d %s" % (method, key, reply.status, reply.headers))
    value = history.values.get(number)
    if value is None:
        raise h.Wrong("%s %r: number %s was never sent whole, or is long gone" % (
            method, key, number))
    if value.etag is None:  # a copy without an answer
        value = history.values[number] = copied(history, key, number, etag, value.text)
    if method == "GET" and hashlib.md5(reply.body).hexdigest() != value.md5:
        raise h.Wrong("GET %r: number %s: other bytes than were sent" % (key, number))
    if value.etag != etag or reply.headers.get("x-amz-meta-text") != value.text:
        raise h.Wrong("%s %r: number %s with another ETag or metadata: %s" % (
            method, key, number, reply.headers))
    return number


def copied(history, key, number, etag, text):
    """The value of a copy with this ETag: that of some object that was there."""
    for value in history.values.values():
        if value.etag == etag:
            return h.Value(etag, text, value.md5)
    raise h.Wrong("%r: number %s with ETag %s is a copy of nothing" % (key, number, etag))


def parse_list(reply):
    """key -> (ETag, size)"""
    root = ET.fromstring(reply.body)
    if reply.status != 200 or root.findtext(NS + "IsTruncated") != "false":
        raise h.Wrong("LIST: status %d %s" % (reply.status, reply.body[:200]))
    return {e.findtext(NS + "Key"): (e.findtext(NS + "ETag", "").strip('"'),
                                     int(e.findtext(NS + "Size")))
            for e in root.iterfind(NS + "Contents")}


async def survey(address, history, wanted, unread=None):
    """All is quiet: what is there (key -> number). The keys of `wanted` are read, of the others
    LIST must say what is known. LIST and GET must agree. unread: a set that takes the keys that
    were answered with 5xx; without it none may be."""
    wire = Wire(address)
    reply = await wire.request("GET", ["/bucket/"])
    listed = parse_list(reply) if unread is None or reply.status < 500 else None
    found = {}
    for key in sorted(set(listed or ()) | set(history.ops) | set(history.state)):
        number = history.state.get(key)
        if key in wanted or key in history.ops or number is None:
            reply = await wire.request("GET", key)
            if unread is not None and reply.status >= 500:
                unread.add(key)
                continue
            number = object_number(history, "GET", key, reply)
            if listed is not None:
                compare_listed(history, key, number, len(reply.body), listed.get(key))
        elif key not in listed or listed[key][0] != history.values[number].etag:
            raise h.Wrong("%r: number %s, and LIST says %s" % (key, number, listed.get(key)))
        if number is not None:
            found[key] = number
    wire.cut()
    return found


def compare_listed(history, key, number, size, listed):
    wanted = None if number is None else (history.values[number].etag, size)
    if listed != wanted:
        raise h.Wrong("%r: LIST says %s, GET %s" % (key, listed, wanted))
