"""Contents and the written report: the same bytes twice, and every part absent."""

import dataclasses

import pytest
from synthetic_evidence import METHODS, TASK, synthetic_contents, synthetic_evidence, synthetic_scores

from s3ft_jax.report import Evidence, EvidenceError, build_contents, write_report
from s3ft_jax.report.claims import FAILS, HOLDS
from s3ft_jax.report.comparisons import MEAN

OPTIONAL = {
    "config": {},
    "selections": {},
    "responses": {},
    "verdicts": {},
    "answers": {},
    "examples": (),
    "logprobs": {},
    "curves": {},
    "costs": {},
    "versions": {},
    "hashes": {},
    "sandbox": "",
    "notes": (),
    "control": None,
}


def test_the_same_evidence_writes_the_same_bytes(tmp_path):
    first = write_report(synthetic_contents(), tmp_path / "one")
    second = write_report(build_contents(synthetic_evidence()), tmp_path / "two" / "deep")
    for name in ("json", "markdown", "html"):
        assert getattr(first, name).read_bytes() == getattr(second, name).read_bytes()
    assert [path.name for path in (first.json, first.markdown, first.html)] == [
        "report.json",
        "report.md",
        "report.html",
    ]


@pytest.mark.parametrize("kept", [(), ("selections",), ("responses", "verdicts"), ("config", "answers", "curves")])
def test_each_part_may_be_absent(kept, tmp_path):
    evidence = synthetic_evidence(**{part: value for part, value in OPTIONAL.items() if part not in kept})
    files = write_report(build_contents(evidence), tmp_path)
    texts = (files.html.read_text(), files.markdown.read_text())
    # Notes are silent when absent; the others share a section with another part or are in the page only.
    for part in set(OPTIONAL) - {"notes", "verdicts", "responses", "examples"}:
        for text in texts[: 1 if part == "curves" else 2]:
            assert (f"Absent: this run recorded no {part}." in text) == (part not in kept)


def test_nothing_but_scores_is_enough(tmp_path):
    evidence = Evidence("Bare synthetic", TASK, METHODS, (0,), synthetic_scores(seeds=(0,), skills=()))
    contents = build_contents(evidence)
    files = write_report(contents, tmp_path)
    page = files.html.read_text()
    assert "no general skill was scored" in page
    assert "<svg" not in page
    change = contents.document["summary"]["s3ft"]["general_change"]
    assert change["mean"] is None and change["interval"] == "no general skill was scored"
    assert contents.document["control"] is None


def test_no_output_calls_sure_what_the_table_of_pairs_does_not():
    contents = synthetic_contents()
    document = contents.document
    sure = {(one["first"], one["where"]): one["sure"] for one in document["comparisons"] if one["second"] == "base"}
    columns, taken = (TASK, MEAN, None, *contents.board.skills), 0
    for row, estimates in zip(contents.headline_table.rows[1:], contents.rows[1:], strict=True):
        for where, cell in zip(columns, row[2:], strict=True):
            if where:  # by likelihood there is no comparison
                assert cell.certain == (cell.arrow in "\u25b2\u25bc") == sure[estimates.method, where]
        values = document["summary"][estimates.method]
        assert values["general_change"]["certain"] == sure[estimates.method, MEAN]
        taken += estimates.general_change.away and not estimates.general_change.certain
    assert taken, "a change that its intervals alone would colour"
    assert "lost 2.8 points (within noise after correction) on general skills" in contents.headline
    by_pair = {frozenset((one["first"], one["second"])): one["sure"] for one in document["comparisons"][:10]}
    for claim in document["claims"]:
        rival = claim["name"].removeprefix("s3ft_vs_").removesuffix("_target")
        if claim["corrected_p"] is not None and claim["name"].endswith("_target"):
            assert (claim["verdict"] in (HOLDS, FAILS)) == by_pair[frozenset(("s3ft", rival))]


def test_bad_evidence_is_refused():
    with pytest.raises(EvidenceError, match="method rft has no score"):
        build_contents(synthetic_evidence(methods=(*METHODS, "rft")))


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EvidenceError, match=r"cannot write the report to .*file.*Choose a workdir"):
        write_report(synthetic_contents(), tmp_path / "file" / "run")


def test_a_control_may_have_fewer_methods():
    evidence = synthetic_evidence()
    scores = [score for score in evidence.control.scores if score.method in ("base", "sft", "s3ft")]
    control = dataclasses.replace(evidence.control, scores=scores)
    document = build_contents(dataclasses.replace(evidence, control=control)).document
    assert list(document["control"]["summary"]) == ["base", "sft", "s3ft"]


def test_a_control_may_have_more_methods():
    evidence = synthetic_evidence()
    more = [dataclasses.replace(score, method="rft") for score in evidence.control.scores if score.method == "sft"]
    control = dataclasses.replace(evidence.control, scores=[*evidence.control.scores, *more])
    document = build_contents(dataclasses.replace(evidence, control=control)).document
    assert list(document["control"]["summary"]) == ["base", *evidence.methods]
