"""Where this process stands: what it works on, and how long nothing has moved. Standard library only.

Whatever shows progress tells it (``moved``). A watcher prints it, with the stack of every thread, when nothing has
moved for minutes: a hang says where it hangs.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

_what, _since = "starting", time.monotonic()


def moved(what: str) -> None:
    """Something was done: ``what`` names the work and, where it has parts, how many are done."""
    global _what, _since
    _what, _since = what, time.monotonic()


def standing() -> tuple[str, float]:
    """What was done last, and how many seconds ago."""
    return _what, time.monotonic() - _since


def describe() -> str:
    """``standing`` as one line, e.g. ``train s3ft seed 0: 37/200``, with the time where it is more than a minute."""
    what, still = standing()
    return what if still < 60 else f"{what} ({still / 60:.0f} min ago)"


def stacks() -> str:
    """Where each thread of this process is, the innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for number, frame in sys._current_frames().items():
        if number != threading.get_ident():
            parts.append(f"thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}")
    return "".join(parts)


def watch(limit_s: float, others: Callable[[], Sequence[str]] = tuple) -> threading.Event:
    """Print where this process stands whenever nothing has moved for ``limit_s`` more seconds.

    Args:
      limit_s: seconds, above 0.
      others: lines that say where the other processes of the job stand.

    Returns:
      Set it to end the watch.
    """
    ended = threading.Event()
    threading.Thread(target=_watch, args=(limit_s, others, ended), name="watch", daemon=True).start()
    return ended


def _watch(limit_s: float, others: Callable[[], Sequence[str]], ended: threading.Event) -> None:
    told = 0
    while not ended.wait(min(5.0, limit_s / 4)):
        what, still = standing()
        if still < limit_s:
            told = 0
        elif still >= limit_s * (told + 1):
            told += 1
            lines = [f"warning: nothing has moved for {still / 60:.1f} min; the last was: {what}", *others(), stacks()]
            print("\n".join(lines), file=sys.stderr, flush=True)
