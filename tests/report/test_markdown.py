"""Markdown: the same tables as the page, well-formed, with nothing in a cell that breaks it."""

import re

import pytest
from synthetic_evidence import METHODS, synthetic_contents, synthetic_evidence

from s3ft_jax.report import build_contents
from s3ft_jax.report.markdown import build_markdown, draw_table
from s3ft_jax.report.tables import Cell, Table, label


@pytest.fixture(scope="module")
def text():
    return build_markdown(synthetic_contents())


def test_every_table_has_as_many_cells_in_each_row(text):
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_headline_and_claims_are_in_it(text):
    contents = synthetic_contents()
    assert f"**{contents.headline}**" in text
    for claim in contents.claims:
        assert "- " + claim.sentence.replace("<", "&lt;") in text
    for name in ("Base", *(method.upper() for method in METHODS)):
        assert f"| {name} |" in text


def test_cells_are_made_harmless():
    table = Table("a|b", ("", "x"), ((label("a|b<script>\n`c`"), Cell("1", "[0, 2]")),))
    assert draw_table(table) == ("|   | x |\n| --- | ---: |\n| a\\|b&lt;script> \\`c\\` | 1 [0, 2] |\n\n*a\\|b*")


def test_rungs_and_pass_rate_stand_in_the_flow():
    rung = {"reached": 2, "accepted": 1, "targets": 1, "responses": 2, "tokens": 9}
    evidence = synthetic_evidence(
        rungs={"s3ft": {"own": rung}}, pass_rate={"examples": 2, "mean": 0.5, "by_right": {"0": 1, "1": 1}}
    )
    flow = build_markdown(build_contents(evidence)).split("## Flow of training examples")[1].split("## Rows read")[0]
    assert "| S3FT | own | 2 | 1 | 50.0 % | 1 | 2 | 9 | 9 |" in flow and "50.0 % right, mean over 2" in flow


def test_absent_parts_say_so():
    text = build_markdown(build_contents(synthetic_evidence(costs={}, absent={"costs": "Nobody held the clock."})))
    assert "## Cost\n\nNobody held the clock." in text
