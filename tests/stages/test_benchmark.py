"""benchmark: general benchmarks of each model, kept task by task, and in the report's means and paired intervals."""

import dataclasses
import json
import pathlib
import shutil

import pytest

from s3ft_jax import cli
from s3ft_jax.harness.run import Harness
from s3ft_jax.harness.settings import HarnessError
from s3ft_jax.records import ItemScore, Score
from s3ft_jax.stages import benchmark, evaluate, report
from s3ft_jax.workdir import SettingsChanged

TASKS = ("arc_easy", "truthfulqa_mc2")
MODELS = [("base", None), ("sft", 0), ("ssr", 0), ("sdft", 0), ("s3ft", 0)]


@pytest.fixture
def asked(copied, data_dir, monkeypatch, tmp_path):
    """A finished small run, of which benchmarks are asked now."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config, workdir = copied
    config.benchmark.tasks, config.benchmark.data, config.benchmark.limit = TASKS, str(data_dir / "datasets"), 10
    return config, workdir


def test_benchmarks_of_all_models_stand_in_the_report(asked, capsys):
    config, workdir = asked
    for model in MODELS:
        benchmark.run(config, workdir, *model)
        scores = workdir.read_records(Score, f"{benchmark.folder(*model)}/scores.jsonl")
        assert [(s.method, s.seed, s.task, s.split, s.metric, s.count) for s in scores] == [
            (*model, task, "general", "accuracy", 10) for task in TASKS
        ]
        items = workdir.read_records(ItemScore, f"{benchmark.folder(*model)}/items.jsonl")
        for score in scores:
            values = [item.value for item in items if item.task == score.task]
            assert len(values) == 10 and sum(values) / 10 == pytest.approx(score.value)
        samples = (workdir / f"{benchmark.folder(*model)}/arc_easy-samples.jsonl").read_text().splitlines()
        assert len(samples) == 10 and json.loads(samples[0])["doc"]["question"]
        told = workdir.manifest(benchmark.key(*model))["facts"]
        assert told["tokens"] == sum(one["counts"]["tokens"] for one in told["tasks"].values()) > 0
    assert "benchmark base: arc_easy 0." in capsys.readouterr().out
    report.run(config, workdir, redo=True)
    document = json.loads((workdir / "report.json").read_text())
    skill = document["summary"]["s3ft"]["skills"]["truthfulqa_mc2"]
    assert "paired bootstrap over 10 examples" in json.dumps(skill["change"])
    (base,) = (s for s in document["scores"] if s["method"] == "base" and s["task"] == "truthfulqa_mc2")
    assert 0 < base["value"] < 1 and base["value"] * 10 % 1, "a share of probability, not of items"
    easy, _ = document["benchmarks"]
    (told,) = easy["asked"]
    assert easy["in_means"] and told["items"] == {"arc_easy": 10} and told["shots"] == {"arc_easy": 0}
    assert told["settings"]["limit"] == 10 and not told["settings"]["chat"] and told["data"] == {"arc_easy": "local"}
    assert set(easy["models"][0]["metrics"]["arc_easy"]) == {"acc,none", "acc_norm,none"}
    assert told["lm_eval"] == document["versions"]["lm_eval"] and "nltk" in document["versions"]
    assert "| arc_easy | acc_norm | none | 10 |" in (workdir / "report.md").read_text()
    assert "acc_norm" in (workdir / "report-csv/benchmarks.csv").read_text()
    changed = {(one["method"], one["skill"]): one for one in document["changed"]}
    mine = changed["sft", "truthfulqa_mc2"]
    assert mine["regressed"] + mine["fixed"] + mine["unchanged"] == 10 and ("s3ft", "arc_easy") in changed
    page = (workdir / "report.html").read_text()
    assert mine["regressed"] + mine["fixed"] == 0 or "log-probability in nats" in page


def test_a_headline_that_is_no_share_is_told_to_be_in_no_score(asked, monkeypatch, capsys):
    config, workdir = asked
    run = Harness.run

    def perplexity(harness, task, model):
        outcome = run(harness, task, model)
        if task == "arc_easy":
            return outcome
        return dataclasses.replace(outcome, headline="word_perplexity,none", value=12.5, items={})

    monkeypatch.setattr(Harness, "run", perplexity)
    benchmark.run(config, workdir, "base", None)
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "truthfulqa_mc2: word_perplexity,none is no share of items (0 to 1), so it is in no score of the report" in said
    )
    assert said.count("is no share") == 1
    assert [s.task for s in workdir.read_records(Score, "benchmarks/base/scores.jsonl")] == ["arc_easy"]
    easy, other = benchmark.results(workdir, "base", None)
    assert easy.in_means and (other.headline, other.value, other.in_means) == ("word_perplexity,none", 12.5, False)
    assert easy.sizes == {"arc_easy": 10} and other.sizes == {"truthfulqa_mc2": 10}, "by its samples"


def test_what_is_finished_is_kept_when_a_task_fails(asked, monkeypatch, tmp_path):
    config, workdir = asked
    run, ran = Harness.run, []

    def fail_once(harness, task, model):
        ran.append(task)
        if ran.count("truthfulqa_mc2") == 1 and task == "truthfulqa_mc2":
            raise KeyboardInterrupt
        return run(harness, task, model)

    monkeypatch.setattr(Harness, "run", fail_once)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(config, workdir, "base", None)
    kept = (workdir / "benchmarks/base/arc_easy.json").read_bytes()
    benchmark.run(config, workdir, "base", None)
    assert ran == ["arc_easy", "truthfulqa_mc2", "truthfulqa_mc2"]
    assert (workdir / "benchmarks/base/arc_easy.json").read_bytes() == kept
    benchmark.run(config, workdir, "base", None)
    assert len(ran) == 3
    evaluate.run(config, workdir, "base", None)  # done before, and untouched by benchmarks
    config.benchmark.limit = 9
    with pytest.raises(SettingsChanged, match="limit"):
        benchmark.run(config, workdir, "base", None)
    config.benchmark.limit = 10
    copy = tmp_path / "copy"
    for name in ("arc/arc_easy.jsonl", "truthfulqa/data_mc_task.json"):
        (copy / name).parent.mkdir(parents=True)
        shutil.copy(pathlib.Path(config.benchmark.data) / name, copy / name)
    with (copy / "arc/arc_easy.jsonl").open("a") as file:
        file.write("\n")
    config.benchmark.data = str(copy)
    with pytest.raises(SettingsChanged, match=r"input benchmark\.data: "):
        benchmark.run(config, workdir, "base", None)


def test_what_cannot_be_asked_is_named_at_once(asked, monkeypatch):
    config, workdir = asked
    config.task.name, config.benchmark.tasks = "gsm8k", ("gsm8k", "mmlu")
    with pytest.raises(HarnessError, match="gsm8k is the task that is trained for"):
        benchmark.settings_of(config)
    config.task.name = "mbpp"
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HarnessError, match=r"gsm8k, mmlu need lm_eval: pip install 's3ft_jax\[eval\]'"):
        benchmark.settings_of(config)
    monkeypatch.undo()
    config.task.name, config.benchmark.tasks = "arithmetic", ("mmlu", "winogrande")
    with pytest.raises(HarnessError, match=r"\['mmlu'\] are general skills of this run"):
        benchmark.run(config, workdir, "base", None)
    config.benchmark.tasks = ()
    assert benchmark.settings_of(config) is None
    benchmark.run(config, workdir, "base", None)
    assert not (workdir / "benchmarks").exists(), "nothing was asked for"


def test_any_model_folder_alone(data_dir, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = ["evaluate", "--model", "pocket"]
    asked = ["--tasks", "winogrande,mbpp", "--data", str(data_dir / "datasets"), "--limit", "8"]
    assert cli.main([*model, *asked, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert "winogrande" in told.out and "acc,none" in told.out, "what was done before the failure"
    assert "benchmark mbpp: it runs programs that the model writes" in told.err
    values = json.loads((tmp_path / "out/winogrande.json").read_text())
    assert len(values["items"]) == 8 and f"{values['value']:.4f}" in told.out
    assert cli.main(model) == 1 and "no task" in capsys.readouterr().err
    for ignored in (["s3ft"], ["s3ft", *model[1:]], [*model[1:], "--config.benchmark.limit=3"]):
        assert cli.main(["evaluate", *ignored]) == 2, ignored
        assert "or --model=DIR and --tasks=A,B alone" in capsys.readouterr().err
    whole = ["--config=configs/quickstart.py", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(["evaluate", "s3ft", *whole, "--limit=3"]) == 2
    assert "--limit goes with --model" in capsys.readouterr().err
