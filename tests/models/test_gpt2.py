"""GPT-2: files with and without the prefix, masks that are tensors. Parity is in test_families.py."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_families import GPT2, random_model

from s3ft_jax.models import weights
from s3ft_jax.models.families import UnsupportedModel, read_config

VALUES = {"model_type": "gpt2", **GPT2}


def test_files_that_leave_the_prefix_out_load_and_come_back_with_the_same_names(tmp_path):
    # openai-community/gpt2 on the hub: names such as h.0.attn.c_attn.weight, and the causal masks as tensors
    random_model("gpt2", GPT2).save_pretrained(tmp_path / "long")
    tensors = load_file(tmp_path / "long" / "model.safetensors")
    short = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    short |= {f"h.{layer}.attn.bias": np.ones((1, 1, 4, 4), np.float32) for layer in range(3)}
    (tmp_path / "short").mkdir()
    save_file(short, tmp_path / "short" / "model.safetensors")
    config, weight_map = read_config(VALUES)
    params = [weights.flat_params(weights.load(tmp_path / name, config, weight_map)) for name in ("long", "short")]
    for path in params[0]:
        np.testing.assert_array_equal(params[0][path], params[1][path])
    state = weights.load(tmp_path / "short", config, weight_map)
    weights.export(state, config, weight_map, tmp_path / "out", source_dtypes=weights.source_dtypes(tmp_path / "short"))
    out = load_file(tmp_path / "out" / "model.safetensors")
    assert set(out) == {name for name in short if not name.endswith(".attn.bias")}
    for name, value in out.items():
        np.testing.assert_array_equal(value, short[name])


@pytest.mark.parametrize(
    "changes", [{"scale_attn_by_inverse_layer_idx": True}, {"add_cross_attention": True}, {"scale_attn_weights": False}]
)
def test_variants_that_compute_something_else_are_refused(changes):
    (name,) = changes
    with pytest.raises(UnsupportedModel, match=name):
        read_config({**VALUES, **changes})


def test_the_mlp_is_four_times_as_wide_unless_it_says_otherwise():
    assert read_config(VALUES)[0].mlp_dim == 128
    assert read_config({**VALUES, "n_inner": 40})[0].mlp_dim == 40


def test_a_table_of_positions_cannot_be_cut_or_stretched():
    assert read_config(VALUES, max_positions=64)[0].max_positions == 64
    for other in (32, 65):
        with pytest.raises(UnsupportedModel, match="this model has exactly 64 positions"):
            read_config(VALUES, max_positions=other)
