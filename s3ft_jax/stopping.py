"""Stopping: SIGTERM (a preemption, a scheduler's time limit) ends the program in order, at any moment.

The program then ends with ``EXIT_CODE``, on which a script starts it again. Where the main thread cannot react, deep in
a compiler say, a thread of this room ends the process after ``GRACE_S`` seconds; what lies on the disk is whole at any
time, since every room writes its marks last.

What a handler raises while a module is imported, libraries turn into an ImportError, or crash; what it raises while
garbage is collected, Python drops. There the signal is sent again until it comes at a better moment; so is Ctrl-C.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: try again."""
GRACE_S = 20.0
"""Seconds the main thread has to notice. Cloud TPU and spot machines are taken away 30 seconds after the signal."""
IMPORTING = "<frozen importlib._bootstrap>"
"""Where Python says that the code lies with which it imports a module."""


class Stopped(BaseException):
    """SIGTERM came. Like KeyboardInterrupt no Exception, so that nothing takes it for a failure of its own."""


class Request:
    """Whether the program has been asked to stop, for work that stops only between two steps."""

    def __init__(self) -> None:
        self.requested = False


_deferring: list[Request] = []
# not events: a handler may interrupt itself, and only a SimpleQueue's put may be run inside itself
_noticed: queue.SimpleQueue[None] = queue.SimpleQueue()
_lost: queue.SimpleQueue[int] = queue.SimpleQueue()
_before_exit: list[Callable[[], object]] = []


def install() -> None:
    """Handle SIGTERM and Ctrl-C from now on. Only the main thread may call it; a second call changes nothing."""
    if signal.getsignal(signal.SIGTERM) is _on_signal:
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, writing), name="stopping", daemon=True).start()
    threading.Thread(target=_send_again, name="signals", daemon=True).start()
    sys.unraisablehook = _on_unraisable
    # at the very end nothing is left to stop, and Python would put the default back, which looks like a failure
    atexit.register(signal.signal, signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _on_signal)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _on_signal)


@contextlib.contextmanager
def deferred() -> Iterator[Request]:
    """Within this block SIGTERM only sets ``requested``; behind it, it raises ``Stopped``."""
    request = Request()
    _deferring.append(request)
    try:
        yield request
    finally:
        _deferring.remove(request)
    if request.requested:
        raise Stopped


@contextlib.contextmanager
def finishing(work: Callable[[], object]) -> Iterator[None]:
    """Within this block, a process that is ended by force first calls ``work``: to wait for a file, say."""
    _before_exit.append(work)
    try:
        yield
    finally:
        _before_exit.remove(work)


def _on_signal(number: int, frame: object) -> None:
    """Run by the main thread, as soon as it runs Python again."""
    if number == signal.SIGTERM and _deferring:
        _noticed.put(None)
        for request in _deferring:
            request.requested = True
    elif _must_not_raise(frame):
        _lost.put(number)
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        _noticed.put(None)
        raise Stopped


def _must_not_raise(frame: Any) -> bool:
    """Whether ``frame`` or a caller of it imports a module, or is told of what Python dropped."""
    while frame is not None:
        if frame.f_code is _on_unraisable.__code__ or frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back
    return False


def _on_unraisable(lost: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised while it collects garbage, where ``_on_signal`` may have been run."""
    if lost.exc_type is Stopped:
        _lost.put(signal.SIGTERM)
    elif lost.exc_type is KeyboardInterrupt:
        _lost.put(signal.SIGINT)
    else:
        sys.__unraisablehook__(lost)


def _send_again() -> None:
    """Signals that came at a bad moment."""
    while True:
        number = _lost.get()
        time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, number)


def _watch(reading: socket.socket, writing: socket.socket) -> None:
    """Told of signals at once, whatever the main thread does. ``writing`` is held open."""
    while signal.SIGTERM not in reading.recv(64):
        pass
    with contextlib.suppress(queue.Empty):
        _noticed.get(timeout=GRACE_S)
        while reading.recv(64):  # of later ones it has nothing to do but to keep the sockets open
            pass
    for work in list(_before_exit):
        with contextlib.suppress(Exception):
            work()
    message = f"stopped by SIGTERM in work that cannot be interrupted (exit code {EXIT_CODE}); the same command goes on"
    print(f"error: {message} where it was", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
