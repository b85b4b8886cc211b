"""Every family against transformers (torch, CPU, float32) on tiny random weights; a new family is done when it is here.

Each case is compared as a whole row, padded left and right, packed, and prefilled and decoded with a cache, and its
files go through import and export unchanged.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from s3ft_jax import batches, training
from s3ft_jax.models import weights
from s3ft_jax.models.cache import KVCache
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.families import FAMILIES, UnsupportedModel, read_config
from s3ft_jax.sharding import make_mesh, param_specs, shard_batch, shard_params

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1000.0,
    "short_factor": [1.0, 1.1, 1.3],
    "long_factor": [1.5, 2.5, 4.0],
    "partial_rotary_factor": 0.75,
    "original_max_position_embeddings": 16,
}
ROPES = {
    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
GPT2 = {"vocab_size": 61, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": 1}
STARCODER2 = {"rms_norm_eps": None, "norm_epsilon": 1e-4}
CASES = {
    "llama": ("llama", {}),
    "llama_scaled_biases_tied": (
        "llama",
        {
            "rope_parameters": LLAMA3,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "head_dim": 12,
        },
    ),
    "llama_linear_gelu_no_groups": (
        "llama",
        {
            "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
            "hidden_act": "gelu_pytorch_tanh",
            "num_key_value_heads": 4,
            "rms_norm_eps": 1e-3,
        },
    ),
    "mistral": ("mistral", {"sliding_window": None}),
    "mistral_window": ("mistral", {"sliding_window": 4, "head_dim": 12}),
    "qwen2": ("qwen2", {}),
    "qwen2_window": ("qwen2", {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
    "qwen3": ("qwen3", {"head_dim": 12, "tie_word_embeddings": True}),
    "qwen3_biases": ("qwen3", {"head_dim": 8, "attention_bias": True}),
    "mixtral": ("mixtral", {"num_local_experts": 5, "num_experts_per_tok": 2}),
    "mixtral_window": ("mixtral", {"num_local_experts": 3, "num_experts_per_tok": 3, "sliding_window": 4}),
    "qwen3_moe": (
        "qwen3_moe",
        {
            "head_dim": 8,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 20,
            "norm_topk_prob": True,
        },
    ),
    "qwen3_moe_weights_as_they_are": (
        "qwen3_moe",
        {"head_dim": 12, "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 20},
    ),
    "gemma": ("gemma", {"head_dim": 12}),
    "gemma2": ("gemma2", {"head_dim": 12, "sliding_window": 4, "query_pre_attn_scalar": 7}),
    "gemma3": (
        "gemma3_text",
        {
            "head_dim": 12,
            "sliding_window": 4,
            "num_hidden_layers": 7,
            "rope_parameters": ROPES,
            "query_pre_attn_scalar": 9,
        },
    ),
    "phi3_window": ("phi3", {"sliding_window": 5}),
    "phi3_longrope": ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 16}),
    "gpt2": ("gpt2", GPT2),
    "olmo2": ("olmo2", {}),
    "granite": (
        "granite",
        {
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.5,
            "logits_scaling": 4.0,
            "tie_word_embeddings": True,
        },
    ),
    "starcoder2": ("starcoder2", {**STARCODER2, "sliding_window": 4}),
    "starcoder2_no_biases": ("starcoder2", {**STARCODER2, "use_bias": False, "tie_word_embeddings": False}),
    "smollm3": ("smollm3", {"num_hidden_layers": 5, "no_rope_layer_interval": 2}),
}
MESHES = ((8, 1, 1), (1, 8, 1), (1, 2, 4))
FIRST_OF_FAMILY = set({model_type: case for case, (model_type, _) in reversed(CASES.items())}.values())
ROWS = ([5, 11, 7, 60, 2, 33, 8, 14, 1], [9, 3, 3, 27, 41], [17, 0, 29, 31, 4, 6, 59])
LENGTH = max(map(len, ROWS))


def random_model(model_type: str, changes: dict):
    """Every parameter random, biases and norms too, large enough that the logits spread over several nats."""
    torch.manual_seed(0)
    values = changes if model_type == "gpt2" else {**SIZES, **changes}
    config = AutoConfig.for_model(model_type, **values)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    centre = 0.0 if model_type.startswith("gemma") else 1.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            norm = ("norm" in name or "ln_" in name) and name.endswith("weight")
            parameter.copy_(centre + 0.3 * noise if norm else 0.3 * noise)
    return model


class Pair:
    """A torch model saved as a folder, and the decoder loaded from it."""

    def __init__(self, folder, model_type, changes, case="", **own):
        self.folder, self.case = folder, case
        self.model = random_model(model_type, changes)
        self.model.save_pretrained(folder)
        config, self.weight_map = read_config(json.loads((folder / "config.json").read_text()))
        self.config = type(config)(**{**config.__dict__, **own})
        self.params = weights.load(folder, self.config, self.weight_map)
        graphdef, _ = nnx.split(nnx.eval_shape(lambda: Decoder(self.config, rngs=nnx.Rngs(0))))
        # parameters as arguments: as constants they would be folded, which takes the compiler long
        self.run = functools.partial(jax.jit(lambda params, *inputs: nnx.merge(graphdef, params)(*inputs)), self.params)
        self.expected = [self.torch_logits(row) for row in ROWS]

    def torch_logits(self, row) -> np.ndarray:
        with torch.no_grad():
            return self.model(torch.tensor([row])).logits[0].numpy()


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    return Pair(tmp_path_factory.mktemp(request.param), *CASES[request.param], case=request.param)


def assert_close(found, expected) -> None:
    assert np.max(np.abs(np.asarray(found) - expected)) <= 1e-5 * np.max(np.abs(expected))


def padded(left: bool) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Tokens, positions and segments [3, 9]; padding holds token 13."""
    tokens, positions, segments = np.full((3, LENGTH), 13), np.zeros((3, LENGTH), int), np.zeros((3, LENGTH), int)
    for place, row in enumerate(ROWS):
        where = slice(LENGTH - len(row), None) if left else slice(0, len(row))
        tokens[place, where], positions[place, where], segments[place, where] = row, np.arange(len(row)), 1
    return jnp.asarray(tokens), jnp.asarray(positions), jnp.asarray(segments)


