"""A PEFT adapter folder: peft lays it onto the torch model, and the logits are those of our unmerged decoder."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.numpy import load_file
from test_families import GPT2, ROWS, SIZES, assert_close, random_model

from s3ft_jax.models import weights
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.families import read_config
from s3ft_jax.models.lora import Lora, LoraError, choose_targets
from s3ft_jax.models.peft_adapter import CONFIG_NAME, WEIGHTS_NAME, export_adapter

peft = pytest.importorskip("peft")

CASES = {
    "llama": ("llama", {"num_hidden_layers": 2}, ("all",), False),
    "qwen2": ("qwen2", {"num_hidden_layers": 2}, ("attention",), True),
    "gpt2": ("gpt2", {**GPT2, "n_layer": 2}, ("q", "v", "down"), False),
    "phi3": ("phi3", {"num_hidden_layers": 2}, ("all",), True),
}
PREFIX = "base_model.model."


def adapted(folder, weight_map, config, targets, rank_stabilized) -> Decoder:
    """The decoder of a folder with random adapters, a and b."""
    params = weights.load(folder, config, weight_map)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    decoder = nnx.merge(graphdef, params)
    chosen = choose_targets(targets, decoder.projections())
    decoder.add_adapters(Lora(3, 5.0, 0.1, chosen, rank_stabilized), nnx.Rngs(1))
    rng = np.random.default_rng(0)
    for name in chosen:
        layer = decoder.projections()[name]
        layer.lora_b[...] = jnp.asarray(0.3 * rng.normal(size=layer.lora_b.shape), jnp.float32)
    return decoder


@pytest.mark.parametrize("case", CASES)
def test_peft_gives_the_logits_of_the_unmerged_decoder(case, tmp_path):
    model_type, changes, targets, rank_stabilized = CASES[case]
    model = random_model(model_type, changes)
    model.save_pretrained(tmp_path / "base")
    config, weight_map = read_config(json.loads((tmp_path / "base" / "config.json").read_text()))
    decoder = adapted(tmp_path / "base", weight_map, config, targets, rank_stabilized)
    row = jnp.asarray([ROWS[0]])
    run = jax.jit(lambda decoder: decoder(row, jnp.arange(row.shape[1])[None], jnp.ones_like(row))[0][0])
    expected = np.asarray(run(decoder))
    files = export_adapter(decoder, weight_map, tmp_path / "adapter", base=str(tmp_path / "base"))
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == sorted(files)

    with torch.no_grad():
        plain = model(torch.tensor([ROWS[0]])).logits[0].numpy()
        wrapped = peft.PeftModel.from_pretrained(model, tmp_path / "adapter")
        found = wrapped(torch.tensor([ROWS[0]])).logits[0].numpy()
    assert_close(expected, found)
    assert np.max(np.abs(found - plain)) > 0.05 * np.max(np.abs(plain)), "the adapter does something"
    names = {name for name, _ in wrapped.named_parameters() if "lora_" in name}
    written = load_file(tmp_path / "adapter" / WEIGHTS_NAME)
    assert {name.replace(".default", "") for name in names} == set(written), "each tensor has its module"
    layers = [layer for layer in wrapped.modules() if isinstance(layer, peft.tuners.lora.LoraLayer)]
    assert layers and all(layer.scaling["default"] == pytest.approx(decoder.lora.scale, rel=1e-12) for layer in layers)


def test_names_shapes_and_settings_of_a_plain_module(tmp_path):
    config, weight_map = read_config({**SIZES, "model_type": "llama"})
    decoder = Decoder(config, rngs=nnx.Rngs(0))
    decoder.add_adapters(Lora(3, 6.0, 0.1, ("q", "down")), nnx.Rngs(1))
    export_adapter(decoder, weight_map, tmp_path, base="owner/name")
    tensors = load_file(tmp_path / WEIGHTS_NAME)
    assert tensors[PREFIX + "model.layers.2.self_attn.q_proj.lora_A.weight"].shape == (3, 32)
    assert tensors[PREFIX + "model.layers.0.mlp.down_proj.lora_B.weight"].shape == (32, 3)
    assert len(tensors) == 2 * 2 * 3
    written = json.loads((tmp_path / CONFIG_NAME).read_text())
    assert (written["r"], written["lora_alpha"], written["lora_dropout"], written["use_rslora"]) == (3, 6.0, 0.1, False)
    assert written["target_modules"] == ["down_proj", "q_proj"] and written["rank_pattern"] == {}
    assert (written["base_model_name_or_path"], written["task_type"]) == ("owner/name", "CAUSAL_LM")
    assert written["fan_in_fan_out"] is False


def test_a_fused_module_holds_its_adapters_stacked(tmp_path):
    config, weight_map = read_config({**SIZES, "model_type": "phi3"})
    decoder = Decoder(config, rngs=nnx.Rngs(0))
    decoder.add_adapters(Lora(3, 6.0, 0.0, ("q", "v", "o")), nnx.Rngs(1))
    for name in ("q", "v"):
        decoder.projections()[name].lora_b[...] = jnp.ones_like(decoder.projections()[name].lora_b[...])
    export_adapter(decoder, weight_map, tmp_path, base="owner/name")
    up = load_file(tmp_path / WEIGHTS_NAME)[PREFIX + "model.layers.1.self_attn.qkv_proj.lora_B.weight"]
    expected = np.zeros((32 + 16 + 16, 6), np.float32)
    expected[:32, :3], expected[48:, 3:] = 1.0, 1.0
    np.testing.assert_array_equal(up, expected)
    written = json.loads((tmp_path / CONFIG_NAME).read_text())
    assert written["target_modules"] == ["o_proj", "qkv_proj"]
    assert (written["rank_pattern"], written["alpha_pattern"]) == ({"qkv_proj": 6}, {"qkv_proj": 12.0})


def test_a_model_without_adapters_is_refused(tmp_path):
    config, weight_map = read_config({**SIZES, "model_type": "llama"})
    with pytest.raises(LoraError, match="no adapters"):
        export_adapter(Decoder(config, rngs=nnx.Rngs(0)), weight_map, tmp_path, base="owner/name")
    assert not (tmp_path / CONFIG_NAME).exists()
