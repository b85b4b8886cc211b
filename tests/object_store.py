"""A bucket on this machine that speaks as much of Cloud Storage's JSON interface as gcsfs and tensorstore use, badly.

It is slow, fails one call in so many (before or after the call had its effect, with an error or a cut connection), and
shows in its listings only after a while what was written or removed. Reading an object is never late.

    with ObjectStore(fail_every=20, listing_delay_s=1.0) as store:
        subprocess.run([...], env=os.environ | store.environment())

By hand: ``python tests/object_store.py 8123`` prints the environment and serves until it is stopped.
"""

from __future__ import annotations

import base64
import dataclasses
import email
import hashlib
import http.server
import itertools
import json
import random
import re
import socket
import sys
import threading
import time
import urllib.parse


@dataclasses.dataclass
class Stored:
    """One object: its bytes, and since when listings show them; ``gone``: since when they no longer do."""

    data: bytes
    generation: int
    written: float
    gone: float | None = None


class ObjectStore:
    """Buckets in memory, served on a free port while the block lasts.

    Args:
      fail_every: one call in so many fails, by a fixed series of draws; 0: none.
      delay_s: of every answer, in seconds.
      listing_delay_s: until listings show a change, in seconds.
      port: to serve on; 0: a free one.
      buckets: that there are.

    Attributes:
      objects: (bucket, name) -> object.
      calls: how many of each kind were answered, e.g. {"read object": 3}; failed ones are counted as "failed".
    """

    def __init__(self, *, fail_every=0, delay_s=0.0, listing_delay_s=0.0, port=0, buckets=("bucket",)):
        self.fail_every, self.delay_s, self.listing_delay_s = fail_every, delay_s, listing_delay_s
        self.buckets, self.objects, self.uploads = set(buckets), {}, {}
        self.calls, self.lock, self.numbers = {}, threading.RLock(), itertools.count(1)
        self.draws = random.Random(0)
        self.server = _Server(("127.0.0.1", port), _Call)
        self.server.store = self

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        """Where it is served."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def environment(self):
        """What makes gcsfs and tensorstore come here."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "FSSPEC_GCS_TOKEN": "anon",
        }

    def read(self, name, bucket="bucket"):
        """Bytes of an object; KeyError where there is none."""
        found = self.objects[bucket, name]
        if found.gone is not None:
            raise KeyError(name)
        return found.data

    def names(self, prefix="", bucket="bucket"):
        """All objects there really are."""
        return sorted(n for (b, n), o in self.objects.items() if b == bucket and n.startswith(prefix) and not o.gone)

    # ------------------------------------------------------------- what calls do

    def put(self, bucket, name, data, expected=None):
        """Write; None where ``expected`` is not the generation that is there (0: none)."""
        with self.lock:
            there = self.find(bucket, name)
            if expected is not None and expected != (there.generation if there else 0):
                return None
            # an object that listings already show stays in them
            shown = there.written if there else time.monotonic()
            self.objects[bucket, name] = Stored(bytes(data), time.time_ns() + next(self.numbers), shown)
            return self.objects[bucket, name]

    def find(self, bucket, name):
        """The object, or None."""
        found = self.objects.get((bucket, name))
        return found if found is not None and found.gone is None else None

    def remove(self, bucket, name):
        """Whether it was there."""
        with self.lock:
            found = self.find(bucket, name)
            if found is not None:
                found.gone = time.monotonic()
            return found is not None

    def list(self, bucket, prefix, delimiter, start=""):
        """(names, prefixes) that listings show by now."""
        names, prefixes = [], set()
        now = time.monotonic()
        with self.lock:
            for (of, name), found in sorted(self.objects.items()):
                late = now - self.listing_delay_s
                shown = found.written <= late and (found.gone is None or found.gone > late)
                if of != bucket or not name.startswith(prefix) or name < start or not shown:
                    continue
                rest = name[len(prefix) :]
                if delimiter and delimiter in rest:
                    prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
                else:
                    names.append((name, found))
        return names, sorted(prefixes)

    def fate(self):
        """What becomes of this call: "" (nothing happens to it), or a fault."""
        with self.lock:
            if not self.fail_every or self.draws.randrange(self.fail_every):
                return ""
            return self.draws.choice(("503 before", "503 after", "cut before", "cut after"))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):  # a client that hung up is no news
        pass


