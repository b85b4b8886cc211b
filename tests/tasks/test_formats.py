"""Formats: packed files are read as plain ones; what cannot be read is said of its row, or of the file."""

import gzip
import json

import pytest

from s3ft_jax.tasks.formats import Unreadable, kind_of, read_file, stem
from s3ft_jax.tasks.task import DataError

ROWS = [{"question": "1 + 1?", "answer": "2"}, {"question": "é?", "answer": "3"}]
TEXTS = {
    "rows.jsonl.gz": "".join(json.dumps(row) + "\n" for row in ROWS),
    "rows.json.gz": json.dumps(ROWS),
    "rows.csv.gz": "question,answer\n1 + 1?,2\né?,3\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_gzip_files_give_the_rows_of_plain_ones(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(TEXTS[name].encode()))
    found = list(read_file(path))
    assert [values for _, values in found] == ROWS
    assert found[0][0] == f"{path}:{2 if 'csv' in name else 1}"


def test_a_gzip_file_that_is_none_or_cut_off_is_named(tmp_path):
    (tmp_path / "a.jsonl.gz").write_text("plain")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(TEXTS["rows.json.gz"].encode() * 99)[:60])
    (tmp_path / "c.tar.gz").write_bytes(b"x")
    for name, message in (("a.jsonl.gz", "not a whole gzip"), ("b.jsonl.gz", "not a whole"), ("c.tar.gz", "unknown")):
        with pytest.raises(DataError, match=rf"{name}: {message}"):
            list(read_file(tmp_path / name))


def test_lines_that_would_break_what_comes_later_are_unreadable_rows(tmp_path):
    deep, half, digits = (
        "[" * 100_000 + "]" * 100_000,
        '{"question": "\\ud800", "answer": "1"}',
        '{"n": ' + "9" * 5000 + "}",
    )
    nested = '{"a": ' + "[" * 150 + "]" * 150 + "}"
    pair = '{"question": "\\ud83d\\ude00", "answer": "1"}'
    (tmp_path / "a.jsonl").write_text("\n".join((deep, half, digits, nested, pair, '{"k\\udc00": 1}')) + "\n")
    found = [values for _, values in read_file(tmp_path / "a.jsonl")]
    problems = [values.problem if isinstance(values, Unreadable) else values for values in found]
    assert problems[0] == problems[3] == "more than 100 lists and objects inside of one another"
    assert "half of a character" in problems[1] and "half of a character" in problems[5]
    assert problems[2].startswith("not JSON: Exceeds the limit")
    assert problems[4] == {"question": "\U0001f600", "answer": "1"}


def test_the_same_in_a_json_file(tmp_path):
    (tmp_path / "a.json").write_text('[{"q": "\\ud800"}, {"q": "fine"}]')
    half, fine = (values for _, values in read_file(tmp_path / "a.json"))
    assert isinstance(half, Unreadable) and fine == {"q": "fine"}
    for content in ("[" * 100_000 + "]" * 100_000, "9" * 5000):
        (tmp_path / "b.json").write_text(content)
        with pytest.raises(DataError, match=r"b\.json: not JSON that can be read"):
            list(read_file(tmp_path / "b.json"))


def test_names_and_kinds():
    names = ("train.jsonl.gz", "train.csv", "dev-v2.0.json")
    assert [stem(name) for name in names] == ["train", "train", "dev-v2.0"]
    assert kind_of([]) == "a list" and kind_of({}) == "dict"
