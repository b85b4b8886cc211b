"""Contents and the written report: the json contract, the same bytes twice, and every part absent."""

import dataclasses
import json

import pytest
from synthetic_evidence import METHODS, SEEDS, SKILLS, TASK, synthetic_contents, synthetic_evidence, synthetic_scores

from s3ft_jax.report import Evidence, EvidenceError, build_contents, write_report

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


def test_general_change_is_the_mean_over_skills_of_the_change(document):
    def value(method, seed, skill):
        return next(
            s["value"]
            for s in document["scores"]
            if (s["method"], s["seed"], s["task"], s["metric"]) == (method, seed, skill, "accuracy")
        )

    changes = [value("sft", seed, skill) - value("base", None, skill) for seed in SEEDS for skill in SKILLS]
    assert document["summary"]["sft"]["general_change"]["mean"] == pytest.approx(sum(changes) / len(changes))


def test_other_parts_of_the_document(document):
    assert {"flow", "settings", "versions", "notes", "claims", "cautions", "control", "hashes"} <= set(document)
    assert document["flow"]["targets"]["sft"] == {"own": 0, "paraphrase": 0, "gold": 768}
    assert document["settings"]["train"]["learning_rate"] == 1e-3
    assert document["notes"] == list(synthetic_evidence().notes)
    names = [claim["name"] for claim in document["claims"]]
    assert len(names) == len(set(names)) == 9
    claim = document["claims"][0]
    assert claim["intervals"][0]["over"] == "seeds" and claim["intervals"][1]["over"] == "examples"


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


def test_bad_evidence_is_refused():
    with pytest.raises(EvidenceError, match="method rft has no score"):
        build_contents(synthetic_evidence(methods=(*METHODS, "rft")))


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EvidenceError, match=r"cannot write the report to .*file.*Choose a workdir"):
        write_report(synthetic_contents(), tmp_path / "file" / "run")


def test_values_that_json_cannot_hold_become_null_or_text(tmp_path):
    evidence = synthetic_evidence(
        curves={("sft", 0): [(1, float("nan"))]}, config={"path": tmp_path, "pair": (1, 2), "limit": float("inf")}
    )
    document = build_contents(evidence).document
    assert document["curves"] == [{"method": "sft", "seed": 0, "points": [[1, None]]}]
    assert document["settings"] == {"path": str(tmp_path), "pair": [1, 2], "limit": None}


def test_a_control_may_have_fewer_methods():
    evidence = synthetic_evidence()
    scores = [score for score in evidence.control.scores if score.method in ("base", "sft", "s3ft")]
    control = dataclasses.replace(evidence.control, scores=scores)
    document = build_contents(dataclasses.replace(evidence, control=control)).document
    assert list(document["control"]["summary"]) == ["base", "sft", "s3ft"]
