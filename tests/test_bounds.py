"""bounds: a setting that cannot be is told by its key, before anything is read."""

import doctest

import pytest

from s3ft_jax import bounds
from s3ft_jax.changes import flatten
from s3ft_jax.config import ConfigError, load_config
from s3ft_jax.stages.method_settings import method_settings
from s3ft_jax.workdir import WorkdirError
from small import ROOT, small_config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.num_steps=0", r"train\.num_steps = 0: it must be at least 1"),
        ("train.accumulation=0", r"train\.accumulation = 0"),
        ("train.batch_size=-1", r"train\.batch_size = -1: it must be at least 0"),
        ("train.batch_size=0", r"train\.batch_size and train\.batch_rows are both 0"),
        ("train.keep=0", r"train\.keep = 0"),
        ("train.save_every=0", r"train\.save_every = 0"),
        ("train.warmup_frac=10.0", r"train\.warmup_frac = 10\.0: it must be at least 0 and at most 1"),
        ("train.flat_frac=0.95", r"warmup_frac \+ train\.flat_frac = 1\.05"),
        ("train.b2=1.0", r"train\.b2 = 1\.0: it must be at least 0 and below 1"),
        ("train.max_length=0", r"train\.max_length = 0"),
        ("train.too_long=truncate", r"train\.too_long = 'truncate'; choose from error, drop"),
        ("train.seeds=()", r"train\.seeds = \(\): at least one seed"),
        ("train.seeds=(1, 1)", r"none twice"),
        ("train.validate.max_kl=0.1", r"train\.validate\.max_kl does nothing without looks"),
        ("train.num_epochs=-1.0", r"train\.num_epochs = -1\.0: it must be at least 0"),
        ("train.validate.patience=2", r"train\.validate\.patience does nothing without looks"),
        ("sample.temperature=-1.0", r"sample\.temperature = -1\.0: it must be at least 0"),
        ("sample.top_p=0.0", r"sample\.top_p = 0\.0: it must be above 0 and at most 1"),
        ("sample.max_new_tokens=0", r"sample\.max_new_tokens = 0"),
        ("evaluate.split=dev", r"evaluate\.split = 'dev'; choose from test, validation"),
        ("evaluate.temperature=nan", r"evaluate\.temperature = nan"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(override, message):
    with pytest.raises(ConfigError, match=message):
        small_config(override)


def test_epochs_need_examples_per_step():
    told = bounds.find_outside({"train.num_epochs": 1.0, "train.batch_rows": 2})
    assert "give train.num_steps, or set train.batch_rows=0" in told


def test_settings_of_one_method_are_looked_at_too():
    config = small_config()
    with config.unlocked():
        config.train.per_method = {"sft": {"num_steps": 0}}
    method_settings(config, "s3ft")
    with pytest.raises(WorkdirError, match=r"method sft: train\.num_steps = 0: it must be at least 1"):
        method_settings(config, "sft")


def test_every_key_is_one_of_the_config_and_its_default_can_be():
    settings = flatten(load_config(f"{ROOT / 'configs' / 'custom.py'}:data=x.jsonl,judge=exact").to_dict())
    assert set(bounds.RANGES) | set(bounds.CHOICES) <= set(settings)
    assert bounds.find_outside(settings) == ""
    assert all(low < high for low, high in bounds.RANGES.values())
    assert doctest.testmod(bounds).failed == 0
