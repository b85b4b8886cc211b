"""DecoderConfig and rope frequencies."""

import dataclasses
import json

import pytest

from s3ft_jax.models.config import NO_ROPE, DecoderConfig, Rope

CONFIG = DecoderConfig(
    vocab_size=11, num_layers=2, model_dim=8, mlp_dim=12, num_heads=4, num_kv_heads=2, head_dim=2, max_positions=32
)


def test_json_gives_back_an_equal_config():
    ropes = (
        Rope(5e5, "llama3", 8.0, 1.0, 4.0, 64),
        Rope(scaling="longrope", short_factors=(1.5,), long_factors=(2.5,)),
    )
    config = dataclasses.replace(CONFIG, ropes=ropes, layer_ropes=(1, NO_ROPE), layer_windows=(0, 7), qkv_bias=True)
    assert DecoderConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_unknown_json_field_is_named():
    with pytest.raises(TypeError, match="num_eyes"):
        DecoderConfig.from_json({**CONFIG.to_json(), "num_eyes": 8})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, r"num_layers must be at least 1, found 0"),
        ({"num_heads": 3}, r"num_heads \(3\) must be a multiple of num_kv_heads \(2\)"),
        ({"head_dim": 3}, "3 of head_dim = 3 dimensions cannot be rotated"),
        ({"rotary_dim": 4}, "4 of head_dim = 2 dimensions cannot be rotated"),
        ({"layer_windows": (1, 2, 3)}, "layer_windows has 3 rows for 2 layers"),
        ({"layer_ropes": (0, 1)}, r"layer_ropes \(0, 1\) points beyond 1 ropes"),
    ],
)
def test_impossible_sizes_are_refused_with_the_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_plain_frequencies():
    assert Rope(theta=100.0).frequencies(4, 64) == pytest.approx([1.0, 0.1])


def test_linear_scaling_divides():
    assert Rope(theta=100.0, scaling="linear", factor=4.0).frequencies(4, 64) == pytest.approx([0.25, 0.025])


def test_longrope_divides_by_the_factors_of_the_length():
    rope = Rope(100.0, "longrope", original_max_positions=64, short_factors=(1.0, 2.0), long_factors=(4.0, 5.0))
    assert rope.frequencies(4, 64) == pytest.approx([1.0, 0.05])
    assert rope.frequencies(4, 65) == pytest.approx([0.25, 0.02])


def test_llama3_scaling_equals_transformers():
    import torch
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    for factor, low, high, original in ((8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 8192), (4.0, 2.0, 8.0, 64)):
        theirs = LlamaConfig(
            hidden_size=256,
            num_attention_heads=2,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 5e5,
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            },
        )
        expected, _ = ROPE_INIT_FUNCTIONS["llama3"](theirs, torch.device("cpu"))
        found = Rope(5e5, "llama3", factor, low, high, original).frequencies(128, 64)
        assert found == pytest.approx(expected.tolist(), rel=1e-6)
