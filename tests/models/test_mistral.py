"""Mistral: a sliding window that is left out is not one that is null. Parity is in test_families.py."""

import pytest
from test_families import SIZES

from s3ft_jax.models.families import UnsupportedModel, read_config

VALUES = {"model_type": "mistral", **SIZES}


@pytest.mark.parametrize(
    ("given", "windows"), [({}, (4096,) * 3), ({"sliding_window": None}, ()), ({"sliding_window": 8}, (8,) * 3)]
)
def test_window(given, windows):
    assert read_config({**VALUES, **given})[0].layer_windows == windows


def test_layer_types_choose_the_layers():
    types = ["full_attention", "sliding_attention", "full_attention"]
    assert read_config({**VALUES, "sliding_window": 8, "layer_types": types})[0].layer_windows == (0, 8, 0)
    with pytest.raises(UnsupportedModel, match=r"layer_types has 3 entries for 3 layers and \['chunked'\]"):
        read_config({**VALUES, "layer_types": ["chunked", *types[1:]]})
    with pytest.raises(UnsupportedModel, match="layer_types has 2 entries for 3 layers"):
        read_config({**VALUES, "layer_types": types[1:]})
    with pytest.raises(UnsupportedModel, match="layers slide, but sliding_window = 0"):
        read_config({**VALUES, "sliding_window": None, "layer_types": types})
