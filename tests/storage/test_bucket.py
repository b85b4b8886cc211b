"""bucket: paths of objects do what paths of files do, also while listings lag and calls fail."""

import time

import pytest
from etils import epath

from s3ft_jax import storage
from s3ft_jax.storage import BucketPath, StorageError, bucket


def names(paths):
    return sorted(path.name for path in paths)


@pytest.fixture(params=["disk", "bucket", "late bucket", "bad bucket"])
def root(request, tmp_path, store, impatient):
    """A folder, here or in a bucket of some kind."""
    if request.param == "disk":
        return epath.Path(tmp_path)
    store.listing_delay_s = 60.0 if request.param == "late bucket" else 0.0
    store.fail_every = 4 if request.param == "bad bucket" else 0
    return epath.Path("gs://bucket/run")


def test_a_path_of_a_bucket_is_ours_and_stays_so():
    path = epath.Path("gs://bucket/run")
    assert [type(one) for one in (path, path / "x", path.parent, epath.Path(path))] == [BucketPath] * 4


def test_files_and_folders_as_on_a_disk(root):
    assert not (root / "a").exists() and not (root / "a").is_dir()
    (root / "a").mkdir(parents=True, exist_ok=True)
    (root / "a" / "one.json").write_text("ä\n")
    (root / "a" / "two.txt").write_bytes(b"\x00\xff")
    (root / "a" / "b").mkdir(exist_ok=True)
    (root / "a" / "b" / "three.json").write_text("3")
    assert (root / "a").is_dir() and (root / "a" / "b").exists() and not (root / "a" / "one.json").is_dir()
    assert (root / "a" / "one.json").read_text() == "ä\n" and (root / "a" / "two.txt").read_bytes() == b"\x00\xff"
    assert (root / "a" / "two.txt").stat().length == 2
    assert names((root / "a").iterdir()) == ["b", "one.json", "two.txt"]
    assert names((root / "a").glob("*.json")) == ["one.json"]
    assert names(root.glob("*/b")) == ["b"]
    (root / "a" / "one.json").write_text("other")
    assert (root / "a" / "one.json").read_text() == "other"
    (root / "a" / "one.json").unlink()
    assert not (root / "a" / "one.json").exists() and names((root / "a").iterdir()) == ["b", "two.txt"]
    with pytest.raises(FileNotFoundError):
        (root / "a" / "one.json").unlink()
    (root / "a" / "one.json").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (root / "a" / "one.json").read_text()
    (root / "a").rmtree()
    assert not (root / "a" / "two.txt").exists() and not (root / "a" / "b" / "three.json").exists()
    with pytest.raises(FileNotFoundError):
        list((root / "nothing").iterdir())


def test_of_a_folder_that_listings_do_not_show_yet_all_is_removed(store):
    store.listing_delay_s = 60.0
    path = epath.Path("gs://bucket/run")
    for name in ("x", "b/y"):
        (path / name).write_text(name)
    path.rmtree()
    assert store.names() == []


def test_what_another_process_wrote_and_this_one_removed_is_gone_at_once(store):
    """Orbax asks whether its folder is there; a listing a second late had said yes, and the job ended."""
    path = epath.Path("gs://bucket/run")
    for name in ("x", "b/y"):
        store.put("bucket", f"run/{name}", b"old")
    time.sleep(0.5)
    store.listing_delay_s = 0.5
    path.rmtree()
    assert bucket._listed("gs://bucket/run"), "as another process sees it"
    assert not path.exists() and not (path / "b").exists() and not (path / "b").is_dir()
    (path / "b" / "z").write_text("new")
    assert (path / "b").is_dir() and not (path / "x").exists()
    storage.settle()
    assert bucket._listed("gs://bucket/run") == {"gs://bucket/run/b"} and not bucket._changes


