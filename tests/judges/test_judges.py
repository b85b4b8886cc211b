"""The table of judges."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from s3ft_jax.judges import JUDGES, JudgeError, find_judge, numbers
from s3ft_jax.judges.verdicts import make_verdict, one_line
from s3ft_jax.records import Response, Verdict, from_line, to_line


def test_the_table():
    assert list(JUDGES) == ["numbers", "programs", "answers", "exact", "choice"]
    assert find_judge("numbers") is numbers.judge


def test_a_judge_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_rules.py").write_text("def yes(example, response):\n    return 'yes'\nNOT = 3\n")
    (tmp_path / "broken_rules.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_judge("own_rules:yes")(None, None) == "yes"
    for name, words in [
        ("own_rules:NOT", "has no function 'NOT'. Define def NOT(example, response)"),
        ("own_rules:no", "has no function 'no'"),
        ("broken_rules:yes", "raised ZeroDivisionError: division by zero"),
        ("not_there:yes", "Put not_there.py into the current folder"),
        ("number", "did you mean numbers?"),
        ("", "there is no such judge"),
        (":", "importing '' raised"),
    ]:
        with pytest.raises(JudgeError, match=r"judge\.name=") as caught:
            find_judge(name)
        assert words in str(caught.value)


def test_importing_the_room_is_light():
    code = (
        "import sys, time; t = time.process_time()\n"
        "import s3ft_jax.judges, s3ft_jax.judges.pool, s3ft_jax.judges.worker\n"
        "print(time.process_time() - t, sorted({'jax', 'numpy', 'transformers', 'flax', 'torch'} & set(sys.modules)))"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path or os.curdir for path in sys.path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    seconds, heavy = done.stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.5


def test_verdicts_are_short_single_lines_that_can_be_written():
    response = Response("t/test/0", "own", 0, "x", (), (), True, 0.0)
    verdict = make_verdict(response, "numbers", "wrong", "a\nb" * 500, "wrong: \ud800 " + "x " * 500)
    assert len(verdict.found) == 200 and len(verdict.reason) <= 300 and "\n" not in verdict.found
    assert from_line(Verdict, to_line(verdict), "here") == verdict
    to_line(verdict).encode("utf-8")
    assert one_line("a  b\n c", 10) == "a b c"
