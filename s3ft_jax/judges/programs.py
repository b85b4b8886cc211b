"""Judges room: is a small Python program right? Its tests say so, run against it in the sandbox.

In: an example whose ``check`` is

    {"entry": "add",                          function the tests call; null for the last one the response defines
     "tests": ["assert add(1, 2) == 3"],      run in order until one fails
     "setup": "import math",                  optional, run before the tests
     "head": "def add(a, b):\\n",             optional, what the response continues (HumanEval's prompt); its imports
                                              and helpers are there for a response that begins anew
     "name": "add"}                           optional, what the tests call it; default entry, or candidate without one

and a response. Out: right iff every test passes. The tests run where the program cannot reach them (sandbox.py).

The reason's class is one of: right, weak (right, but a test had to run in the program's own process, where it could
cheat), wrong, exception(Type), timeout, memory, output, process_denied, network_denied, syntax, no_code, entry_missing;
and of undecided verdicts bad_check, bad_tests, sandbox_error.

Weak tests are chosen by the tests or by gold, never by the response: a test whose arguments have no plain form, or one
where gold's own result has none (gold is then run once in the same way).
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import threading
from typing import Any

from s3ft_jax.judges.sandbox import Level, Limits, Outcome, Program, Sandbox
from s3ft_jax.judges.verdicts import make_verdict
from s3ft_jax.records import Example, Response, Verdict

_lock = threading.Lock()
_sandbox: Sandbox | None = None


def open_sandbox(
    level: str | None = None, unsafe: bool = False, limits: Limits | None = None, num_slots: int | None = None
) -> Level:
    """Start the sandbox that ``judge`` uses; without this call the first verdict starts one with the defaults.

    Args:
      level: a level's name; None for the best there is.
      unsafe: allow running without protection when there is no better level.
      limits: for each program.
      num_slots: programs run at the same time; default the number of cores.

    Returns:
      the level in use, to be printed and recorded.

    Raises:
      SandboxUnavailable: programs cannot be run safely here.
    """
    global _sandbox
    with _lock:
        if _sandbox is not None:
            _sandbox.close()
        _sandbox = Sandbox(level, unsafe, limits, num_slots)
        return _sandbox.level


def close_sandbox() -> None:
    """End the sandbox's processes; also done when Python exits."""
    global _sandbox
    with _lock:
        if _sandbox is not None:
            _sandbox.close()
            _sandbox = None


atexit.register(close_sandbox)


def _shared_sandbox() -> Sandbox:
    if _sandbox is None:
        open_sandbox()
    assert _sandbox is not None
    return _sandbox


def judge(example: Example, response: Response) -> Verdict:
    """Whether the response's program passes the example's tests.

    Raises:
      SandboxUnavailable: programs cannot be run safely here.
    """
    program = read_check(example, response.text)
    if isinstance(program, str):
        return make_verdict(response, "programs", "undecided", "", f"bad_check: {program}")
    sandbox = _shared_sandbox()
    outcome = sandbox.run(program)
    if outcome.opaque and example.gold:
        weak = _weak_places(sandbox, dataclasses.replace(program, text=example.gold))
        if weak:
            outcome = sandbox.run(dataclasses.replace(program, weak=weak))
    return _verdict(response, outcome, len(program.tests))


def read_check(example: Example, text: str) -> Program | str:
    """The program to run, or what is wrong with the example's check."""
    check: dict[str, Any] = dict(example.check)
    unknown = sorted(set(check) - {"entry", "tests", "setup", "name", "head"})
    tests = check.get("tests")
    if unknown:
        return f"unknown keys {unknown}; a programs check has entry, tests, setup, name, head"
    if not isinstance(tests, (list, tuple)) or not tests or not all(isinstance(test, str) for test in tests):
        return "tests must be a non-empty list of texts"
    words = [check.get(key) for key in ("entry", "setup", "name", "head")]
    if not all(word is None or isinstance(word, str) for word in words):
        return "entry, setup, name and head must be texts or null"
    entry, setup, name, head = words
    return Program(text, tuple(tests), entry=entry or None, name=name or "", setup=setup or "", head=head or "")


@functools.lru_cache(maxsize=4096)
def _weak_places(sandbox: Sandbox, gold: Program) -> tuple[int, ...]:
    """Places of tests in which gold's own result has no plain form; () if gold does not pass the weak way either."""
    for _ in gold.tests:
        outcome = sandbox.run(gold)
        if outcome.kind == "right":
            return gold.weak
        if not outcome.opaque:
            break
        gold = dataclasses.replace(gold, weak=gold.weak + outcome.opaque)
    return gold.weak if sandbox.run(gold).kind == "right" else ()


def _verdict(response: Response, outcome: Outcome, num_tests: int) -> Verdict:
    if outcome.kind in ("sandbox_error", "bad_tests"):
        return make_verdict(response, "programs", "undecided", outcome.found, f"{outcome.kind}: {outcome.detail}")
    if outcome.kind != "right":
        return make_verdict(response, "programs", "wrong", outcome.found, f"{outcome.kind}: {outcome.detail}")
    passed = f"{num_tests} of {num_tests} tests pass"
    if outcome.weak:
        reason = f"weak: {passed}, {len(outcome.weak)} of them judged in the program's own process"
        return make_verdict(response, "programs", "right", outcome.found, reason)
    return make_verdict(response, "programs", "right", outcome.found, f"right: {passed}")
