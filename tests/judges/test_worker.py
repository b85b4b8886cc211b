"""The worker's lines, written and read by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from s3ft_jax.records import Example, Response, Verdict, to_line

OWN = """
    from s3ft_jax.records import Verdict

    def mine(example, response):
        print("chatter on standard output", flush=True)
        verdict = Verdict(response.example_id, response.origin, response.index, "mine", "right", "found", "right: yes")
        if response.text == "raise":
            return 1 / 0
        if response.text in ("True", "False"):
            return response.text == "True"
        if response.text == "text":
            return "right"
        if response.text == "outcome":
            return Verdict(*(verdict.example_id, "own", 0, "mine", "perhaps", "", ""))
        if response.text == "object":
            return Verdict(*(verdict.example_id, "own", 0, "mine", "right", object(), ""))
        return verdict
"""


def line(judge: str, text: str, check: dict[str, Any] | None = None) -> str:
    example = Example("t/test/0", "t", "test", (), "", judge, check or {})
    response = Response("t/test/0", "own", 0, text, (), (), True, 0.0)
    return json.dumps({"example": to_line(example), "response": to_line(response)})


@pytest.fixture
def work(tmp_path):
    """(lines, settings) -> (answers, standard error) of one worker that ends with code 0."""
    (tmp_path / "rules.py").write_text(textwrap.dedent(OWN))

    def run(*lines: str, **settings: Any) -> tuple[list[dict[str, Any]], str]:
        path = [str(tmp_path), *(os.path.abspath(entry or os.curdir) for entry in sys.path)]
        first = json.dumps({"level": "", "wall_seconds": 2.0, "parent": os.getpid(), **settings})
        done = subprocess.run(
            [sys.executable, "-m", "s3ft_jax.judges.worker"],
            input="\n".join((first, *lines)) + "\n",
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(path)),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(answer) for answer in done.stdout.splitlines()], done.stderr

    return run


def test_one_answer_for_each_line_in_order(work):
    check = {"answer": 4}
    answers, errors = work(
        line("numbers", "It is 4", check), line("numbers", "It is 5", check), line("rules:mine", "x")
    )
    assert answers[0] == {"ready": True}
    verdicts = [Verdict(**answer["verdict"]) for answer in answers[1:]]
    assert [verdict.outcome for verdict in verdicts] == ["right", "wrong", "right"]
    assert verdicts[2] == Verdict("t/test/0", "own", 0, "mine", "right", "found", "right: yes")
    # What a judge prints cannot be taken for an answer.
    assert errors == "chatter on standard output\n"


def test_a_judge_that_fails_leaves_its_pair_undecided_and_the_next_is_judged(work):
    answers, _ = work(*(line("rules:mine", text) for text in ("raise", "text", "outcome", "object", "fine")))
    reasons = [answer.get("undecided", "") for answer in answers[1:]]
    assert reasons[0] == "judge_error: ZeroDivisionError: division by zero (rules.py, line 8)"
    assert reasons[1] == "judge_error: TypeError: the judge returned 'right', no Verdict, True or False"
    assert reasons[2].startswith("judge_error: TypeError: the judge returned Verdict(")
    assert reasons[3].startswith("judge_error: TypeError: its Verdict cannot be written: ")
    assert answers[5]["verdict"]["outcome"] == "right"


def test_a_judge_may_say_true_or_false(work):
    answers, _ = work(line("rules:mine", "True"), line("rules:mine", "False"))
    verdicts = [Verdict(**answer["verdict"]) for answer in answers[1:]]
    assert [(v.outcome, v.reason, v.judge) for v in verdicts] == [
        ("right", "right: the judge says True", "rules:mine"),
        ("wrong", "wrong: the judge says False", "rules:mine"),
    ]


def test_bad_lines_are_answered_by_name_and_the_next_is_judged(work):
    good = json.loads(line("exact", "a", {"answer": "a"}))
    answers, errors = work(
        "{cut",
        json.dumps({"response": good["response"]}),
        json.dumps(["example", "response"]),
        json.dumps({**good, "example": '{"id": "t/test/0"}'}),
        json.dumps(good),
    )
    assert all(answer["fatal"].startswith("not a line with an example and a response: ") for answer in answers[1:5])
    for answer, words in zip(
        answers[1:5], ("JSONDecodeError", "KeyError: 'example'", "TypeError", "missing keys"), strict=True
    ):
        assert words in answer["fatal"]
    assert answers[5]["verdict"]["outcome"] == "right"
    assert errors == ""


def test_a_judge_that_is_not_there_is_fatal(work):
    answers, _ = work(line("nubmers", "4"), line("rules:nothing", "4"))
    assert answers[1]["fatal"].startswith("judge.name='nubmers'") and "numbers" in answers[1]["fatal"]
    assert "has no function 'nothing'" in answers[2]["fatal"]


def test_programs_run_at_the_level_of_the_settings(work):
    check = {"entry": "f", "tests": ["assert f(2) == 4"]}
    answers, _ = work(
        line("programs", "def f(x): return x * x", check), line("programs", "f = 1", check), level="unsafe"
    )
    assert answers[0] == {"ready": True}
    assert [answer["verdict"]["outcome"] for answer in answers[1:]] == ["right", "wrong"]


def test_a_worker_whose_starter_is_gone_leaves():
    process = subprocess.Popen(
        [sys.executable, "-m", "s3ft_jax.judges.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(os.path.abspath(entry or os.curdir) for entry in sys.path)),
    )
    assert process.stdin is not None
    with process.stdin as lines:
        lines.write(json.dumps({"level": "", "wall_seconds": 2.0, "parent": 1 << 30}).encode() + b"\n")
        lines.flush()
        assert process.wait(timeout=30) == 1  # although its input is still open


def test_several_pairs_in_one_line_are_answered_together(work):
    pairs = [json.loads(line("exact", text, {"answer": "4"})) for text in ("4", "5")]
    (_, answer), _ = work(json.dumps({"pairs": [*pairs, {"example": "x"}]}))
    assert [one.get("verdict", {}).get("outcome") for one in answer["answers"]] == ["right", "wrong", None]
    assert "not a line with an example" in answer["answers"][2]["fatal"]
