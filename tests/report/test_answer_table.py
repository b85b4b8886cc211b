"""The table of answers: one line per model, intervals that stay shares, and nothing where nothing was asked."""

from synthetic_evidence import synthetic_evidence, synthetic_score

from s3ft_jax.report import build_contents
from s3ft_jax.report.answer_table import answer_table
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page

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
