"""The table of judges."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from s3ft_jax.judges import JUDGES, JudgeError, find_judge, numbers


def test_the_table():
    assert list(JUDGES) == ["numbers", "expressions", "programs", "answers", "exact", "choice"]
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
