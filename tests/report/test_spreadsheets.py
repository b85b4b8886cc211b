"""Spreadsheets: the same numbers as the document, one line each, whole also where a text holds commas."""

import csv
import io

import pytest
from synthetic_evidence import METHODS, SEEDS, TASK, synthetic_contents, synthetic_evidence

from s3ft_jax.report import GridPoint, build_contents, write_report
from s3ft_jax.report.spreadsheets import build_spreadsheets


@pytest.fixture(scope="module")
def sheets():
    found = build_spreadsheets(synthetic_contents())
    return {name: list(csv.DictReader(io.StringIO(text))) for name, text in found.items()}


def test_scores_and_summary_are_those_of_the_document(sheets):
    document = synthetic_contents().document
    assert len(sheets["scores"]) == len(document["scores"])
    first = document["scores"][0]
    assert float(sheets["scores"][0]["value"]) == first["value"] and sheets["scores"][0]["task"] == first["task"]
    (target,) = (row for row in sheets["summary"] if (row["method"], row["what"]) == ("s3ft", "target change"))
    assert float(target["low"]) == document["summary"]["s3ft"]["target_change"]["low"] and target["seeds"] == "3"
    assert float(target["corrected_p"]) == document["summary"]["s3ft"]["target_change"]["corrected_p"]
    (level,) = (row for row in sheets["summary"] if (row["method"], row["what"]) == ("s3ft", "target"))
    assert (target["certain"], level["certain"], level["corrected_p"]) == ("True", "", "")


def test_every_comparison_answer_and_text_has_a_line(sheets):
    document, evidence = synthetic_contents().document, synthetic_evidence()
    assert len(sheets["comparisons"]) == len(document["comparisons"])
    one, other = sheets["comparisons"][0], document["comparisons"][0]
    assert (one["first"], float(one["difference"])) == (other["first"], other["difference"])
    over = {interval["over"]: interval for interval in other["intervals"]}
    assert float(one["low_over_seeds_and_examples"]) == over["seeds and examples"]["low"]
    mine = [row for row in sheets["answers"] if row["task"] == TASK and row["method"] == "sft"]
    assert len(mine) == 600 * len(SEEDS)
    assert len(sheets["logprobs"]) == sum(map(len, evidence.logprobs.values()))
    assert {row["method"] for row in sheets["targets"]} == set(METHODS) and sheets["costs"][0]["tokens"] == ""
    assert sheets["grid"] == sheets["kl"] == []


def test_names_with_commas_stay_whole(tmp_path):
    grid = (
        GridPoint("base", "base", None, None, None, 0.3, 0.9, 0.0, True),
        GridPoint("sft", "sft@learning_rate=0.1,num_steps=5", 0, 0.1, 5, 0.5, 0.8, 0.1, True),
    )
    files = write_report(build_contents(synthetic_evidence(grid=grid)), tmp_path, "comparison")
    rows = list(csv.DictReader(io.StringIO((files.csv / "grid.csv").read_text())))
    assert rows[1]["variant"] == "sft@learning_rate=0.1,num_steps=5" and files.csv.name == "comparison-csv"
