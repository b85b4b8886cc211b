"""GPT-2: files with and without the prefix, masks that are tensors, a trained model. Parity is in test_families.py."""

import base64
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file
from test_families import GPT2, random_model

from s3ft_jax.models import weights
from s3ft_jax.models.decoder import Decoder
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


@pytest.fixture(scope="session")
def sorting_gpt_folder(data_dir, tmp_path_factory):
    """minGPT's trained sorter of six digits as a Hugging Face GPT-2 folder; minGPT keeps linear maps [out, in]."""
    source = data_dir / "weights/llmviz_sort_gpt/gpt-nano-sort-model.json"
    if not source.exists():
        pytest.skip("needs weights/llmviz_sort_gpt under S3FT_DATA_DIR, which is not on this machine")
    values = json.loads(source.read_text())
    sizes = values.pop("config")
    tensors = {
        name: np.frombuffer(base64.b64decode(entry["data"]), "<f4").reshape(entry["shape"])
        for name, entry in values.items()
    }
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    tensors = {n: np.ascontiguousarray(t.T) if n.endswith(matrices) else t for n, t in tensors.items()}
    folder = tmp_path_factory.mktemp("sorting_gpt")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {name: sizes[name] for name in ("n_layer", "n_head", "n_embd", "vocab_size")} | {
        "model_type": "gpt2",
        "n_positions": sizes["block_size"],
        "activation_function": "gelu_new",
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_the_sorting_gpt_sorts_all_729_inputs(sorting_gpt_folder):
    config, weight_map = read_config(json.loads((sorting_gpt_folder / "config.json").read_text()))
    params = weights.load(sorting_gpt_folder, config, weight_map)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    questions = np.array(list(itertools.product(range(3), repeat=6)), np.int32)
    assert len(questions) == 729

    @jax.jit
    def next_digits(tokens):
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        logits, _ = nnx.merge(graphdef, params)(tokens, positions, jnp.ones_like(tokens))
        return jnp.argmax(logits[:, -1], axis=-1).astype(jnp.int32)

    tokens = questions
    for _ in range(6):
        tokens = np.concatenate([tokens, np.asarray(next_digits(tokens))[:, None]], axis=1)
    np.testing.assert_array_equal(tokens[:, 6:], np.sort(questions, axis=1))
