"""The value of report.json: the keys others rely on, and nothing in it that JSON cannot hold."""

import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest
from synthetic_evidence import METHODS, SEEDS, SKILLS, TASK, synthetic_contents, synthetic_evidence

from s3ft_jax.report import build_contents
from s3ft_jax.report.document import VERSION, build_document, plain


@pytest.fixture(scope="module")
def document():
    return json.loads(json.dumps(synthetic_contents().document, allow_nan=False))


def test_scores_contract(document):
    assert len(document["scores"]) == (1 + len(METHODS) * len(SEEDS)) * (len(SKILLS) + 2)
    for score in document["scores"]:
        assert {"method", "seed", "task", "split", "metric", "value", "count", "stderr"} <= set(score)
        assert 0 <= score["value"] <= 1


def test_summary_contract(document):
    assert list(document["summary"]) == ["base", *METHODS]
    for method, entry in document["summary"].items():
        for part in ("target", "general_change"):
            found = entry[part]
            assert found["low"] <= found["mean"] <= found["high"]
            assert -1 <= found["mean"] <= 1
        values = [s["value"] for s in document["scores"] if (s["method"], s["task"]) == (method, TASK)]
        assert entry["target"]["mean"] == pytest.approx(sum(values) / len(values))
    base = document["summary"]["base"]["general_change"]
    assert (base["mean"], base["low"], base["high"]) == (0, 0, 0)
    assert "Wilson" in document["summary"]["base"]["target"]["interval"]
    assert document["summary"]["sft"]["target"]["interval"] == "Student t over 3 seeds"


def test_other_parts_of_the_document(document):
    assert {"flow", "settings", "versions", "notes", "claims", "cautions", "control", "hashes"} <= set(document)
    assert document["flow"]["targets"]["sft"] == {"own": 0, "paraphrase": 0, "gold": 768}
    assert document["settings"]["train"]["learning_rate"] == 1e-3
    assert document["notes"] == list(synthetic_evidence().notes)
    names = [claim["name"] for claim in document["claims"]]
    assert len(names) == len(set(names)) == 9
    claim = document["claims"][0]
    assert claim["intervals"][0]["over"] == "seeds" and claim["intervals"][1]["over"] == "examples"


def test_values_that_json_cannot_hold_become_null_or_text(tmp_path):
    evidence = synthetic_evidence(
        curves={("sft", 0): [(1, float("nan"))]}, config={"path": tmp_path, "pair": (1, 2), "limit": float("inf")}
    )
    document = build_contents(evidence).document
    assert document["curves"] == [{"method": "sft", "seed": 0, "points": [[1, None]]}]
    assert document["settings"] == {"path": str(tmp_path), "pair": [1, 2], "limit": None}


def test_it_is_built_of_what_it_is_given():
    contents = synthetic_contents()
    evidence = dataclasses.replace(contents.evidence, control=None)
    document = build_document(evidence, contents.rows[:2], contents.flow, [], ["careful"], "One sentence.", None)
    assert (document["version"], document["headline"], document["cautions"]) == (VERSION, "One sentence.", ["careful"])
    assert list(document["summary"]) == ["base", METHODS[0]]
    assert document["claims"] == [] and document["control"] is None
    assert document["seeds"] == list(SEEDS) and document["methods"] == list(METHODS)
    assert list(document)[:3] == ["version", "title", "headline"]


def test_the_control_stands_apart(document):
    assert document["control"]["title"].startswith("Gold in the near style")
    assert document["control"]["summary"]["sft"]["target"]["mean"] > document["summary"]["sft"]["target"]["mean"]
    assert len(document["control"]["scores"]) == len(document["scores"])
    assert document["control"]["scores"] != document["scores"]


def test_a_claim_without_numbers_has_none():
    contents = synthetic_contents()
    claims = [dataclasses.replace(claim, contrast=None) for claim in contents.claims]
    document = build_document(contents.evidence, contents.rows, contents.flow, claims, [], "", None)
    assert all(claim["difference"] is None and claim["intervals"] == [] for claim in document["claims"])
    with_numbers = contents.document["claims"][0]
    assert with_numbers["intervals"][0]["low"] <= with_numbers["difference"] <= with_numbers["intervals"][0]["high"]


def test_nothing_but_plain_values_is_left():
    found = plain(
        {
            1: (np.float32("nan"), np.int64(3), np.bool_(True), -math.inf, 0.5),
            ("sft", 0): {"b", "a"},
            "path": pathlib.PurePosixPath("a/b"),
            "kept": [None, True, 2, "text", np.float64(0.25)],
        }
    )
    assert found == {
        "1": [None, 3, True, None, 0.5],
        "('sft', 0)": ["a", "b"],
        "path": "a/b",
        "kept": [None, True, 2, "text", 0.25],
    }
    assert [type(value) for value in found["1"]] == [type(None), int, bool, type(None), float]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
