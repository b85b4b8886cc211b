"""Judges room, sandbox: runs one model-written program against tests, at the best level of protection there is.

In: a ``Program`` (the response's text and the tests). Out: an ``Outcome`` with a class that can be counted. Nothing of
the program reaches this process: a tester in one sandbox asks the program in another, over a pipe of plain data.

    this process          tester zygote -> tester          candidate zygote -> program
         | -- tests, text ----->  |  ---- arguments ------->  |
         |                        |  <--- results ----------  |
         | <---- outcome -------- |                           |
         | <---- what it prints (counted, thrown away) ------ |

A sandbox that cannot start is an error (``SandboxUnavailable``), never a wrong answer; one that breaks during a program
is the class ``sandbox_error``, and the next program gets a fresh one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import selectors
import signal
import threading
import time
from typing import Any

from s3ft_jax.judges import wire
from s3ft_jax.judges.sandbox_levels import Level, Limits, SandboxProcess, SandboxStartError, describe

__all__ = ["Level", "Limits", "Outcome", "Program", "Sandbox", "SandboxUnavailable", "probe"]

LEVELS = ("bubblewrap", "landlock")
"""Levels tried, in this order."""

STARVED_SHARE = 0.8
"""A program stopped by wall time that used less CPU than this share of it was starved, or slept."""

MAX_PATIENCE = 4.0
"""Load per core up to which a starved program's second trial is lengthened."""

_CANARY = """
import os, socket
def attempt():
    done = []
    def trial(name, action):
        try:
            action()
            done.append(name)
        except OSError:
            pass
    trial("file", lambda: open("/etc/passwd").read())
    trial("environment", lambda: open("/proc/%d/environ" % os.getppid()).read())
    trial("write", lambda: open(os.__file__, "a"))
    trial("network", lambda: socket.socket(socket.AF_INET))
    trial("process", lambda: os.fork() or os._exit(0))
    trial("signal", lambda: os.kill(os.getppid(), 0))
    return done
"""


class SandboxUnavailable(RuntimeError):
    """No level of protection can be had here. The message has the cause at each level and the fix."""


