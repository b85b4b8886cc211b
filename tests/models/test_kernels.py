"""Every implementation of attention over whole rows gives the reference's numbers and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from s3ft_jax.models import kernels
from s3ft_jax.models.kernels import Attention, AttentionError, choose
from s3ft_jax.sharding import AXES, ROWS, make_mesh

# two rows of packed segments, positions rising by one within each, padding at the end
LENGTHS = ([60, 40, 30], [13, 120])
OPTIONS = {
    "plain": {},
    "window": {"windows": (18,)},
    "softcap_and_scale": {"softcap": 2.0, "scale": 0.4},
    "windows_by_layer": {"windows": (0, 20), "kind": 1},
    "no_window_in_this_layer": {"windows": (0, 20), "kind": 0},
}


def rows(length: int = 140, heads: int = 4, kv_heads: int = 2, head_dim: int = 16):
    """Queries, keys, values, positions and segments of two packed rows."""
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (
        jax.random.normal(key, (2, length, n, head_dim))
        for key, n in zip(keys, (heads, kv_heads, kv_heads), strict=True)
    )
    positions, segments = np.zeros((2, length), np.int32), np.zeros((2, length), np.int32)
    for row, lengths in enumerate(LENGTHS):
        ends = np.cumsum(lengths)
        for number, (start, end) in enumerate(zip(ends - lengths, ends, strict=True), 1):
            positions[row, start:end], segments[row, start:end] = np.arange(end - start), number
    return q, k, v, jnp.asarray(positions), jnp.asarray(segments)


def mixed_and_gradients(attention: Attention, options: dict, arrays):
    """Attention's output where it counts, and the gradients of a function of it."""
    options = {**options, "kind": None if "kind" not in options else jnp.int32(options["kind"])}
    *heads, positions, segments = arrays

    @functools.partial(jax.jit, static_argnums=())
    def run(*heads):
        mixed = attention(*heads, positions, segments, **options)
        return jnp.where(segments[:, :, None, None] > 0, mixed, 0.0)

    gradients = jax.jit(jax.grad(lambda *heads: jnp.sum(jnp.sin(run(*heads))), argnums=(0, 1, 2)))(*heads)
    return run(*heads), *gradients


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("implementation", ["chunked", "splash"])
def test_it_is_the_reference(implementation, options):
    arrays = rows()
    found = mixed_and_gradients(Attention(implementation, interpret=True), options, arrays)
    expected = mixed_and_gradients(Attention("xla"), options, arrays)
    for one, other in zip(found, expected, strict=True):
        assert float(jnp.max(jnp.abs(one - other))) <= 1e-5 * float(jnp.max(jnp.abs(other)))


@pytest.mark.parametrize("length", [1, 7, 16, 17, 140])
def test_chunks_of_any_length(length, monkeypatch):
    monkeypatch.setattr(kernels, "CHUNK", 16)
    arrays = [array[:, :length] for array in rows()]
    found, expected = (mixed_and_gradients(Attention(name), {}, arrays)[0] for name in ("chunked", "xla"))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("most", [2048, 32])
@pytest.mark.parametrize("window", [0, 18])
def test_what_stands_around_cudnn_is_the_reference(most, window, monkeypatch):
    """Masks and parts of queries, with JAX's own attention in cuDNN's place."""
    monkeypatch.setattr(kernels, "MASKED", most)
    arrays = rows()
    heads, segments = arrays[:3], arrays[4]
    scale = heads[0].shape[-1] ** -0.5

    def loss(implementation, *heads):
        rule = functools.partial(kernels._cudnn, implementation="xla") if implementation else kernels._reference
        mixed = rule(*heads, *arrays[3:], window=window, scale=scale, softcap=0.0)
        return jnp.sum(jnp.sin(jnp.where(segments[:, :, None, None] > 0, mixed, 0.0)))

    found, expected = (
        jax.jit(jax.value_and_grad(loss, argnums=(1, 2, 3)), static_argnums=0)(name, *heads) for name in ("xla", "")
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [2, 1])
def test_a_kernel_over_a_mesh_is_the_kernel_on_one_device(kv_heads):
    """One key-value head over tensor 2 does not divide: every device then computes all heads."""
    arrays = rows(kv_heads=kv_heads)
    whole = mixed_and_gradients(Attention("splash", interpret=True), {}, arrays)
    mesh = make_mesh(data=1, fsdp=2, tensor=2)
    parts = mixed_and_gradients(Attention("splash", mesh, interpret=True), {}, arrays)
    for one, other in zip(parts, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_nothing_quadratic_is_kept(monkeypatch):
    """What the compiled gradient needs beside its arguments grows with T, not with its square; so do cuDNN's masks."""
    monkeypatch.setattr(kernels, "MASKED", 256)
    around_cudnn = functools.partial(kernels._cudnn, implementation="xla", window=0, scale=1.0, softcap=0.0)

    def temporaries(rule, length: int) -> int:
        heads = [jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)] * 3
        tokens = [jax.ShapeDtypeStruct((1, length), jnp.int32)] * 2
        gradient = jax.jit(jax.grad(lambda *arrays: jnp.sum(rule(*arrays)), argnums=(0, 1, 2)))
        return gradient.lower(*heads, *tokens).compile().memory_analysis().temp_size_in_bytes

    for rule in (Attention("chunked"), around_cudnn):
        assert temporaries(rule, 8192) <= 2.2 * temporaries(rule, 4096)
    assert temporaries(Attention("xla"), 8192) > 3.9 * temporaries(Attention("xla"), 4096)


