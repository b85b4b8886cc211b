"""Judges room: many verdicts at once, in killable worker processes.

In: pairs of example and response; ``example.judge`` names the judge. Out: one verdict for each, in the order of the
pairs, whatever a judge or a program does: a worker that hangs, dies or raises gives an undecided verdict with the
reason, and is replaced.

    judge_all --+-- thread 1 -- worker process 1 (python -m s3ft_jax.judges.worker)
                +-- thread 2 -- worker process 2
                +-- cheap built-in judges of a small input: here, since starting workers would cost more

Workers are started by plain ``subprocess.Popen``: the calling process may hold JAX and its threads, which a fork would
not survive. A judge of your own (``my_module:my_judge``) always runs in a worker.
"""

from __future__ import annotations

import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from s3ft_jax.judges import GATES, JudgeError, check_name, expressions, find_judge, sandbox
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Response, Verdict, to_line

CHEAP_JUDGES = ("numbers", "answers", "exact", "choice")
CHEAP_PAIRS = 5000
"""Up to so many pairs of cheap judges are judged in the calling process; about a second."""

PAIR_SECONDS = 30.0
OWN_SECONDS = {"expressions": 5 * expressions.LIMIT_SECONDS}
"""Judges with a shorter time, for what their own limit cannot stop."""
START_SECONDS = 60.0

CHUNK = 64
"""Pairs of cheap judges that a worker is given at once."""

Pair = tuple[Example, Response]


class _WorkerLost(Exception):
    """The worker gave no answer; the message is the verdict's reason."""


class _Worker:
    """One worker process and its pipes."""

    def __init__(self, settings: dict[str, Any]):
        path = [os.path.abspath(entry or os.curdir) for entry in sys.path]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path), PYTHONUNBUFFERED="1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "s3ft_jax.judges.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        os.set_blocking(self._input.fileno(), False)
        self._received = b""
        try:
            answer = self.ask(settings, START_SECONDS)
        except _WorkerLost as error:
            self.close()
            raise JudgeError(f"A judge's worker process does not start ({error}); see its message above.") from None
        if "fatal" in answer:
            self.close()
            raise JudgeError(answer["fatal"])

    def ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send one line and read its answer.

        Raises:
          _WorkerLost: no answer within ``seconds``, or the process ended.
        """
        deadline = time.monotonic() + seconds
        waiting = memoryview(json.dumps(message).encode() + b"\n")
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._input, selectors.EVENT_WRITE)
            while b"\n" not in self._received:
                left = deadline - time.monotonic()
                ready = {key.fileobj for key, _ in selector.select(left)} if left > 0 else set()
                if not ready:
                    raise _WorkerLost(f"judge_timeout: no verdict after {seconds:g} s")
                try:
                    if self._input in ready:
                        waiting = waiting[os.write(self._input.fileno(), waiting) :]
                        if not waiting:
                            selector.unregister(self._input)
                    if self._output in ready:
                        self._read()
                except BrokenPipeError:
                    raise _WorkerLost(self._how_it_ended()) from None
        line, _, self._received = self._received.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            raise _WorkerLost("judge_died: its worker wrote something that is no verdict") from None

    def _read(self) -> None:
        part = os.read(self._output.fileno(), 1 << 16)
        if not part:
            raise _WorkerLost(self._how_it_ended())
        self._received += part

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "judge_died: its worker closed the channel"
        return f"judge_died: its worker ended with {f'signal {-code}' if code < 0 else f'code {code}'}"

    def close(self) -> None:
        """Kill the process; sandboxes it holds end with it."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()


def judge_all(
    pairs: Iterable[Pair],
    *,
    num_workers: int | None = None,
    unsafe: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    on_verdict: Callable[[int, Verdict], None] | None = None,
    pair_seconds: float = PAIR_SECONDS,
    wall_seconds: float = sandbox.Limits.wall_seconds,
) -> list[Verdict]:
    """Judge all pairs.

    Args:
      pairs: examples and responses; ``example.judge`` names the judge.
      num_workers: worker processes; default the number of cores.
      unsafe: allow programs to run without protection where no sandbox level can be had.
      on_progress: called with (pairs done, pairs in all), from any thread but never twice at once.
      on_verdict: called with (place in ``pairs``, its verdict) before that, under the same condition.
      pair_seconds: time for one verdict, or less (``OWN_SECONDS``); then its worker is replaced and the verdict is
        undecided.
      wall_seconds: time for one program and its tests.

    Returns:
      verdicts in the order of ``pairs``. An undecided verdict's reason starts with ``judge_error``, ``judge_timeout``
      or ``judge_died`` when the judge itself failed.

    Raises:
      JudgeError: a judge cannot be found, or is a composition (see composition.py).
      SandboxUnavailable: there are programs to judge and no protection to be had.
    """
    work = list(pairs)
    for name in {example.judge for example, _ in work}:
        check_name(name)
    cheap = [place for place, (example, _) in enumerate(work) if is_cheap(example.judge)]
    here = cheap if len(cheap) <= CHEAP_PAIRS else []
    elsewhere = sorted(set(range(len(work))) - set(here))
    ledger = _Ledger(len(work), on_progress, on_verdict)
    for place in here:
        example, response = work[place]
        ledger.enter(place, find_judge(example.judge)(example, response))
    if elsewhere:
        programs = any(work[place][0].judge == "programs" for place in elsewhere)
        level = sandbox.probe(unsafe).name if programs else ""
        settings = {"level": level, "wall_seconds": wall_seconds, "parent": os.getpid()}
        count = min(num_workers or os.cpu_count() or 1, len(elsewhere))
        _Crew(work, ledger, settings, pair_seconds).run(elsewhere, count)
    return [ledger.verdicts[place] for place in range(len(work))]


