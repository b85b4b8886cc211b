"""agree: a second judge beside the first, which changes nothing but the report."""

import json
import shutil

import pytest

from s3ft_jax.judges import JudgeError
from s3ft_jax.records import Verdict
from s3ft_jax.stages import agree, report
from s3ft_jax.workdir import Workdir, WorkdirError
from small import small_config

NAME = "all(length(1,6), numbers)"


@pytest.fixture
def copied(walked, tmp_path):
    config, workdir = walked
    shutil.copytree(workdir.path, tmp_path / "run")
    config = type(config)(config.to_dict())
    config.judge.second = NAME
    return config, Workdir(str(tmp_path / "run"))


def test_the_second_judge_stands_in_the_report_and_changes_nothing_else(copied, capsys):
    config, workdir = copied
    before = {name: (workdir / name).read_bytes() for name in ("verdicts/own.jsonl", "selections/s3ft.jsonl")}
    agree.run(config, workdir, "own")
    first = workdir.read_records(Verdict, "verdicts/own.jsonl")
    second = workdir.read_records(Verdict, agree.file("own"))
    assert [(v.example_id, v.index) for v in second] == [(v.example_id, v.index) for v in first]
    alike = sum(one.outcome == two.outcome for one, two in zip(first, second, strict=True))
    assert 0 < alike < len(first), "the gate of length must refuse some"
    assert f"the two judges agree on {alike} of {len(first)}" in capsys.readouterr().out
    agree.run(config, workdir, "own")
    assert "already done" in capsys.readouterr().out
    report.run(config, workdir, redo=True)
    text = (workdir / "report.md").read_text()
    assert "Agreement on own responses" in text and "The same judge, numbers, " in text
    assert before == {name: (workdir / name).read_bytes() for name in before}
    assert json.loads((workdir / "manifests/report.json").read_text())["inputs"]["agree-own"]


def test_without_a_second_judge_there_is_a_clear_error(tmp_path):
    with pytest.raises(WorkdirError, match=r"judge\.second is empty"):
        agree.run(small_config(), Workdir(str(tmp_path)), "own")
    with pytest.raises(JudgeError, match="did you mean numbers"):
        agree.run(small_config("judge.second=nubmers"), Workdir(str(tmp_path)), "own")


def test_agreement_with_verdicts_that_are_disturbed_on_purpose_is_refused(tmp_path):
    config = small_config("judge.second=exact", "judge.noise.false_accepts=0.1")
    with pytest.raises(WorkdirError, match=r"judge\.second with judge\.noise"):
        agree.run(config, Workdir(str(tmp_path)), "own")
