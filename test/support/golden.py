#!/usr/bin/env python3
"""What golden.sh checks about directories of the original's format.

  golden.py served ADDR JSON             the server has exactly the objects of that file
  golden.py revision ADDR NAME REV       ... those of a replay of NAME.history up to REV
  golden.py make-large DIR               makes DIR, 2 GiB of blocks (holes), and DIR.json
  golden.py fill ADDR                    makes objects; prints their JSON
  golden.py decoded DIR JSON TEXT GONE   protoc's TEXT leads to each object but GONE in DIR's blocks"""
import gzip
import hashlib
import json
import random
import re
import sys

from s3client import Client


def same(what, got, wanted):
    if got != wanted:
        sys.exit("%s: got %.200r, wanted %.200r" % (what, got, wanted))


def served(address, path):
    client = Client(address)
    wanted = json.load(open(path))
    same("keys", client.list(max_keys=37 if len(wanted) < 1000 else 1000),
         sorted(wanted, key=lambda k: k.encode()))
    for key, properties in list(wanted.items())[:2000]:
        head, reply = client.head(key), client.get(key)
        for r in (head, reply):
            same(key + ": length", r.headers["content-length"], str(properties["size"]))
            same(key + ": ETag", r.headers["etag"], '"%s"' % properties["md5"])
            same(key + ": metadata", r.meta, {k.lower(): v for k, v in properties["meta"].items()})
        same(key + ": MD5", hashlib.md5(reply.body).hexdigest(), properties["md5"])


def revision(address, name, rev):
    live, later = set(), set()
    for line in open(name + ".history", encoding="utf-8").read().split("\n")[1:-1]:
        number, operation, key = line.split("\t")
        if int(number) > int(rev):
            later.add(key)
        elif operation == "put":
            live.add(key)
        else:
            live.discard(key)
    client = Client(address)
    same("keys at revision " + rev, set(client.list()), live)
    final = json.load(open(name + ".json"))
    for key in live:
        reply = client.get(key)
        same(key + ": MD5", hashlib.md5(reply.body).hexdigest(), reply.etag)
        if key not in later:
            same(key + ": MD5 at the end", reply.etag, final[key]["md5"])


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def number(field, n):
    return varint(field << 3) + varint(n * 2)  # zigzag, n >= 0


def message(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def make_large(directory):
    size, per_block, blocks = 105000, 399, 52
    md5 = hashlib.md5(bytes(size)).hexdigest()
    history, objects = [number(2, blocks)], {}
    for block in range(blocks):
        with open("%s/block%010d" % (directory, block), "wb") as file:
            file.truncate(size * per_block)
        for i in range(per_block):
            key = "s3ql_data_%d" % (block * per_block + i)
            location = number(1, block) + number(2, i * size) + number(3, size)
            put = message(1, key.encode()) + message(2, location)
            history.append(message(3, message(1, put)))
            objects[key] = {"md5": md5, "meta": {}, "size": size}
    with open(directory + "/db0000000000", "wb") as file:
        file.write(gzip.compress(b"".join(history)))
    json.dump(objects, open(directory + ".json", "w"))


def fill(address):
    client, dice, objects = Client(address), random.Random(1), {}
    for i in range(200):
        key = "key-%d" % dice.randrange(120)
        body = dice.randbytes(dice.choice((0, 1, 500, 4096, 70000, 300000)))
        meta = {"format": "raw2", "note": "a  b\"'<>|%41"}
        client.put(key, body, meta)
        objects[key] = {"md5": hashlib.md5(body).hexdigest(), "meta": meta, "size": len(body)}
    client.put("key-1", b"to be deleted")
    objects["key-1"] = {"md5": hashlib.md5(b"to be deleted").hexdigest(), "meta": {}, "size": 13}
    json.dump(objects, sys.stdout)


def decoded(directory, path, text, gone):
    live, operation, record, next_file = {}, "", {}, None
    for line in open(text):
        field = re.match(r'( *)(\w+)(?:: (.*)| \{)$', line.rstrip("\n"))
        if not field:
            continue
        indent, name, value = len(field.group(1)), field.group(2), field.group(3)
        if indent == 0 and name == "next_backend_file":
            next_file = int(value)
        elif indent == 2 and name in ("put", "delete"):
            operation, record = name, {"size": 0, "offset": 0, "backend_file": 0}
        elif indent == 4 and name == "filename" and operation == "put":
            live[json.loads(value)] = record
        elif indent == 4 and name == "filename":
            del live[json.loads(value)]
        elif indent == 6 and name in ("backend_file", "offset", "size"):
            record[name] = int(value)
    wanted = json.load(open(path))
    del wanted[gone]
    same("keys", set(live), set(wanted))
    for key, place in live.items():
        if place["backend_file"] >= next_file:
            sys.exit("%s is in block %d, but next_backend_file is %d" %
                     (key, place["backend_file"], next_file))
        with open("%s/block%010d" % (directory, place["backend_file"]), "rb") as file:
            file.seek(place["offset"])
            body = file.read(place["size"])
        same(key + ": MD5", hashlib.md5(body).hexdigest(), wanted[key]["md5"])


def main():
    commands = {"served": served, "revision": revision, "make-large": make_large, "fill": fill,
                "decoded": decoded}
    commands[sys.argv[1]](*sys.argv[2:])


main()
