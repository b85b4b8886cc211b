"""Attention over a prefix tree: each sequence gets what it would get alone, and the same bits in every company."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from s3ft_jax.models.kernels import TREE, Attention, AttentionError, choose
from s3ft_jax.scoring.rows import RowShape, fill_rows
from s3ft_jax.sharding import make_mesh

HEADS, KV_HEADS, WIDTH = 4, 2, 8
OPTIONS = {
    "plain": {},
    "window": {"windows": (18,)},
    "softcap_and_scale": {"softcap": 2.0, "scale": 0.4},
    "windows_by_layer": {"windows": (0, 20), "kind": 1},
}


def sequences():
    """Prompt and response: shared text of 70 tokens, questions of 3 to 40 below it, two or three choices each."""
    rng = np.random.default_rng(0)

    def ids(low, high):
        return tuple(rng.integers(0, 50, rng.integers(low, high)).tolist())

    shared = ids(70, 71)
    questions = [shared + ids(3, 40) for _ in range(4)]
    return [(question, ids(2, 30)) for question in questions for _ in range(int(rng.integers(2, 4)))]


def heads_of(tokens, positions):
    """Queries, keys and values that follow from token and position, as a decoder's first layer makes them."""
    tables = jax.random.split(jax.random.key(0), 6)
    found = []
    for number, heads in enumerate((HEADS, KV_HEADS, KV_HEADS)):
        by_token = jax.random.normal(tables[2 * number], (50, heads, WIDTH))
        by_position = jax.random.normal(tables[2 * number + 1], (256, heads, WIDTH))
        found.append(by_token[tokens] + by_position[positions])
    return found


def mixed(rows, options, mesh=None):
    """Attention of rows side by side."""
    tokens, positions, tree = (
        jax.tree.map(lambda *arrays: np.stack(arrays), *[getattr(row.arrays, name) for row in rows])
        for name in ("tokens", "positions", "tree")
    )
    options = {**options, "kind": None if "kind" not in options else jnp.int32(options["kind"])}
    attention = Attention(TREE, mesh)
    run = jax.jit(lambda heads, positions, tree: attention(*heads, positions, tree, **options))
    return np.asarray(run(heads_of(tokens, positions), positions, tree))


def lay_out(pairs, size=512):
    return list(fill_rows([p for p, _ in pairs], [r for _, r in pairs], range(len(pairs)), RowShape(size, 256), 0))


def of_pair(row, found, number):
    """Attention's output at the places that read a pair's response."""
    slots = dict(row.slots)[number]
    return found[row.arrays.places[slots]]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_is_the_reference(options):
    pairs = sequences()
    (row,) = lay_out(pairs)
    found = mixed([row], options)[0]
    alone = {**options, "kind": None if "kind" not in options else jnp.int32(options["kind"])}
    positions = np.arange(256)[None]
    reference = jax.jit(lambda heads, segments: Attention("xla")(*heads, positions, segments, **alone))
    for number, (prompt, response) in enumerate(pairs):
        tokens, fed = np.zeros((1, 256), np.int32), (prompt + response)[:-1]
        tokens[0, : len(fed)] = fed
        expected = reference(heads_of(tokens, positions), (positions < len(fed)).astype(np.int32))
        wanted = np.asarray(expected)[0, len(prompt) - 1 : len(fed)]
        np.testing.assert_allclose(of_pair(row, found, number), wanted, atol=1e-5)


def test_company_and_place_change_no_bit():
    pairs = sequences()
    (row,) = lay_out(pairs)
    found = mixed([row], {})[0]
    for number in (0, 3, len(pairs) - 1):
        (alone,) = lay_out([pairs[number]])
        assert of_pair(alone, mixed([alone], {})[0], 0).tobytes() == of_pair(row, found, number).tobytes()


@pytest.mark.parametrize("tensor", [2, 4])
def test_over_a_mesh_each_device_has_its_own_rows(tensor):
    """Over tensor 2 the heads are cut too; two key-value heads over tensor 4 are not."""
    rows = lay_out(sequences(), size=192)[:2]
    assert len(rows) == 2
    parts = mixed(rows, {}, make_mesh(data=1, fsdp=2, tensor=tensor))
    for number, row in enumerate(rows):
        used = slice(0, row.num_tokens)
        np.testing.assert_allclose(parts[number, used], mixed([row], {})[0, used], atol=1e-6)
        assert np.abs(parts[number, used]).max() > 0.1


def test_rows_without_a_mesh_are_computed_one_after_the_other():
    rows = lay_out(sequences(), size=192)[:2]
    both = mixed(rows, {})
    for number, row in enumerate(rows):
        used = slice(0, row.num_tokens)
        np.testing.assert_allclose(both[number, used], mixed([row], {})[0, used], atol=1e-6)


def test_the_memory_grows_with_the_row_and_not_with_its_square():
    def temporaries(length):
        pairs = [(tuple(range(length - 1)), (1, 2))]
        (row,) = fill_rows([pairs[0][0]], [pairs[0][1]], [0], RowShape(length, length), 0)
        arrays = jax.tree.map(lambda array: jax.ShapeDtypeStruct((1, *np.shape(array)), jnp.int32), row.arrays)
        heads = [jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)] * 3
        run = jax.jit(lambda q, k, v, positions, tree: Attention(TREE)(q, k, v, positions, tree))
        return run.lower(*heads, arrays.positions, arrays.tree).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(8192) <= 2.2 * temporaries(4096)


def test_it_is_no_choice_of_the_config():
    with pytest.raises(AttentionError, match=r"train.attention = 'tree' is not known"):
        choose(TREE, "cpu", "float32", 0.0, None)
