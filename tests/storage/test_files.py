"""files: publish whole or not at all, fetch what changed, send all or nothing; addresses that cannot be reached."""

import importlib.util
import os

import pytest
from etils import epath

from s3ft_jax import storage
from s3ft_jax.storage import StorageError


def test_an_address_that_cannot_be_reached_is_refused_with_the_flag_and_the_remedy(monkeypatch):
    storage.check("/a/folder", "--workdir")
    storage.check("gs://bucket/run", "--workdir")
    with pytest.raises(StorageError, match=r"--workdir: s3://bucket/run: buckets are gs:// only\. Mount"):
        storage.check("s3://bucket/run", "--workdir")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StorageError, match=r"task\.data: gs://b/x needs the package gcsfs: pip install"):
        storage.check("gs://b/x", "task.data")


def test_published_whole_here_and_there(tmp_path, store):
    for path in (epath.Path(tmp_path / "a" / "x.json"), epath.Path("gs://bucket/a/x.json")):
        storage.publish(path, b"one")
        storage.publish(path, b"two")
        assert path.read_bytes() == b"two" and [one.name for one in path.parent.iterdir()] == ["x.json"]


def test_on_a_disk_the_old_file_stays_where_the_new_one_cannot_be_written(tmp_path, monkeypatch):
    path = epath.Path(tmp_path / "x.json")
    storage.publish(path, b"one")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        storage.publish(path, b"two")
    assert path.read_bytes() == b"one" and [one.name for one in path.parent.iterdir()] == ["x.json"]


def test_the_folders_on_the_way_are_opened_before_a_file_is_looked_for(tmp_path, monkeypatch):
    """Which is what makes NFS ask its server."""
    opened, root = [], epath.Path(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.json").write_text("")
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *how: opened.append(os.path.relpath(path, tmp_path)) or real(path, *how)
    )
    storage.look_again(root, "a/b/x.json")
    assert opened == [".", "a", "a/b"]
    storage.look_again(root, "a/none/x.json")
    assert opened[3:] == [".", "a", "a/none"], "as far as they are there"
    assert storage.matching(root, ["a/b/*.json"]) == ["a/b/x.json"] and opened[6:9] == [".", "a", "a/b"]
    storage.look_below(root / "a")
    assert opened[9:] == ["."], "what is below is opened by being listed"
    storage.look_again(epath.Path("gs://bucket/run"), "x")
    assert len(opened) == 10, "a bucket is not looked for on this machine"


def test_a_local_folder_is_fetched_from_nowhere(tmp_path):
    assert storage.fetch(tmp_path) == tmp_path and storage.fetch(str(tmp_path)) == tmp_path


def test_a_folder_is_fetched_once_and_what_changed_again(store, tmp_path):
    for name, data in (("model/config.json", b"{}"), ("model/more/x.txt", b"x"), ("model2/config.json", b"no")):
        store.put("bucket", name, data)
    folder = storage.fetch("gs://bucket/model/")
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert {name: data for name, data in files.items() if name[0] != "."} == {"config.json": b"{}", "more/x.txt": b"x"}
    assert folder.is_relative_to(tmp_path / "cache") and folder.name == "model"
    store.calls.clear()
    assert storage.fetch("gs://bucket/model") == folder and set(store.calls) == {"list"}
    store.put("bucket", "model/config.json", b"[]")
    store.remove("bucket", "model/more/x.txt")
    storage.fetch("gs://bucket/model")
    assert (folder / "config.json").read_bytes() == b"[]" and not (folder / "more" / "x.txt").exists()
    assert store.calls["read object"] == 1, "the file that changed"
    (folder / "config.json").unlink()
    assert (storage.fetch("gs://bucket/model") / "config.json").exists()


def test_what_this_process_has_written_is_fetched_though_listings_lag(store):
    store.listing_delay_s = 60.0
    epath.Path("gs://bucket/tok/a.json").write_text("a")
    assert (storage.fetch("gs://bucket/tok") / "a.json").read_text() == "a"


def test_one_file_is_fetched_and_one_that_is_not_there_is_named(store):
    store.put("bucket", "data/rows.jsonl", b"{}\n")
    assert storage.fetch("gs://bucket/data/rows.jsonl").read_bytes() == b"{}\n"
    with pytest.raises(FileNotFoundError, match="gs://bucket/data/none"):
        storage.fetch("gs://bucket/data/none")


def test_a_folder_is_fetched_and_sent_through_faults(store, impatient, tmp_path):
    store.fail_every = 4
    with storage.local_output("gs://bucket/export") as folder:
        for number in range(5):
            (folder / "sub").mkdir(parents=True, exist_ok=True)
            (folder / "sub" / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    back = storage.fetch("gs://bucket/export")
    assert [(back / "sub" / f"{number}.bin").read_bytes()[:2] for number in range(5)] == [
        bytes([n] * 2) for n in range(5)
    ]
    assert store.calls["failed"] > 0


def test_an_output_takes_the_place_of_what_was_there_and_nothing_is_sent_after_an_error(store):
    store.put("bucket", "export/old.bin", b"old")
    with pytest.raises(ValueError, match="no"), storage.local_output("gs://bucket/export") as folder:
        folder.mkdir()
        (folder / "new.bin").write_bytes(b"new")
        raise ValueError("no")
    assert store.names() == ["export/old.bin"]
    with storage.local_output("gs://bucket/export") as folder:
        folder.mkdir()
        (folder / "new.bin").write_bytes(b"new")
    assert store.names() == ["export/new.bin"] and store.read("export/new.bin") == b"new"


def test_on_a_disk_too_the_output_is_all_or_nothing(tmp_path):
    target = tmp_path / "here"
    for text in ("one", "two"):
        with storage.local_output(target) as folder:
            folder.mkdir()
            (folder / "x").write_text(text)
        assert (target / "x").read_text() == text
    with pytest.raises(ValueError, match="no"), storage.local_output(target) as folder:
        folder.mkdir()
        raise ValueError("no")
    assert (target / "x").read_text() == "two"
