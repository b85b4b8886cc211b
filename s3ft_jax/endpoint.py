"""An HTTP endpoint that takes and gives JSON: many requests at once, and what goes wrong for a moment is tried again.

In: an address and bodies. Out: the replies, in the order of the bodies. Standard library only; what is in the bodies is
the caller's business (``judges/chat.py`` asks a judging model, ``outside/`` an engine that samples).

A connection that fails, a time limit and the states 408, 429 and 5xx are tried again after 1, 2, 4, ... seconds, 60 at
most, each shortened at random by up to half, so that many clients do not come back together. ``Retry-After`` (RFC 9110,
section 10.2.3) takes the place of a shorter pause. Anything else does not get better and is an error at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import email.utils
import http.client
import json
import os
import queue
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the second try, and the most before any."""
LONGEST_WISH = 600.0
"""A server that wants to be left alone for longer, in seconds, is taken to be unable to reply."""
MOMENTARY = (408, 429)
"""States below 500 that may get better: Request Timeout, Too Many Requests (RFC 9110, section 15.5.9; RFC 6585)."""


class EndpointError(RuntimeError):
    """An endpoint did not give what it was asked for.

    Attributes:
      status: of the HTTP reply; 0 if there was none.
      place: number of the body that was sent, among those of ``post_all``.
    """

    def __init__(self, message: str, status: int = 0):
        super().__init__(message)
        self.status = status
        self.place = 0


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A server that replies to HTTP requests with JSON.

    Attributes:
      address: up to and including the version, e.g. ``http://localhost:8000/v1``.
      key_variable: environment variable that holds the key; empty or unset: none is sent. The key itself stands in no
        config and no file.
      num_parallel: requests under way at once.
      retries: further tries of a request that failed for a moment.
      seconds: that the server may send nothing before a try has failed.
      on_retry: told why a request is tried again, and when; called by any thread.

    Raises:
      EndpointError: the address is none, or a number is too small.
    """

    address: str
    key_variable: str = "OPENAI_API_KEY"
    num_parallel: int = 16
    retries: int = 5
    seconds: float = 120.0
    on_retry: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://")):
            raise EndpointError(f"endpoint = {self.address!r}: an address begins with http:// or https://")
        for name, value, least in (("num_parallel", self.num_parallel, 1), ("retries", self.retries, 0)):
            if value < least:
                raise EndpointError(f"endpoint {self.address}: {name} = {value} is below {least}")
        if not self.seconds > 0:
            raise EndpointError(f"endpoint {self.address}: seconds = {self.seconds:g} is not above 0")

    def get(self, path: str) -> Any:
        """The reply to a GET of ``address/path``.

        Raises:
          EndpointError: the endpoint refuses, replies with no JSON, or cannot be reached after all tries.
        """
        return self._ask(path, None, threading.Event())

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The reply to a POST of one body; raises as ``get``."""
        return self.post_all(path, [body])[0]

    def post_all(
        self, path: str, bodies: Sequence[Mapping[str, Any]], on_progress: Callable[[int, int], None] | None = None
    ) -> list[Any]:
        """The replies to POSTs of many bodies, in their order, ``num_parallel`` at a time.

        Args:
          path: below the address.
          bodies: JSON objects.
          on_progress: called with (replies there, all).

        Raises:
          EndpointError: as ``get``, of the first request that failed; no further one is begun.
        """
        waiting, lock = iter(enumerate(bodies)), threading.Lock()
        stop, done = threading.Event(), queue.SimpleQueue()

        def work() -> None:
            while not stop.is_set():
                with lock:
                    place, body = next(waiting, (-1, None))
                if body is None:
                    return
                try:
                    done.put((place, self._ask(path, body, stop), None))
                except Exception as error:
                    done.put((place, None, error))

        # daemons: a program that is stopped does not wait for replies that are under way
        for _ in range(min(self.num_parallel, len(bodies))):
            threading.Thread(target=work, daemon=True).start()
        replies: list[Any] = [None] * len(bodies)
        try:
            for count in range(1, len(bodies) + 1):
                place, replies[place], error = done.get()
                if error is not None:
                    error.place = place
                    raise error
                if on_progress is not None:
                    on_progress(count, len(bodies))
        finally:
            stop.set()
        return replies

    def _ask(self, path: str, body: Mapping[str, Any] | None, stop: threading.Event) -> Any:
        url = f"{self.address.rstrip('/')}/{path}"
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable or "", ""):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
        for tried in range(self.retries + 1):
            wish = 0.0
            try:
                with urllib.request.urlopen(request, timeout=self.seconds) as reply:
                    return _read_json(reply.read(), url)
            except urllib.error.HTTPError as error:
                with error:
                    failure = EndpointError(f"{url}: HTTP {error.code} {error.reason}: {_said(error)}", error.code)
                    wish = _seconds_wished(error.headers.get("Retry-After"))
                if (error.code < 500 and error.code not in MOMENTARY) or wish > LONGEST_WISH:
                    raise failure from None
            except (OSError, http.client.HTTPException) as error:
                cause = getattr(error, "reason", None) or str(error) or "no reply"
                failure = EndpointError(f"{url} does not reply ({type(error).__name__}: {cause})")
            if tried == self.retries or stop.is_set():
                raise failure
            pause = max(wish, min(LONGEST_PAUSE, FIRST_PAUSE * 2**tried) * random.uniform(0.5, 1.0))
            if self.on_retry is not None:
                self.on_retry(f"{failure}; trying again in {pause:.0f} s ({tried + 1} of {self.retries})")
            stop.wait(pause)
        raise AssertionError("the last try returns or raises")


def _read_json(data: bytes, url: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise EndpointError(
            f"{url} replied with no JSON: {data[:200]!r}. Is it OpenAI-compatible, and does the address end in /v1?"
        ) from None


def _said(error: urllib.error.HTTPError) -> str:
    """The server's message, of OpenAI's error object, vLLM's older one or FastAPI's; else the body's beginning."""
    text = ""
    with contextlib.suppress(OSError, http.client.HTTPException):
        text = error.read(20_000).decode("utf-8", "replace")
    try:
        values = json.loads(text)
        found = values.get("error", values)
        found = found if isinstance(found, str) else found.get("message") or found.get("detail") or found
        return str(found)[:500]
    except (ValueError, AttributeError):
        return text[:500]


def _seconds_wished(value: str | None) -> float:
    """``Retry-After``, which is seconds or a date; 0 if there is none that can be read."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (when - datetime.datetime.now(when.tzinfo)).total_seconds())
