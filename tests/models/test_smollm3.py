"""SmolLM3: layers without rope. Parity is in test_families.py."""

import pytest
from test_families import SIZES

from s3ft_jax.models.config import NO_ROPE
from s3ft_jax.models.families import UnsupportedModel, read_config

VALUES = {"model_type": "smollm3", **SIZES, "num_hidden_layers": 5}


@pytest.mark.parametrize(
    ("given", "ropes"),
    [
        ({}, (0, 0, 0, NO_ROPE, 0)),
        ({"no_rope_layer_interval": 2}, (0, NO_ROPE, 0, NO_ROPE, 0)),
        ({"no_rope_layers": [0, 1, 1, 0, 1]}, (NO_ROPE, 0, 0, NO_ROPE, 0)),
    ],
)
def test_which_layers_turn(given, ropes):
    assert read_config({**VALUES, **given})[0].layer_ropes == ropes


def test_layers_without_rope_slide_where_the_switch_is_on():
    config, _ = read_config({**VALUES, "use_sliding_window": True, "sliding_window": 6})
    assert config.layer_windows == (0, 0, 0, 6, 0)


def test_a_list_that_is_too_short_or_odd_is_refused():
    with pytest.raises(UnsupportedModel, match=r"no_rope_layers = .* must hold a 0 or a 1 for each of 5 layers"):
        read_config({**VALUES, "no_rope_layers": [1, 1]})
