"""Rows: every kind of file and data set, where each split lies, and what is said when it does not."""

import csv
import gzip
import json
import sys
import types

import numpy as np
import pytest

from s3ft_jax.tasks.rows import file_digests, find_source, pick_split, read_rows, shares, unread_files
from s3ft_jax.tasks.task import DataError

ROWS = [{"question": "1 + 1?", "answer": "2"}, {"question": 'a, "b"\nc?', "answer": "é"}]


def write(path, rows=ROWS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def read(data, split="train", **splits):
    return list(read_rows(find_source(str(data), split, splits)))


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, suffix):
    path = write(tmp_path / f"rows{suffix}")
    rows = read(path)
    assert [row.values for row in rows] == ROWS
    assert [row.index for row in rows] == [0, 1]
    # A CSV's first line names the columns, so its first row is line 2.
    assert [row.where for row in rows] == [f"{path}:{line}" for line in ((2, 3) if suffix == ".csv" else (1, 2))]


def test_unreadable_rows_are_given_out_with_their_problem(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": }\n\n[1]\n"x"\n')
    rows = read(path)
    assert [(row.where, row.problem) for row in rows] == [
        (f"{path}:1", None),
        (f"{path}:2", "not JSON: Expecting value at column 7"),
        (f"{path}:4", "not an object with columns but a list"),
        (f"{path}:5", "not an object with columns but text"),
    ]


def test_csv_rows_of_the_wrong_width(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('q,a\n1,2\n"x\ny",2\n1\n1,2,3\n')
    assert [(row.where.split(":")[-1], row.problem) for row in read(path)] == [
        ("2", None),
        ("3", None),
        ("5", "has 1 columns where the header has 2"),
        ("6", "has 3 columns where the header has 2"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"a": 1}', "holds dict; expected a list"),
        ("a.json", '[{"a": 1}\n{"b"', r"a\.json:2: not JSON.*name it \.jsonl"),
        ("a.csv", "", "empty; the first line must name the columns"),
        ("a.parquet", "PAR", "not a Parquet file"),
        ("a.txt", "x", "unknown kind of file"),
        ("a.jsonl", b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read(path)


def test_folder_with_a_file_or_shards_for_each_split(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", ROWS[:1])
    write(tmp_path / "train-00001-of-00002.parquet", ROWS[1:])
    write(tmp_path / "dev.csv", ROWS[:1])
    rows = read(tmp_path)
    assert [row.values for row in rows] == ROWS
    assert [row.index for row in rows] == [0, 1]
    assert len(read(tmp_path, "validation")) == 1
    assert find_source(str(tmp_path), "test", {}) is None


def test_one_file_serves_every_split_and_says_so(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    assert find_source(str(path), "test", {}).shared
    assert find_source(str(tmp_path), "test", {}).paths == (path,)
    assert find_source(str(tmp_path), "test", {}).shared


def test_a_split_can_lie_elsewhere(tmp_path):
    path = write(tmp_path / "rows.jsonl")
    other = write(tmp_path / "other.jsonl", ROWS[:1])
    for chosen in ("other.jsonl", str(other)):
        source = find_source(str(path), "test", {"test": chosen})
        assert source.paths == (other,)
        assert not source.shared
    with pytest.raises(DataError, match=r"task\.splits\.test: 'gone\.jsonl' is no file"):
        find_source(str(path), "test", {"test": "gone.jsonl"})


@pytest.mark.parametrize("data", ["gone.jsonl", "no such thing", "/gone/train.json"])
def test_data_that_is_not_there(data):
    with pytest.raises(DataError, match="no such file or folder"):
        find_source(data, "train", {})


def test_empty_settings_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"task\.data: not set"):
        find_source("", "train", {})
    with pytest.raises(DataError, match=r"holds no \.jsonl"):
        find_source(str(tmp_path), "train", {})
    write(tmp_path / "train.jsonl")
    write(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"several files for train.*task\.splits\.train"):
        find_source(str(tmp_path), "train", {})


def test_hub_id_with_configuration(monkeypatch):
    hub = types.ModuleType("datasets")
    hub.get_dataset_split_names = lambda name, config: {"main": ["train", "dev"]}[config]
    hub.load_dataset = lambda name, config, split: [{"from": f"{name} {config} {split}"}]
    monkeypatch.setitem(sys.modules, "datasets", hub)
    assert read("owner/set:main")[0].values == {"from": "owner/set main train"}
    row = read("owner/set:main", "validation")[0]
    assert (row.where, row.values["from"]) == ("owner/set[dev]:1", "owner/set main dev")
    assert find_source("owner/set:main", "test", {}) is None
    assert read("owner/set:main", "test", test="train[:10]")[0].where == "owner/set[train[:10]]:1"
    with pytest.raises(DataError, match=r"task\.splits\.test: owner/set has no split 'exam'; it has train, dev"):
        find_source("owner/set:main", "test", {"test": "exam"})


def test_hub_that_cannot_be_reached_says_what_to_do(monkeypatch):
    def refuse(name, config):
        raise ConnectionError("no route\nto host")

    hub = types.ModuleType("datasets")
    hub.get_dataset_split_names = refuse
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(DataError, match=r"'owner/set' is no local path.*no route\. .*give the folder in `task\.data`"):
        find_source("owner/set", "train", {})


def test_tfds_absent_gives_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="pip install tensorflow-datasets"):
        find_source("tfds:gsm8k", "train", {})


def test_tfds_values_become_plain(monkeypatch):
    row = {"question": b"caf\xc3\xa9?", "n": np.int64(3), "answers": np.array([b"x", b"y"], object), "d": {"a": b"z"}}
    builder = types.SimpleNamespace(
        info=types.SimpleNamespace(splits={"train": None}),
        download_and_prepare=lambda: None,
        as_dataset=lambda split, shuffle_files: [row],
    )
    tfds = types.ModuleType("tensorflow_datasets")
    tfds.builder = lambda name: builder
    tfds.as_numpy = lambda rows: rows
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds)
    read_row = read("tfds:set/config")[0]
    assert read_row.values == {"question": "café?", "n": 3, "answers": ["x", "y"], "d": {"a": "z"}}
    assert read_row.where == "set/config[train]:1"


def test_pick_split_is_fixed_by_key_and_seed_and_keeps_the_shares():
    fracs = {"train": 0.8, "validation": 0.1, "test": 0.1}
    picked = [pick_split(f"question {number}", 0, fracs) for number in range(4000)]
    assert picked == [pick_split(f" Question  {number}\n", 0, fracs) for number in range(4000)]
    assert picked != [pick_split(f"question {number}", 1, fracs) for number in range(4000)]
    for split, frac in fracs.items():
        # 4 standard errors of a share among 4000.
        assert abs(picked.count(split) / 4000 - frac) < 4 * (frac * (1 - frac) / 4000) ** 0.5
    assert {pick_split(f"{number}", 0, {"train": 1.0}) for number in range(100)} == {"train"}


def test_shares_give_train_what_other_files_hold(tmp_path):
    path = str(write(tmp_path / "rows.jsonl"))
    write(tmp_path / "exam.csv")
    assert shares(path, {}, (0.8, 0.1, 0.1)) == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1})
    assert shares(path, {"test": "exam.csv"}, (0.8, 0.1, 0.1)) == pytest.approx(
        {"train": 0.9, "validation": 0.1, "test": 0.0}
    )


def test_files_of_a_folder_that_no_split_is_read_from_are_named(tmp_path):
    for name in ("train.jsonl", "eval.jsonl", "dev.csv"):
        write(tmp_path / name)
    (tmp_path / "README.md").write_text("x")
    assert unread_files(str(tmp_path), {}) == ["eval.jsonl"]
    assert unread_files(str(tmp_path), {"test": "eval.jsonl"}) == []
    assert unread_files(str(tmp_path), {"validation": str(tmp_path / "eval.jsonl")}) == ["dev.csv"]
    assert unread_files(str(tmp_path / "train.jsonl"), {}) == unread_files("owner/name", {}) == []
    (tmp_path / "one").mkdir()
    write(tmp_path / "one" / "rows.jsonl")
    assert unread_files(str(tmp_path / "one"), {}) == []


def test_a_folder_of_gzip_files(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROWS[0]).encode()))
    assert read(tmp_path, "test")[0].values == ROWS[0]
    assert unread_files(str(tmp_path), {}) == [] and find_source(str(tmp_path), "validation", {}) is None


def test_every_file_that_is_read_has_a_digest(tmp_path):
    for name, text in (("train.jsonl", "1"), ("test.jsonl", "2"), ("notes.txt", "3")):
        (tmp_path / name).write_text(text)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.jsonl").write_text("4")
    found = file_digests(str(tmp_path), {})
    assert set(found) == {"train.jsonl", "test.jsonl"} and len(set(found.values())) == 2
    one = str(tmp_path / "train.jsonl")
    assert set(file_digests(one, {})) == {"train.jsonl"}, "once, though all splits are read from it"
    twice = file_digests(one, {"test": "other/train.jsonl"})
    assert set(twice) == {one, str(tmp_path / "other" / "train.jsonl")}
    assert file_digests("tfds:x/y", {}) == file_digests("owner/name", {}) == file_digests("", {}) == {}
    with pytest.raises(DataError, match="no such file"):
        file_digests("nowhere/train.jsonl", {})
