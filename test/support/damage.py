#!/usr/bin/env python3
"""damage.py DIR KEY: turns one byte in the middle of that object's body, where it lies on the disk.

The server must not be running."""
import os
import sqlite3
import stat
import sys


def main():
    directory, key = sys.argv[1:]
    index = sqlite3.connect("file:%s/index.sqlite?mode=ro" % directory, uri=True)
    block, offset, size = index.execute(
        "SELECT block, offset, size FROM objects WHERE key = ?", (key.encode(),)).fetchone()
    index.close()
    path = "%s/block%010d" % (directory, block)
    os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    with open(path, "r+b") as file:
        file.seek(offset + size // 2)
        byte = file.read(1)[0]
        file.seek(offset + size // 2)
        file.write(bytes([byte ^ 0x40]))
        os.fsync(file.fileno())
    os.chmod(path, stat.S_IRUSR)


main()
