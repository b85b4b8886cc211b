"""recipe: what is done is skipped, changed settings stop, methods are checked."""

import json

import pytest

from s3ft_jax.stages import recipe
from s3ft_jax.storage import files_below
from s3ft_jax.workdir import SettingsChanged, Workdir, WorkdirError
from small import small_config


def contents(workdir):
    return {str(path.relative_to(workdir.path)): path.read_bytes() for path in files_below(workdir.path)}


def test_a_second_run_does_nothing(copied, capsys):
    config, workdir = copied
    before = contents(workdir)
    recipe.run(config, workdir)
    assert contents(workdir) == before
    text = capsys.readouterr().out
    assert text.count("already done") == 6 + 2 + 4 + 1 + 12
    assert text.strip().splitlines()[-1].endswith("report.html")


def test_changed_settings_stop_at_the_stage_they_change(copied):
    _, workdir = copied
    with pytest.raises(SettingsChanged, match=r"stage sample-own was done.*\n.*temperature: 0\.7 -> 0\.9"):
        recipe.run(small_config("sample.temperature=0.9"), workdir)


def test_redo_throws_away_what_changed_and_what_follows(copied):
    _, workdir = copied
    before = contents(workdir)
    recipe.run(small_config("train.learning_rate=0.002"), workdir, redo=True)
    after = contents(workdir)
    assert after["selections/s3ft.jsonl"] == before["selections/s3ft.jsonl"]
    assert after["manifests/train-s3ft-seed-0.json"] != before["manifests/train-s3ft-seed-0.json"]


def test_methods_are_checked_first(tmp_path):
    with pytest.raises(WorkdirError, match=r"\['s3tf'\]; choose from sft"):
        recipe.run(small_config("methods=s3tf"), Workdir(str(tmp_path)))


def test_only_what_the_methods_need_is_sampled():
    assert recipe.origins_wanted(("sft",)) == []
    assert recipe.origins_wanted(("sft", "ssr")) == ["own"]
    assert recipe.origins_wanted(("sdft",)) == ["paraphrase"]
    assert recipe.origins_wanted(("s3ft",)) == ["own", "paraphrase"]
    assert recipe.origins_wanted(("repair",)) == ["own", "repair"]
    assert recipe.origins_wanted(("s3ft-repair", "sft-replay")) == ["own", "paraphrase", "repair"]


@pytest.mark.parametrize(
    "overrides, message",
    [
        (("methods=repair", "sample.repair=fix"), r"sample\.repair = 'fix'; choose from continue, mend"),
        (("methods=sft", "select.pick=best"), r"select\.pick = 'best'; choose from first, likeliest, diverse"),
        (("methods=s3ft-replay", "replay.task="), r"s3ft-replay replay general rows, but replay\.task is empty"),
    ],
)
def test_settings_of_targets_are_checked_before_anything_is_written(tmp_path, overrides, message):
    with pytest.raises(ValueError if "repair" in message else WorkdirError, match=message):
        recipe.run(small_config(*overrides), Workdir(str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_repair_gate_and_replay_walk_the_whole_way_in_a_finished_workdir(copied):
    """What was sampled before is kept; a walk that lost its last files ends with the same bytes."""
    _, workdir = copied
    before = contents(workdir)
    methods = "methods=sft,ssr,sdft,s3ft,repair,s3ft-repair,sft-replay"
    config = small_config(methods, "select.paraphrase_gate=likelier", "sample.repair_frac=0.9")
    recipe.run(config, workdir, redo=True)  # the gate is a setting of sdft's and s3ft's selections
    after = contents(workdir)
    assert all(after[name] == data for name, data in before.items() if name.startswith(("responses/", "verdicts/")))
    facts = {m: workdir.manifest(f"select-{m}")["facts"] for m in config.methods}
    assert facts["repair"]["repair"] > 0 and facts["sft-replay"]["replay"] == 1
    assert facts["s3ft-repair"]["rungs"]["repair"]["reached"] == facts["s3ft"].get("gold", 0)
    assert workdir.manifest("train-sft-replay-seed-0")["facts"]["examples"] == 17, "16 drawn and one replayed"
    flow = json.loads(after["report.json"])["flow"]
    assert flow["rungs"]["repair"]["repair"] == facts["repair"]["rungs"]["repair"]
    assert flow["targets"]["repair"]["repair"] == facts["repair"]["repair"]
    lost = ["manifests/gate.json", "manifests/sample-repair.json", "manifests/prepare-replay.json"]
    lost += workdir.matching(["responses/repair-*", "likelihoods/*"])[1:]
    for name in lost:
        (workdir / name).unlink()
    recipe.run(config, workdir)
    again = contents(workdir)
    assert {n: d for n, d in again.items() if n not in lost} == {n: d for n, d in after.items() if n not in lost}
    assert {n for n in lost if not n.startswith("manifests/") and again[n] != after[n]} == set()
