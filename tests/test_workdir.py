"""workdir: whole files or none, shards that survive a kill, manifests that say what changed."""

import errno
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from s3ft_jax.processes import Processes, is_alone
from s3ft_jax.records import RecordError, Verdict
from s3ft_jax.seals import Damaged
from s3ft_jax.workdir import MissingStage, SettingsChanged, Workdir, WorkdirError


def verdict(number: int) -> Verdict:
    return Verdict(f"t/train/{number}", "own", 0, "exact", "right", "x", "right")


def finish(workdir, key, **arguments):
    with workdir.stage(key, **arguments) as run:
        if run.needed:
            workdir.write_bytes(f"{key}.txt", b"made")
        return run.needed


def test_a_relative_folder_is_made_absolute_and_a_bucket_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert str(Workdir("runs/x").path) == str(tmp_path / "runs" / "x")
    assert str(Workdir("gs://bucket/run").path) == "gs://bucket/run"


@pytest.mark.parametrize("below", ["", "/run"])
def test_a_file_in_the_place_of_the_folder_is_one_message(tmp_path, below):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(WorkdirError, match=r"--workdir=.*notes\.txt is a file, not a folder\. Give a folder"):
        Workdir(f"{tmp_path / 'notes.txt'}{below}")


def test_a_finished_stage_is_skipped(tmp_path):
    workdir = Workdir(tmp_path)
    arguments = {"settings": {"a": (1, 2)}, "writes": ["first.txt"]}
    assert finish(workdir, "first", **arguments)
    assert not finish(workdir, "first", **arguments)


def test_changed_settings_stop_with_both_values_and_the_remedy(tmp_path):
    workdir = Workdir(tmp_path)
    finish(workdir, "first", settings={"a": {"b": 1}, "c": 2}, writes=["first.txt"])
    with pytest.raises(SettingsChanged, match=r"(?s)stage first was done.*a\.b: 1 -> 3.*new --workdir.*--redo"):
        finish(workdir, "first", settings={"a": {"b": 3}, "c": 2}, writes=["first.txt"])


def test_a_workdir_from_before_a_setting_goes_on_while_the_setting_does_nothing(tmp_path):
    workdir = Workdir(tmp_path)
    finish(workdir, "first", settings={"task": {"name": "x"}}, writes=["first.txt"])
    assert not finish(
        workdir, "first", settings={"task": {"name": "x", "unanswerable_frac": 0.0}}, writes=["first.txt"]
    )
    with pytest.raises(SettingsChanged, match=r"task\.unanswerable_frac: 0\.0 -> 0\.5"):
        finish(workdir, "first", settings={"task": {"name": "x", "unanswerable_frac": 0.5}}, writes=["first.txt"])


@pytest.mark.parametrize("count", [1, 2])
def test_several_processes_go_on_when_listings_show_to_each_what_the_others_did(count, tmp_path, monkeypatch):
    settled = []
    monkeypatch.setattr("s3ft_jax.storage.settle", lambda: settled.append(1))
    workdir = Workdir(str(tmp_path), Processes(0, count))
    workdir.wait_seen("here")
    workdir.remove("first", [])
    assert len(settled) == 2 * (count - 1)


def test_of_several_processes_the_first_runs_a_stage_and_works_alone_meanwhile(tmp_path):
    first, second = (Workdir(str(tmp_path), Processes(index, 2)) for index in (0, 1))
    with second.stage("first", settings={}, first_only=True) as waits:
        assert not waits.needed and is_alone() and not (tmp_path / "manifests").exists()
        with first.stage("first", settings={}, first_only=True) as works:
            assert works.needed and is_alone()
    assert not is_alone() and first.manifest("first") == second.manifest("first")


