"""Loading and exporting weights: each tensor once, byte for byte, in parts, and errors that list both sides."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from s3ft_jax.models import weights
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.families import read_config
from s3ft_jax.models.lora import Lora
from s3ft_jax.models.tensors import weight_files

VALUES = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 13,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
}


def random_tensors(dtype=np.float32, **changes) -> dict[str, np.ndarray]:
    config, weight_map = read_config({**VALUES, **changes})
    shapes = weights.flat_params(weights.abstract_params(config))
    rng = np.random.default_rng(0)
    tensors = {}
    for row in weight_map.rows:
        shape = shapes[row.path].shape
        for place in np.ndindex(*shape[: row.leading]):
            size = row.tensor_shape(shape[row.leading :])
            tensors[row.tensor_name(place)] = rng.normal(size=size).astype(dtype)
    return tensors


def write_folder(folder, tensors, num_files=1, **changes):
    """A model folder; several files get an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**VALUES, **changes}))
    names = sorted(tensors)
    if num_files == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    places = {name: f"model-{1 + k % num_files:05}-of-{num_files:05}.safetensors" for k, name in enumerate(names)}
    for file in set(places.values()):
        save_file({n: tensors[n] for n in names if places[n] == file}, folder / file, metadata={"format": "pt"})
    (folder / weights.INDEX_NAME).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def load(folder, **options):
    config, weight_map = read_config(json.loads((folder / "config.json").read_text()))
    return weights.load(folder, config, weight_map, **options), config, weight_map


def read_all(folder) -> dict[str, np.ndarray]:
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


def assert_same_bytes(one, other) -> None:
    assert set(one) == set(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape), name
        assert one[name].tobytes() == other[name].tobytes(), name


CASES = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_import_then_export_is_byte_equal(tmp_path, case, dtype):
    tensors = random_tensors(dtype, **CASES[case])
    source = write_folder(tmp_path / "in", tensors, num_files=3 if case == "untied" else 1, **CASES[case])
    for load_dtype in (None, jnp.float32):
        params, config, weight_map = load(source, dtype=load_dtype)
        target = tmp_path / f"out-{load_dtype is None}"
        dtypes = weights.source_dtypes(source)
        assert weights.export(params, config, weight_map, target, source_dtypes=dtypes) == ["model.safetensors"]
        assert_same_bytes(read_all(target), tensors)


def test_mixed_dtypes_and_a_tied_copy_come_back_as_they_were(tmp_path):
    tensors = random_tensors(ml_dtypes.bfloat16, tie_word_embeddings=True)
    name = "model.layers.1.input_layernorm.weight"
    tensors[name] = np.random.default_rng(1).normal(size=8).astype(np.float32)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    source = write_folder(tmp_path / "in", tensors, tie_word_embeddings=True)
    params, config, weight_map = load(source)
    held = weights.flat_params(params)
    assert held["blocks.attention_norm.scale"].dtype == jnp.float32
    assert held["blocks.q.kernel"].dtype == jnp.bfloat16
    weights.export(params, config, weight_map, tmp_path / "out", source_dtypes=weights.source_dtypes(source))
    assert_same_bytes(read_all(tmp_path / "out"), tensors)


def test_rotary_buffers_of_old_checkpoints_are_left_out(tmp_path):
    tensors = random_tensors()
    old = {**tensors, "model.layers.1.self_attn.rotary_emb.inv_freq": np.ones(1, np.float32)}
    source = write_folder(tmp_path / "in", old)
    params, config, weight_map = load(source)
    weights.export(params, config, weight_map, tmp_path / "out", source_dtypes=weights.source_dtypes(source))
    assert_same_bytes(read_all(tmp_path / "out"), tensors)


def test_export_in_several_files_has_an_index_and_torch_loads_it(tmp_path):
    tensors = random_tensors()
    source = write_folder(tmp_path / "in", tensors)
    params, config, weight_map = load(source)
    target = tmp_path / "out"
    files = weights.export(params, config, weight_map, target, max_shard_bytes=1500)
    assert len(files) > 3
    assert sorted(path.name for path in target.iterdir()) == sorted(files)
    for file in files[:-1]:
        held = load_file(target / file)
        assert sum(value.nbytes for value in held.values()) <= 1500 or len(held) == 1
    assert_same_bytes(read_all(target), tensors)
    index = json.loads((target / weights.INDEX_NAME).read_text())
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in tensors.values())
    (target / "config.json").write_text((source / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(target)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), tensors[name])
    again, _, _ = load(target)
    jax.tree.map(np.testing.assert_array_equal, params, again)


