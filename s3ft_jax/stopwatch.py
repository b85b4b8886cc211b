"""How long a stage ran, over all the processes that ran it: one that was stopped and goes on counts on.

``manifests/KEY.begun`` says what the starts before this one took. What this one has taken is noted in a file beside it
once a minute, and when it ends by an error or a signal: of a process that is killed the last minute at most is not
counted, and that such a one was is kept. The record itself is not written again: its lock belongs to the file as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from s3ft_jax.seals import Damaged, opened

NOTE_S = 60.0
"""Seconds from note to note."""
LAST_NOTE_S = 5.0
"""Seconds to wait for the last one at an error: a bucket may be what has failed."""


@dataclasses.dataclass(frozen=True)
class Spent:
    """What the starts of a stage took.

    Attributes:
      seconds: as far as they were noted.
      starts: how many there were.
      unseen: how many of them were killed, so that what they did behind their last note is not counted.
    """

    seconds: float = 0.0
    starts: int = 0
    unseen: int = 0

    @classmethod
    def of(cls, begun: Mapping[str, Any] | None, note: Any) -> Spent:
        """What a stage has taken that did not end.

        Args:
          begun: its record, as ``values`` wrote it; an older version's counts as one start. None: it was not begun.
          note: path of the last note, ``Stopwatch.note`` sealed. One that is damaged, or of another start, does not
            count.
        """
        if begun is None:
            return cls()
        seconds, starts, unseen = begun.get("spent", 0.0), begun.get("starts", 1), begun.get("unseen", 0)
        with contextlib.suppress(FileNotFoundError, Damaged):
            noted = opened(note.read_bytes(), note)
            if noted["start"] == starts:
                return cls(seconds + noted["seconds"], starts, unseen + (not noted["ended"]))
        return cls(seconds, starts, unseen + 1)

    def values(self) -> dict[str, Any]:
        """For the record of the start that follows."""
        return {"spent": round(self.seconds, 3), "starts": self.starts + 1, "unseen": self.unseen}


class Stopwatch:
    """Of one start of a stage; it stands still while a stage inside it runs.

    Args:
      before: what the earlier starts took.

    Attributes:
      noted: whether there is a note of it, or of an earlier start.
    """

    def __init__(self, before: Spent):
        self._before, self._started, self._inside = before, time.monotonic(), 0.0
        self.noted = before.starts > 0
        self._stood: float | None = None

    @property
    def seconds(self) -> float:
        """Of this start, without the stages inside."""
        now = self._stood if self._stood is not None else time.monotonic()
        return max(0.0, now - self._started - self._inside)

    def stop(self) -> None:
        """Until ``go_on``."""
        self._stood = time.monotonic()

    def go_on(self) -> None:
        """Behind ``stop``."""
        self._inside, self._stood = self._inside + time.monotonic() - (self._stood or 0.0), None

    def note(self, ended: bool) -> dict[str, Any]:
        """What a later start has to know of this one."""
        self.noted = True
        return {"start": self._before.starts + 1, "seconds": round(self.seconds, 3), "ended": ended}

    def values(self) -> dict[str, Any]:
        """For the manifest: of all starts."""
        spent = self._before
        return {
            "seconds": round(spent.seconds + self.seconds, 3),
            "starts": spent.starts + 1,
            "unseen": spent.unseen,
        }


class Stopwatches:
    """Those of the stages under way in this process, each inside the one before."""

    def __init__(self) -> None:
        self._running: list[Stopwatch] = []

    @contextlib.contextmanager
    def run(self, before: Spent, write: Callable[[dict[str, Any]], object]) -> Iterator[Stopwatch]:
        """Run one within this block.

        Args:
          before: what the earlier starts took.
          write: keeps a note, in a thread; one that fails is left to the next.
        """
        watch, over, failed = Stopwatch(before), threading.Event(), threading.Event()
        for outer in self._running[-1:]:
            outer.stop()
        self._running.append(watch)
        noting = threading.Thread(target=_note, args=(watch, write, over, failed), name="stopwatch", daemon=True)
        noting.start()
        try:
            yield watch
        except BaseException:
            failed.set()
            raise
        finally:
            over.set()
            noting.join(LAST_NOTE_S)
            self._running.remove(watch)
            for outer in self._running[-1:]:
                outer.go_on()


def _note(
    watch: Stopwatch, write: Callable[[dict[str, Any]], object], over: threading.Event, failed: threading.Event
) -> None:
    while not over.wait(NOTE_S):
        with contextlib.suppress(Exception):
            write(watch.note(ended=False))
    if failed.is_set():
        with contextlib.suppress(Exception):
            write(watch.note(ended=True))
