"""Several processes: they share out what one samples, or compute together, and the bytes on disk are those of one."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from jobs import LIMIT_S, ended, port, start
from s3ft_jax import processes
from s3ft_jax.processes import COORDINATOR, EXIT_CODE, NUM_PROCESSES, PROCESS, ProcessError, Processes, join
from s3ft_jax.records import Example, Likelihood, Response
from s3ft_jax.shards import read_shards
from s3ft_jax.stages.select import LIKELIHOODS
from s3ft_jax.workdir import Workdir, WorkdirError
from small import ROOT


@pytest.fixture
def unsampled(copied):
    """(workdir without own responses, their bytes as one process sampled them, name -> bytes)."""
    _, workdir = copied
    names = workdir.matching(["responses/own-*.jsonl"])
    before = {name: (workdir / name).read_bytes() for name in names}
    assert len(before) == 3
    for name in (*names, "manifests/sample-own.json"):
        (workdir / name).unlink()
    return workdir, before


def _bytes(workdir):
    return {name: (workdir / name).read_bytes() for name in workdir.matching(["responses/own-*.jsonl"])}


def test_two_processes_with_a_copy_each_write_the_bytes_of_one(unsampled):
    workdir, before = unsampled
    said = ended(start(workdir, 2, "sample.num_replicas=2"))
    assert _bytes(workdir) == before
    assert workdir.manifest("sample-own")["facts"]["responses"] == 24
    assert "sample own: 24 responses" in said[0] and "sample own" not in said[1], "the first alone talks"


def test_one_copy_over_two_processes_says_the_same(unsampled):
    """Four chips on two hosts hold a quarter of the model each; sums go over all of them and round otherwise."""
    workdir, before = unsampled
    facts = workdir.path / "before"
    for name, data in before.items():
        (facts / name).parent.mkdir(parents=True, exist_ok=True)
        (facts / name).write_bytes(data)
    ended(start(workdir, 2, "sample.tensor=4"))
    one, both = (read_shards(Workdir(str(path)), Response, "responses/own") for path in (facts, workdir.path))
    assert [left.response_ids for left in both] == [right.response_ids for right in one]
    assert [left.logprob for left in both] == pytest.approx([right.logprob for right in one], abs=1e-3)
    assert [left.logprob for left in both] != [right.logprob for right in one]


@pytest.mark.parametrize("gone", [0, 1])
def test_a_process_that_dies_ends_the_others_and_what_is_finished_is_kept(unsampled, gone):
    workdir, before = unsampled
    both = start(workdir, 2, "sample.chunk_steps=1")
    until = time.monotonic() + LIMIT_S
    while not _bytes(workdir) and both[0].poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    both[gone].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    kept = _bytes(workdir)
    codes = [-signal.SIGKILL if index == gone else EXIT_CODE for index in (0, 1)]
    said = ended(both, codes)
    assert time.monotonic() - killed < 60 and kept, said
    assert f"error: process {gone} ({socket.gethostname()}) is gone (" in said[1 - gone], said
    assert "the last that was heard of it: " in said[1 - gone] and "the same command" in said[1 - gone]
    kept |= _bytes(workdir)
    times = {name: (workdir / name).stat().mtime for name in kept}
    ended(start(workdir, 1, "sample.chunk_steps=1"))
    assert _bytes(workdir) == before
    assert {name: (workdir / name).stat().mtime for name in kept} == times, "made once"


def test_one_process_alone_says_who_is_missing(unsampled, monkeypatch):
    monkeypatch.setenv("S3FT_JOIN_S", "2")
    workdir, _ = unsampled
    both = start(workdir, 2, only=[0])
    (said,) = ended(both, [1])
    assert "error: 1 of 2 processes: process 1 did not come within 2 s" in said and "started on all of them?" in said


def test_another_setting_or_folder_is_found_at_thestart(unsampled, tmp_path):
    workdir, _ = unsampled
    said = ended(start(workdir, 2, others=["--config.sample.chunk_steps=7"]), [1, 1])
    for one in said:
        assert "the processes of this job do not agree:" in one
        assert "sample.chunk_steps: process 0" in one and "has 7" in one
    assert not _bytes(workdir)


def test_a_folder_that_is_not_shared_is_found_at_thestart(tmp_path, monkeypatch):
    monkeypatch.setattr("s3ft_jax.workdir.SHARED_S", 0)
    own = Workdir(str(tmp_path), Processes(1, 2))
    with pytest.raises(WorkdirError, match=r"does not see there what another one wrote.*all machines share"):
        own.check_shared()
    Workdir(str(tmp_path), Processes(0, 2)).check_shared()
    assert list((tmp_path / "manifests").iterdir()) == []


def test_what_the_base_thinks_of_texts_is_asked_of_the_first_alone_or_of_all(copied):
    """The gate and the report score texts; one host's chips do it, or those of all where none hold the model."""
    _, workdir = copied
    gate, files = "select.paraphrase_gate=likelier", [f"{LIKELIHOODS}-*.jsonl"]

    def asked(count, *overrides):
        workdir.remove("gate", files)
        said = ended(start(workdir, count, gate, *overrides, stage=("gate",)))
        assert "right paraphrases" in said[0] and all("gate" not in one for one in said[1:]), "the first alone talks"
        return read_shards(workdir, Likelihood, LIKELIHOODS)

    one, alone, together = asked(1), asked(2), asked(2, "sample.tensor=4")
    assert alone == one and len(one) > 13
    for left, right in zip(one, together, strict=True):
        assert (left.example_id, left.origin, left.tokens) == (right.example_id, right.origin, right.tokens)
        assert left.logprob == pytest.approx(right.logprob, abs=1e-3)
    workdir.remove("report", ["report.html"])
    said = ended(start(workdir, 2, "sample.tensor=4", stage=("report",)))
    assert "than SSR" in said[0] and "than SSR" not in said[1] and (workdir / "report.html").exists()


