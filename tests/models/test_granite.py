"""Granite: four multipliers, one of which divides. Parity is in test_families.py."""

from test_families import SIZES

from s3ft_jax.models.families import read_config


def test_multipliers():
    values = {
        "embedding_multiplier": 12,
        "attention_multiplier": 0.25,
        "residual_multiplier": 0.22,
        "logits_scaling": 8,
    }
    config, _ = read_config({"model_type": "granite", **SIZES, **values})
    assert (config.embed_scale, config.query_scale, config.residual_scale) == (12.0, 0.25, 0.22)
    assert config.logit_scale == 1 / 8
    # transformers' default is 1, not 1 / sqrt(head width)
    assert read_config({"model_type": "granite", **SIZES})[0].query_scale == 1.0
