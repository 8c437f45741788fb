#!/usr/bin/env python3
"""A FUSE folder with a disk that remembers in which order it was written.

  block_log.py DIR IMAGE LOG    until it is unmounted

DIR/disk has the content of the file IMAGE; below a loop device it gets all that a block device
would. DIR/marks can only be written. LOG gets an entry for each write, each flush (fsync) and each
write to marks, in the order in which they came; a write has returned only when its entry is there.
read_log() reads it. One thread, so that the order is one."""
import errno
import stat
import struct
import sys

HEAD = struct.Struct("<cQI")  # kind, offset, bytes that follow
WRITE, FLUSH, MARK = b"W", b"F", b"M"


def read_log(path):
    """Entries (kind, offset, data)."""
    with open(path, "rb") as log:
        while True:
            head = log.read(HEAD.size)
            if len(head) < HEAD.size:
                return
            kind, offset, length = HEAD.unpack(head)
            yield kind, offset, log.read(length)


def serve(directory, image, log_path):
    import fusepy

    class Disk(fusepy.Operations):
        def __init__(self):
            with open(image, "rb") as file:
                self.disk = bytearray(file.read())
            self.log = open(log_path, "wb", buffering=0)

        def entry(self, kind, offset=0, data=b""):
            self.log.write(HEAD.pack(kind, offset, len(data)) + data)

        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path not in ("/disk", "/marks"):
                raise fusepy.FuseOSError(errno.ENOENT)
            size = len(self.disk) if path == "/disk" else 0
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

        def read(self, path, size, offset, fh):
            return bytes(self.disk[offset : offset + size])

        def write(self, path, data, offset, fh):
            if path == "/marks":
                self.entry(MARK, 0, data)
            else:
                self.disk[offset : offset + len(data)] = data
                self.entry(WRITE, offset, data)
            return len(data)

        def fsync(self, path, datasync, fh):
            self.entry(FLUSH)
            return 0

        def truncate(self, path, length, fh=None):
            return 0

    fusepy.FUSE(Disk(), directory, foreground=True, nothreads=True, big_writes=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
