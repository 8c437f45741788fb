#!/usr/bin/python3
"""Many buckets, seen from outside (test/integration/buckets.sh).

  buckets.py boto ADDR                       boto3: making, listing, deleting; copies between buckets
  buckets.py memory ADDR PID MIB             a hundred buckets one after the other; fails if they take
                                             MIB more than the first ten
  buckets.py torture SERVER WORK CYCLES [SEED]
                                             kill -9 while clients make and delete buckets and write to
                                             them; nothing that was acknowledged is lost or comes back

The torture's seed is printed; with it the choices of every client and the moments of the kills are the
same again. How far each client gets is up to the machine."""
import http.client
import io
import os
import random
import subprocess
import sys
import threading
import time

from s3client import Client, Failure

MIB = 1 << 20


def fail(text):
    sys.exit("FAILED: " + text)


def expect(what, got, wanted):
    if got != wanted:
        fail("%s: got %r, wanted %r" % (what, got, wanted))


# ---- boto3 ----

def boto(address):
    import boto3
    import botocore.config
    import botocore.exceptions
    from boto3.s3.transfer import TransferConfig

    config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})
    s3 = boto3.client("s3", endpoint_url="http://" + address, region_name="us-east-1",
                      aws_access_key_id="any", aws_secret_access_key="any", config=config)
    parts = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)

    def code(call, **arguments):
        try:
            call(**arguments)
        except botocore.exceptions.ClientError as failure:
            return failure.response["Error"]["Code"]
        return ""

    def names():
        return [b["Name"] for b in s3.list_buckets()["Buckets"]]

    expect("buckets at first", names(), ["bucket"])
    s3.create_bucket(Bucket="photos")
    s3.create_bucket(Bucket="photos")  # again, as in us-east-1
    elsewhere = {"LocationConstraint": "eu-central-1"}
    s3.create_bucket(Bucket="archive.2026", CreateBucketConfiguration=elsewhere)
    expect("made again from another region",
           code(s3.create_bucket, Bucket="archive.2026", CreateBucketConfiguration=elsewhere),
           "BucketAlreadyOwnedByYou")
    s3.create_bucket(Bucket="to-go")
    expect("buckets", names(), ["archive.2026", "bucket", "photos", "to-go"])
    age = time.time() - s3.list_buckets()["Buckets"][2]["CreationDate"].timestamp()
    if not -5 < age < 300 and s3.list_buckets()["Buckets"][2]["CreationDate"].year != 1970:
        fail("photos was made %f s ago" % age)
    for name in ("1.2.3.4", "xn--abc", "a..b", "x" * 64, "ab"):
        got = Client(address).raw("PUT", "/" + name)
        expect("making " + name, (got.status, got.code), (400, "InvalidBucketName"))
    expect("head", s3.head_bucket(Bucket="photos")["ResponseMetadata"]["HTTPStatusCode"], 200)
    expect("head of another", code(s3.head_bucket, Bucket="absent"), "404")
    expect("location", s3.get_bucket_location(Bucket="photos")["LocationConstraint"], None)
    expect("versioning", "Status" in s3.get_bucket_versioning(Bucket="photos"), False)
    print("ok - boto3: buckets are made, listed and looked at")

    bodies = {"empty": b"", "small": os.urandom(1000), "odd ñ+%20": os.urandom(65537),
              "large": os.urandom(17 * MIB + 123)}
    for key, body in bodies.items():
        s3.upload_fileobj(io.BytesIO(body), "photos", key, Config=parts,
                          ExtraArgs={"Metadata": {"camera": key.encode().hex()}, "ContentType": "image/x"})
    for key, body in bodies.items():
        s3.copy_object(Bucket="bucket", Key="one/" + key, CopySource={"Bucket": "photos", "Key": key})
        s3.copy_object(Bucket="to-go", Key=key, CopySource={"Bucket": "photos", "Key": key},
                       MetadataDirective="REPLACE", Metadata={"new": "yes"})
        s3.copy({"Bucket": "photos", "Key": key}, "archive.2026", "two/" + key, Config=parts)
        for bucket, copy, meta in (("bucket", "one/" + key, {"camera": key.encode().hex()}),
                                   ("to-go", key, {"new": "yes"}), ("archive.2026", "two/" + key, None)):
            got = s3.get_object(Bucket=bucket, Key=copy)
            expect("bytes of %s/%s" % (bucket, copy), got["Body"].read() == body, True)
            if meta is not None:
                expect("metadata of " + copy, got["Metadata"], meta)
    expect("a copy of what is not there",
           code(s3.copy_object, Bucket="bucket", Key="x", CopySource={"Bucket": "photos", "Key": "absent"}),
           "NoSuchKey")
    expect("a copy from no bucket",
           code(s3.copy_object, Bucket="bucket", Key="x", CopySource={"Bucket": "absent", "Key": "x"}),
           "NoSuchBucket")
    print("ok - boto3: copies between buckets, whole and in parts, are the same bytes")

    expect("deleting a full one", code(s3.delete_bucket, Bucket="to-go"), "BucketNotEmpty")
    s3.create_multipart_upload(Bucket="to-go", Key="never completed")
    for key in bodies:
        s3.delete_object(Bucket="to-go", Key=key)
    s3.delete_bucket(Bucket="to-go")
    expect("deleting it again", code(s3.delete_bucket, Bucket="to-go"), "NoSuchBucket")
    expect("writing to it", code(s3.put_object, Bucket="to-go", Key="x", Body=b"x"), "NoSuchBucket")
    expect("deleting the directory's own", code(s3.delete_bucket, Bucket="bucket"), "MethodNotAllowed")
    s3.create_bucket(Bucket="to-go")
    expect("what a new one of that name has", s3.list_objects_v2(Bucket="to-go")["KeyCount"], 0)
    print("ok - boto3: only empty buckets are deleted")


