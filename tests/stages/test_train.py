"""train: settings per method, exact resume after a kill, adapters."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from flax import nnx

from s3ft_jax import checkpoints, stopping
from s3ft_jax.records import Selection
from s3ft_jax.stages import train, tuned_model
from s3ft_jax.workdir import WorkdirError
from small import ROOT, SMALL, accept


def test_an_example_longer_than_the_model_reads_is_refused_by_name():
    short, long = (Selection(f"t/{n}", "sft", "gold", None, "", (1,) * n, (2, 3), "gold") for n in (4, 7))
    train.check_lengths([short, long], 9)
    with pytest.raises(WorkdirError, match=r"t/7: 9 tokens, but the model reads 8\. .*train\.max_length=8"):
        train.check_lengths([long, short], 8)


def test_a_killed_run_goes_on_from_its_checkpoint_and_ends_with_the_same_bits(copied):
    config, workdir = copied
    where = train.folder("s3ft", 0)
    before = workdir.manifest("train-s3ft-seed-0")
    workdir.remove("train-s3ft-seed-0", [where])
    # stop after two steps of the four-step run: the same schedule, killed at step 2
    stop_after(2, config, workdir)
    assert checkpoints.newest(workdir / where) == 2 and workdir.manifest("train-s3ft-seed-0") is None
    train.run(config, workdir, "s3ft", 0)
    after = workdir.manifest("train-s3ft-seed-0")
    assert after["outputs"] == before["outputs"] and after["facts"] == before["facts"]
    steps = [json.loads(line)["step"] for line in (workdir / where / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def stop_after(step, config, workdir, method="s3ft"):
    """Run, and die while the batch after ``step`` is being built."""
    from s3ft_jax import batches

    build = batches.build_batch

    def dying(plan, number, *rest):
        if number == step:
            raise KeyboardInterrupt
        return build(plan, number, *rest)

    batches.build_batch = dying
    try:
        with pytest.raises(KeyboardInterrupt):
            train.run(config, workdir, method, 0)
    finally:
        batches.build_batch = build


@pytest.mark.parametrize("sizes", ["8,1,1", "1,8,1", "2,2,2"])
def test_a_mesh_gives_the_same_losses(copied, sizes):
    config, workdir = copied
    alone = losses(workdir)
    with config.unlocked():
        config.mesh.data, config.mesh.fsdp, config.mesh.tensor = (int(size) for size in sizes.split(","))
    train.run(config, workdir, "s3ft", 0, redo=True)
    # losses of later steps depend on all parameters; Adam makes single ones with a gradient near 0 differ by a step
    np.testing.assert_allclose(losses(workdir), alone, rtol=1e-4)


def losses(workdir, method="s3ft"):
    lines = (workdir / train.folder(method, 0) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_lora_trains_and_loads_merged(copied):
    config, workdir = copied
    with config.unlocked():
        config.train.tune = "lora"
        config.train.lora.targets = ("q", "v", "down")
    train.run(config, workdir, "s3ft", 0, redo=True)
    meta = checkpoints.read_meta(workdir / train.folder("s3ft", 0) / "4")
    assert meta.lora.targets == ("q", "v", "down")
    decoder = tuned_model.load(workdir, "s3ft", 0)
    base = checkpoints.load_decoder(workdir / "base")
    assert decoder.lora is None
    moved = {
        name
        for name in ("q", "k", "v", "o", "gate", "up", "down")
        if (getattr(decoder.blocks, name).kernel[...] != getattr(base.blocks, name).kernel[...]).any()
    }
    assert moved == {"q", "v", "down"}


def test_adapters_on_an_int8_base(copied):
    config, workdir = copied
    where = train.folder("s3ft", 0)
    with config.unlocked():
        config.train.tune, config.train.lora.targets = "lora", ("all",)
        config.train.lora.rank_stabilized, config.train.lora.base_dtype = True, "int8"
    train.run(config, workdir, "s3ft", 0, redo=True)
    done = workdir.manifest("train-s3ft-seed-0")
    assert done["facts"]["base_dtype"] == "int8" and 0 < done["facts"]["base_error"] < 0.1
    meta, base = checkpoints.read_meta(workdir / where / "4"), checkpoints.read_meta(workdir / "base")
    assert meta.lora.rank_stabilized and len(meta.lora.targets) == 7 and meta.base_digest == base.params_digest

    workdir.remove("train-s3ft-seed-0", [where])
    stop_after(2, config, workdir)
    train.run(config, workdir, "s3ft", 0)
    again = workdir.manifest("train-s3ft-seed-0")
    assert (again["outputs"], again["facts"]) == (done["outputs"], done["facts"]), "a kill changes no bit"

    tuned = tuned_model.load(workdir, "s3ft", 0, merge=False)
    for name, projection in checkpoints.load_decoder(workdir / "base").projections().items():
        np.testing.assert_array_equal(tuned.projections()[name].kernel[...], projection.kernel[...])
    checkpoints.write_meta(workdir / "base", dataclasses.replace(base, params_digest="another"))
    with pytest.raises(checkpoints.CheckpointError, match=f"{base.params_digest}, but the base here is another"):
        tuned_model.load(workdir, "s3ft", 0)


def test_sigterm_in_the_middle_saves_the_newest_state_and_the_next_start_ends_with_the_same_bits(copied):
    """The real command; benchmarks/interruptions.py does so at random moments."""
    _, workdir = copied
    settings = ["train.num_steps=150", "train.save_every=1000", "methods=s3ft,"]
    command = [sys.executable, "-m", "s3ft_jax", "train", "s3ft", f"--workdir={workdir.path}"]
    command += [f"--config={ROOT / 'configs' / 'quickstart.py'}:task=arithmetic"]
    command += [f"--config.{setting}" for setting in (*SMALL, *settings)]
    workdir.remove("train-s3ft-seed-0", [train.folder("s3ft", 0)])
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines = workdir / train.folder("s3ft", 0) / "metrics.jsonl"
    while process.poll() is None and not (lines.exists() and lines.read_text().count("\n") >= 10):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == stopping.EXIT_CODE, errors
    assert errors == "error: stopped by SIGTERM; the same command goes on where it was\n"
    (step,) = checkpoints.finished(workdir / train.folder("s3ft", 0))
    assert 10 <= step < 150 and lines.read_text().count("\n") == step
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    resumed = workdir.manifest("train-s3ft-seed-0")["outputs"]
    workdir.remove("train-s3ft-seed-0", [train.folder("s3ft", 0)])
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert workdir.manifest("train-s3ft-seed-0")["outputs"] == resumed


@pytest.mark.parametrize("setting", ["loss.average=example", "loss.mask_above=0.1", "loss.kl=0.1", "batch_rows=2"])
def test_variants_train_and_a_kill_changes_no_bit(copied, setting):
    config, workdir = copied
    method, name = "sft", "train-sft-seed-0"  # gold alone has tokens that are masked
    key, value = setting.split("=")
    with config.unlocked():
        section = config.train.loss if key.startswith("loss.") else config.train
        section[key.split(".")[-1]] = type(section[key.split(".")[-1]])(value)
    train.run(config, workdir, method, 0, redo=True)
    done = workdir.manifest(name)
    before = losses(workdir, method)
    facts = done["facts"]
    if key == "loss.mask_above":
        assert 0 < facts["masked_tokens"] < facts["answer_tokens"]
    if key == "batch_rows":
        assert facts["rows_per_step"] == 2
    workdir.remove(name, [train.folder(method, 0)])
    stop_after(2, config, workdir, method)
    train.run(config, workdir, method, 0)
    again = workdir.manifest(name)
    assert (again["outputs"], again["facts"]) == (done["outputs"], facts) and losses(workdir, method) == before


def test_a_gold_answer_that_is_left_out_of_training_is_not_scored_for_masking(copied):
    config, workdir = copied
    name = "selections/sft.jsonl"
    first, *rest = workdir.read_records(Selection, name)
    longer = dataclasses.replace(first, response_ids=first.response_ids * 100)  # more than the model reads
    workdir.write_records(name, [longer, *rest])
    accept(workdir, "select-sft", name)
    config.train.loss.mask_above, config.train.too_long = 0.1, "drop"
    train.run(config, workdir, "sft", 0, redo=True)
    facts = workdir.manifest("train-sft-seed-0")["facts"]
    assert facts["dropped"] == [first.example_id]
    assert 0 < facts["masked_tokens"] < facts["answer_tokens"] < len(longer.response_ids)


def test_a_model_with_frozen_parameters_is_laid_on_its_base(copied):
    config, workdir = copied
    with config.unlocked():
        config.train.freeze = ("embedding", "blocks.q.kernel")
    train.run(config, workdir, "s3ft", 0, redo=True)
    tuned = dict(nnx.to_flat_state(nnx.state(tuned_model.load(workdir, "s3ft", 0))))
    base = dict(nnx.to_flat_state(nnx.state(checkpoints.load_decoder(workdir / "base"))))
    still = {".".join(map(str, path)) for path in base if np.array_equal(tuned[path][...], base[path][...])}
    assert still == {"embedding", "blocks.q.kernel"}
    stored = (workdir / train.folder("s3ft", 0) / "4" / checkpoints.MARK).read_text()
    assert json.loads(stored)["base_digest"] == checkpoints.read_meta(workdir / "base").params_digest