def test_torch_gives_the_same_greedy_ids_after_a_change_and_an_export(tmp_path):
    source = write_folder(tmp_path / "in", random_tensors())
    params, config, weight_map = load(source)
    params = jax.tree.map(lambda value: value * 1.1 + 0.01, params)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    ids = [3, 1, 4]
    run = jax.jit(lambda tokens: nnx.merge(graphdef, params)(tokens, jnp.arange(11)[None], jnp.ones_like(tokens))[0])
    for _ in range(8):
        logits = run(jnp.asarray([ids + [0] * (11 - len(ids))]))
        ids.append(int(jnp.argmax(logits[0, len(ids) - 1])))
    target = tmp_path / "out"
    weights.export(params, config, weight_map, target, source_dtypes=weights.source_dtypes(source))
    (target / "config.json").write_text((source / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(target)
    with torch.no_grad():
        found = [3, 1, 4]
        for _ in range(8):
            found.append(int(model(torch.tensor([found])).logits[0, -1].argmax()))
    assert found == ids


def test_parts_are_read_straight_into_shardings(tmp_path):
    tensors = random_tensors()
    source = write_folder(tmp_path / "in", tensors, num_files=2)
    whole, config, weight_map = load(source)
    mesh = Mesh(np.asarray(jax.devices()[:4]).reshape(2, 2), ("a", "b"))

    def place(shape):
        axes = ["b" if size % 2 == 0 else None for size in shape]
        return NamedSharding(mesh, PartitionSpec(*axes[:-2], *(["a"] if len(shape) > 1 and shape[-2] % 2 == 0 else [])))

    abstract = weights.abstract_params(config)
    shardings = jax.tree.map(lambda leaf: place(leaf.shape), abstract)
    parts = weights.load(source, config, weight_map, shardings=shardings)
    kernel = weights.flat_params(parts)["blocks.gate.kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(1, 4, 12)}
    jax.tree.map(np.testing.assert_array_equal, whole, parts)


def test_a_wrong_set_of_tensors_lists_both_sides_at_once(tmp_path):
    tensors = random_tensors()
    tensors["model.layers.0.self_attn.q_norm.weight"] = np.ones(2, np.float32)
    tensors["model.layers.2.mlp.up_proj.weight"] = np.ones((12, 8), np.float32)
    del tensors["model.norm.weight"], tensors["model.layers.1.mlp.down_proj.weight"]
    tensors["model.layers.0.self_attn.k_proj.weight"] = np.ones((8, 8), np.float32)
    tensors["lm_head.weight"] = np.ones((13, 8), np.int8)
    with pytest.raises(weights.WeightsError) as caught:
        load(write_folder(tmp_path / "in", tensors))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "in"))
    assert "the files lack: model.layers.1.mlp.down_proj.weight, model.norm.weight\n" in message
    assert "no parameter takes: model.layers.0.self_attn.q_norm.weight, model.layers.2.mlp.up_proj.weight\n" in message
    assert "model.layers.0.self_attn.k_proj.weight is [8, 8], expected [4, 8]" in message
    assert "lm_head.weight: I8" in message


def test_rows_that_miss_or_repeat_a_parameter_are_an_error(tmp_path):
    source = write_folder(tmp_path / "in", random_tensors())
    config, weight_map = read_config(VALUES)
    with pytest.raises(weights.WeightsError, match=r"parameters that no row fills: embedding\n") as caught:
        weights.load(source, config, weight_map._replace(rows=weight_map.rows[1:]))
    assert "no parameter takes: model.embed_tokens.weight\n" in str(caught.value)
    with pytest.raises(weights.WeightsError, match=r"by the rows exactly once: embedding, model.embed_tokens.weight"):
        weights.load(source, config, weight_map._replace(rows=(weight_map.rows[0], *weight_map.rows)))


def test_a_tied_copy_that_differs_is_an_error(tmp_path):
    tensors = random_tensors(tie_word_embeddings=True)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1
    with pytest.raises(weights.WeightsError, match=r"lm_head.weight differs from model.embed_tokens.weight.*tie_word"):
        load(write_folder(tmp_path / "in", tensors, tie_word_embeddings=True))


def test_pickled_weights_are_never_opened(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"not even a pickle")
    with pytest.raises(weights.WeightsError, match=r"\['pytorch_model.bin'\], which could run code.*save_pretrained"):
        weight_files(tmp_path)


def test_files_that_are_missing_or_broken_are_named(tmp_path):
    with pytest.raises(weights.WeightsError, match=r"no model.safetensors .*found no weights"):
        weight_files(tmp_path)
    source = write_folder(tmp_path / "in", random_tensors(), num_files=2)
    cut = source / "model-00002-of-00002.safetensors"
    cut.write_bytes(cut.read_bytes()[:-10])
    with pytest.raises(weights.WeightsError, match=r"model-00002-of-00002.safetensors: not a whole safetensors file"):
        load(source)
    cut.unlink()
    with pytest.raises(weights.WeightsError, match=r"names files that are not there: \['model-00002-of-00002"):
        load(source)
    (source / weights.INDEX_NAME).write_text("{}")
    with pytest.raises(weights.WeightsError, match=r"index.json: not a safetensors index"):
        load(source)


def test_export_refuses_adapters_other_sources_and_stale_files(tmp_path):
    config, weight_map = read_config(VALUES)
    adapted = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0), lora=Lora(rank=2))))[1]
    with pytest.raises(weights.WeightsError, match=r"blocks.q.lora_a.*Merge adapters"):
        weights.export(adapted, config, weight_map, tmp_path / "out")
    params, _, _ = load(write_folder(tmp_path / "in", random_tensors()))
    with pytest.raises(weights.WeightsError, match=r"tensors the model lacks \['other'\]"):
        weights.export(params, config, weight_map, tmp_path, source_dtypes={"other": "F32"})
    weights.export(params, config, weight_map, tmp_path / "out", max_shard_bytes=1500)
    with pytest.raises(weights.WeightsError, match="weights of another export"):
        weights.export(params, config, weight_map, tmp_path / "out")
