"""Pairs as a table: filled arrows for what is sure alone."""

from synthetic_evidence import METHODS, TASK, synthetic_answers, synthetic_scores

from s3ft_jax.report.comparison_table import comparisons_table
from s3ft_jax.report.comparisons import compare_all
from s3ft_jax.report.scoreboard import build_scoreboard


def test_a_line_per_pair_and_no_filled_arrow_for_noise():
    scores = synthetic_scores()
    found = compare_all(build_scoreboard(scores, TASK, METHODS, synthetic_answers(scores)))
    table = comparisons_table(found, len(found))
    assert len(table.rows) == len(found) and len(table.columns) == len(table.rows[0])
    assert f"corrected for the {len(found):,} comparisons" in table.caption
    for one, row in zip(found, table.rows, strict=True):
        assert row[2].certain == one.is_sure and (row[2].tint > 0) == one.is_sure
    assert any(one.is_sure for one in found) and not all(one.is_sure for one in found)
    assert comparisons_table([], 0) is None
