"""The table of answers: one line per model, intervals that stay shares, and nothing where nothing was asked."""

import numpy as np
import pytest
from synthetic_evidence import (
    METHODS,
    SKILLS,
    TASK,
    synthetic_answers,
    synthetic_evidence,
    synthetic_measured,
    synthetic_score,
    synthetic_scores,
)

from s3ft_jax.evaluation.statistics import both_interval
from s3ft_jax.records import Score
from s3ft_jax.report import EvidenceError, build_contents
from s3ft_jax.report.answer_table import answer_table
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page
from s3ft_jax.report.spreadsheets import build_spreadsheets

SCORES = [
    synthetic_score("base", None, "programs", "test", "false_refusals", 40, 400),
    synthetic_score("base", None, "programs", "test", "exact_match", 300, 600),
    *(synthetic_score("s3ft", seed, "programs", "test", "false_refusals", 4 * seed, 400) for seed in (0, 1, 2)),
    *(synthetic_score("s3ft", seed, "programs", "test", "exact_match", 400 + seed, 600) for seed in (0, 1, 2)),
    synthetic_score("base", None, "facts", "general", "token_f1", 1, 2),
]


def test_a_line_per_model_and_a_column_per_measure():
    table = answer_table(SCORES, "programs", "test", ("sft", "s3ft"))
    assert table.columns == ("", "exact match", "answerable, declined")
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows == {"Base": ["50.0", "10.0"], "SFT": ["\u2013", "\u2013"], "S3FT": ["66.8", "1.0"]}
    assert table.rows[2][2].detail.startswith("[0.0, "), "no share below 0"
    assert "600 questions, 400 of them answerable" in table.caption


def test_other_tasks_have_none():
    assert answer_table(SCORES[-1:], "programs", "test", ("s3ft",)) is None


def test_the_page_and_the_markdown_show_it():
    evidence = synthetic_evidence()
    scores = [*evidence.scores, *SCORES]
    contents = build_contents(synthetic_evidence(scores=scores))
    assert "false refusal" in build_page(contents) and "false refusal" in build_markdown(contents)
    assert "false refusal" not in build_page(build_contents(evidence))


def test_levels_have_intervals_over_seeds_and_examples_where_answers_are_known():
    scores = synthetic_scores(skills=())
    measured, mine = synthetic_measured(synthetic_answers(scores))
    table = answer_table(mine, TASK, "test", METHODS, measured)
    column = table.columns.index("token F1")
    values = [measured["s3ft", seed, "token_f1"] for seed in (0, 1, 2)]
    rows = np.array([[one[key] for key in values[0]] for one in values])
    expected = both_interval(rows.mean(1), [rows.mean(0)])
    cell = next(row for row in table.rows if row[0].method == "s3ft")[column]
    assert (cell.text, cell.detail) == (
        f"{100 * expected.mean:.1f}",
        f"[{100 * expected.low:.1f}, {100 * expected.high:.1f}]",
    )
    assert "over seeds and examples together where there are several" in table.caption
    assert "token F1; answerable, right; unanswerable, declined" in table.caption
    assert "over seeds where there are several" in answer_table(mine, TASK, "test", METHODS).caption


def test_never_in_three_seeds_is_not_known_to_be_never():
    scores = [Score("base", None, TASK, "test", "false_refusals", 0.0, 40, 0.0)]
    scores += [Score("sft", seed, TASK, "test", "false_refusals", 0.0, 40, 0.0) for seed in (0, 1, 2)]
    measured = {(s.method, s.seed, s.metric): {str(i): 0.0 for i in range(40)} for s in scores}
    base, tuned = answer_table(scores, TASK, "test", ("sft",), measured).rows
    assert base[1].detail == tuned[1].detail == "[0.0, 8.8]"


def test_every_output_has_the_pairs_by_metric():
    scores = synthetic_scores(skills=SKILLS[:2])
    answers = synthetic_answers(scores)
    measured, more = synthetic_measured(answers)
    contents = build_contents(
        synthetic_evidence(scores=[*scores, *more], answers=answers, measured=measured, control=None)
    )
    on = {row[0].text for row in contents.comparisons_table.rows}
    assert {f"{TASK}: token F1", f"{TASK}: unanswerable, declined", TASK, "general mean"} == on - {
        f"{TASK}: answerable, right"
    }
    for text in (build_page(contents), build_markdown(contents)):
        assert f"{TASK}: token F1" in text and "unless they are the accuracy itself" in text
    sheet = build_spreadsheets(contents)["comparisons"].splitlines()
    assert sheet[0].endswith("sure,metric") and sum(line.endswith(",token_f1") for line in sheet) == 10
    assert any(one["metric"] == "token_f1" and one["corrected_p"] <= 1 for one in contents.document["comparisons"])
    assert contents.rows[-1].target_change.corrected == next(
        one.corrected for one in contents.comparisons if (one.first, one.second) == ("s3ft", "base")
    ), "the accuracy's, not another metric's"


def test_values_of_a_model_that_is_not_there_are_refused():
    with pytest.raises(EvidenceError, match="measured names model"):
        build_contents(synthetic_evidence(measured={("rft", 0, "token_f1"): {"a": 1.0}}))