def test_a_stage_without_devices_is_done_by_the_first(unsampled):
    workdir, before = unsampled
    for name, data in before.items():
        (workdir / name).write_bytes(data)
    ended(start(workdir, 1))
    verdicts = (workdir / "verdicts/own.jsonl").read_bytes()
    (workdir / "verdicts/own.jsonl").unlink()
    (workdir / "manifests/judge-own.json").unlink()
    said = ended(start(workdir, 2, stage=("judge", "own")))
    assert (workdir / "verdicts/own.jsonl").read_bytes() == verdicts
    assert "judge own" in said[0] and said[1] == ""


def test_only_the_first_process_writes_what_all_share(tmp_path):
    other = Workdir(str(tmp_path), Processes(1, 2))
    assert other.write_records("examples/train.jsonl", []) == tmp_path / "examples/train.jsonl"
    assert not (tmp_path / "examples").exists()
    Workdir(str(tmp_path), Processes(0, 2)).write_records("examples/train.jsonl", [])
    assert other.read_records(Example, "examples/train.jsonl") == []


def test_nothing_is_joined_where_nothing_is_named():
    assert join({}) == Processes() and Processes().is_first and Processes().standings() == []
    Processes().wait("nobody")
    with Processes().together():
        pass


def test_a_time_limit_that_is_no_number():
    with pytest.raises(ProcessError, match="S3FT_JOIN_S='soon': must be a whole number of seconds"):
        join({COORDINATOR: "a:1", NUM_PROCESSES: "2", PROCESS: "0", "S3FT_JOIN_S": "soon"})


def test_stages_that_run_in_one_process_refuse_several(tmp_path, monkeypatch, capsys):
    from s3ft_jax import cli

    monkeypatch.setattr(processes, "join", lambda **_: Processes(0, 2))
    monkeypatch.setattr("os._exit", lambda code: None)
    assert cli.main(["pretrain", "--config=configs/pocket_model.py", f"--workdir={tmp_path}"]) == 1
    assert "s3ft pretrain runs in one process, and 2 were started" in capsys.readouterr().err


def test_what_is_saved_together_is_whole_also_after_one_has_saved_alone(tmp_path):
    where, script = str(port()), str(ROOT / "tests" / "saving_together.py")
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": str(ROOT)}
    both = [
        subprocess.Popen(
            [sys.executable, script, str(index), where, str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        said = [one.communicate(timeout=120)[0] for one in both]
    finally:
        for one in both:
            one.kill()
            one.wait()
    assert all("whole" in one for one in said)
