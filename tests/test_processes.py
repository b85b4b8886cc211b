"""Several processes: they share out what one samples, or compute together, and the bytes on disk are those of one."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from s3ft_jax import processes
from s3ft_jax.processes import COORDINATOR, NUM_PROCESSES, PROCESS, ProcessError, Processes, join
from s3ft_jax.records import Example, Response
from s3ft_jax.workdir import Workdir
from small import QUICK, SMALL

LIMIT_S = 240


def _port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start(workdir, count, *overrides, num_devices=2):
    """``s3ft sample own`` in so many processes."""
    where, started = f"127.0.0.1:{_port()}", []
    arguments = [f"--config.{one}" for one in (*SMALL, *overrides)]
    for index in range(count):
        own = {COORDINATOR: where, NUM_PROCESSES: str(count), PROCESS: str(index)} if count > 1 else {}
        flags = f"--xla_force_host_platform_device_count={num_devices} {QUICK}"
        command = [sys.executable, "-m", "s3ft_jax", "sample", "own", "--config=configs/quickstart.py:task=arithmetic"]
        started.append(
            subprocess.Popen(
                [*command, f"--workdir={workdir.path}", *arguments],
                env=os.environ | own | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def _ended(started):
    said = [one.communicate(timeout=LIMIT_S)[0] for one in started]
    assert [one.returncode for one in started] == [0] * len(started), "\n".join(said)
    return said


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
    said = _ended(_start(workdir, 2, "sample.num_replicas=2"))
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
    _ended(_start(workdir, 2, "sample.tensor=4"))
    one, both = (Workdir(str(path)).read_shards(Response, "responses/own") for path in (facts, workdir.path))
    assert [left.response_ids for left in both] == [right.response_ids for right in one]
    assert [left.logprob for left in both] == pytest.approx([right.logprob for right in one], abs=1e-3)
    assert [left.logprob for left in both] != [right.logprob for right in one]


def test_a_process_that_dies_ends_the_others_and_what_is_finished_is_kept(unsampled):
    workdir, before = unsampled
    first, second = _start(workdir, 2, "sample.chunk_steps=1")
    until = time.monotonic() + LIMIT_S
    while not _bytes(workdir) and first.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    kept = _bytes(workdir)
    said, other = (one.communicate(timeout=LIMIT_S)[0] for one in (first, second))
    assert kept, said + other
    assert first.returncode != 0 and "Traceback" not in said, said
    assert "process" in said
    kept |= _bytes(workdir)
    times = {name: (workdir / name).stat().mtime for name in kept}
    _ended(_start(workdir, 1, "sample.chunk_steps=1"))
    assert _bytes(workdir) == before
    assert {name: (workdir / name).stat().mtime for name in kept} == times, "made once"


def test_shards_are_shared_out_by_number():
    def own(index, count, **options):
        return Workdir("unused", Processes(index, count)).own_shards(5, **options)

    assert (own(0, 2), own(1, 2)) == ([0, 2, 4], [1, 3])
    assert own(1, 2, together=True) == own(0, 1) == [0, 1, 2, 3, 4]
    assert own(7, 8) == []


def test_only_the_first_process_writes_what_all_share(tmp_path):
    other = Workdir(str(tmp_path), Processes(1, 2))
    assert other.write_records("examples/train.jsonl", []) == tmp_path / "examples/train.jsonl"
    assert not (tmp_path / "examples").exists()
    Workdir(str(tmp_path), Processes(0, 2)).write_records("examples/train.jsonl", [])
    assert other.read_records(Example, "examples/train.jsonl") == []


def test_nothing_is_joined_where_nothing_is_named(monkeypatch):
    assert join({}) == Processes() and Processes().is_first
    Processes().wait("nobody")
    called = []
    monkeypatch.setattr(processes, "_initialize", lambda *arguments: called.append(arguments))
    assert join({COORDINATOR: "host:1", NUM_PROCESSES: "4", PROCESS: "3"}) == Processes(3, 4)
    assert called == [("host:1", 4, 3)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({NUM_PROCESSES: "2"}, f"{COORDINATOR}, {PROCESS} is not set"),
        ({COORDINATOR: "a:1", NUM_PROCESSES: "two", PROCESS: "0"}, "'two'.* must be whole numbers"),
        ({COORDINATOR: "a:1", NUM_PROCESSES: "2", PROCESS: "2"}, f"{PROCESS}=2 must be from 0 to 1"),
    ],
)
def test_variables_that_are_not_whole_are_named(values, words):
    with pytest.raises(ProcessError, match=words):
        join(values)


def test_other_stages_refuse_several_processes(tmp_path, monkeypatch, capsys):
    from s3ft_jax import cli

    monkeypatch.setattr(processes, "join", lambda: Processes(0, 2))
    assert cli.main(["judge", "own", "--config=configs/quickstart.py", f"--workdir={tmp_path}"]) == 1
    assert "s3ft judge runs in one process" in capsys.readouterr().err
