"""A small S3 client for the tests: signs nothing, hides nothing, uses only Python's own library.

One Client is one connection; it is not for several threads. Paths are sent as they are given to
raw(); the other calls quote keys as S3QL does.

With ZKV_CA in the environment, the file of a CA, all connections speak TLS."""
import hashlib
import http.client
import os
import re
import socket
import ssl
import urllib.parse
import xml.etree.ElementTree as ET

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # names in lower case
        self.body = body

    @property
    def code(self):
        """The S3 error code in the body, or an empty string."""
        found = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return found.group(1).decode() if found else ""

    @property
    def meta(self):
        return {k[11:]: v for k, v in self.headers.items() if k.startswith("x-amz-meta-")}

    @property
    def etag(self):
        return self.headers.get("etag", "").strip('"')


class Failure(Exception):
    pass


def tls_context():
    """None: TLS is not spoken."""
    ca = os.environ.get("ZKV_CA")
    return ssl.create_default_context(cafile=ca) if ca else None


TLS = tls_context()


def connect(address, rcvbuf=0, timeout=None):
    """A connected socket, for those who make their own requests."""
    host, port = address.rsplit(":", 1)
    sock = socket.socket()
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(timeout)
    sock.connect((host, int(port)))
    return TLS.wrap_socket(sock, server_hostname=host, suppress_ragged_eofs=False) if TLS else sock


class Client:
    def __init__(self, address, bucket="bucket", timeout=60, context=TLS):
        self.address = address
        self.bucket = bucket
        if context:
            self.connection = http.client.HTTPSConnection(address, timeout=timeout, context=context)
        else:
            self.connection = http.client.HTTPConnection(address, timeout=timeout)

    def close(self):
        self.connection.close()

    def raw(self, method, path, body=b"", headers=None):
        """One request on the connection; a connection that the server closed is opened again."""
        fields = {"Content-Length": str(len(body))}
        fields.update(headers or {})
        self.connection.request(method, path, body, fields)
        response = self.connection.getresponse()
        data = response.read()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    def path(self, key):
        if isinstance(key, str):
            key = key.encode()
        return "/%s/%s" % (self.bucket, urllib.parse.quote(key))

    def want(self, wanted, method, key, body=b"", headers=None):
        reply = self.raw(method, self.path(key), body, headers)
        if reply.status != wanted:
            raise Failure("%s %s: status %d %s" % (method, key, reply.status, reply.code))
        return reply

    def put(self, key, body, meta=None):
        headers = {"X-Amz-Meta-" + k: v for k, v in (meta or {}).items()}
        reply = self.want(200, "PUT", key, body, headers)
        if reply.etag != hashlib.md5(body).hexdigest():
            raise Failure("PUT %s: wrong ETag %s" % (key, reply.etag))
        return reply

    def get(self, key):
        return self.want(200, "GET", key)

    def head(self, key):
        return self.want(200, "HEAD", key)

    def delete(self, key):
        return self.want(204, "DELETE", key)

    def absent(self, key):
        reply = self.raw("GET", self.path(key))
        return reply.status == 404 and reply.code == "NoSuchKey"

    def page(self, **query):
        """One page of ListObjects V1: (keys, truncated)."""
        query = {k.replace("_", "-"): v for k, v in query.items()}
        reply = self.raw("GET", "/%s/?%s" % (self.bucket, urllib.parse.urlencode(query)))
        if reply.status != 200:
            raise Failure("LIST: status %d %s" % (reply.status, reply.code))
        root = ET.fromstring(reply.body)
        keys = [e.text or "" for e in root.iterfind("%sContents/%sKey" % (NS, NS))]
        return keys, root.findtext(NS + "IsTruncated") == "true"

    def list(self, prefix="", max_keys=1000):
        """All keys, by as many pages as it takes; each must come once and in order."""
        keys, marker, truncated = [], "", True
        while truncated:
            page, truncated = self.page(prefix=prefix, marker=marker, max_keys=max_keys)
            if truncated and not page:
                raise Failure("LIST: an empty page that is not the last")
            for key in page:
                if keys and key.encode() <= keys[-1].encode():
                    raise Failure("LIST: %r after %r" % (key, keys[-1]))
                keys.append(key)
            marker = keys[-1] if keys else ""
        return keys
