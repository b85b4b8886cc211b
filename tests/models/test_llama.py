"""The Llama family: parity with transformers on random weights, config fields, and trained weights' own story."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from s3ft_jax.models import weights
from s3ft_jax.models.decoder import Decoder, KVCache
from s3ft_jax.models.families import FAMILIES, UnsupportedModel, read_config

TINY = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CASES = {
    "plain": {},
    "llama3_rope_biases_tied": {
        "rope_parameters": LLAMA3,
        "attention_bias": True,
        "mlp_bias": True,
        "tie_word_embeddings": True,
        "head_dim": 12,
    },
    "linear_rope_gelu_no_groups": {
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        "hidden_act": "gelu_pytorch_tanh",
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-3,
    },
}
ROWS = ([5, 11, 7, 60, 2, 33, 8, 14, 1], [9, 3, 3, 27, 41], [17, 0, 29, 31, 4, 6, 59])
LENGTH = max(map(len, ROWS))


def random_model(**changes) -> LlamaForCausalLM:
    """Every parameter random, biases and norms too, large enough that the logits spread over several nats."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**TINY, **changes})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1.0 + 0.3 * noise if "norm" in name else 0.3 * noise)
    return model


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    """(expected logits of each row alone [T_row, V], jitted (tokens, positions, segments, cache) -> logits, cache)."""
    folder = tmp_path_factory.mktemp(request.param)
    model = random_model(**CASES[request.param])
    model.save_pretrained(folder)
    config, weight_map = read_config(json.loads((folder / "config.json").read_text()))
    params = weights.load(folder, config, weight_map)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    run = jax.jit(lambda *inputs: nnx.merge(graphdef, params)(*inputs))
    with torch.no_grad():
        expected = [model(torch.tensor([row])).logits[0].numpy() for row in ROWS]
    return expected, run, config


def assert_close(found, expected) -> None:
    assert np.max(np.abs(np.asarray(found) - expected)) <= 1e-5 * np.max(np.abs(expected))


def padded(left: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Tokens, positions and segments [3, 9]; padding holds token 13."""
    tokens, positions, segments = np.full((3, LENGTH), 13), np.zeros((3, LENGTH), int), np.zeros((3, LENGTH), int)
    for place, row in enumerate(ROWS):
        where = slice(LENGTH - len(row), None) if left else slice(0, len(row))
        tokens[place, where], positions[place, where], segments[place, where] = row, np.arange(len(row)), 1
    return jnp.asarray(tokens), jnp.asarray(positions), jnp.asarray(segments)


def test_each_row_alone(pair):
    expected, run, _ = pair
    row = jnp.asarray([ROWS[0]])
    found, _ = run(row, jnp.arange(LENGTH)[None], jnp.ones_like(row), None)
    assert_close(found[0], expected[0])


@pytest.mark.parametrize("left", [False, True])
def test_padded_rows(pair, left):
    expected, run, _ = pair
    found, _ = run(*padded(left), None)
    for place, row in enumerate(ROWS):
        where = slice(LENGTH - len(row), None) if left else slice(0, len(row))
        assert_close(found[place, where], expected[place])


def test_packed_segments(pair):
    expected, run, _ = pair
    lengths = [len(row) for row in ROWS]
    tokens = jnp.asarray([[*(token for row in ROWS for token in row), 13, 13]])
    positions = jnp.asarray([[p for n in lengths for p in range(n)] + [0, 0]])
    segments = jnp.asarray([[s for s, n in enumerate(lengths, start=1) for _ in range(n)] + [0, 0]])
    found, _ = run(tokens, positions, segments, None)
    for place, start in enumerate(np.cumsum([0, *lengths[:-1]])):
        assert_close(found[0, start : start + lengths[place]], expected[place])


def test_prefill_of_unequal_prompts_then_decode(pair):
    expected, run, config = pair
    prompts = [4, 2, 3]
    tokens, positions, _ = padded(left=False)
    logits, cache = run(tokens[:, :4], positions[:, :4] * 0 + jnp.arange(4), None, KVCache.empty(config, 3, 12))
    for place, length in enumerate(prompts):
        assert_close(logits[place, :length], expected[place][:length])
    for step in range(3):
        now = [length + step for length in prompts]
        token = jnp.asarray([[row[p]] for row, p in zip(ROWS, now, strict=True)])
        logits, cache = run(token, jnp.asarray(now)[:, None], None, cache)
        for place, position in enumerate(now):
            assert_close(logits[place, 0], expected[place][position])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported; supported: silu"),
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
        ({"model_type": "mamba"}, "model_type = 'mamba' is not supported; supported: llama"),
        ({"model_type": None}, "model_type = None is not supported"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(changes, message):
    with pytest.raises(UnsupportedModel, match=message) as caught:
        read_config({"model_type": "llama", **TINY, **changes}, "some/config.json")
    assert str(caught.value).startswith("some/config.json: ")


def test_fields_that_change_nothing_pass():
    values = {"model_type": "llama", **TINY}
    config, _ = read_config(values)
    extra = {
        "pretraining_tp": 2,
        "use_cache": False,
        "some_new_switch": False,
        "other": None,
        "torch_dtype": "bfloat16",
    }
    assert read_config({**values, **extra})[0] == config


def test_every_published_config_is_counted_right_or_refused(data_dir):
    counted, refused = [], []
    for file in sorted((data_dir / "hf_configs").glob("*/*/config.json")):
        values = json.loads(file.read_text())
        if values["model_type"] not in FAMILIES:
            with pytest.raises(UnsupportedModel, match=f"model_type = '{values['model_type']}' is not supported"):
                read_config(values, str(file))
            refused.append(file.parent.name)
            continue
        with torch.device("meta"):
            model = LlamaForCausalLM(LlamaConfig.from_dict(values))
        config, _ = read_config(values, str(file))
        assert weights.count_params(config) == model.num_parameters(), file.parent.name
        counted.append(file.parent.name)
    assert {"Llama-2-7b", "Llama-3.1-8B", "Llama-3.2-1B", "TinyLlama-1.1B-Chat-v1.0", "SmolLM2-135M-Instruct"} <= set(
        counted
    )
    assert refused


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
