"""report: three files from what the stages left; the json holds what others rely on."""

import json
import shutil

from s3ft_jax.stages import report
from s3ft_jax.workdir import Workdir

METHODS = ("sft", "ssr", "sdft", "s3ft")


def test_the_json_contract(walked):
    _, workdir = walked
    document = json.loads((workdir / "report.json").read_text())
    keys = {"method", "seed", "task", "split", "metric", "value", "count", "stderr"}
    assert all(keys <= set(score) for score in document["scores"])
    assert {"base", *METHODS} == set(document["summary"])
    for method in METHODS:
        for part in ("target", "general_change"):
            assert set(document["summary"][method][part]) >= {"mean", "low", "high"}
    assert document["settings"]["train"]["num_steps"] == 4


def test_the_page_and_the_markdown_are_there(walked):
    _, workdir = walked
    page = (workdir / "report.html").read_text()
    assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert "S3FT" in (workdir / "report.md").read_text()


def test_a_control_run_is_shown_beside(walked, copied):
    _, control = walked
    config, workdir = copied
    with config.unlocked():
        config.report.control = str(control.path)
    report.run(config, workdir, redo=True)
    assert json.loads((workdir / "report.json").read_text())["control"]["summary"]["s3ft"]
    notes = json.loads((workdir / "report.json").read_text())["control"]["notes"]
    assert notes[0].startswith("Control run: ") and len(notes) == 1  # the very same settings
    claims = {claim["name"]: claim for claim in json.loads((workdir / "report.json").read_text())["claims"]}
    assert claims["control_target"]["intervals"] == claims["s3ft_vs_sft_target"]["intervals"]  # both are paired


def test_a_control_whose_answers_are_gone_is_unpaired_and_says_so(walked, copied):
    _, control = walked
    config, workdir = copied
    theirs = Workdir(workdir.path.parent / "control")
    shutil.copytree(control.path, theirs.path)
    shutil.rmtree(theirs / "examples")
    with config.unlocked():
        config.report.control = str(theirs.path)
    report.run(config, workdir, redo=True)
    document = json.loads((workdir / "report.json").read_text())
    assert "not paired by question" in document["control"]["notes"][-1]
    rules = {claim["name"]: {interval["rule"] for interval in claim["intervals"]} for claim in document["claims"]}
    assert rules["control_target"] != rules["s3ft_vs_sft_target"]
