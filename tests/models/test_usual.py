"""The field and tensor names that most families share."""

import dataclasses

import pytest
from test_families import SIZES

from s3ft_jax.models.families import read_config
from s3ft_jax.models.families.fields import Fields, UnsupportedModel
from s3ft_jax.models.families.usual import layer_rows, read_activation, read_usual, weight_map_of

LLAMA, _ = read_config({"model_type": "llama", **SIZES})


def test_own_arguments_replace_the_usual_ones():
    usual = read_usual(Fields(SIZES), head_dim=99, qk_norm="head", tied_by_default=True)
    assert (usual["head_dim"], usual["qk_norm"], usual["tie_embeddings"]) == (99, "head", True)
    assert (usual["activation"], usual["ropes"][0].theta) == ("silu", 10000.0)


def test_an_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(UnsupportedModel, match="act = 'relu2' is not supported; supported: silu, swish, gelu"):
        read_activation(Fields({"act": "relu2"}), "act")


def test_rows_follow_the_options():
    config = dataclasses.replace(LLAMA, norm="layer", gated_mlp=False, qkv_bias=True, qk_norm="head")
    paths = {row.path for row in layer_rows(config, renamed={"o": ""})}
    assert {"blocks.attention_norm.bias", "blocks.q.bias", "blocks.q_norm.scale"} <= paths
    assert not {"blocks.gate.kernel", "blocks.o.kernel", "blocks.up.bias"} & paths


def test_a_tied_output_matrix_is_a_copy_and_no_row():
    tied = dataclasses.replace(LLAMA, tie_embeddings=True)
    assert weight_map_of(tied, []).duplicates == (("lm_head.weight", "model.embed_tokens.weight"),)
    assert [row.path for row in weight_map_of(LLAMA, []).rows][-1] == "head"
