"""A lease on a name in a bucket, which has no lock that would end with its process: its holder writes it anew.

    nobody has it         it is created, which only one of those that try at the same time can
    it beats              its holder lives: ``Locked``
    it stands still       for ``STALE_S``, or its process was of this machine and is no more: it is taken over
    another one took it   the one that had stood still for so long and goes on now ends at its next beat

Unlike a clock in the lease, what beats does not depend on whether two machines have the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from s3ft_jax.storage.bucket import filesystem, put
from s3ft_jax.storage.patience import patiently

BEAT_S = 10.0
STALE_S = 45.0
"""Seconds without a beat after which its holder counts as gone; more than three beats and a slow call."""
LOOK_S = 1.0
GIVE_BACK_S = 5.0
"""Seconds to wait at the end for a beat under way."""
UNKNOWN = {"token": "", "machine": "", "host": "?", "process": "?", "beat": ""}
EXIT_CODE = 75
"""As after SIGTERM (stopping.py): start it again."""


class Locked(RuntimeError):
    """Another process holds it."""


def _end(message: str) -> None:
    """At once: whoever has the lease now is writing what this process would write."""
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


def machine() -> str:
    """What process numbers belong to: this boot of this machine, and the container; "" where that cannot be known."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    return ""


@contextlib.contextmanager
def lease(path: str, *, end: Callable[[str], None] = _end) -> Iterator[None]:
    """Hold the lease within this block.

    Args:
      path: of its object in a bucket.
      end: ends this process when another one has taken the lease over.

    Raises:
      Locked: another process holds it, which takes until its next beat to find out.
      StorageError: the bucket cannot be reached.
    """
    own = _Lease(path, end)
    own.take()
    beats = threading.Thread(target=own.beat, name="lease", daemon=True)
    beats.start()
    try:
        yield
    finally:
        own.over.set()
        beats.join(GIVE_BACK_S)
        own.give_back()


class _Lease:
    def __init__(self, path: str, end: Callable[[str], None]):
        self.path, self.end, self.over = path, end, threading.Event()
        self.facts: dict[str, Any] = {"token": uuid.uuid4().hex, "machine": machine()}
        self.facts |= {"host": socket.gethostname(), "process": os.getpid(), "beat": 0}

    def take(self) -> None:
        """Returns when it is ours; raises as ``lease``."""
        taken_over = False
        while not self._is_mine(taken_over):
            found = self._read()
            if found is not None and not _is_dead(found):
                self._watch(found)
            if found is not None and self._read() == found:  # not what somebody was sooner to put in its place
                self._remove()
                taken_over = True

    def beat(self) -> None:
        """Until the block ends. A call that fails is left to the next beat."""
        while not self.over.wait(BEAT_S):
            try:
                found = _parsed(filesystem().cat_file(self.path))
            except FileNotFoundError:
                found = _parsed(b"")
            except Exception:
                continue
            if self.over.is_set():
                return
            if found["token"] != self.facts["token"]:
                by = f"process {found['process']} on {found['host']}"
                self.end(f"{self.path}: taken over by {by}, since this process gave no sign of life")
                return
            self.facts["beat"] += 1
            with contextlib.suppress(Exception):
                filesystem().pipe_file(self.path, self._data())

    def give_back(self) -> None:
        """Without patience: where the bucket is out, the next holder waits until it is stale."""
        with contextlib.suppress(Exception):
            if _parsed(filesystem().cat_file(self.path))["token"] == self.facts["token"]:
                filesystem().rm_file(self.path)

    def _is_mine(self, taken_over: bool) -> bool:
        """Try to create it, and look whose it is: also ours where the call that created it lost its answer."""
        with contextlib.suppress(FileExistsError):
            put(self.path, self._data(), new=True)
        if taken_over:  # another one may have found the same dead lease, and remove ours for it
            time.sleep(LOOK_S)
        found = self._read()
        return found is not None and found["token"] == self.facts["token"]

    def _watch(self, found: dict[str, Any]) -> None:
        """Return when nobody has beaten for ``STALE_S``.

        Raises:
          Locked: somebody has.
        """
        stood = 0.0  # while the bucket answered; in an outage the holder cannot beat either
        print(
            f"{self.path}: is of process {found['process']} on {found['host']}; waiting {STALE_S:.0f} s for a sign of "
            "its life",
            file=sys.stderr,
            flush=True,
        )
        while stood < STALE_S:
            time.sleep(LOOK_S)
            now = self._read()
            stood += LOOK_S
            if now is None:
                return
            if now != found:
                raise Locked(self.path)

    def _read(self) -> dict[str, Any] | None:
        with contextlib.suppress(FileNotFoundError):
            return _parsed(patiently(lambda: filesystem().cat_file(self.path), self.path))
        return None

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            patiently(lambda: filesystem().rm_file(self.path), self.path)

    def _data(self) -> bytes:
        return json.dumps(self.facts).encode()


def _parsed(data: bytes) -> dict[str, Any]:
    """A lease; of one that is none, all that can be told is whether it changes."""
    with contextlib.suppress(ValueError, TypeError):
        return UNKNOWN | json.loads(data)
    return UNKNOWN | {"beat": data.hex()}


def _is_dead(found: dict[str, Any]) -> bool:
    """Whether it was a process of this machine that is no more."""
    if not found["machine"] or found["machine"] != machine():
        return False
    try:
        os.kill(found["process"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
