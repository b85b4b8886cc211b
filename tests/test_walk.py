"""The walk: one example followed through every room; kills at random moments; real rows with small trained weights."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from s3ft_jax import checkpoints
from s3ft_jax.records import Example, Response, Score, Selection, Verdict
from s3ft_jax.shards import read_shards
from s3ft_jax.storage import files_below
from s3ft_jax.workdir import Workdir
from small import QUICK, ROOT, SMALL

pytestmark = pytest.mark.walk


def test_one_example_through_every_room(walked):
    _, workdir = walked
    example = workdir.read_records(Example, "examples/train.jsonl")[0]
    (own,) = (r for r in read_shards(workdir, Response, "responses/own") if r.example_id == example.id)
    (verdict,) = (v for v in workdir.read_records(Verdict, "verdicts/own.jsonl") if v.example_id == example.id)
    (chosen,) = (s for s in workdir.read_records(Selection, "selections/s3ft.jsonl") if s.example_id == example.id)
    assert (verdict.outcome == "right" and own.ended) == (chosen.origin == "own")
    assert chosen.prompt_ids == own.prompt_ids
    meta = checkpoints.read_meta(workdir / "checkpoints/s3ft/seed-0/4")
    assert meta.provenance["method"] == "s3ft" and meta.step == 4
    assert workdir.read_records(Score, "scores/s3ft/seed-0/test-scores.jsonl")
    assert json.loads((workdir / "report.json").read_text())["summary"]["s3ft"]


def command(workdir: pathlib.Path, config: str, *overrides: str) -> list[str]:
    settings = [f"--config.{override}" for override in overrides]
    return [sys.executable, "-m", "s3ft_jax", "run", f"--config={config}", f"--workdir={workdir}", *settings]


def environment() -> dict[str, str]:
    return os.environ | {"XLA_FLAGS": QUICK, "PYTHONPATH": str(ROOT)}


def outcome(folder: pathlib.Path) -> dict[str, str]:
    """What must be byte-identical: selections, verdicts, responses, scores, and the parameters' digests."""
    workdir = Workdir(str(folder))
    kept = {
        str(path.relative_to(workdir.path)): path.read_text()
        for path in files_below(workdir.path)
        if path.parts[len(workdir.path.parts)] in ("examples", "responses", "verdicts", "selections", "scores")
    }
    for path in files_below(workdir / "manifests"):
        if path.name.startswith("train-"):
            kept[path.name] = json.dumps(json.loads(path.read_text())["outputs"])
    return kept


@pytest.mark.timeout(600)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path):
    config = f"{ROOT / 'configs' / 'quickstart.py'}:task=arithmetic"
    small = [*SMALL, "methods=sft,s3ft"]
    subprocess.run(command(tmp_path / "whole", config, *small), check=True, env=environment(), capture_output=True)
    rng = random.Random(0)
    kills = 0
    for sign in ("responses", "manifests/train-sft-seed-0.begun", "checkpoints/s3ft/seed-0/2", "scores/s3ft/seed-0"):
        process = subprocess.Popen(
            command(tmp_path / "killed", config, *small),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not (tmp_path / "killed" / sign).exists():
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.3))
        if process.poll() is None:
            kills += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command(tmp_path / "killed", config, *small), check=True, env=environment(), capture_output=True)
    assert kills >= 3
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


REAL = [
    "model.chat_template={template}",
    "sample.max_new_tokens=24",
    "evaluate.max_new_tokens=24",
    "sample.num_slots=8",
    "methods=sft,s3ft",
    "train.num_steps=3",
    "train.batch_size=4",
    "train.tune=full",
    "train.max_length=1024",
    "train.too_long=drop",
    "report.num_scored=4",
    "report.num_browse=2",
    "benchmark.tasks=winogrande",
    "benchmark.limit=4",
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("task, rows", [("gsm8k", 24), ("mbpp", 16), ("unanswerable", 24)])
def test_real_rows_walk_the_whole_way_with_small_trained_weights(task, rows, data_dir, stories260k_folder, tmp_path):
    from s3ft_jax.config import load_config
    from s3ft_jax.stages import recipe

    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}{{ m['content'] }}"
        "{% if m['role'] == 'assistant' %}{{ eos_token }}{% else %}\n{% endif %}{% endfor %}"
    )
    model = tmp_path / "model"
    shutil.copytree(stories260k_folder, model)
    values = json.loads((model / "config.json").read_text())
    # 512 positions are too few for some questions in a vocabulary of 512; the stories it tells do not matter here
    (model / "config.json").write_text(json.dumps(values | {"max_position_embeddings": 2048}))
    places = {"gsm8k": "gsm8k", "mbpp": "mbpp/mbpp.jsonl", "unanswerable": "squad/squad2.0_dev_half_16articles.json"}
    data = data_dir / "datasets" / places[task]
    config = load_config(
        f"{ROOT / 'configs' / f'{task}.py'}:model={model},data={data},limit={rows},benchmarks={data_dir / 'datasets'}",
        [*(override.format(template=template) for override in REAL), "mesh.data=1"],
    )
    workdir = Workdir(str(tmp_path / "run"))
    recipe.run(config, workdir)
    examples = workdir.read_records(Example, "examples/train.jsonl")
    assert len(examples) == rows and all(e.task == task for e in examples)
    assert len(workdir.read_records(Selection, "selections/s3ft.jsonl")) == rows
    verdicts = workdir.read_records(Verdict, "verdicts/own.jsonl")
    assert {v.outcome for v in verdicts} <= {"right", "wrong"}, "a story teller is wrong, never undecided"
    document = json.loads((workdir / "report.json").read_text())
    assert set(document["summary"]) == {"base", "sft", "s3ft"}
    assert "winogrande" in document["summary"]["s3ft"]["skills"]
    if task == "unanswerable":
        metrics = {score["metric"] for score in document["scores"] if score["task"] == task}
        assert {"token_recall", "false_refusals", "unanswerable_accuracy", "exact_match"} <= metrics
    else:
        assert document["reference"]["accuracy"]["s3ft"] > 0.3
    assert "The paper's numbers" in (workdir / "report.html").read_text()
