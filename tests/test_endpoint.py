"""The endpoint, against a server in this process: order, parallel requests, tries again, limits, clear errors."""

import datetime
import email.utils
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from s3ft_jax import endpoint
from s3ft_jax.endpoint import Endpoint, EndpointError
from s3ft_jax.stopping import EXIT_CODE
from served import serving
from small import ROOT


@pytest.fixture
def server(monkeypatch):
    """Echoes the body; pauses are short."""
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 0.01)
    with serving(lambda path, body: (200, {"got": body})) as served:
        yield served


def test_replies_come_in_order_whoever_is_first_and_progress_counts_up(server):
    def slow_first(path, body):
        time.sleep(0.2 if body["n"] == 0 else 0)
        return 200, body["n"]

    server.reply = slow_first
    seen = []
    replies = Endpoint(server.address, num_parallel=4).post_all(
        "x", [{"n": n} for n in range(9)], lambda *counts: seen.append(counts)
    )
    assert replies == list(range(9)) and seen == [(n, 9) for n in range(1, 10)]
    assert Endpoint(server.address).post_all("x", []) == []


def test_no_more_requests_at_once_than_allowed(server):
    now, most, lock = [0], [0], threading.Lock()

    def count(path, body):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.03)
        with lock:
            now[0] -= 1
        return 200, 0

    server.reply = count
    Endpoint(server.address, num_parallel=3).post_all("x", [{}] * 12)
    assert most[0] == 3


def test_the_key_is_read_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")
    assert Endpoint(server.address + "/", "A_KEY").get("models") == {"got": None}
    monkeypatch.delenv("A_KEY")
    Endpoint(server.address, "A_KEY").get("models")
    assert [(path, key) for path, key, _ in server.seen] == [("/v1/models", "Bearer secret"), ("/v1/models", None)]


@pytest.mark.parametrize("failure", [(503, b"busy"), (429, b"slow down"), (408, b""), (0, b"")])
def test_a_busy_server_is_asked_again(server, failure):
    replies = [failure, failure, (200, "at last")]
    server.reply = lambda path, body: replies.pop(0)
    told = []
    assert Endpoint(server.address, on_retry=told.append).post("x", {}) == "at last"
    assert len(told) == 2 and "trying again in 0 s (1 of 5)" in told[0] and server.address in told[0]


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured(server, date):
    wish = "1"
    if date:  # whole seconds, so that up to one of them may be gone already
        wish = email.utils.format_datetime(
            datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2), usegmt=True
        )
    replies = [(429, b"", {"Retry-After": wish}), (200, 1)]
    server.reply = lambda path, body: replies.pop(0)
    started = time.monotonic()
    assert Endpoint(server.address).post("x", {}) == 1
    assert time.monotonic() - started > 0.9


def test_a_server_that_wants_to_be_left_alone_for_long_is_an_error(server):
    server.reply = lambda path, body: (503, b"back tomorrow", {"Retry-After": "86400"})
    with pytest.raises(EndpointError, match=r"HTTP 503 .*back tomorrow"):
        Endpoint(server.address).post("x", {})
    assert len(server.seen) == 1


def test_pauses_grow_up_to_a_limit_and_differ(server, monkeypatch):
    class Noted(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)

    server.reply = lambda path, body: (500, b"")
    monkeypatch.setattr(endpoint, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(endpoint, "LONGEST_PAUSE", 4.0)
    pauses = []
    with pytest.raises(EndpointError):
        Endpoint(server.address, retries=5)._ask("x", {}, Noted())
    for pause, most in zip(pauses, (1, 2, 4, 4, 4), strict=True):
        assert most / 2 <= pause <= most
    assert len(set(pauses)) == 5


@pytest.mark.parametrize(
    ("status", "body", "message", "tries"),
    [
        (400, b'{"error": {"message": "too long", "code": 400}}', r"/v1/x: HTTP 400 Bad Request: too long$", 1),
        (400, b'{"object": "error", "message": "too long"}', r"HTTP 400 Bad Request: too long$", 1),
        (404, b'{"detail": "Not Found"}', r"HTTP 404 Not Found: Not Found$", 1),
        (422, b'{"error": "no"}', r"HTTP 422 [^:]*: no$", 1),
        (401, b"no such key", r"HTTP 401 [^:]*: no such key$", 1),
        (500, b"broken", r"HTTP 500 [^:]*: broken$", 3),
        (200, b"<html>", r"replied with no JSON: b'<html>'.*end in /v1", 1),
        (0, b"", r"/v1/x does not reply \(RemoteDisconnected", 3),
    ],
)
def test_what_does_not_get_better_is_an_error_with_url_state_and_message(server, status, body, message, tries):
    server.reply = lambda path, request: (status, body)
    with pytest.raises(EndpointError, match=message) as raised:
        Endpoint(server.address, num_parallel=1, retries=2).post_all("x", [{}, {}])
    assert raised.value.status == (status if status != 200 else 0)
    assert tries <= len(server.seen) <= 2 * tries


def test_the_error_says_which_body_and_nothing_further_is_begun(server):
    server.reply = lambda path, body: (400, b"") if body["n"] == 3 else (200, 0)
    with pytest.raises(EndpointError) as raised:
        Endpoint(server.address, num_parallel=1).post_all("x", [{"n": n} for n in range(100)])
    assert raised.value.place == 3 and len(server.seen) < 20


def test_nobody_there_and_a_server_that_is_too_slow(server, monkeypatch):
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9/v1/models does not reply \(URLError: .*refused"):
        Endpoint("http://127.0.0.1:9/v1", retries=1).get("models")
    server.reply = lambda path, body: (time.sleep(1.0), (200, 0))[1]
    started = time.monotonic()
    with pytest.raises(EndpointError, match=r"does not reply \(TimeoutError"):
        Endpoint(server.address, seconds=0.1, retries=1).post("x", {})
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"address": "localhost:8000/v1"}, "begins with http://"),
        ({"address": "file:///etc/hosts"}, "begins with http://"),
        ({"num_parallel": 0}, "num_parallel = 0 is below 1"),
        ({"retries": -1}, "retries = -1 is below 0"),
        ({"seconds": 0}, "seconds = 0 is not above 0"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(EndpointError, match=message):
        Endpoint(**{"address": "http://localhost:1/v1"} | settings)


def test_sigterm_does_not_wait_for_replies_under_way(server):
    held = threading.Event()
    server.reply = lambda path, body: (held.wait(20), (200, 0))[1]
    code = textwrap.dedent(f"""
        import sys, threading, time
        from s3ft_jax import stopping
        from s3ft_jax.endpoint import Endpoint
        stopping.install()
        print("ready")
        try:
            Endpoint({server.address!r}, num_parallel=4).post_all("x", [{{}}] * 8)
        except stopping.Stopped:
            sys.exit(stopping.EXIT_CODE)
    """)
    program = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert program.stdout.readline() == "ready\n"
    until = time.monotonic() + 20
    while len(server.seen) < 4 and time.monotonic() < until:
        time.sleep(0.02)
    program.send_signal(signal.SIGTERM)
    started = time.monotonic()
    program.communicate(timeout=15)
    held.set()
    assert program.returncode == EXIT_CODE and time.monotonic() - started < 5 and len(server.seen) == 4
