"""Variants: a name states a method and settings, always in the same way, and nothing that cannot be."""

import pytest

from configs.defaults import defaults
from s3ft_jax.changes import flatten
from s3ft_jax.variants import VariantError, method_of, settings_of, write

TRAIN = flatten(defaults().train.to_dict())


@pytest.mark.parametrize(
    "name, settings",
    [
        ("s3ft", {}),
        ("sft@learning_rate=3e-05", {"learning_rate": 3e-5}),
        ("s3ft@loss.dft=true,num_steps=50", {"loss.dft": True, "num_steps": 50}),
        ("rft@lora.targets=q+v+up,tune=lora", {"lora.targets": ("q", "v", "up"), "tune": "lora"}),
        ("sft-replay@learning_rate=0.0001234567", {"learning_rate": 0.0001234567}),
    ],
)
def test_a_name_and_its_settings_are_one(name, settings):
    method = name.partition("@")[0]
    assert settings_of(name, TRAIN) == settings and method_of(name) == method
    assert settings_of(write(method, settings), TRAIN) == settings, "nothing is lost in a name"
    assert write(method, dict(reversed(settings.items()))) == write(method, settings)
    assert write(method, settings_of(name, TRAIN)) == name


@pytest.mark.parametrize(
    "name, message",
    [
        ("s4ft", "no method 's4ft'; did you mean"),
        ("s3ft@learning_rat=1", "not a setting of train; did you mean 'learning_rate'"),
        ("s3ft@num_steps=many", "'many' is not of type int"),
        ("s3ft@num_steps=5,num_steps=6", "each name once"),
        ("s3ft@", "write METHOD@name=value"),
        ("s3ft@num_steps", "write METHOD@name=value"),
        ("s3ft@optimizer=../x", "for it names a folder"),
        ("s3ft@seeds=1", "seeds.*not a setting|is not of type"),
    ],
)
def test_what_cannot_be_is_named(name, message):
    own = {key: value for key, value in TRAIN.items() if key != "seeds"}
    with pytest.raises(VariantError, match=message):
        settings_of(name, own)


def test_a_value_that_cannot_stand_in_a_name_is_refused():
    with pytest.raises(VariantError, match="cannot stand in a variant's name"):
        write("sft", {"freeze": ("blocks.*",)})
