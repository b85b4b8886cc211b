"""Rooms that read and write files do so in a bucket: model folders, rows of data, metrics, damaged checkpoints."""

import json
import subprocess
import sys
import time

import pytest
from etils import epath

from configs.defaults import defaults
from s3ft_jax import checkpoints, fingerprints, hf_folder
from s3ft_jax.hf_folder import HFFolderError
from s3ft_jax.processes import Processes
from s3ft_jax.records import Verdict, to_line
from s3ft_jax.shards import Shards, read_shards
from s3ft_jax.stages import pretrain
from s3ft_jax.storage import StorageError
from s3ft_jax.tasks import rows
from s3ft_jax.tasks.task import DataError
from s3ft_jax.tuning import metrics
from s3ft_jax.tuning.saving import newest_whole
from s3ft_jax.workdir import MissingStage, Workdir, WorkdirError

MODEL = {"config.json": b'{"model_type": "llama", "eos_token_id": 2}', "tokenizer.json": b"{}"}


def test_a_model_folder_is_read_and_only_what_is_needed_of_it(store):
    for name, data in (MODEL | {"optimizer.pt": b"not ours", "additional_chat_templates/tools.jinja": b"x"}).items():
        store.put("bucket", f"models/mine/{name}", data)
    found = hf_folder.read("gs://bucket/models/mine")
    assert found.name == "gs://bucket/models/mine" and found.eos_ids == (2,)
    assert found.tokenizer_files == ("tokenizer.json", "additional_chat_templates/tools.jinja")
    assert not (found.path / "optimizer.pt").exists()
    with pytest.raises(HFFolderError, match="gs://bucket/models/none: no such folder in the bucket"):
        hf_folder.read("gs://bucket/models/none")


def test_a_model_folder_is_written_all_or_nothing(store, tmp_path):
    for name, data in MODEL.items():
        (tmp_path / name).write_bytes(data)
    source, target = hf_folder.read(tmp_path), epath.Path("gs://bucket/export/mine")

    def fail(folder):
        (folder / "model.safetensors").write_bytes(b"half")
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError):
        hf_folder.write_model(target, source, write_weights=fail, eos_ids=[7], model_card="card")
    assert store.names() == []

    def write(folder):
        (folder / "model.safetensors").write_bytes(b"weights")

    hf_folder.write_model(target, source, write_weights=write, eos_ids=[7], model_card="card")
    assert store.read("export/mine/model.safetensors") == b"weights"
    assert json.loads(store.read("export/mine/generation_config.json"))["eos_token_id"] == [7]
    with pytest.raises(HFFolderError, match="gs://bucket/export/mine: already there"):
        hf_folder.write_model(target, source, write_weights=write, eos_ids=[7], model_card="card")
    store.put("bucket", "export/mine/old", b"")
    hf_folder.write_model(target, source, write_weights=write, eos_ids=[8], model_card="card", replace=True)
    assert "export/mine/old" not in store.names()


def test_rows_of_a_file_and_of_a_folder(store):
    store.put("bucket", "data/train.jsonl", b'{"question": "a"}\n{"question": "b"}\n')
    store.put("bucket", "data/test.jsonl", b'{"question": "c"}\n')
    for data in ("gs://bucket/data", "gs://bucket/data/train.jsonl"):
        found = list(rows.read_rows(rows.find_source(data, "train", {})))
        assert [row.values["question"] for row in found] == ["a", "b"]
    with pytest.raises(DataError, match="gs://bucket/none"):
        rows.find_source("gs://bucket/none", "train", {})
    with pytest.raises(StorageError, match=r"task\.data: s3://bucket/data"):
        rows.find_source("s3://bucket/data", "train", {})


def test_metrics_are_whole_at_each_checkpoint_and_not_written_at_each_step(store):
    path = epath.Path("gs://bucket/run/metrics.jsonl")
    log = metrics.MetricsLog(path, 0)
    for step in range(1, 9):
        log.add({"step": step, "loss": 1.0, "tokens": 1.0})
    assert store.calls["POST object"] == 1, "the file as it was begun"
    log.flush()
    log.add({"step": 9, "loss": 1.0, "tokens": 1.0})
    assert len(path.read_text().splitlines()) == 8
    resumed = metrics.MetricsLog(path, 6)  # as after a kill: the ninth line is lost, and not missed
    resumed.add({"step": 7, "loss": 2.0, "tokens": 1.0})
    resumed.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4, 5, 6, 7]
    assert resumed.tokens == 7