def test_every_family_has_a_case():
    assert {model_type for model_type, _ in CASES.values()} == set(FAMILIES)


def test_each_row_alone(pair):
    row = jnp.asarray([ROWS[0]])
    found, _ = pair.run(row, jnp.arange(LENGTH)[None], jnp.ones_like(row), None)
    assert_close(found[0], pair.expected[0])


@pytest.mark.parametrize("left", [False, True])
def test_padded_rows(pair, left):
    found, _ = pair.run(*padded(left), None)
    for place, row in enumerate(ROWS):
        where = slice(LENGTH - len(row), None) if left else slice(0, len(row))
        assert_close(found[place, where], pair.expected[place])


def test_packed_segments(pair):
    lengths = [len(row) for row in ROWS]
    tokens = jnp.asarray([[*(token for row in ROWS for token in row), 13, 13]])
    positions = jnp.asarray([[p for n in lengths for p in range(n)] + [0, 0]])
    segments = jnp.asarray([[s for s, n in enumerate(lengths, start=1) for _ in range(n)] + [0, 0]])
    found, _ = pair.run(tokens, positions, segments, None)
    for place, start in enumerate(np.cumsum([0, *lengths[:-1]])):
        assert_close(found[0, start : start + lengths[place]], pair.expected[place])


def test_prefill_of_unequal_prompts_then_decode(pair):
    prompts = [4, 2, 3]
    tokens, positions, _ = padded(left=False)
    cache = KVCache.empty(pair.config, 3, 12)
    logits, cache = pair.run(tokens[:, :4], positions[:, :4] * 0 + jnp.arange(4), None, cache)
    for place, length in enumerate(prompts):
        assert_close(logits[place, :length], pair.expected[place][:length])
    for step in range(3):
        now = [length + step for length in prompts]
        token = jnp.asarray([[row[p]] for row, p in zip(ROWS, now, strict=True)])
        logits, cache = pair.run(token, jnp.asarray(now)[:, None], None, cache)
        for place, position in enumerate(now):
            assert_close(logits[place, 0], pair.expected[place][position])


