"""device_memory: training that would not fit is refused before sampling, by a device that is made up."""

import jax
import pytest

from s3ft_jax import sharding
from s3ft_jax.planning import costs, lowering, memory
from s3ft_jax.stages import compare, device_memory, evaluate, plan, recipe, sample, train
from s3ft_jax.stages.device_memory import Devices, OutOfMemory
from small import small_config

MIB = 2**20


@pytest.fixture
def limit(monkeypatch):
    """Have devices say that they have so many bytes."""

    def has(number: int) -> None:
        monkeypatch.setattr(device_memory, "limit_of", lambda mesh: number)

    return has


def test_a_cpu_says_nothing_and_nothing_is_asked_of_it(walked):
    config, workdir = walked
    assert device_memory.limit_of(sharding.make_mesh(1)) == 0
    device_memory.check(config, workdir)


def test_what_does_not_fit_is_refused_with_figures_and_what_helps(walked, limit):
    _, workdir = walked
    limit(20 * MIB)
    with pytest.raises(OutOfMemory) as refused:
        device_memory.check(small_config("mesh.data=-1"), workdir)
    told = str(refused.value)
    assert told.startswith("train sft needs about ") and "of a device, which has 20.0 MiB" in told
    assert "Nothing has been sampled yet. What helps, each with those before it: --config." in told
    for part in (
        "--config.mesh.data=1 --config.mesh.fsdp=8 (",
        "train.activation_dtype=bfloat16",
        "check_memory=False",
    ):
        assert part in told


def test_what_fits_goes_on(walked, limit):
    config, workdir = walked
    limit(2**40)
    device_memory.check(config, workdir)


def test_an_estimate_may_be_gone_against_and_that_is_said(walked, limit, capsys):
    _, workdir = walked
    limit(MIB)
    device_memory.check(small_config("train.check_memory=False"), workdir, ("sft",))
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: train sft needs about" in said and "train.check_memory is off" in said


def test_a_variant_is_asked_with_its_own_settings_and_those_alike_once(walked, limit, capsys):
    _, workdir = walked
    limit(MIB)
    names = ("sft", "s3ft", "sft@learning_rate=0.5", "sft@tune=lora")
    device_memory.check(small_config("train.check_memory=False"), workdir, names)
    said = capsys.readouterr().out
    assert said.count("warning:") == 2 and "train sft needs" in said and "train sft@tune=lora needs" in said


def test_run_and_compare_stop_before_they_sample(copied, limit, monkeypatch):
    config, workdir = copied

    def asked(*_, **__):
        raise AssertionError("sampling has begun")

    monkeypatch.setattr(sample, "run", asked)
    monkeypatch.setattr(evaluate, "run", asked)
    limit(MIB)
    with pytest.raises(OutOfMemory, match="train sft needs about"):
        recipe.run(config, workdir)
    with pytest.raises(OutOfMemory, match="train s3ft needs about"):
        compare.run(small_config("methods=s3ft", "compare.baselines="), workdir)


def test_the_need_is_that_of_plan_and_knows_the_second_copy_of_the_base():
    config = small_config("mesh.data=-1")
    architecture = plan.read_model(config)

    def need(*overrides):
        return device_memory.need_of(small_config("mesh.data=-1", *overrides), architecture, "", Devices(4), "gpu", 4)

    own = need()
    assert own.rows == 4 and own.total == own.kept + own.working
    parts = lowering.abstract_parts(architecture, dtype="float32")
    copy = memory.bytes_per_chip(sharding.placed(parts.trainable, memory.abstract_mesh(costs.Split(4))))
    assert need("train.validate.every=2").kept - own.kept == copy > 0
    assert need("train.loss.kl=0.1", "train.tune=lora").kept == need("train.tune=lora").kept < own.kept
    assert need("train.activation_dtype=bfloat16").working < own.working


def test_rows_are_counted_as_they_are_packed():
    settings = {"batch_rows": 0, "batch_size": 4, "max_length": 100}
    assert device_memory.rows_of(settings, [50] * 9) == 2
    assert device_memory.rows_of(settings, [50] * 4 + [80, 80, 20, 900]) == 3
    assert device_memory.rows_of(settings, [50, 50]) == 4, "fewer than a step has: none together"
    assert device_memory.rows_of(settings | {"batch_rows": 7}, [50]) == 7


def test_memory_that_runs_out_in_training_is_one_clear_error(copied, monkeypatch):
    config, workdir = copied
    workdir.remove("train-s3ft-seed-0", [train.folder("s3ft", 0)])

    def full(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nstack")

    monkeypatch.setattr(train.tuning, "tune", full)
    with pytest.raises(OutOfMemory) as ended:
        train.run(config, workdir, "s3ft", 0)
    told = str(ended.value)
    assert told.startswith("train s3ft: a device ran out of memory (RESOURCE_EXHAUSTED: Out of memory while")
    assert "--config.train.activation_dtype=bfloat16 (" in told and "--redo" in told and "stack" not in told


def test_another_failure_of_a_device_keeps_its_own_words():
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"),
        device_memory.explained(small_config(), None, "sft", 1),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: another")


def test_what_cannot_be_helped_is_said():
    assert device_memory.sentence([], 0) == (
        "No setting would make it less: take more or larger devices, or a smaller model."
    )
    found = [device_memory.Remedy({"train.remat": "full"}, 2**31)]
    assert device_memory.sentence(found, 2**30).endswith(
        "--config.train.remat=full (2.0 GiB). That is not enough: take more or larger devices, or a smaller model."
    )
    assert device_memory.sentence(found, 2**31).endswith("(2.0 GiB).")
