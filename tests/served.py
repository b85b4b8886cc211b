"""A small HTTP server in this process, for tests of what asks one."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

Reply = Callable[[str, Any], tuple[int, Any] | tuple[int, Any, dict[str, str]]]
"""(path, body or None) -> (status, JSON value or bytes) and, if wanted, headers. A status of 0 cuts the connection."""


class Served(http.server.ThreadingHTTPServer):
    """A server whose ``reply`` may be changed; ``seen`` holds the (path, key, body) of each request."""

    daemon_threads = True
    reply: Reply

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        status, value, *more = self.server.reply(self.path, body)
        if not status:
            return
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        with contextlib.suppress(ConnectionError):  # who asked may be gone
            self.send_response(status)
            for name, text in (more[0] if more else {}).items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

    def do_GET(self):
        self.answer(None)

    def do_POST(self):
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(reply: Reply) -> Iterator[Served]:
    """A server on a free port, until the block ends."""
    served = Served(("127.0.0.1", 0), Handler)
    served.seen, served.reply = [], reply
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        served.shutdown()
        thread.join()
        served.server_close()
