"""Spreadsheets of training examples: nothing that was read, judged or left out lacks a line."""

import dataclasses

import pytest
from synthetic_evidence import synthetic_evidence
from whole_evidence import whole_evidence

from s3ft_jax.report import build_contents
from s3ft_jax.report.flow_sheets import flow_sheets


@pytest.fixture(scope="module")
def sheets():
    found = flow_sheets(build_contents(whole_evidence()))
    return {name: [dict(zip(columns, row, strict=True)) for row in rows] for name, (columns, rows) in found.items()}


def test_rows_read_and_left_out(sheets):
    assert {"part": "train", "fate": "left", "reason": "beyond the limit", "count": 4} in sheets["intake"]
    assert {"part": "train", "fate": "dropped", "reason": "empty", "count": 2} in sheets["intake"]
    assert {"what": "gold_changed", "count": 3} in sheets["encoding"]
    (left,) = sheets["left_out"]
    assert (left["method"], left["seed"]) == ("sft", 0)


def test_newer_intakes_tell_more():
    intake = {"read": 3, "used": 3, "left": {}, "dropped": {}, "notes": {"a note": 2}, "unused": {"column": 3}}
    intake |= {"unread": ["other.jsonl"], "shared": 1}
    contents = dataclasses.replace(build_contents(synthetic_evidence(intakes={"test": intake})))
    rows = flow_sheets(contents)["intake"][1]
    assert [row[1:] for row in rows[2:]] == [
        ("used with a note", "a note", 2),
        ("column not read", "column", 3),
        ("file not read", "other.jsonl", 1),
        ("prompt that train has, too", "", 1),
    ]


def test_responses_rungs_rounds_and_judges(sheets):
    assert {"origin": "own", "what": "cut", "count": 17} in sheets["responses"]
    assert sum(row["count"] for row in sheets["responses"] if row["what"] in ("right", "wrong", "undecided")) == (
        sum(row["count"] for row in sheets["responses"] if row["what"] == "sampled")
    )
    assert sheets["rungs"][0]["accepted"] == 353 and sheets["pass_rates"][0] == {"own_right": "0", "questions": 415}
    assert {"method": "s3ft", "seed": 0, "step": 50, "what": "targets from own", "value": 400} in sheets["rounds"]
    assert sheets["canaries"] == [{"text": "gold", "passed": 15, "asked": 16}]
    assert sum(row["count"] for row in sheets["agreement"]) == 768
    alike = sum(row["count"] for row in sheets["agreement"] if row["first"] == row["second"])
    assert len(sheets["disagreements"]) == 768 - alike > 10, "all of them, not only those that the page shows"