# ---- memory ----

def resident(pid):
    fields = dict(line.split(":", 1) for line in open("/proc/%s/status" % pid))
    return int(fields["VmRSS"].split()[0]) / 1024


def memory(address, pid, mib):
    client = Client(address)
    body = os.urandom(300000)
    few = 0.0
    for i in range(100):
        name = "/many-%03d" % i
        for method, target, data in (("PUT", name, b""), ("PUT", name + "/key", body),
                                     ("GET", name + "/key", b""), ("GET", name + "/?list-type=2", b"")):
            got = client.raw(method, target, body=data)
            expect(method + " " + target, got.status, 200)
        if i == 9:
            few = resident(pid)
    many = resident(pid)
    for i in range(100):
        expect("GET", client.raw("GET", "/many-%03d/key" % i).body, body)
    again = resident(pid)
    files = len(os.listdir("/proc/%s/fd" % pid))
    print("ok - memory: %.1f MiB after 10 buckets, %.1f MiB after 100, %.1f MiB after all of them again; "
          "%d descriptors" % (few, many, again, files))
    if max(many, again) > few + mib:
        fail("a hundred buckets take more memory than the 32 that are open should")
    if files > 450:
        fail("%d descriptors are open" % files)


# ---- kill -9 ----

class World:
    """What one client knows of its own buckets: name -> {key: versions that may be there}, or None: the
    bucket is not there. `doubt`: a bucket's creation or deletion was not answered."""

    def __init__(self, number, seed):
        self.number, self.dice = number, random.Random("%d/%d" % (seed, number))
        self.buckets = {"w%d-b%d" % (number, i): None for i in range(4)}
        self.doubt = set()
        self.version = 0
        self.n_acked = 0
        self.wrong = None  # what a thread found

    def body(self, key, version):
        text = ("%s %d\n" % (key, version)).encode()
        return text * (1 + version * 7919 % (30000 if version % 5 == 0 else 40))


