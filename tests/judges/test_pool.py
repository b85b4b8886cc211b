"""Many verdicts in worker processes: order, hangs, deaths, own judges."""

from __future__ import annotations

import os
import pathlib
import textwrap
import time

import pytest

from s3ft_jax.judges import JudgeError, pool, sandbox
from s3ft_jax.judges.pool import judge_all
from s3ft_jax.records import Example, Response

OWN = """
    import os, signal, sys, time
    from s3ft_jax.records import Verdict

    def my_judge(example, response):
        text = response.text
        print("chatter on standard output")
        if text == "hang":
            while True: pass
        if text == "sleep":
            time.sleep(600)
        if text == "die":
            os._exit(3)
        if text == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if text == "raise":
            raise KeyError("no such thing")
        if text == "none":
            return None
        if text == "exit":
            sys.exit(0)
        assert example.messages == ({"role": "user", "content": "q"},) and response.response_ids == (1, 2)
        return Verdict(response.example_id, response.origin, response.index, example.judge, "right", text,
                       f"own: {os.getpid()}")
"""


@pytest.fixture
def own_judge(tmp_path, monkeypatch):
    (tmp_path / "judge_of_my_own.py").write_text(textwrap.dedent(OWN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    return "judge_of_my_own:my_judge"


def pair(number, judge, text, check=None):
    example = Example(f"t/test/{number}", "t", "test", ({"role": "user", "content": "q"},), "", judge, check or {})
    return example, Response(example.id, "own", 0, text, (3,), (1, 2), True, -1.5)


def workers() -> set[int]:
    """Worker processes started by this one."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
                command = pathlib.Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and b"s3ft_jax.judges.worker" in command:
                found.add(int(entry))
    return found


def test_cheap_judges_run_here_in_order_and_report_progress():
    pairs = [pair(n, "numbers", f"The answer is {n % 7}", {"answer": 3}) for n in range(500)]
    seen = []
    verdicts = judge_all(pairs, on_progress=lambda done, total: seen.append((done, total)))
    assert [verdict.example_id for verdict in verdicts] == [f"t/test/{n}" for n in range(500)]
    assert [verdict.outcome == "right" for verdict in verdicts] == [n % 7 == 3 for n in range(500)]
    assert seen == [(n + 1, 500) for n in range(500)]
    assert workers() == set()
    assert judge_all([]) == []


def test_cheap_judges_of_a_large_input_run_in_workers(monkeypatch):
    monkeypatch.setattr(pool, "CHEAP_PAIRS", 10)
    pairs = [pair(n, "exact", str(n), {"answer": str(n - n % 2)}) for n in range(100)]
    verdicts = judge_all(pairs, num_workers=2)
    assert [verdict.outcome == "right" for verdict in verdicts] == [n % 2 == 0 for n in range(100)]
    assert [verdict.example_id for verdict in verdicts] == [f"t/test/{n}" for n in range(100)]


def test_own_judge_in_workers_survives_everything(own_judge):
    texts = ["a", "hang", "b", "sleep", "c", "die", "d", "kill", "e", "raise", "f", "none", "g", "exit", "h"]
    began = time.monotonic()
    verdicts = judge_all([pair(n, own_judge, text) for n, text in enumerate(texts)], num_workers=2, pair_seconds=1.5)
    reasons = {text: verdict.reason for text, verdict in zip(texts, verdicts, strict=True)}
    outcomes = [verdict.outcome for verdict in verdicts]
    assert outcomes == ["right", "undecided"] * 7 + ["right"]
    assert [verdict.example_id for verdict in verdicts] == [f"t/test/{n}" for n in range(len(texts))]
    assert {verdict.judge for verdict in verdicts} == {own_judge}
    assert reasons["hang"] == reasons["sleep"] == "judge_timeout: no verdict after 1.5 s"
    assert reasons["die"] == "judge_died: its worker ended with code 3"
    assert reasons["kill"] == "judge_died: its worker ended with signal 9"
    assert reasons["exit"] == "judge_died: its worker ended with code 0"
    assert reasons["raise"].startswith("judge_error: KeyError: 'no such thing' (")
    assert reasons["none"].startswith("judge_error: TypeError: the judge returned None")
    assert str(os.getpid()) not in reasons["a"]
    assert workers() == set()
    assert time.monotonic() - began < 40


def test_programs_and_numbers_together():
    try:
        sandbox.probe()
    except sandbox.SandboxUnavailable as error:
        pytest.skip(str(error))
    check = {"entry": "f", "tests": ["assert f(2) == 4"]}
    pairs = []
    for n in range(20):
        pairs.append(pair(n, "programs", "def f(x): return x * x" if n % 2 else "def f(x): return 0", check))
        pairs.append(pair(n, "numbers", "4", {"answer": 4}))
    pairs.append(pair(99, "programs", "def f(x):\n  while True: pass", check))
    verdicts = judge_all(pairs, num_workers=2, wall_seconds=0.5)
    assert [verdict.judge for verdict in verdicts] == ["programs", "numbers"] * 20 + ["programs"]
    assert [verdict.outcome == "right" for verdict in verdicts] == [False, True, True, True] * 10 + [False]
    assert verdicts[-1].reason.startswith("timeout:")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nubmers", "one of numbers, expressions"),
        ("no_module_like_this:f", "importing 'no_module_like_this' raised"),
        ("json:nothing", "no function 'nothing'"),
    ],
)
def test_an_unknown_judge_stops_at_once(name, words):
    with pytest.raises(JudgeError, match=r"judge\.name=") as caught:
        judge_all([pair(0, name, "x")], num_workers=1)
    assert words in str(caught.value)


def test_programs_without_a_sandbox_are_an_error(monkeypatch):
    def unavailable(unsafe=False):
        raise sandbox.SandboxUnavailable("No sandbox for model-written programs")

    monkeypatch.setattr(sandbox, "probe", unavailable)
    with pytest.raises(sandbox.SandboxUnavailable):
        judge_all([pair(0, "programs", "def f(): pass", {"entry": "f", "tests": ["f()"]})])


def test_ctrl_c_leaves_no_worker(own_judge):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_all([pair(n, own_judge, "a") for n in range(4)], num_workers=1, on_progress=interrupt)
    assert workers() == set()


def test_of_many_handed_over_at_once_only_the_one_to_blame_suffers(own_judge, monkeypatch):
    monkeypatch.setattr(pool, "is_cheap", lambda judge: True)
    monkeypatch.setattr(pool, "CHEAP_PAIRS", 0)
    monkeypatch.setattr(pool, "CHUNK", 4)
    texts = ["a", "die", "b", "c", "d", "e", "hang", "f", "g"]
    seen = []
    verdicts = judge_all(
        [pair(number, own_judge, text) for number, text in enumerate(texts)],
        num_workers=2,
        pair_seconds=3.0,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    kinds = [verdict.reason.partition(":")[0] for verdict in verdicts]
    assert kinds == ["own", "judge_died", "own", "own", "own", "own", "judge_timeout", "own", "own"]
    assert [verdict.found for verdict in verdicts if verdict.outcome == "right"] == list("abcdefg")
    assert seen[-1] == (9, 9) and [done for done, _ in seen] == list(range(1, 10))