def is_cheap(judge: str) -> bool:
    """Whether a verdict takes microseconds, so that neither a worker nor a cache is worth its while."""
    return judge.partition("(")[0] in (*CHEAP_JUDGES, *GATES)


class _Ledger:
    """The verdicts so far, by place; told of as they come, one at a time."""

    def __init__(
        self,
        total: int,
        on_progress: Callable[[int, int], None] | None,
        on_verdict: Callable[[int, Verdict], None] | None,
    ):
        self.verdicts: dict[int, Verdict] = {}
        self._total, self._on_progress, self._on_verdict = total, on_progress, on_verdict
        self._lock = threading.Lock()

    def enter(self, place: int, verdict: Verdict) -> None:
        with self._lock:
            self.verdicts[place] = verdict
            if self._on_verdict is not None:
                self._on_verdict(place, verdict)
            if self._on_progress is not None:
                self._on_progress(len(self.verdicts), self._total)


class _Crew:
    """The workers of one call and the threads that feed them."""

    def __init__(self, work: list[Pair], ledger: _Ledger, settings: dict[str, Any], pair_seconds: float):
        self._work, self._ledger, self._settings, self._pair_seconds = work, ledger, settings, pair_seconds
        self._chunks: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    def run(self, places: list[int], num_workers: int) -> None:
        """Judge the pairs at ``places``; raises what stopped a worker's thread."""
        for chunk in self._chunked(places):
            self._chunks.put(chunk)
        threads = [threading.Thread(target=self._feed, daemon=True) for _ in range(num_workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C: let the threads kill their workers
            self._stop.set()
            raise
        if self._failures:
            raise self._failures[0]

    def _chunked(self, places: list[int]) -> list[list[int]]:
        """Cheap pairs many at a time, since handing one over takes longer than judging it; the others one by one."""
        cheap = {place for place in places if is_cheap(self._work[place][0].judge)}
        many = [place for place in places if place in cheap]
        chunks = [many[start : start + CHUNK] for start in range(0, len(many), CHUNK)]
        return chunks + [[place] for place in places if place not in cheap]

    def _feed(self) -> None:
        """Give one worker after another pairs until none is left."""
        worker: _Worker | None = None
        try:
            while not self._stop.is_set():
                try:
                    chunk = self._chunks.get_nowait()
                except queue.Empty:
                    return
                try:
                    worker = worker or _Worker(self._settings)
                    verdicts = self._judge(worker, chunk)
                except _WorkerLost as error:
                    assert worker is not None
                    worker.close()
                    worker = None
                    if len(chunk) > 1:  # one of them is to blame; the others must not suffer
                        for place in chunk:
                            self._chunks.put([place])
                        continue
                    example, response = self._work[chunk[0]]
                    verdicts = [make_verdict(response, example.judge, "undecided", "", str(error))]
                for place, verdict in zip(chunk, verdicts, strict=True):
                    self._ledger.enter(place, verdict)
        except BaseException as error:
            self._failures.append(error)
            self._stop.set()
        finally:
            if worker is not None:
                worker.close()

    def _judge(self, worker: _Worker, chunk: list[int]) -> list[Verdict]:
        """The verdicts of one chunk. Several pairs are of cheap judges, so that one pair's time is enough for all."""
        pairs = [self._work[place] for place in chunk]
        seconds = min(self._pair_seconds, OWN_SECONDS.get(pairs[0][0].judge, self._pair_seconds))
        lines = [{"example": to_line(example), "response": to_line(response)} for example, response in pairs]
        answers = worker.ask({"pairs": lines}, seconds).get("answers", [])
        if len(answers) != len(pairs):
            raise _WorkerLost("judge_died: its worker answered another number of pairs")
        return [_verdict_of(*pair, answer) for pair, answer in zip(pairs, answers, strict=True)]


def _verdict_of(example: Example, response: Response, answer: dict[str, Any]) -> Verdict:
    if "fatal" in answer:
        raise JudgeError(answer["fatal"])
    if "undecided" in answer:
        return make_verdict(response, example.judge, "undecided", "", answer["undecided"])
    return Verdict(**answer["verdict"])
