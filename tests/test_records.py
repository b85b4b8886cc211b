"""records: one line each, and a clear error for a line that is not one."""

import json

import pytest

from s3ft_jax.records import Example, Likelihood, RecordError, Response, Score, Selection, Verdict, from_line, to_line

RECORDS = [
    Example("t/train/0", "t", "train", ({"role": "user", "content": "2 + 2?"},), "4", "numbers", {"answer": "4"}),
    Response("t/train/0", "own", 0, "4", (1, 2), (3, 0), True, -0.5),
    Response("t/train/0", "repair", 0, "so 4", (1, 2), (7, 3, 0), True, -0.5, 1),
    Response("t/train/0", "own", 0, "4", (1, 2), (3, 0), True, None, encoded="same"),
    Likelihood("t/train/0", "gold", None, -0.5, 2),
    Verdict("t/train/0", "own", 0, "numbers", "right", "4", "right: 4"),
    Selection("t/train/0", "s3ft", "gold", None, "4", (1, 2), (3, 0), "own wrong; gold"),
    Score("s3ft", 0, "t", "test", "accuracy", 0.5, 10, 0.158),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_a_record_is_one_line_and_comes_back_equal(record):
    line = to_line(record)
    assert "\n" not in line
    assert from_line(type(record), line, "x.jsonl:1") == record


def test_a_cut_line_names_file_and_line():
    with pytest.raises(RecordError, match=r"responses/own\.jsonl:7: not JSON"):
        from_line(Response, to_line(RECORDS[1])[:-5], "responses/own.jsonl:7")


def test_missing_and_unknown_keys_are_both_listed():
    values = json.loads(to_line(RECORDS[5]))
    values["verdict"] = values.pop("outcome")
    with pytest.raises(RecordError, match=r"missing keys \['outcome'\], unknown keys \['verdict'\]"):
        from_line(Verdict, json.dumps(values), "v.jsonl:1")


def test_a_value_that_is_not_a_number_is_refused_on_writing():
    with pytest.raises(ValueError):
        to_line(Score("s3ft", 0, "t", "test", "accuracy", float("nan"), 10, 0.1))


def test_a_response_written_before_a_field_was_added_still_reads():
    values = json.loads(to_line(RECORDS[1]))
    del values["given"], values["encoded"]
    assert from_line(Response, json.dumps(values), "r.jsonl:1") == RECORDS[1]