def test_every_parameter_has_a_place_on_a_mesh(pair):
    specs = param_specs(pair.params, make_mesh(data=1, fsdp=1, tensor=1))
    assert set(specs) == set(weights.flat_params(pair.params))


@pytest.fixture(scope="module")
def stepped(pair):
    """(step, start) of a full fine-tuning step, and its loss and parameters on one device; one case of each family."""
    if pair.case not in FIRST_OF_FAMILY:
        pytest.skip("one case of each family is enough")
    # eps keeps elements whose gradient is rounding noise from moving by the full rate
    optimizer, rate = training.Optimizer(eps=1e-3), np.float32(1e-2)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: Decoder(pair.config, rngs=nnx.Rngs(0))))
    step = training.make_step(graphdef, optimizer)

    def run(sizes):
        mesh = make_mesh(*sizes)
        parts = training.Parts(graphdef, shard_params(pair.params, mesh), nnx.State({}))
        batch = training.split_micro(packed_batch(), 1)
        state, metrics = step(training.start(parts, optimizer), parts.frozen, shard_batch(batch, mesh), 0, rate)
        return float(metrics["loss"]), weights.flat_params(jax.device_get(state.trainable))

    return run, run((1, 1, 1))


def packed_batch() -> batches.Batch:
    """Eight rows of two segments, the responses trained on."""
    rng = np.random.default_rng(0)
    positions = np.broadcast_to(np.r_[0:8, 0:6, 0, 0], (8, 16)).astype(np.int32)
    segments = np.broadcast_to(np.r_[[1] * 8, [2] * 6, [0] * 2], (8, 16)).astype(np.int32)
    weights_ = ((positions > 2) & (segments > 0)).astype(np.float32)
    return batches.Batch(rng.integers(0, 61, (8, 16)).astype(np.int32), positions, segments, weights_)


@pytest.mark.skipif(jax.device_count() != 8, reason="needs the 8 fake devices of conftest.py")
@pytest.mark.parametrize("sizes", [(2, 2, 2), *(pytest.param(one, marks=pytest.mark.slow) for one in MESHES)], ids=str)
def test_every_mesh_gives_the_loss_and_the_step_of_one_device(stepped, sizes):
    # a vocabulary of 61 and two key-value heads do not divide over 8, 4 or (the vocabulary) 2
    run, (expected_loss, expected) = stepped
    loss, found = run(sizes)
    assert abs(loss - expected_loss) <= 1e-6 * expected_loss
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


def test_import_then_export_is_byte_equal(pair, tmp_path):
    weights.export(
        pair.params, pair.config, pair.weight_map, tmp_path, source_dtypes=weights.source_dtypes(pair.folder)
    )
    source, target = (load_file(folder / "model.safetensors") for folder in (pair.folder, tmp_path))
    assert set(source) == set(target)
    for name in source:
        assert (source[name].dtype, source[name].shape) == (target[name].dtype, target[name].shape), name
        assert source[name].tobytes() == target[name].tobytes(), name


def test_longrope_beyond_the_original_length_uses_the_long_factors(tmp_path):
    pair = Pair(tmp_path, *CASES["phi3_longrope"], max_positions=64)
    row = [(7 * place + 3) % 61 for place in range(24)]  # longer than the 16 positions the model was made for
    found, _ = pair.run(jnp.asarray([row]), jnp.arange(24)[None], jnp.ones((1, 24), jnp.int32), None)
    assert_close(found[0], pair.torch_logits(row))
    short = Pair(tmp_path / "short", *CASES["phi3_longrope"])
    assert short.config.max_positions == 16
    with pytest.raises(AssertionError):
        assert_close(
            pair.run(jnp.asarray([ROWS[0]]), jnp.arange(9)[None], jnp.ones((1, 9), int), None)[0][0], short.expected[0]
        )


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
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values))
        config, weight_map = read_config(values, str(file))
        assert weights.count_params(config) == model.num_parameters(), file.parent.name
        shapes = weights.flat_params(weights.abstract_params(config))
        assert sorted(row.path for row in weight_map.rows) == sorted(shapes)
        counted.append(file.parent.name)
    assert len(counted) == 33 and refused == ["phi-2"]