def test_now_and_then_metrics_are_written_for_the_person_who_looks_on(store, monkeypatch):
    monkeypatch.setattr(metrics, "_ANEW_S", 0.0)
    path = epath.Path("gs://bucket/run/metrics.jsonl")
    metrics.MetricsLog(path, 0).add({"step": 1, "loss": 1.0, "tokens": 1.0})
    assert len(path.read_text().splitlines()) == 1


def test_a_damaged_checkpoint_no_longer_counts(store):
    folder, told = epath.Path("gs://bucket/run"), []
    for step in (1, 2):
        (folder / f"{step}" / "arrays" / "d").write_bytes(b"data")
        facts = {"config": "{}", "files": fingerprints.of_folder(folder / f"{step}" / "arrays")}
        (folder / f"{step}" / checkpoints.MARK).write_text(json.dumps(facts))
    store.put("bucket", "run/2/arrays/d", b"cut")

    class Meta:
        def __init__(self, folder):
            self.files = json.loads((folder / checkpoints.MARK).read_text())["files"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "read_meta", Meta)
        assert newest_whole(folder, told.append) == 1
    assert checkpoints.finished(folder) == [1] and store.read("run/2/arrays/d") == b"cut"
    assert "gs://bucket/run/2: damaged: arrays/d is not what was written" in told[0] and "the one before" in told[0]


def test_fingerprints_pass_over_what_is_listed_and_gone(store):
    folder = epath.Path("gs://bucket/run")
    for name in ("a", "b/c"):
        store.put("bucket", f"run/{name}", b"data")
    assert fingerprints.of_folder(folder) == {"a": [4, ""], "b/c": [4, ""]}
    time.sleep(0.5)
    store.listing_delay_s = 0.5
    store.remove("bucket", "run/a")
    assert fingerprints.of_folder(folder) == {"b/c": [4, ""]}


def test_a_workdir_in_a_bucket(store):
    workdir = Workdir("gs://bucket/run")
    with pytest.raises(MissingStage, match=r"gs://bucket/run/x\.jsonl is not there"):
        workdir.read_records(object, "x.jsonl")
    with workdir.stage("one", settings={}, writes=["one.txt"]) as stage:
        assert stage.needed
        workdir.write_bytes("one.txt", b"1")
    with workdir.stage("one", settings={}, writes=["one.txt"]) as stage:
        assert not stage.needed
    assert list(workdir.manifest("one")["outputs"]) == ["one.txt"]
    with workdir.stage("one", settings={"a": 1}, writes=["one.txt"], redo=True) as stage:
        assert stage.needed and not (workdir / "one.txt").exists()


def test_shards_of_another_process_are_read_before_they_are_listed(store):
    mine, theirs = (Verdict(f"t/train/{n}", "own", 0, "exact", "right", "x", "right") for n in (0, 1))
    workdir, store.listing_delay_s = Workdir("gs://bucket/run", Processes(0, 2)), 60.0

    def make(numbers, take):
        assert numbers == [0]
        take(0, [mine])
        store.put("bucket", "run/own-00001-of-00002.jsonl", f"{to_line(theirs)}\n".encode())

    assert Shards(workdir, Verdict, "own", 2).all(make) == [mine, theirs]
    assert workdir.matching(["own-*"]) == ["own-00000-of-00002.jsonl"], "the other's is not listed"
    assert read_shards(workdir, Verdict, "own") == [mine, theirs]


def test_a_bucket_that_refuses_is_named_without_a_traceback(store, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "s3ft_jax", "prepare", "--config=configs/quickstart.py", "--workdir=gs://nobucket/run"],
        capture_output=True,
        text=True,
        env=None,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "there is no bucket nobucket" in done.stderr


def test_a_model_is_pretrained_on_this_machine(store):
    with pytest.raises(WorkdirError, match="gs://bucket/run: a model is pretrained into a folder of this machine"):
        pretrain.run(defaults(), Workdir("gs://bucket/run"))
