"""Rows: the worked example, and that every pair is whole and nothing stands twice."""

import numpy as np
import pytest

from s3ft_jax.models.tree_attention import PAGE, QUERIES
from s3ft_jax.scoring.rows import MOST_BRANCHES, RowShape, empty_row, fill_rows

P, Q, A, B, C, D, E, F = range(1, 9)


def fill(pairs, shape, pad_id=0):
    return list(fill_rows([p for p, _ in pairs], [r for _, r in pairs], range(len(pairs)), shape, pad_id))


def path_of(row, place):
    """Places that a token's block fetches, up to the token itself."""
    tree = row.arrays.tree
    block, column = divmod(int(tree.homes[place]), QUERIES)
    assert tree.queries[block, column] == place
    position = row.arrays.positions[place]
    assert tree.pages[block // 16] * PAGE > position
    return tree.paths[tree.branches[block], : position + 1].tolist()


def read_back(row):
    """Pair number -> the tokens on the way to its last slot, and how many of them are its response."""
    arrays, found = row.arrays, {}
    for number, slots in row.slots:
        path = path_of(row, arrays.places[slots[-1]])
        places = [path[position] for position in range(len(path) - len(slots), len(path))]
        assert arrays.places[slots].tolist() == places
        found[number] = (*arrays.tokens[path].tolist(), int(arrays.targets[slots[-1]])), len(slots)
        assert arrays.targets[slots].tolist() == list(found[number][0][-len(slots) :])
    return found


def test_the_worked_example():
    pairs = [((P, Q), (A, B, C)), ((P, Q), (A, B, D)), ((P, Q), (E, F))]
    (row,) = fill(pairs, RowShape(64, 64), pad_id=9)
    assert row.num_tokens == 5
    assert row.arrays.tokens[:6].tolist() == [P, Q, A, B, E, 9]
    assert row.arrays.positions[:5].tolist() == [0, 1, 2, 3, 2]
    assert row.arrays.count == 6
    assert row.arrays.places[:6].tolist() == [1, 2, 3, 3, 1, 4]
    assert row.arrays.targets[:6].tolist() == [A, B, C, D, E, F]
    assert {number: slots.tolist() for number, slots in row.slots} == {0: [0, 1, 2], 1: [0, 1, 3], 2: [4, 5]}
    assert path_of(row, 4) == [0, 1, 4]


def test_of_several_single_tokens_the_prompt_is_all_that_is_fed():
    (row,) = fill([((P, Q), (A,)), ((P, Q), (B,)), ((P, Q), (A,))], RowShape(64, 64))
    assert row.num_tokens == 2
    assert row.arrays.count == 2


def test_a_response_may_begin_where_another_prompt_goes_on():
    pairs = [((P, Q, A), (B, C)), ((P,), (Q, A, B, C)), ((P, Q), (A,)), ((P, Q, A, B, C, D), (E,))]
    (row,) = fill(pairs, RowShape(64, 64))
    assert row.num_tokens == 6  # P Q A B C D
    assert row.arrays.count == 5  # Q A B C after P, and E
    assert read_back(row) == {n: (p + r, len(r)) for n, (p, r) in enumerate(pairs)}


def random_pairs(count=120):
    rng = np.random.default_rng(0)

    def ids(high):
        return tuple(rng.integers(0, 3, rng.integers(1, high)).tolist())

    shots = [(), ids(40), ids(40)]
    prompts = [shots[rng.integers(3)] + ids(30) for _ in range(count // 3)]
    return [(prompts[rng.integers(len(prompts))], ids(25)) for _ in range(count)]


@pytest.mark.parametrize("size", [128, 512])
def test_every_pair_is_whole_in_one_row(size):
    pairs = random_pairs()
    rows = fill(pairs, RowShape(size, 128))
    assert len(rows) > 1
    found = {}
    for row in rows:
        assert row.num_tokens <= size
        found |= read_back(row)
    assert found == {number: (p + r, len(r)) for number, (p, r) in enumerate(pairs)}


def test_nothing_stands_twice_in_a_row():
    pairs = random_pairs()
    (row,) = fill(pairs, RowShape(4096, 128))
    beginnings = {(p + r)[:end] for p, r in pairs for end in range(1, len(p + r))}
    assert row.num_tokens == len(beginnings)
    read = {(p + r)[:end] for p, r in pairs for end in range(len(p) + 1, len(p + r) + 1)}
    assert row.arrays.count == len(read)


def test_a_row_ends_when_its_blocks_or_branches_do():
    few = fill([((1, 2), (3 + n, 4)) for n in range(40)], RowShape(64, 64))
    assert [len(row.slots) for row in few] == [16, 16, 8]
    many = fill([((1, 2), (3 + n, 4)) for n in range(MOST_BRANCHES + 1)], RowShape(4096, 64))
    assert [len(row.slots) for row in many] == [MOST_BRANCHES, 1]


def test_a_row_ends_when_its_slots_do():
    rows = fill([((1,), (n,)) for n in range(100)], RowShape(64, 64))
    assert [(len(row.slots), row.num_tokens) for row in rows] == [(64, 1), (36, 1)]


def test_the_shape_follows_from_the_length():
    assert RowShape.holding(5, 100, 1000) == RowShape(128, 128)
    assert RowShape.holding(129, 100, 1000) == RowShape(256, 256)
    assert RowShape.holding(129, 100, 130) == RowShape(256, 192)


def test_an_empty_row_computes_nothing():
    row = empty_row(RowShape(64, 64), pad_id=7)
    assert (row.num_tokens, row.arrays.count, row.arrays.tree.chunks) == (0, 0, 0)
    assert set(row.arrays.tokens.tolist()) == {7}
    assert fill([], RowShape(64, 64)) == []
