"""Processes room: the connections between the processes of a job while it runs. Barriers, signs of life, a clear end.

every 5 s      each says where it stands, so that process 0 can name the one that all wait for
a barrier      the n-th wait of each must have the same name: two that went different ways find out at once
one is gone    its connection closes (killed), or nothing comes for 45 s (the machine went down): the others are told
               who it was and where it stood, and end with the code on which a script starts the job again
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from s3ft_jax.processes.cluster import ProcessError
from s3ft_jax.processes.lines import Lines

BEAT_S = 5.0
DEAD_S = 45.0
"""Seconds without a sign of life after which a process counts as gone."""
GRACE_S = 5.0
"""Seconds the main thread has to end in order, once another process is gone."""
MAX_BYTES = 1 << 30
"""Of one message: what is brought to a barrier may be some thousand answers."""
TELL_S = 60.0
"""Seconds between two lines about whom the others wait for."""
EXIT_CODE = 75
"""As after SIGTERM (stopping.py): start it again."""
AGAIN = "Start all of them again with the same command; what is finished is kept."


class Lost(ProcessError):
    """Another process of the job is gone, or has failed. The message says which, and where it stood."""


def _nothing(_: list[Any]) -> None:
    """What is told where all only wait."""


def _end(message: str) -> None:
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)


class Link:
    """This process's connections.

    Args:
      index, names: which process this is, and the machines of all.
      lines: of process 0 to all others, of these to process 0.
      describe: where this process stands, in a line.
      tell: takes lines for people.
      end: ends this process when its main thread does not.
    """

    def __init__(
        self,
        index: int,
        names: tuple[str, ...],
        lines: Mapping[int, Lines],
        *,
        describe: Callable[[], str],
        tell: Callable[[str], None],
        end: Callable[[str], None] = _end,
    ):
        self.index, self.names, self.lines = index, names, dict(lines)
        self.lost = ""
        self._describe, self._tell, self._end = describe, tell, end
        self._changed = threading.Condition()
        self._number = self._passed = 0
        self._arrived: dict[int, dict[int, tuple[str, Any]]] = {}  # by barrier: its name, and what was brought there
        self._settle: Callable[[list[Any]], Any] = _nothing  # process 0: what was brought -> what all are told
        self._brought: list[Any] = []
        self._answer: Any = None
        self._stands: dict[int, tuple[str, float]] = {}
        self._left: set[int] = set()
        self._deaf: set[int] = set()  # nothing will be heard of them any more
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._beat, name="signs of life", daemon=True)]
        for other, one in self.lines.items():
            one.limit(DEAD_S, MAX_BYTES)
            self._threads.append(
                threading.Thread(target=self._listen, args=(other,), name=f"link {other}", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def name(self, index: int) -> str:
        """``process 3 (host-3)``."""
        return f"process {index} ({self.names[index]})"

    def standings(self) -> list[str]:
        """Where every process stands, as far as this one knows: all of them at process 0."""
        with self._changed:
            known = dict(self._stands)
        lines = [f"{self.name(self.index)}: {self._describe()}"]
        lines += [f"{self.name(i)}: {what}, heard {time.monotonic() - at:.0f} s ago" for i, (what, at) in known.items()]
        return sorted(lines)

    def wait(self, name: str, seconds: float) -> None:
        """Go on when all have come here.

        Raises:
          Lost: another one is gone, or waits elsewhere.
          ProcessError: one has not come in time; process 0 says which.
        """
        self._meet(None, name, seconds, _nothing)

    def any(self, value: bool, name: str, seconds: float) -> bool:
        """``wait``, and whether ``value`` is true for one of them."""
        return self._meet(value, name, seconds, any)

    def first(self, value: Any, name: str, seconds: float) -> Any:
        """``wait``, and process 0's value, a JSON one."""
        return self._meet(value if self.index == 0 else None, name, seconds, lambda values: values[0])

    def gather(self, value: Any, name: str, seconds: float) -> list[Any]:
        """``wait``, and at process 0 the values of all in their order, JSON ones; elsewhere nothing."""
        self._meet(value, name, seconds, _nothing)
        return self._brought

    def _meet(self, value: Any, name: str, seconds: float, settle: Callable[[list[Any]], Any]) -> Any:
        """A barrier to which each brings a value; what process 0's ``settle`` makes of these is the answer for all."""
        self._number += 1
        number, until, told = self._number, time.monotonic() + seconds, time.monotonic()
        if self.index == 0:
            self._settle = settle
            self._arrive(number, 0, name, value)
        else:
            self._send(0, {"at": number, "name": name, "value": value})
        while True:
            with self._changed:
                if self._passed >= number:
                    return self._answer  # of this barrier: nobody reaches the next without this process
                if not self.lost:
                    self._changed.wait(1.0)
                passed = self._passed >= number
            now = time.monotonic()
            if self.lost and not passed:
                raise Lost(self.lost)
            if now > until:
                raise ProcessError(f"{self.name(self.index)} waited for {self._awaited(number)} at {name!r} in vain")
            if now - told > TELL_S:
                told = now
                self._tell(f"waiting at {name!r} for {self._awaited(number)}")

    def leave(self) -> None:
        """The end of a job that went well: nobody is missed from now on."""
        self._closing.set()
        for other in self.lines:
            self._send(other, {"bye": True})
        if self.index == 0:  # the others read from it; it goes last
            with self._changed:
                self._changed.wait_for(lambda: self._left | self._deaf >= set(self.lines), timeout=10)
        for one in self.lines.values():
            one.close()

    def fail(self, why: str) -> None:
        """The end of this process by a failure of its own, which the others are told."""
        self._closing.set()
        text = f"{self.name(self.index)} has ended: {why.rstrip('.')}"
        for other in self.lines:
            self._send(other, {"lost": text} if self.index == 0 else {"failed": text})
        for one in self.lines.values():
            one.close()

    def find_out(self, seconds: float = 3.0) -> str:
        """Why the job ends, where that is another process's doing; "" if nobody is gone after so many seconds.

        A broken sum over all processes reaches the main thread before the link has seen who is gone.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self.lost), timeout=seconds)
        self._closing.set()
        return self.lost

    def _awaited(self, number: int) -> str:
        with self._changed:
            missing = sorted({*self.lines, 0} - set(self._arrived.get(number, ()))) if self.index == 0 else []
        if self.index:
            return "the others (process 0 knows which)"
        lines = [one for one in self.standings() if any(one.startswith(f"{self.name(index)}:") for index in missing)]
        return "; ".join(lines)

    def _arrive(self, number: int, index: int, name: str, value: Any) -> None:
        """Process 0: somebody came to its n-th barrier."""
        with self._changed:
            here = self._arrived.setdefault(number, {})
            here[index] = name, value
            whole = len(here) == len(self.lines) + 1
        if not whole:
            return
        if len({name for name, _ in here.values()}) > 1:
            ways = ", ".join(f"{self.name(i)} at {here[i][0]!r}" for i in sorted(here))
            return self._lose(f"the processes wait for each other at different places: {ways}")
        brought = [here[i][1] for i in sorted(here)]
        answer = self._settle(brought)  # of this barrier: process 0 is here itself
        for other in self.lines:
            self._send(other, {"go": number, "answer": answer})
        with self._changed:
            del self._arrived[number]
            self._passed, self._answer, self._brought = number, answer, brought
            self._changed.notify_all()

    def _send(self, other: int, message: dict) -> None:
        with contextlib.suppress(OSError):  # whoever reads from it finds out
            self.lines[other].send(message)

    def _beat(self) -> None:
        while not self._closing.wait(BEAT_S):
            for other in self.lines:
                self._send(other, {"stands": self._describe()})

    def _listen(self, other: int) -> None:
        why = "its connection closed"
        try:
            while (message := self.lines[other].receive()) is not None:
                self._take(other, message)
        except TimeoutError:
            why = f"no sign of life for {DEAD_S:.0f} s"
        except (OSError, ValueError) as error:
            why = str(error)
        with self._changed:
            self._deaf.add(other)
            self._changed.notify_all()
        if other not in self._left and not self._closing.is_set():
            stood = self._stands.get(other, ("its beginning", 0.0))[0]
            self._lose(f"{self.name(other)} is gone ({why}); the last that was heard of it: {stood}")

    def _take(self, other: int, message: dict) -> None:
        if "at" in message:
            self._arrive(message["at"], other, message["name"], message["value"])
        if failed := message.get("failed") or message.get("lost"):
            self._lose(failed)
        with self._changed:
            if "stands" in message:
                self._stands[other] = message["stands"], time.monotonic()
            if "go" in message:
                self._passed, self._answer = message["go"], message["answer"]
            if "bye" in message:
                self._left.add(other)
            self._changed.notify_all()

    def _lose(self, text: str) -> None:
        """The job ends: tell everybody, wake who waits here, and end this process if its main thread does not."""
        with self._changed:
            if self.lost or self._closing.is_set():
                return
            self.lost = f"{text}. {AGAIN}"
            self._changed.notify_all()
        if self.index == 0:
            for other in self.lines:
                self._send(other, {"lost": text})
        threading.Thread(target=self._force, name="end", daemon=True).start()

    def _force(self) -> None:
        if not self._closing.wait(GRACE_S):
            self._end(self.lost)