def test_a_folder_into_which_another_process_has_written_can_be_made(store):
    """Orbax makes that of a step's arrays, with several processes perhaps after one of them has begun to write."""
    path = epath.Path("gs://bucket/run/arrays")
    storage.expect(path / "part.1" / "manifest")
    store.put("bucket", "run/arrays/part.1/manifest", b"x")
    path.mkdir()
    assert path.exists() and names(path.iterdir()) == ["part.1"]


def test_another_process_sees_a_late_listing_after_settle(store):
    path = epath.Path("gs://bucket/run")
    (path / "old.txt").write_text("old")
    storage.settle()
    time.sleep(0.5)
    store.listing_delay_s = 0.5
    (path / "new.txt").write_text("new")
    (path / "old.txt").unlink()
    assert bucket._listed("gs://bucket/run") == {"gs://bucket/run/old.txt"}, "as another process sees it"
    storage.settle()
    assert bucket._listed("gs://bucket/run") == {"gs://bucket/run/new.txt"} and not bucket._changes


def test_a_listing_that_never_comes_is_named(store):
    store.listing_delay_s = 60.0
    epath.Path("gs://bucket/run/x").write_text("x")
    with pytest.raises(StorageError, match=r"gs://bucket/run/x: was written or removed 0 s ago, and listings"):
        storage.settle(limit_s=0.2)


def test_nothing_is_taken_from_a_cache(store):
    path = epath.Path("gs://bucket/run")
    store.put("bucket", "run/x", b"one")
    assert names(path.iterdir()) == ["x"] and (path / "x").read_text() == "one"
    store.put("bucket", "run/x", b"two two")
    store.put("bucket", "run/y", b"")
    assert names(path.iterdir()) == ["x", "y"] and (path / "x").read_text() == "two two"
    assert (path / "x").stat().length == 7 and not (path / "z").exists()


def test_what_another_library_writes_is_listed_from_when_it_is_there(store):
    store.listing_delay_s = 60.0
    path = epath.Path("gs://bucket/run")
    storage.expect(path / "part.0" / "manifest")
    storage.expect(path / "part.1" / "manifest")
    storage.expect("/a/file/here")
    assert names(path.glob("part.*")) == []
    store.put("bucket", "run/part.0/manifest", b"x")
    assert names(path.glob("part.*")) == ["part.0"]
    path.rmtree()
    assert store.names() == [] and not bucket._expected


def test_a_file_is_read_and_written_by_one_call(store):
    path = epath.Path("gs://bucket/run/x")
    path.write_bytes(b"data")
    assert store.calls == {"POST object": 1}
    path.read_bytes()
    assert store.calls == {"POST object": 1, "read object": 1}


def test_a_bucket_that_is_not_there_is_named(store):
    with pytest.raises(StorageError, match=r"there is no bucket nobucket, or .* buckets create gs://nobucket "):
        epath.Path("gs://nobucket/run/x").write_text("x")


def test_what_another_process_has_removed_or_written_since_is_not_waited_for(store):
    """The first process removes old checkpoints, of which every process has written a part."""
    (epath.Path("gs://bucket/run") / "mine").write_text("1")
    (epath.Path("gs://bucket/run") / "kept").write_text("1")
    store.remove("bucket", "run/mine")
    (epath.Path("gs://bucket/run") / "gone").write_text("1")
    storage.settle()
    (epath.Path("gs://bucket/run") / "gone").unlink()
    store.put("bucket", "run/gone", b"another's")
    began = time.monotonic()
    storage.settle(limit_s=20.0)
    assert time.monotonic() - began < 5.0 and not bucket._changes


def test_a_call_that_is_given_up_is_named_once_and_without_its_stack(store, impatient, monkeypatch, caplog, capfd):
    monkeypatch.setenv("S3FT_STORAGE_MINUTES", "0")
    store.fail_every = 1
    with pytest.raises(StorageError, match=r"gs://bucket/x: .* for 0\.0 minutes"):
        epath.Path("gs://bucket/x").read_bytes()
    assert not caplog.records, "gcsfs logs the stack of what it gives up"
    assert "Traceback" not in capfd.readouterr().err
