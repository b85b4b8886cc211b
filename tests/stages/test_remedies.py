"""remedies: settings that the run does not have yet, each laid on those before it, until it fits."""

import pytest

from s3ft_jax.stages.remedies import Devices, listed, remedies
from small import small_config

GIB = 2**30
EIGHT = Devices(8)


def need(config) -> int:
    """Made up: 64 GiB of state over fsdp, 32 GiB of activations; adapters have next to no state, and a base."""
    train = config.train
    state = 64 if train.tune == "full" else 8 if train.lora.base_dtype else 16
    rows = 32 / train.accumulation
    rows *= 0.5 if train.activation_dtype == "bfloat16" else 1
    rows *= 0.25 if train.remat == "full" else 1
    return round((state / max(1, config.mesh.fsdp) + rows) * GIB)


def told(limit, *overrides, devices=EIGHT, rows=16, method=""):
    config = small_config("mesh.data=-1", *overrides)
    return listed(remedies(config, method, devices, rows, need, limit * GIB))


def test_what_costs_least_comes_first_and_ends_where_it_fits():
    split = "--config.mesh.data=1 --config.mesh.fsdp=8 (40.0 GiB)"
    narrow = "--config.train.activation_dtype=bfloat16 (24.0 GiB)"
    assert told(40) == split
    assert told(24) == f"{split}, {narrow}"
    assert told(12) == f"{split}, {narrow}, --config.train.remat=full (12.0 GiB)"


def test_the_fewest_parts_that_fit_are_taken():
    has = ["train.remat=full", "train.activation_dtype=bfloat16", "mesh.data=1", "mesh.fsdp=8", "train.tune=lora"]
    assert told(4, *has, rows=64) == "--config.train.accumulation=2 (4.0 GiB)"
    assert told(3, *has, rows=64) == "--config.train.accumulation=4 (3.0 GiB)"
    assert told(2, *has, rows=8) == "--config.train.lora.base_dtype=bfloat16 (5.0 GiB)", "one row in each part already"


def test_what_the_run_has_is_not_advised():
    has = ["train.remat=full", "train.activation_dtype=bfloat16", "train.tune=lora", "train.lora.base_dtype=int8"]
    assert told(0, *has, devices=Devices(1), rows=1) == ""
    assert told(0, "train.per_method={'s3ft': {'remat': 'full'}}", devices=Devices(1), rows=1).count("remat") == 1


def test_a_setting_of_one_method_is_not_advised_in_vain():
    def of_method(config):
        own = config.train.per_method.get("s3ft", {})
        return round(need(config) * (0.25 if own.get("remat", config.train.remat) == "full" else 1))

    config = small_config("mesh.data=-1", "train.per_method={'s3ft': {'tune': 'lora'}}", "train.remat=full")
    found = listed(remedies(config, "s3ft", Devices(1), 1, of_method, 0))
    assert "train.tune=lora" not in found and "remat" not in found


def test_parameters_are_not_split_between_slices():
    assert told(56, devices=Devices(16, 2)).startswith("--config.mesh.data=2 --config.mesh.fsdp=8 (")
    assert "mesh" not in told(0, "mesh.data=2", "mesh.fsdp=8", devices=Devices(16, 2))


@pytest.mark.parametrize("limit", [0, 1])
def test_all_that_helps_is_told_where_nothing_is_enough(limit):
    found = told(limit)
    for part in ("mesh.fsdp=8", "bfloat16", "remat=full", "accumulation=2", "tune=lora", "lora.base_dtype=bfloat16"):
        assert part in found
