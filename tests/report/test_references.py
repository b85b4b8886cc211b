"""The papers' numbers beside the run's."""

import pytest
from synthetic_evidence import synthetic_evidence

from s3ft_jax.report.contents import build_contents
from s3ft_jax.report.evidence import EvidenceError
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.references import REFERENCES, find_reference


def test_the_papers_numbers_stand_beside_the_runs():
    contents = build_contents(synthetic_evidence(reference="gsm8k"))
    texts = {row[0].text: (row[1].text, row[2].text) for row in contents.reference_table.rows}
    here = {row.method: f"{100 * row.target.mean:.1f}" for row in contents.rows}
    assert texts["S3FT, accuracy"] == ("56.9", here["s3ft"]) and texts["Base, accuracy"] == ("40.3", here["base"])
    counts = contents.flow.targets["s3ft"]
    assert texts["S3FT's targets, own"] == ("49.5", f"{100 * counts['own'] / sum(counts.values()):.1f}")
    assert "up to 4.4 points and S3FT 2.5" in build_markdown(contents)
    assert contents.document["reference"]["origins"]["gold"] == pytest.approx(0.084)


def test_a_paper_whose_tables_are_not_known_gives_sentences_alone():
    contents = build_contents(synthetic_evidence(reference="ssr"))
    assert contents.reference_table is None and "16.7 %" in build_markdown(contents)


def test_shares_add_up_as_printed():
    for name, reference in REFERENCES.items():
        if reference.origins:
            assert sum(reference.origins.values()) == pytest.approx(0.997 if name == "nq" else 1.0)


def test_none_by_default_and_an_unknown_one_is_named():
    assert build_contents(synthetic_evidence()).reference is None and find_reference("") is None
    with pytest.raises(EvidenceError, match=r"report\.reference = 'gsm9k'; choose from gsm8k, mbpp, nq, ssr"):
        find_reference("gsm9k")
