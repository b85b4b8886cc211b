"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere.

Shown on process 0 only. Host-side stages use it too, so JAX is not imported here: the launcher says which process
this is through ``quiet``.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from s3ft_jax.activity import moved

console = Console(highlight=False, soft_wrap=True)
_LINE_EVERY_S = 10.0
_WINDOW_LINES = 7


def quiet() -> None:
    """Print nothing from now on: this is not process 0."""
    console.quiet = True


def say(text: str) -> None:
    """One line for people; square brackets are printed as they are."""
    moved(text.strip().partition("\n")[0][:160])
    console.print(text, markup=False)


class Ticker:
    """Counts work done. ``advance(n)`` after n more units; ``note`` is shown beside the bar.

    Rate and time left are of about the last minute.
    """

    def __init__(self, title: str, total: int, bar: Progress | None):
        self.title, self.total, self.done, self.num_tokens, self.cut, self.bar = title, total, 0, 0, 0, bar
        self.started = time.monotonic()
        self._marks = collections.deque([(self.started, 0)], maxlen=_WINDOW_LINES)
        self.task = bar.add_task(title, total=total, note="", speed="") if bar else None

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more units as done."""
        self.done += count
        now, (since, before) = time.monotonic(), self._marks[0]
        self._tell(now, (self.done - before) / max(now - since, 1e-6), note)

    def skip(self, count: int, note: str = "") -> None:
        """Count as done what says nothing of the rate: an earlier run did it, or the compiler took most of its time."""
        self.done += count
        now = time.monotonic()
        self._tell(now, 0.0, note)
        self._marks.clear()
        self._marks.append((now, self.done))

    def _tell(self, now: float, rate: float, note: str) -> None:
        """``rate``: units a second; 0 where it is not known."""
        moved(f"{self.title}: {self.done}/{self.total}")
        due = now - self._marks[-1][0] > _LINE_EVERY_S
        if due:
            self._marks.append((now, self.done))
        left = (self.total - self.done) / rate if rate else 0.0
        if self.bar is not None:
            speed = f"{_speed(rate)}, {datetime.timedelta(seconds=round(left))} left" if rate else ""
            self.bar.update(self.task, completed=self.done, note=note, speed=speed)
        elif due and 0 < self.done < self.total:
            speed = f", {_speed(rate)}, {left:.0f} s left" if rate else ""
            say(f"  {self.title}: {self.done}/{self.total}{speed}{', ' + note if note else ''}")

    def from_here(self) -> Callable[..., None]:
        """A callback for work that counts from zero, such as one shard of many.

        Returns:
          Takes (done, all) and, where responses are sampled, their tokens and how many of those done were cut by a
          limit.
        """
        before, tokens_before, cut_before = self.done, self.num_tokens, self.cut

        def tell(done: int, _: int, num_tokens: int = 0, cut: int = 0) -> None:
            self.num_tokens, self.cut = tokens_before + num_tokens, cut_before + cut
            speed = self.num_tokens / max(time.monotonic() - self.started, 1e-6)
            note = f"{speed:,.0f} tokens/s, {self.cut:,} cut" if self.num_tokens else ""
            self.advance(before + done - self.done, note)

        return tell

    def finish(self) -> None:
        """The line that stays."""
        seconds = time.monotonic() - self.started
        if self.bar is None:
            say(f"  {self.title}: {self.done}/{self.total} in {seconds:.1f} s")


def _speed(rate: float) -> str:
    return f"{rate:.1f}/s" if rate >= 1.0 else f"{1.0 / rate:.1f} s each"


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Ticker]:
    """Show progress of ``total`` units of work while the block runs."""
    if not console.is_terminal or console.quiet:
        ticker = Ticker(title, total, None)
        yield ticker
        ticker.finish()
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Ticker(title, total, bar)
