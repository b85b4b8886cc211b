"""job: what all processes must have in common, the watch around a command, the end of one that failed."""

import os
import threading

import pytest

from s3ft_jax import job, processes
from s3ft_jax.processes import ProcessError, Processes


def test_facts_are_code_versions_command_and_settings():
    found = job.facts("sample", {"origin": "own", "seed": 0, "redo": False, "method": None}, {"train.num_steps": 7})
    assert found["command"] == "sample" and found["--origin"] == "own" and found["train.num_steps"] == "7"
    assert {"python", "code", "jax", "flax", "numpy"} <= set(found)
    assert not {"--redo", "--method"} & set(found)
    assert found["code"] == job.code_digest() and len(found["code"]) == 16


def test_the_watch_lives_as_long_as_the_command(monkeypatch):
    names = lambda: [thread.name for thread in threading.enumerate()]  # noqa: E731
    with job.joined(dict, devices=False) as own:
        assert own == Processes() and "watch" in names()
    monkeypatch.setenv(job.STALL, "0")
    before = names().count("watch")
    with job.joined(dict, devices=False):
        assert names().count("watch") <= before
    monkeypatch.setenv(job.STALL, "soon")
    with pytest.raises(ProcessError, match="S3FT_STALL_MINUTES='soon': must be a number of minutes"):
        job.joined(dict, devices=False).__enter__()


def test_a_failure_in_a_job_of_several_ends_at_once(monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(processes, "join", lambda **_: Processes())

    def fail():
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        job.guarded(fail)
    assert job.guarded(lambda: 2) == 2 and not ended, "one process ends as Python does"
    monkeypatch.setattr(job, "_joined", Processes())

    def of_two(end):
        job._joined = Processes(1, 2)
        return end()

    for end in (lambda: 75, fail, lambda: 0):
        job.guarded(lambda end=end: of_two(end))
    assert ended == [75, 1]
    assert job.guarded(lambda: 2) == 2 and ended == [75, 1], "the next command is another job"
    assert "KeyError: 'a bug'" in capsys.readouterr().err
