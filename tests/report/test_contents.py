"""Contents and the written report: the same bytes twice, every part absent, every table also for programs."""

import csv
import dataclasses
import io
import re
from importlib import resources

import pytest
from synthetic_evidence import METHODS, TASK, synthetic_contents, synthetic_evidence, synthetic_scores
from whole_evidence import whole_evidence

from s3ft_jax.report import Evidence, EvidenceError, build_contents, write_report
from s3ft_jax.report.claims import FAILS, HOLDS
from s3ft_jax.report.comparisons import MEAN
from s3ft_jax.report.page import PLOTS, build_page
from s3ft_jax.report.spreadsheets import build_spreadsheets
from s3ft_jax.report.tables import Table

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


ELSEWHERE = {
    # what page.html draws or lists, by its name there: (csv files, keys of report.json)
    "contents.headline_table": (("summary",), ("summary",)),
    "contents.control_table": (("control", "control_scores"), ("control",)),
    "contents.reference_table": (("reference",), ("reference",)),
    "contents.comparisons_table": (("comparisons",), ("comparisons",)),
    "contents.skills_table": (("comparisons",), ("comparisons",)),
    "contents.paired_table": (("fates", "answers"), ("fates",)),
    "contents.answer_table": (("scores",), ("scores",)),
    "contents.scores_table": (("scores",), ("scores",)),
    "contents.claims": (("claims",), ("claims",)),
    "contents.cautions": (("notes",), ("cautions", "headline", "judges", "sandbox")),
    "evidence.notes": (("notes",), ("notes",)),
    "frontier_table": (("frontier",), ("frontier",)),
    "grid_table": (("grid",), ("grid",)),
    "targets_table": (("targets",), ("flow.targets",)),
    "responses_table": (("responses",), ("flow.responses",)),
    "reasons_table": (("reasons",), ("flow.responses",)),
    "rungs_table": (("rungs",), ("flow.rungs",)),
    "pass_rate_table": (("pass_rates",), ("flow.pass_rate",)),
    "rounds_table": (("rounds",), ("rounds",)),
    "judging_tables": (("canaries", "agreement", "disagreements"), ("canaries", "agreement")),
    "intake_table": (("intake", "left_out"), ("intakes", "left_out")),
    "encoding_table": (("encoding",), ("encoding",)),
    "logprobs_table": (("likelihoods",), ("likelihoods.origins",)),
    "last_values_table": (("curves", "looks"), ("curves", "looks")),
    "costs_table": (("costs",), ("costs",)),
    "benchmark_tables": (("benchmarks", "benchmarks_asked", "benchmarks_cut"), ("benchmarks",)),
    "settings": (("settings", "versions", "hashes"), ("settings", "versions", "hashes")),
    "changes_table": (("changed", "changed_answers"), ("changed", "changed_items")),
    "groups": (("examples", "browsed_answers"), ("examples",)),
    "looks": (("looks",), ("looks",)),
    "plots.scatter": (("summary", "scores"), ("summary", "scores")),
    "plots.skills": (("summary",), ("summary",)),
    "plots.frontier": (("grid",), ("grid",)),
    "plots.forgetting": (("grid", "kl"), ("grid", "kl", "forgetting")),
    "plots.flow": (("targets",), ("flow.targets",)),
    "plots.logprob_token": (("logprobs", "logprob_bins"), ("likelihoods.histograms",)),
    "plots.logprob_total": (("logprobs", "logprob_bins"), ("likelihoods.histograms",)),
    "plots.curves": (("curves",), ("curves",)),
}


def drawn_names():
    """The names of all tables, drawings and lists that the page's template draws, and those that contents hold."""
    template = resources.files("s3ft_jax.report").joinpath("page.html").read_text(encoding="utf-8")
    template = template[template.index("<!doctype") :]  # what stands before are the macros
    found = set(re.findall(r"\bdraw\(([\w.]+)", template)) - {"table"}
    for names, source in re.findall(r"{% for ([\w, ]+) in ([\w.]+)", template):
        inner = {"table", "drawing", "group", "claim", "caution"} & set(names.split(", "))
        found |= {source.removesuffix(".items")} if inner or source == "evidence.notes" else set()
    assert found, "page.html draws nothing any more: mend this test"
    held = {
        f"contents.{field.name}"
        for field in dataclasses.fields(build_contents(synthetic_evidence()))
        if "Table" in field.type
    }
    return found | held | {f"plots.{name}" for name in PLOTS}


def test_every_table_and_drawing_of_the_page_has_a_csv_file_and_a_json_key():
    """Whoever draws something new on the page gives it both, and a line in ``ELSEWHERE``."""
    assert drawn_names() == set(ELSEWHERE)
    contents = build_contents(whole_evidence())
    sheets = {name: list(csv.reader(io.StringIO(text))) for name, text in build_spreadsheets(contents).items()}
    for name, (files, keys) in ELSEWHERE.items():
        for file in files:
            assert len(sheets[file]) > 1, f"{name}: {file}.csv has no line"
            assert {len(row) for row in sheets[file]} == {len(sheets[file][0])}, f"{file}.csv has rows of other lengths"
        for key in keys:
            value = contents.document
            for part in key.split("."):
                value = value[part]
            assert value, f"{name}: report.json has nothing under {key}"
    assert set(sheets) == {file for files, _ in ELSEWHERE.values() for file in files}, "a csv of nothing on the page"


def test_the_whole_evidence_leaves_no_part_of_the_page_out():
    contents = build_contents(whole_evidence())
    page = build_page(contents)
    assert "Absent:" not in page and len(page.encode()) < 3_000_000
    tables = [getattr(contents, f.name) for f in dataclasses.fields(contents) if "Table" in f.type]
    assert all(isinstance(table, Table) for table in tables)
    assert page.count("<svg") == 11
