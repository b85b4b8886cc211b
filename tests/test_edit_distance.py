"""edit_distance: the textbook table's numbers, and no quadratic time."""

import random
import time

import pytest

from s3ft_jax.edit_distance import LONGEST, edit_distance, mean_distances


def by_table(one, two):
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(two, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


@pytest.mark.parametrize(
    "one, two, distance", [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("", "", 0), ("flaw", "lawn", 2)]
)
def test_known_words(one, two, distance):
    assert edit_distance([ord(mark) for mark in one], [ord(mark) for mark in two]) == distance


def test_random_rows_agree_with_the_table():
    rng = random.Random(0)
    for _ in range(400):
        one, two = ([rng.randrange(4) for _ in range(rng.randrange(40))] for _ in range(2))
        assert edit_distance(one, two) == by_table(one, two) == edit_distance(two, one)


def test_long_rows_are_compared_by_their_beginning_in_no_time():
    one, two = [1] * LONGEST + [5] * 100_000, [1] * LONGEST + [6] * 90_000
    began = time.monotonic()
    assert edit_distance(one, two) == 0 and edit_distance(one, [2] * len(two)) == LONGEST
    assert time.monotonic() - began < 2


def test_mean_distances():
    assert mean_distances([(1, 2), (1, 2), (3, 4)]) == [1.0, 1.0, 2.0]
    assert mean_distances([(1, 2)]) == [0.0] and mean_distances([]) == []
