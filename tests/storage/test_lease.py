"""lease: in a bucket, too, one process works, and takes over from one that is gone."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from s3ft_jax.storage import lease as leases
from s3ft_jax.storage.lease import Locked, lease
from s3ft_jax.workdir import Workdir, WorkdirError

PATH = "gs://bucket/run/.x.lease"
CODE = (
    "import sys, time; from s3ft_jax.storage import lease\n"
    "lease.BEAT_S = 0.2\n"
    "with lease.lease(sys.argv[1]): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in (("BEAT_S", 0.1), ("STALE_S", 1.5), ("LOOK_S", 0.05)):
        monkeypatch.setattr(leases, name, seconds)


def facts(store):
    return json.loads(store.read("run/.x.lease"))


def of_another_machine(store, token="another"):
    """A lease that stands still."""
    there = {"token": token, "machine": "far away", "host": "far", "process": 7, "beat": 3}
    store.put("bucket", "run/.x.lease", json.dumps(there).encode())


def test_another_process_is_kept_out_until_the_holder_ends_in_whatever_way(store, capsys):
    command = [sys.executable, "-c", CODE, PATH]
    environment = os.environ | store.environment()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Locked), lease(PATH):
            pass
        assert f"is of process {other.pid} on" in capsys.readouterr().err
        other.kill()
        other.wait()
        began = time.monotonic()
        with lease(PATH):
            assert facts(store)["process"] == os.getpid()
    assert time.monotonic() - began < 1.0 and not capsys.readouterr().err, "of this machine: known to be gone"
    assert not store.names()


def test_one_of_another_machine_is_gone_when_it_stands_still(store, capsys):
    of_another_machine(store)
    began = time.monotonic()
    with lease(PATH):
        assert time.monotonic() - began > 1.5 and facts(store)["process"] == os.getpid()
    assert "is of process 7 on far; waiting 2 s for a sign of its life" in capsys.readouterr().err
    assert not store.names()


@pytest.mark.parametrize("data", [b"", b"\xff", b"[1]", b"{}"])
def test_what_is_no_lease_is_gone_when_it_stands_still(data, store, monkeypatch, capsys):
    monkeypatch.setattr(leases, "STALE_S", 0.2)
    store.put("bucket", "run/.x.lease", data)
    with lease(PATH):
        assert facts(store)["process"] == os.getpid()
    assert "is of process ? on ?" in capsys.readouterr().err and not store.names()


def test_one_that_gives_its_lease_back_meanwhile_is_not_waited_for(store):
    of_another_machine(store)
    threading.Timer(0.3, lambda: store.remove("bucket", "run/.x.lease")).start()
    began = time.monotonic()
    with lease(PATH):
        assert time.monotonic() - began < 1.2


def test_it_beats_and_ends_when_another_has_it(store):
    ended = []
    with lease(PATH, end=ended.append):
        before = facts(store)["beat"]
        time.sleep(0.6)
        assert facts(store)["beat"] > before and not ended
        of_another_machine(store)
        time.sleep(0.4)
    assert ended == [f"{PATH}: taken over by process 7 on far, since this process gave no sign of life"]
    assert facts(store)["token"] == "another", "not ours to remove"


def tried_by(number):
    """How many of so many threads that try at the same time hold the lease for a second, and how many are refused."""
    inside, refused, start = [], [], threading.Barrier(number)

    def enter():
        start.wait()
        try:
            with lease(PATH, end=inside.append):
                inside.append(1)
                time.sleep(1.0)
        except Locked:
            refused.append(1)

    threads = [threading.Thread(target=enter) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(inside), len(refused)


def test_of_those_that_try_at_the_same_time_one_is_let_in(store):
    assert tried_by(4) == (1, 3) and not store.names()


def test_of_two_that_find_the_same_dead_lease_one_takes_it_over(store, monkeypatch):
    monkeypatch.setattr(leases, "LOOK_S", 0.3)
    of_another_machine(store)
    remove, both = leases._Lease._remove, threading.Barrier(2)

    def at_once(self):
        both.wait(5)
        remove(self)

    monkeypatch.setattr(leases._Lease, "_remove", at_once)
    assert tried_by(2) == (1, 1) and not store.names()


def test_in_a_bad_bucket(store, impatient):
    store.fail_every = 3
    for _ in range(5):
        with lease(PATH):
            time.sleep(0.25)
    store.fail_every = 0
    with lease(PATH):
        pass
    assert not store.names()


def test_two_commands_in_one_workdir(store, monkeypatch):
    first, second = Workdir("gs://bucket/run"), Workdir("gs://bucket/run")
    with first.stage("judge-own", settings={}):
        message = rf"stage judge-own is being run by process {os.getpid()} on .*\. Wait for its end"
        with pytest.raises(WorkdirError, match=message), second.stage("judge-own", settings={}):
            pass
    assert store.names() == ["run/manifests/judge-own.json"]