def parse(body):
    """The version that a body is of; -1: none."""
    line = body.split(b"\n", 1)[0]
    try:
        key, version = line.rsplit(b" ", 1)
        version = int(version)
    except ValueError:
        return -1
    whole = (line + b"\n") * (len(body) // (len(line) + 1))
    return version if whole == body else -1


def done(what, got, wanted):
    """503: it stops, or is too slow. Nothing is known then."""
    if got.status == 503:
        raise Failure(what)
    expect(what, got.status, wanted)


def act(world, client):
    """One step of a client; raises Failure when the server is gone."""
    dice = world.dice
    name = dice.choice(sorted(world.buckets))
    objects = world.buckets[name]
    if objects is None:
        world.doubt.add(name)
        done("making a bucket", client.raw("PUT", "/" + name), 200)
        world.buckets[name] = {}
        world.doubt.discard(name)
    elif dice.random() < 0.15:
        live = [k for k, v in objects.items() if v != {None}]
        if live and dice.random() < 0.3:
            done("deleting %s, which has %r" % (name, objects), client.raw("DELETE", "/" + name), 409)
            return
        for key in live:
            objects[key] = objects[key] | {None}
            done("deleting", client.raw("DELETE", "/%s/%s" % (name, key)), 204)
            objects[key] = {None}
        world.doubt.add(name)
        done("deleting a bucket", client.raw("DELETE", "/" + name), 204)
        world.buckets[name] = None
        world.doubt.discard(name)
    else:
        key = "k%d" % dice.randrange(5)
        sources = [(b, k, next(iter(v))) for b, o in sorted(world.buckets.items()) if o is not None and b != name
                   for k, v in sorted(o.items()) if len(v) == 1 and v != {None}]
        if sources and dice.random() < 0.3:
            bucket, source, version = dice.choice(sources)
            objects[key] = objects.get(key, {None}) | {version}
            got = client.raw("PUT", "/%s/%s" % (name, key), headers={"x-amz-copy-source": "%s/%s" % (bucket, source)})
        else:
            world.version += 1
            version = world.version
            objects[key] = objects.get(key, {None}) | {version}
            got = client.raw("PUT", "/%s/%s" % (name, key), body=world.body(name, version))
        done("writing", got, 200)
        objects[key] = {version}
    world.n_acked += 1


def load(world, address):
    client = Client(address)
    try:
        while True:
            act(world, client)
    except (Failure, OSError, http.client.HTTPException):
        pass
    except SystemExit as wrong:
        world.wrong = wrong


def patient(client, target):
    """A GET, by somebody who comes back as he is told to."""
    for _ in range(12):
        got = client.raw("GET", target)
        if got.status != 503:
            break
        time.sleep(1)
    return got


def check(world, client):
    """After a start: everything is as it was acknowledged, and what was open is settled."""
    for name, objects in world.buckets.items():
        there = client.raw("HEAD", "/" + name).status == 200
        if name not in world.doubt and there != (objects is not None):
            fail("%s %s" % (name, "came back" if there else "is gone"))
        if not there:
            world.buckets[name] = None
            continue
        if objects is None:
            objects = world.buckets[name] = {}
        for key in objects:
            got = patient(client, "/%s/%s" % (name, key))
            version = parse(got.body) if got.status == 200 else None
            if got.status not in (200, 404) or version not in objects[key]:
                fail("%s/%s: %d, version %r, not of %r" % (name, key, got.status, version, objects[key]))
            objects[key] = {version}
        listed = patient(client, "/%s/" % name).body.count(b"<Key>")
        expect("objects listed in " + name, listed, sum(v != {None} for v in objects.values()))
    world.doubt.clear()


def torture(program, work, cycles, seed):
    from kill9 import Server
    dice = random.Random(seed)
    store = os.path.join(work, "store")
    os.mkdir(store, 0o700)
    worlds = [World(i, seed) for i in range(6)]
    for cycle in range(cycles):
        server = Server(program, store, os.path.join(work, "log"), threads=dice.choice((1, 4)))
        address = server.wait()
        client = Client(address)
        for world in worlds:
            check(world, client)
        threads = [threading.Thread(target=load, args=(w, address)) for w in worlds]
        for thread in threads:
            thread.start()
        time.sleep(dice.uniform(0.05, 1.2))
        if cycle == cycles - 1:
            server.stop()
        else:
            server.kill()
            server.process.wait()
        for thread, world in zip(threads, worlds):
            thread.join()
            if world.wrong is not None:
                raise world.wrong
    server = Server(program, store, os.path.join(work, "log"))
    client = Client(server.wait())
    for world in worlds:
        check(world, client)
    server.stop()
    folders = [name for name in os.listdir(os.path.join(store, "buckets"))]
    verify = os.path.join(os.path.dirname(program), "tools", "zipkvverify")
    for name in folders:
        folder = os.path.join(store, "buckets", name)
        if os.path.exists(os.path.join(folder, "db0000000000")):
            done = subprocess.run([verify, "-dir", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode != 0:
                fail("zipkvverify of %s: %s" % (name, done.stdout.decode()))
    print("%d kills, %d acknowledged changes, %d folders set aside" %
          (cycles - 1, sum(w.n_acked for w in worlds), sum(n.startswith(".deleted-") for n in folders)))


def main():
    mode, arguments = sys.argv[1], sys.argv[2:]
    if mode == "boto":
        boto(arguments[0])
    elif mode == "memory":
        memory(arguments[0], arguments[1], float(arguments[2]))
    else:
        seed = int(arguments[3]) if len(arguments) > 3 else int.from_bytes(os.urandom(4), "big")
        print("seed %d" % seed, flush=True)
        torture(arguments[0], arguments[1], int(arguments[2]), seed)


main()
