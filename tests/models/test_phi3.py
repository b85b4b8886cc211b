"""Phi-3: longrope's lists, the part of a head that is rotated, fused weights. Parity is in test_families.py."""

import math

import pytest
from test_families import LONGROPE, SIZES

from s3ft_jax.models.families import UnsupportedModel, read_config


def read(**values):
    return read_config({"model_type": "phi3", **SIZES, **values})


def test_longrope_is_read_for_the_length_the_model_was_made_for():
    config, _ = read(rope_parameters=LONGROPE, original_max_position_embeddings=16)
    (rope,) = config.ropes
    assert (config.max_positions, config.rotary_dim) == (16, 6)
    assert rope.scale == pytest.approx(math.sqrt(1 + math.log(64 / 16) / math.log(16)))
    # the names of transformers 4, as in the files of the hub
    old = {"type": "longrope", "short_factor": [1.0, 1.1, 1.3], "long_factor": [1.5, 2.5, 4.0]}
    again, _ = read(
        rope_scaling=old, rope_theta=1000.0, partial_rotary_factor=0.75, original_max_position_embeddings=16
    )
    assert again == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"short_factor": [1.0]}, "longrope's short_factor has 1 entries, 3 are needed"),
        ({"long_factor": None}, "longrope's long_factor has 0 entries"),
        ({"short_mscale": 1.2}, r"longrope has the keys \['short_mscale'\], which nobody reads"),
    ],
)
def test_a_longrope_that_cannot_be_served_is_refused(changes, message):
    with pytest.raises(UnsupportedModel, match=message):
        read(rope_parameters={**LONGROPE, **changes}, original_max_position_embeddings=16)


@pytest.mark.parametrize("name", ["resid_pdrop", "attention_bias", "lm_head_bias", "full_attn_mod"])
def test_fields_that_no_published_model_has_are_refused(name):
    with pytest.raises(UnsupportedModel, match=f"{name} = 3"):
        read(**{name: 3})


def test_fused_tensors_are_cut_without_gap_or_overlap():
    _, weight_map = read()
    parts = {(row.path, row.start, row.whole) for row in weight_map.rows if row.whole}
    assert parts == {
        ("blocks.q.kernel", 0, 64),
        ("blocks.k.kernel", 32, 64),
        ("blocks.v.kernel", 48, 64),
        ("blocks.gate.kernel", 0, 96),
        ("blocks.up.kernel", 48, 96),
    }


def test_max_positions_chooses_the_long_factors_up_to_the_models_limit():
    values = {"model_type": "phi3", **SIZES, "rope_parameters": LONGROPE, "original_max_position_embeddings": 16}
    assert read_config(values, max_positions=64)[0].max_positions == 64
    with pytest.raises(UnsupportedModel, match=r"model\.max_positions = 65, but this model has at most 64 positions"):
        read_config(values, max_positions=65)
