"""StarCoder2: old names, and variants that were never published. Parity is in test_families.py."""

import pytest
from test_families import SIZES

from s3ft_jax.models.families import UnsupportedModel, read_config

VALUES = {"model_type": "starcoder2", **SIZES, "rms_norm_eps": None}


def test_dropouts_and_old_names_of_the_published_configs_pass():
    extra = {
        "attention_dropout": 0.1,
        "residual_dropout": 0.1,
        "activation_function": "gelu",
        "layer_norm_epsilon": 1e-5,
    }
    assert read_config({**VALUES, **extra})[0] == read_config(VALUES)[0]
    assert read_config({**VALUES, "hidden_act": "gelu"})[0].activation == "gelu"


@pytest.mark.parametrize("changes", [{"norm_type": "rms_norm"}, {"mlp_type": "gated"}, {"scale_attn_weights": False}])
def test_variants_that_compute_something_else_are_refused(changes):
    (name,) = changes
    with pytest.raises(UnsupportedModel, match=name):
        read_config({**VALUES, **changes})