def test_a_manifest_that_a_network_shows_late_is_waited_for(tmp_path, monkeypatch):
    first, second = (Workdir(str(tmp_path), Processes(index, 2)) for index in (0, 1))
    later = threading.Timer(0.5, lambda: finish(first, "first", settings={}))
    later.start()
    with second.stage("first", settings={}):
        pass
    assert second.manifest("first") is not None
    later.join()
    monkeypatch.setattr("s3ft_jax.workdir.SHARED_S", 0.3)
    message = r"manifests/second\.json: process 1 does not see there what another one wrote"
    with pytest.raises(WorkdirError, match=message), second.stage("second", settings={}):
        pass


def test_two_commands_do_not_meet_in_the_same_file(tmp_path):
    for_one, for_other = (Workdir(str(tmp_path), Processes(0, 2)) for _ in range(2))
    wait_for = for_one.wait_for

    def meanwhile(name):
        for_other.check_shared()  # removes its own
        wait_for(name)

    for_one.wait_for = meanwhile
    for_one.check_shared()
    assert not list((tmp_path / "manifests").iterdir())


def test_a_stage_killed_halfway_does_not_go_on_with_other_settings(tmp_path):
    workdir = Workdir(tmp_path)
    told = {"writes": ["shards/x-*.jsonl"]}
    with pytest.raises(KeyboardInterrupt), workdir.stage("first", settings={"a": 1}, **told):
        workdir.write_bytes("shards/x-0.jsonl", b"")
        raise KeyboardInterrupt
    assert workdir.manifest("first") is None
    with pytest.raises(SettingsChanged, match=r"stage first was begun"):
        finish(workdir, "first", settings={"a": 2}, **told)
    assert finish(workdir, "first", settings={"a": 1}, **told), "the same settings go on"


def test_a_stage_that_stopped_before_it_wrote_anything_goes_on_with_other_settings(tmp_path):
    """Else the remedy that its error names, another setting, would be refused."""
    workdir = Workdir(tmp_path)
    with pytest.raises(WorkdirError, match="bad row"), workdir.stage("first", settings={"a": 1}, writes=["x.txt"]):
        raise WorkdirError("bad row")
    assert finish(workdir, "first", settings={"a": 2}, writes=["x.txt"])


def test_changed_inputs_reach_the_stages_that_follow(tmp_path):
    workdir = Workdir(tmp_path)
    finish(workdir, "first", settings={"a": 1}, writes=["first.txt"])
    finish(workdir, "second", settings={}, reads=["first"], writes=["second.txt"])
    assert finish(workdir, "first", settings={"a": 2}, writes=["first.txt"], redo=True)
    with pytest.raises(SettingsChanged, match="input first: "):
        finish(workdir, "second", settings={}, reads=["first"], writes=["second.txt"])


def test_redo_throws_the_old_output_away(tmp_path):
    workdir = Workdir(tmp_path)
    finish(workdir, "first", settings={"a": 1}, writes=["first.txt", "shards/x-*.jsonl"])
    workdir.write_bytes("shards/x-00000.jsonl", b"old")
    with workdir.stage("first", settings={"a": 2}, writes=["first.txt", "shards/x-*.jsonl"], redo=True) as run:
        assert run.needed
        assert not (workdir / "shards/x-00000.jsonl").exists() and not (workdir / "first.txt").exists()