@dataclasses.dataclass(frozen=True)
class Program:
    """One program to try.

    Attributes:
      text: the whole response; the code is found inside the sandbox.
      tests: test texts, run in order until one fails.
      entry: the function's name, or None for the last one the response defines.
      name: what the tests call it; default ``entry``, or ``candidate`` without one.
      setup: text run before the tests.
      head: text that the response continues: imports, the function's head, its docstring.
      weak: places of tests that may be run in the program's own process, where it could cheat.
    """

    text: str
    tests: tuple[str, ...]
    entry: str | None = None
    name: str = ""
    setup: str = ""
    head: str = ""
    weak: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program did.

    Attributes:
      kind: ``right``, ``wrong``, ``exception(Type)``, ``timeout``, ``memory``, ``output``, ``process_denied``,
        ``network_denied``, ``syntax``, ``no_code``, ``entry_missing``, ``bad_tests`` or ``sandbox_error``.
      detail: more, in words.
      found: the function's head.
      weak: places of tests that were run the weak way.
      opaque: place of a failed test whose result had no plain form.
      cpu_seconds: CPU time the program used.
    """

    kind: str
    detail: str = ""
    found: str = ""
    weak: tuple[int, ...] = ()
    opaque: tuple[int, ...] = ()
    cpu_seconds: float = 0.0


class _Slot:
    """A tester and a candidate zygote that work on one program at a time."""

    def __init__(self, level: str, limits: Limits, number: int):
        self._level, self._limits, self._number = level, limits, number
        self._processes: dict[str, SandboxProcess] = {}

    def open(self) -> SandboxProcess:
        """Start what is not running; returns the candidate zygote."""
        for role in ("tester", "candidate"):
            if role not in self._processes:
                self._processes[role] = SandboxProcess(self._level, role, self._limits, self._number)
        return self._processes["candidate"]

    def close(self) -> None:
        # Taken out one by one: a run that is ended by ``Sandbox.close`` closes the same processes from its own thread.
        for role in ("tester", "candidate"):
            process = self._processes.pop(role, None)
            if process is not None:
                process.close()

    def run(self, program: Program) -> Outcome:
        """Run one program; after trouble the zygotes are replaced.

        A program that ran out of wall time on a machine with more work than cores, without its share of CPU, is tried
        once more with time in proportion, so that a verdict does not depend on who else is busy.
        """
        limit = self._limits.wall_seconds
        outcome = self._attempt(program, limit)
        crowding = min(os.getloadavg()[0] / (os.cpu_count() or 1), MAX_PATIENCE)
        if outcome.kind == "timeout" and outcome.cpu_seconds < STARVED_SHARE * limit and crowding > 1.0:
            outcome = self._attempt(program, limit * (1.0 + crowding))
        return outcome

    def _attempt(self, program: Program, wall_seconds: float) -> Outcome:
        try:
            self.open()
            return self._run(program, time.monotonic() + wall_seconds)
        except (OSError, EOFError, wire.WireError, OverflowError, SandboxStartError) as error:
            self.close()
            return Outcome("sandbox_error", f"{type(error).__name__}: {error}")
        except BaseException:
            self.close()
            raise

    def _run(self, program: Program, deadline: float) -> Outcome:
        tester, candidate = self._processes["tester"], self._processes["candidate"]
        name = program.name or program.entry or "candidate"
        job = dataclasses.asdict(program) | {"name": name, "result_bytes": self._limits.result_bytes}
        requests, replies, output, result = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        try:
            candidate.start({}, [requests[0], replies[1], output[1]])
            tester.start(job, [replies[0], requests[1], result[1]])
        finally:
            for descriptor in (*requests, *replies, output[1], result[1]):
                os.close(descriptor)
        try:
            report, trouble = self._watch(result[0], output[0], deadline)
        finally:
            os.close(result[0])
            os.close(output[0])
        ended, tester_ended = candidate.end(), tester.end()
        if trouble == "tester_gone" and _how_it_ended(tester_ended, self._limits)[0] == "timeout":
            trouble = "timeout"
        if ended["dirty"]:
            # What it left in scratch goes with the whole zygote.
            self._processes.pop("candidate", candidate).close()
        return dataclasses.replace(self._outcome(report, trouble, ended), cpu_seconds=ended["cpu"])

    def _watch(self, result: int, output: int, deadline: float) -> tuple[dict[str, Any] | None, str]:
        """Wait for the tester's report; returns it, or None and ``timeout``, ``output`` or ``tester_gone``."""
        received, printed = b"", 0
        with selectors.DefaultSelector() as selector:
            selector.register(result, selectors.EVENT_READ)
            selector.register(output, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                ready = {key.fd for key, _ in selector.select(left)} if left > 0 else set()
                if not ready:
                    return None, "timeout"
                if output in ready:
                    part = os.read(output, 1 << 16)
                    printed += len(part)
                    if not part:
                        selector.unregister(output)
                    if printed > self._limits.output_bytes:
                        return None, "output"
                if result in ready:
                    part = os.read(result, 1 << 16)
                    received += part
                    if not part:
                        return None, "tester_gone"
                    if len(received) >= 4 and len(received) >= 4 + int.from_bytes(received[:4], "big"):
                        return json.loads(received[4:]), ""

    def _outcome(self, report: dict[str, Any] | None, trouble: str, ended: dict[str, Any]) -> Outcome:
        if trouble == "timeout":
            return Outcome("timeout", f"not done after {self._limits.wall_seconds:g} s")
        if trouble == "output":
            return Outcome("output", f"printed more than {self._limits.output_bytes} bytes")
        if report is None:
            return Outcome("sandbox_error", "the tester ended without a report")
        kind, detail = report["class"], report["detail"]
        if kind == "gone":
            kind, detail = _how_it_ended(ended, self._limits)
        return Outcome(kind, detail, report["found"], tuple(report["weak"]), tuple(report["opaque"]))


def _how_it_ended(ended: dict[str, Any], limits: Limits) -> tuple[str, str]:
    """Class and words for a program whose process ended before its tests did."""
    if ended["cpu"] >= int(limits.wall_seconds) + 1 or ended["signal"] == signal.SIGXCPU:
        return "timeout", f"used {ended['cpu']:.1f} s of CPU"
    if ended["signal"]:
        name = signal.Signals(ended["signal"]).name
        return f"exception({name})", f"the process was ended by {name}"
    return "exception(SystemExit)", f"the process ended with code {ended['code']} before its tests did"


class Sandbox:
    """Runs programs, several at a time if called from several threads. A context manager; starts in about 0.1 s."""

    def __init__(
        self, level: str | None = None, unsafe: bool = False, limits: Limits | None = None, num_slots: int | None = None
    ):
        """Start the zygotes.

        Args:
          level: a level's name; None for the best that ``probe`` finds.
          unsafe: allow the level without protection when there is no better one.
          limits: for each program.
          num_slots: programs run at the same time; default the number of cores.

        Raises:
          SandboxUnavailable: the level cannot be had.
          ValueError: there is no such level.
        """
        if level not in (None, *LEVELS, "unsafe"):
            raise ValueError(f"no sandbox level {level!r}; there are {', '.join((*LEVELS, 'unsafe'))}")
        self.limits = limits or Limits()
        self._closed = False
        self._num_slots = num_slots or os.cpu_count() or 1
        name = level or probe(unsafe).name
        self._slots = [_Slot(name, self.limits, number) for number in range(self._num_slots)]
        self._free: queue.LifoQueue[_Slot] = queue.LifoQueue()
        try:
            first = self._slots[0].open()
        except SandboxStartError as error:
            raise SandboxUnavailable(_unavailable({name: str(error)})) from error
        for slot in reversed(self._slots):
            self._free.put(slot)
        self.level = describe(name, first.landlock, first.runs_as)

    def run(self, program: Program) -> Outcome:
        """Run one program; waits for a free slot."""
        if self._closed:
            raise RuntimeError("this Sandbox is closed; open a new one")
        slot = self._free.get()
        try:
            return slot.run(program)
        finally:
            if self._closed:
                slot.close()
            self._free.put(slot)

    def close(self) -> None:
        """End all processes. Programs that are running come back as ``sandbox_error``."""
        self._closed = True
        for slot in self._slots:
            slot.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


_probed: dict[str, Level | str] = {}
_probe_lock = threading.Lock()


def probe(unsafe: bool = False) -> Level:
    """The best level this machine has, tried by running a program that attempts what it must not do.

    Args:
      unsafe: fall back to the level without protection.

    Raises:
      SandboxUnavailable: no level protects here, and ``unsafe`` is False.
    """
    with _probe_lock:
        for name in LEVELS:
            if name not in _probed:
                _probed[name] = _try_level(name)
            found = _probed[name]
            if isinstance(found, Level):
                return found
    if unsafe:
        return describe("unsafe", 0, "")
    raise SandboxUnavailable(_unavailable({name: str(why) for name, why in _probed.items()}))


def _try_level(name: str) -> Level | str:
    """The level, or why it cannot be had."""
    try:
        with Sandbox(level=name, num_slots=1) as sandbox:
            outcome = sandbox.run(Program(_CANARY, ("assert attempt() == []",), entry="attempt"))
            level = sandbox.level
    except SandboxUnavailable as error:
        return str(error.__cause__ or error).splitlines()[0]
    if outcome.kind != "right":
        return f"it does not protect: {outcome.kind}: {outcome.detail}"
    return level


def _unavailable(causes: dict[str, str]) -> str:
    listed = "; ".join(f"{name}: {cause}" for name, cause in causes.items())
    return (
        f"No sandbox for model-written programs ({listed}). Install bubblewrap (apt-get install bubblewrap) or use a "
        "Linux kernel 5.13 or newer with Landlock; on a throw-away machine --config.judge.unsafe=True runs them with "
        "limits only."
    )
