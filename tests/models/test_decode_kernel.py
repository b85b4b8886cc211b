"""The decode kernel reads what is needed and nothing else; its cuts of the cache, and its list of visits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import SingleDeviceSharding

from s3ft_jax.models.attention import attend
from s3ft_jax.models.decode_kernel import LANES, LONGEST, Blocks, Visits, decode_attention, positions_last


def test_visits_of_the_docstring():
    visits = Visits.of(jnp.asarray([5, 12, 0]), Blocks(12, 1, 4, 4, False), 0)
    steps = np.arange(int(visits.count[0]))
    rows = np.asarray(visits.rows)[steps]
    assert rows.tolist() == [0, 0, 2]
    assert (steps - np.asarray(visits.offsets)[rows]).tolist() == [0, 1, 0]


@pytest.mark.parametrize("window", [0, 1, 6, 100])
@pytest.mark.parametrize("num_slots", [16, 18])
def test_every_block_that_is_seen_is_visited_once(num_slots, window):
    positions = np.array([0, 3, num_slots, 4, 15, 9, num_slots - 1])
    visits = Visits.of(jnp.asarray(positions), Blocks(num_slots, 1, 4, 4, False), window)
    steps = np.arange(int(visits.count[0]))
    rows = np.asarray(visits.rows)[steps]
    found = list(zip(rows, steps - np.asarray(visits.offsets)[rows], strict=True))
    expected = []
    for row, position in enumerate(positions):
        if position < num_slots:
            seen = [slot for slot in range(position + 1) if not window or position - slot < window]
            expected += [(row, block) for block in sorted({slot // 4 for slot in seen})]
            assert int(visits.starts[row]) == seen[0]
    assert found == expected


def test_a_grid_is_never_empty_and_what_it_visits_is_there():
    visits = Visits.of(jnp.asarray([8, 8]), Blocks(8, 1, 4, 4, False), 0)
    row = int(visits.rows[0])
    assert visits.count.tolist() == [1] and 0 <= row < 2 and 0 <= -int(visits.offsets[row]) < 2


@pytest.mark.parametrize("head_dim", [16, 64, 80, 96, 128, 256])
@pytest.mark.parametrize("num_slots", [16, 64, 128, 192, 384, 1040, 2048, 3072])
@pytest.mark.parametrize("number_bytes", [2, 4])
def test_blocks_fit(head_dim, num_slots, number_bytes):
    for num_heads in (1, 2, 3, 8, 32):
        blocks = Blocks.of(num_heads, num_slots, head_dim, number_bytes)
        assert num_heads % blocks.heads == 0 and blocks.size % blocks.written == 0
        assert blocks.size == num_slots or (blocks.size % LANES == 0 and blocks.size <= min(LONGEST, num_slots))
        assert blocks.heads * blocks.size * head_dim * number_bytes <= 2**20
        assert num_slots % blocks.size == 0 or num_slots % LANES


@pytest.mark.parametrize(
    "num_heads, num_slots, head_dim, number_bytes, expected",
    [
        (8, 1024, 128, 2, Blocks(1024, 8, 256, 16, False)),  # Llama 3 in bfloat16
        (2, 1024, 128, 4, Blocks(1024, 2, 512, 16, False)),  # a quarter of it in float32
        (8, 768, 256, 4, Blocks(768, 8, 128, 16, False)),  # Gemma 2, twice as large as aimed at
        (32, 4096, 128, 4, Blocks(4096, 16, 128, 16, False)),
        (3, 1536, 64, 4, Blocks(1536, 3, 512, 128, True)),
        (8, 64, 64, 4, Blocks(64, 8, 64, 16, False)),
    ],
)
def test_blocks_of_some_models(num_heads, num_slots, head_dim, number_bytes, expected):
    assert Blocks.of(num_heads, num_slots, head_dim, number_bytes) == expected


@pytest.mark.parametrize("head_dim", [64, 128])
def test_nothing_else_is_read(head_dim):
    """Other layers, blocks after a row's position and before its window, and rows without a token are no numbers."""
    num_slots, window, scale = 512, 100, 0.1
    blocks = Blocks(num_slots, 1, 128, 128 if positions_last(num_slots, head_dim) else 16, head_dim == 64)
    positions = np.array([0, 127, 512, 300, 511])
    keys = jax.random.split(jax.random.key(0), 5)
    q, k, v = (jax.random.normal(key, (5, heads, head_dim)) for key, heads in zip(keys, (4, 2, 2), strict=False))
    cache = [np.full((3, 5, 2, num_slots, head_dim), np.nan, np.float32) for _ in range(2)]
    mask = np.zeros((5, 1, num_slots), bool)
    for row, position in enumerate(positions):
        if position < num_slots:
            first = max(position - window + 1, 0)
            mask[row, 0, first : position + 1] = True
            read = slice(first // 128 * 128, position // 128 * 128 + 128)
            for array, key in zip(cache, keys[3:], strict=True):
                array[1, row, :, read] = jax.random.normal(jax.random.fold_in(key, row), (2, 128, head_dim)).repeat(
                    (read.stop - read.start) // 128, axis=1
                )
    visits = Visits.of(jnp.asarray(positions), blocks, window)
    mixed, *kept = decode_attention(
        q, k, v, *map(jnp.asarray, cache), jnp.int32(1), jnp.asarray(positions, jnp.int32), visits, blocks,
        scale=scale, interpret=True,
    )  # fmt: skip
    for array, new in zip(cache, (k, v), strict=True):
        for row in (0, 1, 3, 4):
            array[1, row, :, positions[row]] = new[row]
    for one, other in zip(kept, cache, strict=True):
        np.testing.assert_array_equal(one, other)
    seen = [jnp.nan_to_num(jnp.asarray(array[1])) for array in cache]
    expected = attend(q[:, None], *seen, jnp.asarray(mask), scale=scale)[:, 0]
    rows = jnp.asarray([0, 1, 3, 4])
    np.testing.assert_allclose(mixed[rows], expected[rows], atol=1e-5)
    assert not np.asarray(mixed[2]).any()


@pytest.mark.parametrize("head_dim", [64, 128])
def test_on_a_simulated_tpu(head_dim):
    """Copies to and from a chip's memory, which starts as no numbers, give what plain JAX gives."""
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = [(3, 2, head_dim), *[(3, 1, head_dim)] * 2, *[(1, 3, 1, 256, head_dim)] * 2]
    parts = [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]
    positions = jnp.asarray([200, 256, 0])
    blocks = Blocks(256, 1, 128, 128 if positions_last(256, head_dim) else 16, positions_last(256, head_dim))

    def run(interpret):
        program = jax.jit(
            lambda *parts: decode_attention(
                *parts, jnp.int32(0), positions, Visits.of(positions, blocks, 0), blocks, scale=0.1, interpret=interpret
            )
        )
        return program(*parts)

    for one, other in zip(run(pltpu.InterpretParams(uninitialized_memory="nan")), run(True), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# [S, H] -> [H, S]? As the compiler for v5e answers, float32 and bfloat16 alike
LAYOUTS = [
    ((16, 16), False), ((48, 16), True), ((64, 32), True), ((64, 64), False), ((128, 64), True), ((192, 64), True),
    ((1040, 64), True), ((128, 80), True), ((192, 96), False), ((384, 96), True), ((128, 128), False),
    ((1024, 128), False), ((192, 192), False), ((1024, 192), True), ((1024, 256), False),
]  # fmt: skip


@pytest.mark.parametrize("shape, expected", LAYOUTS)
def test_the_layout_is_the_compilers(shape, expected):
    assert positions_last(*shape) == expected


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_compilers_layouts_are_still_those(dtype, monkeypatch):
    pytest.importorskip("libtpu", reason="needs libtpu: pip install 's3ft_jax[tpu]'")
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    place = SingleDeviceSharding(topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices[0])
    shapes = [jax.ShapeDtypeStruct((2, 4, 2, *shape), dtype, sharding=place) for shape, _ in LAYOUTS]
    formats = jax.jit(lambda *arrays: arrays).lower(*shapes).compile().input_formats[0]
    turned = [found.layout.major_to_minor == (0, 1, 2, 4, 3) for found in formats]
    assert turned == [expected for _, expected in LAYOUTS]