class _Call(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_POST = do_PUT = do_DELETE = do_GET

    @property
    def store(self):
        return self.server.store

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.chunks()
        time.sleep(self.store.delay_s)
        fate = self.store.fate()
        kind, code, headers, data = "failed", 503, {}, b'{"error": {"code": 503, "message": "Backend Error"}}'
        if not fate.endswith("before"):
            kind, code, headers, data = self.act(body)
        if fate:
            kind = "failed"
        with self.store.lock:
            self.store.calls[kind] = self.store.calls.get(kind, 0) + 1
        if fate.startswith("cut"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fate == "503 after":
            code, headers, data = 503, {}, b'{"error": {"code": 503, "message": "Backend Error"}}'
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if code != 304:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def chunks(self):
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def act(self, body):
        """(kind, code, headers, data) of one call."""
        url = urllib.parse.urlsplit(self.path)
        asked = {name: values[0] for name, values in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
        match = re.fullmatch(r"(?:/upload|/download)?/storage/v1/b/([^/]+)(/o)?(?:/(.*))?", url.path)
        if match is None:
            return "unknown", 404, {}, _error(404, f"no such call: {self.command} {url.path}")
        bucket, listed, name = urllib.parse.unquote(match[1]), match[2], match[3]
        if bucket not in self.store.buckets:
            return "bucket", 404, {}, _error(404, f"no bucket {bucket}")
        if not listed:
            return "bucket", 200, {}, _json({"name": bucket, "kind": "storage#bucket", "id": bucket})
        if url.path.startswith("/upload"):
            return self.upload(bucket, asked, body)
        if not name:
            return self.listing(bucket, asked)
        names = [urllib.parse.unquote(part) for part in re.split(r"/(?:rewriteTo|moveTo)(?:/b/[^/]+)?/o/", name)]
        if len(names) == 2:
            return self.copy(bucket, *names, moved="/moveTo/" in name)
        if self.command == "DELETE":
            gone = self.store.remove(bucket, names[0])
            return (
                ("DELETE object", 204, {}, b"") if gone else ("DELETE object", 404, {}, _error(404, "No such object"))
            )
        return self.read(bucket, names[0], asked)

    def read(self, bucket, name, asked):
        found = self.store.find(bucket, name)
        if found is None:
            return "GET object", 404, {}, _error(404, f"No such object: {bucket}/{name}")
        generation = str(found.generation)
        headers = {"x-goog-generation": generation, "Date": self.date_time_string(), "Content-Type": "text/plain"}
        if asked.get("ifGenerationNotMatch") == generation:
            return "GET object", 304, headers, b""
        if "ifGenerationMatch" in asked and asked["ifGenerationMatch"] != generation:
            return "GET object", 412, headers, _error(412, "conditionNotMet")
        if asked.get("alt") != "media":
            return "GET object", 200, {"Content-Type": "application/json"}, _json(_facts(bucket, name, found))
        ranged = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not ranged:
            return "read object", 200, headers, found.data
        size = len(found.data)
        first = int(ranged[1]) if ranged[1] else max(0, size - int(ranged[2]))
        last = min(int(ranged[2]), size - 1) if ranged[1] and ranged[2] else size - 1
        if first >= size:
            return "read object", 416, headers, _error(416, "range")
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return "read object", 206, headers, found.data[first : last + 1]

    def listing(self, bucket, asked):
        start = asked.get("startOffset", "")
        names, prefixes = self.store.list(bucket, asked.get("prefix", ""), asked.get("delimiter", ""), start)
        end = asked.get("endOffset")
        items = [_facts(bucket, name, found) for name, found in names if not end or name < end]
        found = {"kind": "storage#objects", "items": items, "prefixes": prefixes}
        return "list", 200, {"Content-Type": "application/json"}, _json({k: v for k, v in found.items() if v})

    def copy(self, bucket, source, target, moved):
        found = self.store.find(bucket, source)
        if found is None:
            return "copy", 404, {}, _error(404, f"No such object: {bucket}/{source}")
        made = self.store.put(bucket, target, found.data)
        if moved:
            self.store.remove(bucket, source)
            return "copy", 200, {}, _json(_facts(bucket, target, made))
        return "copy", 200, {}, _json({"done": True, "resource": _facts(bucket, target, made)})

    def upload(self, bucket, asked, body):
        kind = asked.get("uploadType")
        expected = int(asked["ifGenerationMatch"]) if "ifGenerationMatch" in asked else None
        if kind == "resumable" and "upload_id" not in asked:
            number = str(next(self.store.numbers))
            name = asked.get("name") or json.loads(body)["name"]
            self.store.uploads[number] = (name, bytearray(), expected)
            where = f"{self.store.url}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"
            return "POST upload", 200, {"Location": where}, b"{}"
        if kind == "resumable":
            return self.resume(bucket, asked["upload_id"], body)
        if kind == "multipart":
            message = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body
            boundary = email.message_from_bytes(message).get_boundary().encode()
            _, facts, data, _ = body.split(b"--" + boundary)
            name = json.loads(re.split(rb"\r?\n\r?\n", facts, maxsplit=1)[1])["name"]
            data = re.split(rb"\r?\n\r?\n", data, maxsplit=1)[1]
            data = data[: -2 if data.endswith(b"\r\n") else -1]
        else:
            name, data = asked["name"], body
        return self.written(bucket, name, data, expected)

    def resume(self, bucket, number, body):
        name, data, expected = self.store.uploads[number]
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", self.headers.get("Content-Range", ""))
        if span and span[1]:
            del data[int(span[1]) :]
            data += body
        elif not span:
            data += body
        if span and (span[3] == "*" or len(data) < int(span[3])):
            got = {"Range": f"bytes=0-{len(data) - 1}"} if data else {}
            return "POST upload", 308, got, b""
        return self.written(bucket, name, bytes(data), expected)

    def written(self, bucket, name, data, expected):
        made = self.store.put(bucket, name, data, expected)
        if made is None:
            return "POST object", 412, {}, _error(412, "conditionNotMet")
        headers = {"Content-Type": "application/json", "x-goog-generation": str(made.generation)}
        return "POST object", 200, headers, _json(_facts(bucket, name, made))


def _facts(bucket, name, found):
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(len(found.data)),
        "generation": str(found.generation),
        "metageneration": "1",
        "md5Hash": base64.b64encode(hashlib.md5(found.data).digest()).decode(),
        "timeCreated": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
        "contentType": "application/octet-stream",
    }


def _json(value):
    return json.dumps(value).encode()


def _error(code, message):
    return _json({"error": {"code": code, "message": message}})


if __name__ == "__main__":
    numbers = [float(argument) for argument in sys.argv[1:]] + [0.0] * 4
    with ObjectStore(
        port=int(numbers[0]), fail_every=int(numbers[1]), delay_s=numbers[2], listing_delay_s=numbers[3]
    ) as served:
        print(*(f"export {name}={value}" for name, value in served.environment().items()), sep="\n", flush=True)
        while True:
            time.sleep(1)