@pytest.mark.parametrize(
    ("platform", "dtype", "softcap", "expected"),
    [
        ("cpu", "float32", 0.0, "xla"),
        ("tpu", "float32", 50.0, "splash"),
        ("gpu", "bfloat16", 0.0, "cudnn"),
        ("cuda", "bfloat16", 0.0, "cudnn"),
        ("gpu", "float32", 0.0, "chunked"),
        ("gpu", "bfloat16", 50.0, "chunked"),
        ("rocm", "bfloat16", 0.0, "chunked"),
    ],
)
def test_auto_takes_what_suits(platform, dtype, softcap, expected):
    assert choose("auto", platform, dtype, softcap, None) == Attention(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flash", "cpu", "float32", 0.0), "train.attention = 'flash' is not known; choose from auto, xla"),
        (("splash", "cpu", "float32", 0.0), "'splash' needs tpu, this is cpu; choose auto"),
        (("cudnn", "tpu", "bfloat16", 0.0), "'cudnn' needs gpu, this is tpu"),
        (("cudnn", "gpu", "float32", 0.0), "needs train.activation_dtype=bfloat16"),
        (("cudnn", "gpu", "bfloat16", 30.0), "without soft caps"),
    ],
)
def test_what_cannot_be_had_is_refused(arguments, message):
    with pytest.raises(AttentionError, match=message):
        choose(*arguments, None)


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")
def test_cudnn_is_the_reference():
    arrays = [array.astype(jnp.bfloat16) if array.ndim == 4 else array for array in rows(head_dim=64)]
    for options in ({}, {"windows": (18,)}):
        found = mixed_and_gradients(Attention("cudnn"), options, arrays)
        expected = mixed_and_gradients(Attention("xla"), options, arrays)
        for one, other in zip(found, expected, strict=True):
            one, other = one.astype(jnp.float32), other.astype(jnp.float32)
            assert float(jnp.max(jnp.abs(one - other))) <= 2e-2 * float(jnp.max(jnp.abs(other)))


@pytest.mark.parametrize("topology", ["v5e:2x2", "v6e:2x2"])
@pytest.mark.parametrize(("head_dim", "options"), [(64, {}), (256, {"windows": (0, 128), "softcap": 50.0})])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_splash_compiles_for_a_tpu(topology, head_dim, options, dtype, monkeypatch):
    """Ahead of time, with the compiler for TPUs but without one: forward and backward, over fsdp 2 x tensor 2."""
    pytest.importorskip("libtpu", reason="needs libtpu: pip install 's3ft_jax[tpu]'")
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = jax.sharding.Mesh(np.reshape(devices, (1, 2, 2)), AXES, axis_types=(AxisType.Auto,) * 3)
    attention = Attention("splash", mesh)
    heads = NamedSharding(mesh, PartitionSpec(ROWS, None, "tensor", None))
    tokens = NamedSharding(mesh, PartitionSpec(ROWS, None))
    shapes = [
        *(jax.ShapeDtypeStruct((2, 512, n, head_dim), dtype, sharding=heads) for n in (8, 4, 4)),
        *(jax.ShapeDtypeStruct((2, 512), jnp.int32, sharding=tokens) for _ in range(2)),
    ]
    kind = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec()))

    def loss(q, k, v, positions, segments, kind):
        return jnp.sum(attention(q, k, v, positions, segments, kind=kind, **options).astype(jnp.float32))

    with jax.default_matmul_precision("highest"):  # as launch.prepare_jax sets it
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*shapes, kind).compile()
    assert "tpu_custom_call" in compiled.as_text()
