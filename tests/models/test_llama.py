"""The Llama family: config fields and trained weights' own story. Parity is in test_families.py."""

import json

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from test_families import SIZES
from transformers import AutoModelForCausalLM, AutoTokenizer

from s3ft_jax.models import weights
from s3ft_jax.models.cache import KVCache
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.families import UnsupportedModel, read_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act = 'relu' is not supported; supported: silu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling of type 'yarn' is not supported"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ({"rope_interleaved": True}, "rope_interleaved = True"),
        ({"attention_dropout": 0.1}, "attention_dropout = 0.1"),
        ({"quantization_config": {"bits": 4}}, "quantization_config = {'bits': 4}.*convert the weights"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map.*never run"),
        ({"sliding_window": 4096}, "nobody reads sliding_window = 4096"),
        ({"residual_multiplier": 0.2, "logits_scaling": 8}, "logits_scaling = 8, residual_multiplier = 0.2"),
        ({"hidden_size": None}, "field 'hidden_size' must be a whole number, found None"),
        ({"rms_norm_eps": "small"}, "field 'rms_norm_eps' must be a number, found 'small'"),
        ({"num_key_value_heads": 3}, r"num_heads \(4\) must be a multiple of num_kv_heads \(3\)"),
        ({"model_type": "mamba"}, "model_type = 'mamba' is not supported; supported: gemma, gemma2,"),
        ({"model_type": None}, "model_type = None is not supported"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(changes, message):
    with pytest.raises(UnsupportedModel, match=message) as caught:
        read_config({"model_type": "llama", **SIZES, **changes}, "some/config.json")
    assert str(caught.value).startswith("some/config.json: ")


def test_fields_that_change_nothing_pass():
    values = {"model_type": "llama", **SIZES}
    config, _ = read_config(values)
    extra = {
        "pretraining_tp": 2,
        "use_cache": False,
        "some_new_switch": False,
        "other": None,
        "torch_dtype": "bfloat16",
    }
    assert read_config({**values, **extra})[0] == config


def greedy_ids(folder, num_tokens: int) -> list[int]:
    """Greedy decoding from <s> with the cache, until <s> comes again; a plain loop, no engine."""
    config, weight_map = read_config(json.loads((folder / "config.json").read_text()))
    params = weights.load(folder, config, weight_map)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))

    @jax.jit
    def next_id(token, position, cache):
        logits, cache = nnx.merge(graphdef, params)(token[None, None], position[None, None], None, cache)
        return jnp.argmax(logits[0, 0]), cache

    cache, token, ids = KVCache.empty(config, 1, num_tokens), jnp.asarray(1), []
    for position in range(num_tokens):
        token, cache = next_id(token, jnp.asarray(position), cache)
        if int(token) == 1:
            break
        ids.append(int(token))
    return ids


def test_stories260k_tells_its_documented_story(stories260k_folder, data_dir):
    page = (data_dir / "weights/stories260K/stories260K.md").read_text(encoding="utf-8")
    documented = page.split("tok512.bin -t 0.0\n")[1].split("\n```")[0]
    tokenizer = AutoTokenizer.from_pretrained(stories260k_folder)
    # run.c makes 256 steps unless told otherwise
    assert tokenizer.decode(greedy_ids(stories260k_folder, 256)) == documented
    assert tokenizer(documented).input_ids == [1, *greedy_ids(stories260k_folder, 256)]


def test_babyllama105_writes_what_torch_writes(babyllama105_folder):
    ids = greedy_ids(babyllama105_folder, 200)
    model = AutoModelForCausalLM.from_pretrained(babyllama105_folder)
    expected = model.generate(torch.tensor([[1]]), max_new_tokens=200, do_sample=False, eos_token_id=1, pad_token_id=0)
    assert ids == expected[0, 1:].tolist()
    text = AutoTokenizer.from_pretrained(babyllama105_folder).decode(ids)
    assert text.startswith("Once upon a time, there was a little girl named Lily.")
