"""The papers' numbers beside the run's."""

import pytest
from synthetic_evidence import synthetic_evidence, synthetic_scores

from s3ft_jax.report.contents import build_contents
from s3ft_jax.report.evidence import EvidenceError
from s3ft_jax.report.markdown import build_markdown
from s3ft_jax.report.page import build_page
from s3ft_jax.report.references import REFERENCES, find_reference, reference_line
from s3ft_jax.report.spreadsheets import build_spreadsheets
from s3ft_jax.report.terminal import build_result
from s3ft_jax.report.wording import bounds, points


def test_the_papers_numbers_stand_beside_the_runs():
    contents = build_contents(synthetic_evidence(reference="gsm8k"))
    texts = {row[0].text: (row[1].text, row[2].text) for row in contents.reference_table.rows}
    here = {row.method: f"{100 * row.target.mean:.1f}" for row in contents.rows}
    assert texts["S3FT, accuracy"] == ("56.9", here["s3ft"]) and texts["Base, accuracy"] == ("40.3", here["base"])
    counts = contents.flow.targets["s3ft"]
    assert texts["S3FT's targets, own"] == ("49.5", f"{100 * counts['own'] / sum(counts.values()):.1f}")
    assert "up to 4.4 points and S3FT 2.5" in build_markdown(contents)
    assert contents.document["reference"]["origins"]["gold"] == pytest.approx(0.084)


def cells(contents):
    return {row[0].text: row[1:] for row in contents.reference_table.rows}


def test_the_abstracts_mean_drops_stand_beside_the_measured_ones():
    contents = build_contents(synthetic_evidence(reference="nq"))
    found, change = cells(contents), {row.method: row.general_change for row in contents.rows}
    paper, here = found["SFT, mean general change"]
    assert (paper.text, paper.detail) == ("up to \u22124.4", "abstract")
    assert here.text == points(change["sft"].mean) and here.detail == bounds(change["sft"].low, change["sft"].high)
    assert found["S3FT, mean general change"][0].text == "\u22122.5", "no bound: what the abstract prints"
    assert "SDFT, mean general change" not in found, "the abstract has no number of it"
    caption = contents.reference_table.caption
    assert "in points as printed there, over MMLU, TruthfulQA, HellaSwag, WinoGrande" in caption
    assert "over 7 skills here (facts, truth," in caption and "does not say for which tuning task" in caption


def test_a_paper_whose_tables_are_not_known_gives_its_abstracts_numbers_alone():
    contents = build_contents(synthetic_evidence(reference="ssr"))
    found = cells(contents)
    assert set(found) == {"SFT, mean general change", "SSR, mean general change"}
    assert found["SFT, mean general change"][0].text == "up to \u221216.7 %"
    assert found["SSR, mean general change"][0].text == "about \u22122 %"
    assert (
        "in % as printed there" in contents.reference_table.caption and "digest" not in contents.reference_table.caption
    )
    assert "16.7 %" in build_markdown(contents) and "SSR, mean general change" in build_page(contents)


def test_without_general_skills_the_abstracts_numbers_stand_alone():
    evidence = synthetic_evidence(scores=synthetic_scores(skills=()), answers={}, control=None, reference="gsm8k")
    contents = build_contents(evidence)
    assert cells(contents)["SFT, mean general change"][1].text == "\u2013"
    assert contents.reference_table.caption.endswith("in points over nothing here.")
    assert "S3FT \u22122.5 points (not measured here)" in reference_line(contents.reference, contents.reference_rows)


def test_terminal_and_spreadsheet_say_the_same():
    contents = build_contents(synthetic_evidence(reference="ssr"))
    (sft,) = (row for row in contents.reference_rows if row.name == "sft")
    line = str(build_result(contents)[-1])
    assert line.startswith("Mean general change in the abstract of SSR, arXiv 2409.04787 (over MMLU, TruthfulQA, GSM8K")
    assert f"SFT up to \u221216.7 % (here {points(sft.here)} points)" in line
    assert "Mean general change" not in str(build_result(build_contents(synthetic_evidence()))[-1])
    lines = build_spreadsheets(contents)["reference"].splitlines()
    assert lines[0] == "what,name,paper,bound,unit,place,here,low,high"
    assert lines[1] == f"mean general change,sft,-0.167,up to,%,abstract,{sft.here},{sft.low},{sft.high}"


def test_shares_add_up_as_printed():
    for name, reference in REFERENCES.items():
        if reference.origins:
            assert sum(reference.origins.values()) == pytest.approx(0.997 if name == "nq" else 1.0)


def test_none_by_default_and_an_unknown_one_is_named():
    assert build_contents(synthetic_evidence()).reference is None and find_reference("") is None
    with pytest.raises(EvidenceError, match=r"report\.reference = 'gsm9k'; choose from gsm8k, mbpp, nq, ssr"):
        find_reference("gsm9k")