def test_a_stage_that_was_not_run_is_named(tmp_path):
    with pytest.raises(MissingStage, match="stage sample-own has not been run; run `s3ft sample`"):
        finish(Workdir(tmp_path), "judge-own", settings={}, reads=["sample-own"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingStage, match=r"own\.jsonl is not there"):
        Workdir(tmp_path).read_records(Verdict, "verdicts/own.jsonl")


def test_the_digest_of_a_folder_sees_names_and_bytes(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.write_bytes("f/a", b"1")
    before = workdir.output_digest("f")
    workdir.write_bytes("f/b", b"")
    assert workdir.output_digest("f") != before


def test_a_full_disk_is_named_and_leaves_no_partial_file(tmp_path, monkeypatch):
    workdir = Workdir(str(tmp_path))
    workdir.write_bytes("a.txt", b"old")

    def full(path, data):
        pathlib.Path(path).touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(workdir.path), "write_bytes", full)
    with pytest.raises(WorkdirError, match=r"a\.txt: cannot be written: No space left on device\. Make room; the same"):
        workdir.write_bytes("a.txt", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_bytes() == b"old"


def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkdirError, match=r"file/a\.txt: cannot be written: .*take another --workdir"):
        Workdir(str(tmp_path)).write_bytes("file/a.txt", b"new")


def test_a_file_removed_by_hand_is_named_with_what_to_do(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.write_bytes("x.json", b'{"kl": 1}')
    assert workdir.read_json("x.json") == {"kl": 1}
    with pytest.raises(MissingStage, match=r"y\.json is not there: run the stage .*already done.*manifests"):
        workdir.read_json("y.json")
    workdir.write_bytes("x.json", b'{"kl": ')
    with pytest.raises(Damaged, match=r"x\.json: damaged: "):
        workdir.read_json("x.json")


def test_a_stage_that_another_command_has_just_finished_is_not_run_again(tmp_path, monkeypatch):
    workdir, other = Workdir(tmp_path), Workdir(tmp_path)
    looked = Workdir._done

    def overtaken(self, *args):
        found = looked(self, *args)
        if self is workdir:
            finish(other, "first", settings={})
        return found

    monkeypatch.setattr(Workdir, "_done", overtaken)
    ran = []
    message = "another command has just finished stage first. The same command goes on behind it"
    with pytest.raises(WorkdirError, match=message), workdir.stage("first", settings={}):
        ran.append(1)
    assert not ran and other.manifest("first") is not None


def test_redo_does_not_throw_away_what_another_command_is_at_work_on(tmp_path):
    workdir, other = Workdir(tmp_path), Workdir(tmp_path)
    with workdir.stage("first", settings={"a": 1}, writes=["x.txt"]):
        workdir.write_bytes("x.txt", b"half")
        redo = {"settings": {"a": 2}, "writes": ["x.txt"], "redo": True}
        with pytest.raises(WorkdirError, match="stage first is being run by"), other.stage("first", **redo):
            pass
        assert (tmp_path / "x.txt").read_bytes() == b"half"
    with other.stage("first", **redo) as run:
        assert run.needed and not (tmp_path / "x.txt").exists()


def test_two_commands_do_not_run_one_stage_at_the_same_time(tmp_path):
    code = (
        "import sys, time; from s3ft_jax.workdir import Workdir\n"
        "with Workdir(sys.argv[1]).stage('train', settings={}) as run:\n"
        "    print('inside', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "inside\n"
    with pytest.raises(WorkdirError, match=rf"stage train is being run by process {other.pid} on .*another --workdir"):
        finish(Workdir(tmp_path), "train", settings={})
    assert finish(Workdir(tmp_path), "judge", settings={}), "another stage may run beside it"
    other.kill()
    other.communicate()
    assert finish(Workdir(tmp_path), "train", settings={}), "a lock ends with its process"
    assert sorted(one.name for one in (tmp_path / "manifests").iterdir()) == ["judge.json", "train.json"]


def test_where_a_disk_knows_no_locks_the_stage_runs(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    assert finish(Workdir(tmp_path), "train", settings={})


def test_a_stage_does_not_read_what_another_did_not_write(tmp_path):
    finish(Workdir(tmp_path), "first", settings={}, writes=["first.txt"])
    (tmp_path / "first.txt").write_bytes(b"edited")
    with pytest.raises(WorkdirError, match=r"first\.txt: is not what stage first wrote: .*first\.json"):
        finish(Workdir(tmp_path), "second", settings={}, reads=["first"])
    (tmp_path / "first.txt").unlink()
    (tmp_path / "manifests" / "first.json").unlink()
    assert finish(Workdir(tmp_path), "first", settings={}, writes=["first.txt"]), "as the message says"
    assert finish(Workdir(tmp_path), "second", settings={}, reads=["first"])


@pytest.mark.parametrize("ending", ["json", "begun"])
def test_a_damaged_manifest_is_named(tmp_path, ending):
    workdir = Workdir(tmp_path)
    if ending == "json":
        finish(workdir, "first", settings={"a": 1}, writes=["first.txt"])
    else:
        with pytest.raises(KeyboardInterrupt), workdir.stage("first", settings={"a": 1}):
            raise KeyboardInterrupt
    path = tmp_path / "manifests" / f"first.{ending}"
    path.write_bytes(path.read_bytes().replace(b'"a": 1', b'"a": 3'))
    with pytest.raises(WorkdirError, match=rf"first\.{ending}: damaged: its seal is broken\. Remove it and the same"):
        finish(workdir, "first", settings={"a": 1}, writes=["first.txt"])
    path.unlink()
    assert finish(workdir, "first", settings={"a": 1}, writes=["first.txt"])


def test_bytes_that_are_no_text_are_named(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.write_records("own.jsonl", [verdict(0)])
    path = tmp_path / "own.jsonl"
    path.write_bytes(path.read_bytes()[:10] + b"\xff" + path.read_bytes()[11:])
    with pytest.raises(RecordError, match=r"own\.jsonl: damaged: byte 10 is no text\. Delete it and run"):
        workdir.read_records(Verdict, "own.jsonl")


def test_seconds_are_of_all_starts_of_a_stage(tmp_path):
    workdir = Workdir(tmp_path)
    for number in range(2):
        with pytest.raises(KeyboardInterrupt), workdir.stage("first", settings={}, writes=["first.txt"]):
            time.sleep(0.2 * (number + 1))
            raise KeyboardInterrupt
    assert finish(workdir, "first", settings={}, writes=["first.txt"])
    told = workdir.manifest("first")
    assert told["starts"] == 3 and told["unseen"] == 0 and 0.6 <= told["seconds"] < 5
    assert [one.name for one in (tmp_path / "manifests").iterdir()] == ["first.json"]
    assert finish(workdir, "first", settings={"a": 1}, writes=["first.txt"], redo=True)
    assert workdir.manifest("first")["starts"] == 1, "done anew"


@pytest.mark.parametrize("notes", [True, False])
def test_of_a_killed_start_the_seconds_to_its_last_note_are_counted(notes, tmp_path):
    code = (
        "import sys, time; from s3ft_jax import stopwatch; from s3ft_jax.workdir import Workdir\n"
        "stopwatch.NOTE_S = float(sys.argv[2])\n"
        "with Workdir(sys.argv[1]).stage('train', settings={}) as run:\n"
        "    time.sleep(0.5); print('inside', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), "0.1" if notes else "60"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "inside\n"
    other.kill()
    other.communicate()
    assert finish(Workdir(tmp_path), "train", settings={})
    told = Workdir(tmp_path).manifest("train")
    assert (told["starts"], told["unseen"]) == (2, 1) and (told["seconds"] > 0.3) == notes
    assert [one.name for one in (tmp_path / "manifests").iterdir()] == ["train.json"]


def test_a_note_leaves_the_lock_of_a_stage_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("s3ft_jax.stopwatch.NOTE_S", 0.05)
    workdir, other = Workdir(tmp_path), Workdir(tmp_path)
    with workdir.stage("first", settings={}):
        time.sleep(0.3)
        assert (tmp_path / "manifests" / ".first.spent").exists()
        with pytest.raises(WorkdirError, match="stage first is being run by"), other.stage("first", settings={}):
            pass
    assert workdir.manifest("first")["starts"] == 1
    assert [one.name for one in (tmp_path / "manifests").iterdir()] == ["first.json"]
