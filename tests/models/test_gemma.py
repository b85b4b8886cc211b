"""Gemma 1 to 3: what is absent, what is null, and old and new names. Parity is in test_families.py."""

import pytest
from test_families import ROPES, SIZES

from s3ft_jax.models.families import UnsupportedModel, read_config


def read(model_type, **values):
    return read_config({"model_type": model_type, **SIZES, **values})[0]


def test_old_gemma_configs_that_say_gelu_mean_the_tanh_form():
    assert read("gemma", hidden_act="gelu").activation == "gelu_tanh"
    assert read("gemma", hidden_act="gelu", hidden_activation=None).activation == "gelu_tanh"
    assert read("gemma", hidden_act="gelu", hidden_activation="gelu").activation == "gelu"
    assert read("gemma2", hidden_activation="gelu_pytorch_tanh", hidden_act="relu").activation == "gelu_tanh"


def test_soft_caps_are_on_unless_a_null_is_written_down():
    config = read("gemma2")
    assert (config.attn_softcap, config.final_softcap, config.query_scale) == (50.0, 30.0, 256**-0.5)
    config = read("gemma2", attn_logit_softcapping=None, final_logit_softcapping=None)
    assert (config.attn_softcap, config.final_softcap) == (0.0, 0.0)
    assert read("gemma3_text").attn_softcap == 0.0


def test_windows_alternate_in_2_and_come_five_to_one_in_3():
    assert read("gemma2", sliding_window=9).layer_windows == (9, 0, 9)
    config = read("gemma3_text", num_hidden_layers=7, sliding_window=9)
    assert config.layer_windows == (9, 9, 9, 9, 9, 0, 9)
    assert config.layer_ropes == (1, 1, 1, 1, 1, 0, 1)
    assert read("gemma3_text", sliding_window=9, sliding_window_pattern=2).layer_windows == (9, 0, 9)


def test_two_ropes_by_old_and_new_names():
    old = read(
        "gemma3_text",
        rope_theta=1000.0,
        rope_scaling={"rope_type": "linear", "factor": 4.0},
        rope_local_base_freq=100.0,
    )
    assert old.ropes == read("gemma3_text", rope_parameters=ROPES).ropes
    assert [rope.theta for rope in read("gemma3_text").ropes] == [1_000_000.0, 10_000.0]
    with pytest.raises(UnsupportedModel, match=r"rope_parameters has \['full_attention'\], expected"):
        read("gemma3_text", rope_parameters={"full_attention": ROPES["full_attention"]})


def test_what_no_gemma_has_is_refused():
    with pytest.raises(UnsupportedModel, match="use_bidirectional_attention = True"):
        read("gemma3_text", use_bidirectional_attention=True)
    with pytest.raises(UnsupportedModel, match="attention_bias = True"):
        read("gemma", attention_bias=True)
