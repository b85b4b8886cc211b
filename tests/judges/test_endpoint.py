"""The endpoint, against a server in this process: order, parallel requests, tries again, clear errors."""

import http.server
import json
import threading
import time

import pytest

from s3ft_jax.judges import endpoint
from s3ft_jax.judges.endpoint import Endpoint
from s3ft_jax.judges.verdicts import JudgeError


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers.get("Authorization"), body))
        status, answer = self.server.reply(body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def log_message(self, *_):
        pass


def completion(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture
def server(monkeypatch):
    """A server whose ``reply`` gives (status, body) for a request's body; it keeps what it was sent."""
    monkeypatch.setattr(endpoint, "PAUSES", (0.01, 0.01))
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.seen, served.reply = [], lambda body: (200, completion(body["messages"][0]["content"].upper()))
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def address(server):
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def test_replies_come_in_order_whoever_is_first(server, monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")

    def slow_first(body):
        time.sleep(0.2 if body["messages"][0]["content"] == "a" else 0)
        return 200, completion(body["messages"][0]["content"].upper())

    server.reply = slow_first
    ask = Endpoint(address(server) + "/", "m", "A_KEY", max_tokens=7, num_parallel=4)
    assert ask(["a", "b", "c"]) == ["A", "B", "C"]
    path, key, body = server.seen[-1]
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    sent = {name: body[name] for name in ("model", "temperature", "seed", "max_tokens")}
    assert sent == {"model": "m", "temperature": 0, "seed": 0, "max_tokens": 7}


def test_without_a_key_none_is_sent(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert Endpoint(address(server), "m")(["a"]) == ["A"] and server.seen[0][1] is None


def test_a_busy_server_is_asked_again(server):
    replies = [(503, b"busy"), (429, b"slow down"), (200, completion("at last"))]
    server.reply = lambda body: replies.pop(0)
    assert Endpoint(address(server), "m")(["a"]) == ["at last"]


def test_a_model_that_says_nothing_gives_an_empty_reply(server):
    server.reply = lambda body: (200, completion(None))
    assert Endpoint(address(server), "m")(["a"]) == [""]


@pytest.mark.parametrize(
    ("status", "body", "message", "tries"),
    [
        (401, b"no such key", r"HTTP 401 .*no such key.*the key in \$OPENAI_API_KEY", 1),
        (500, b"broken", r"HTTP 500 .*broken", 3),
        (200, b"<html>", r"replied with no chat completion.*address end in /v1", 1),
        (200, b"{}", r"replied with no chat completion", 1),
    ],
)
def test_what_does_not_get_better_is_an_error(server, status, body, message, tries):
    server.reply = lambda request: (status, body)
    with pytest.raises(JudgeError, match=message):
        Endpoint(address(server), "m", num_parallel=1)(["a", "b"])
    assert tries <= len(server.seen) <= 2 * tries


def test_nobody_there(monkeypatch):
    monkeypatch.setattr(endpoint, "PAUSES", (0.01,))
    with pytest.raises(JudgeError, match=r"127\.0\.0\.1:9/v1/chat/completions does not reply \(URLError"):
        Endpoint("http://127.0.0.1:9/v1", "m")(["a"])
