"""The recipe in several processes ends as in one: the same selections, the same parameters to 1e-5."""

import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from flax import nnx

from jobs import LIMIT_S, ended, start
from s3ft_jax import checkpoints
from s3ft_jax.processes import EXIT_CODE
from s3ft_jax.records import Response, Score
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import compare, evaluate, refresh, train, tuned_model
from s3ft_jax.workdir import Workdir

pytestmark = pytest.mark.walk
COPIES = ("sample.tensor=2", "sample.num_replicas=2")
RECIPE = ("methods=('s3ft',)", "general.limit=1", "report.num_scored=4")


def parameters(workdir):
    """Leaves of the tuned model."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(tuned_model.load(workdir, "s3ft", 0)))]


def check_alike(one, both):
    """The parameters of two workdirs, to 1e-5."""
    for left, right in zip(parameters(one), parameters(both), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("count", "overrides"),
    [
        (2, ("mesh.data=2",)),
        pytest.param(2, ("mesh.data=1", "mesh.fsdp=2", "sample.tensor=2"), marks=pytest.mark.slow),
        pytest.param(4, ("mesh.data=2", "mesh.fsdp=2"), marks=pytest.mark.slow),
        # two copies of the model, each of two hosts
        pytest.param(4, ("mesh.data=2", "mesh.fsdp=2", *COPIES), marks=pytest.mark.slow),
    ],
)
def test_as_in_one(count, overrides, tmp_path):
    one, both = Workdir(str(tmp_path / "one")), Workdir(str(tmp_path / "both"))
    ended(start(one, 1, *RECIPE, *overrides, stage=["run"], num_devices=count))
    said = ended(start(both, count, *RECIPE, *overrides, stage=["run"], num_devices=1))
    assert "report.html" in said[0] and all("sample" not in other for other in said[1:]), "the first alone talks"
    for name in ("examples/train.jsonl", "verdicts/own.jsonl", "selections/s3ft.jsonl"):
        assert (one / name).read_bytes() == (both / name).read_bytes(), name
    check_alike(one, both)
    for method, seed in (("base", None), ("s3ft", 0)):
        name = evaluate.file(method, seed, "test")
        left, right = (workdir.read_records(Score, name) for workdir in (one, both))
        assert [score.value for score in left] == [score.value for score in right]
    texts = [[one.text for one in read_shards(w, Response, "scores/s3ft/seed-0/test-responses")] for w in (one, both)]
    assert texts[0] == texts[1]
    assert sorted(p.name for p in (one / "manifests").iterdir()) == sorted(
        p.name for p in (both / "manifests").iterdir()
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ("mesh.data=2",),
        pytest.param(("mesh.data=1", "mesh.fsdp=2", "sample.tensor=2"), marks=pytest.mark.slow),
        pytest.param(("mesh.data=1", "mesh.fsdp=2", "train.tune=lora"), marks=pytest.mark.slow),
    ],
)
def test_answers_while_it_trains_are_as_in_one(overrides, copied, tmp_path):
    """Scores of validation questions, and a second round with new answers of the model as it then is."""
    _, one = copied
    shutil.copytree(one.path, tmp_path / "both")
    both = Workdir(str(tmp_path / "both"))
    settings = (*overrides, "train.refresh_epochs=0.5", "train.validate.every=2", "train.validate.count=5")
    settings += ("train.validate.score=True",)
    stage = ["train", "s3ft", "--redo"]
    ended(start(one, 1, *settings, stage=stage))
    first, second = ended(start(both, 2, *settings, stage=stage, num_devices=1))
    assert "5 validation examples: loss" in first and "refresh s3ft seed 0, round 1" in first
    assert "validation" not in second and "refresh" not in second, "the first alone talks"
    check_alike(one, both)
    where = refresh.folder("s3ft", 0, 1)
    for name in ("own-verdicts.jsonl", "selections.jsonl"):
        assert (one / where / name).read_bytes() == (both / where / name).read_bytes(), name
    texts = [[r.text for r in read_shards(w, Response, f"{where}/own-responses")] for w in (one, both)]
    assert texts[0] == texts[1] and len(texts[0]) == 16
    looks = []
    for workdir in (one, both):
        lines = (workdir / train.folder("s3ft", 0) / "metrics.jsonl").read_text().splitlines()
        rows = [row for row in map(json.loads, lines) if "validation_score" in row]
        looks.append([(row["step"], row["validation_score"]) for row in rows])
    assert looks[0] == looks[1] and [step for step, _ in looks[0]] == [2, 4]


@pytest.mark.slow
def test_a_comparison_is_as_in_one(tmp_path):
    one, both = Workdir(str(tmp_path / "one")), Workdir(str(tmp_path / "both"))
    grid = ("--methods=s3ft", "--learning_rates=1e-4,1e-3", "--seeds=0,1")
    settings = (*RECIPE[1:], "compare.baselines=few-shot,sft-low-rate", "compare.search_seeds=1", "compare.shots=2")
    stage = ["compare", *grid]
    ended(start(one, 1, *settings, "mesh.data=2", stage=stage, num_devices=2))
    said = ended(start(both, 2, *settings, "mesh.data=2", stage=stage, num_devices=1))
    assert "compare" in said[0] and "compare" not in said[1]
    texts = [(workdir / compare.GRID).read_text() for workdir in (one, both)]
    found = [[json.loads(line) for line in text.splitlines()] for text in texts]
    assert len(found[0]) == 6  # the base, sft and s3ft at two rates, sft at a low one
    for left, right in zip(*found, strict=True):
        assert right.pop("kl") == pytest.approx(left.pop("kl"), abs=1e-5) and left == right
    again = ended(start(both, 2, *settings, "mesh.data=2", stage=stage, num_devices=1))
    assert " made, " not in again[0], "what is done is done"


def test_one_is_asked_to_stop_all_stop_after_the_same_step_and_one_alone_goes_on(copied, tmp_path):
    _, straight = copied
    settings = ("train.num_steps=60", "train.save_every=100", "mesh.data=2")
    shutil.copytree(straight.path, tmp_path / "both")
    both = Workdir(str(tmp_path / "both"))
    stage = ["train", "s3ft"]
    ended(start(straight, 1, *settings, stage=[*stage, "--redo"]))
    running = start(both, 2, *settings, stage=[*stage, "--redo"], num_devices=1)
    metrics = both / train.folder("s3ft", 0) / "metrics.jsonl"
    until = time.monotonic() + LIMIT_S
    shutil.rmtree(both / train.folder("s3ft", 0))
    while not (metrics.exists() and metrics.read_text()) and running[0].poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    running[1].send_signal(signal.SIGTERM)
    said = ended(running, [EXIT_CODE, EXIT_CODE])
    (step,) = checkpoints.finished(both / train.folder("s3ft", 0))
    assert 0 < step < 60, said
    ended(start(both, 1, *settings, stage=stage))
    check_alike(straight, both)
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 61)), "every step once"
