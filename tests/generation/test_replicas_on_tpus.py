"""The programs of several replicas, compiled for TPU slices that are not here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import topologies
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from s3ft_jax import sharding
from s3ft_jax.generation.engine import Engine
from s3ft_jax.generation.slots import Slots
from s3ft_jax.models import cached_attention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.sharding import AXES, ROWS

CONFIG = DecoderConfig(
    vocab_size=1024, num_layers=4, model_dim=512, mlp_dim=1024, num_heads=8, num_kv_heads=4, head_dim=128,
    max_positions=2048,
)  # fmt: skip


@pytest.mark.parametrize("name", ["v5e:2x2", "v6e:2x2"])
@pytest.mark.parametrize(("data", "tensor"), [(4, 1), (2, 2), (1, 4)])
def test_each_chip_runs_the_kernels_and_copies_no_cache(name, data, tensor, monkeypatch):
    pytest.importorskip("libtpu", reason="needs libtpu: pip install 's3ft_jax[tpu]'")
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    mesh = jax.sharding.Mesh(np.reshape(devices, (data, 1, tensor)), AXES, axis_types=(AxisType.Auto,) * 3)
    graphdef, params = nnx.split(nnx.eval_shape(lambda: Decoder(CONFIG, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)))
    params = sharding.placed(params, mesh)
    engine = Engine(
        graphdef, CONFIG, stop_ids=(0,), pad_id=0, num_slots=16, mesh=mesh, cache_dtype=jnp.bfloat16,
        activation_dtype=jnp.bfloat16, attention=cached_attention.choose(params),
    )  # fmt: skip
    programs = engine.programs
    assert (programs.num_replicas, engine.cache_buckets[-1]) == (data, 2048)

    def placed(leaf, place):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    rows = NamedSharding(mesh, PartitionSpec(ROWS))
    shapes = jax.eval_shape(lambda: programs.empty(1024))
    state = jax.tree.map(placed, shapes, programs.state_shardings(shapes))
    slots = jax.tree.map(lambda leaf: placed(leaf, rows), Slots(16 * data).rows)
    with jax.default_matmul_precision("highest"):
        decode = programs.decode.lower(params, state, slots, np.int32(1)).compile()
        moved = [jax.ShapeDtypeStruct((size,), jnp.int32, sharding=rows) for size in (16 * data, 16 * data, data)]
        move = programs.move.lower(state, state, *moved).compile()
        prompts = [jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows) for shape in ((2 * data, 1024), (2 * data,))]
        prefill = programs.prefill.lower(params, *prompts).compile()
    cache = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes.cache)) // 4
    assert decode.as_text().count("tpu_custom_call") == prefill.as_text().count("tpu_custom_call") == 1
    for program in (decode, move):
        memory = program.memory_analysis()
        assert memory.alias_size_in_bytes >= cache, "the cache is written where it lies"
        assert memory.temp_size_in_bytes < cache / 8
    scores = 2 * 1024 * 1024 * CONFIG.num_heads * 4 // tensor
    assert prefill.memory_analysis().temp_size_in_bytes < scores, "scores stay on the chip"
