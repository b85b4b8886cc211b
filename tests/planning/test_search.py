"""search: the edge is found with few questions and never overstated."""

import random

import pytest

from s3ft_jax.planning.search import largest


def linear(base: int, each: int):
    asked = []

    def ask(size: int) -> int:
        asked.append(size)
        return base + each * size

    return ask, asked


def test_the_example_of_the_docstring():
    ask, asked = linear(14, 8)
    found = largest(ask, 100, unit=1, known={1: 22}, questions=8, most=1000)
    assert asked == [2, 10, 11]
    assert (found.size, found.exact) == (10, True)
    assert found.answers == {1: 22, 2: 30, 10: 94, 11: 102}


def test_sizes_are_multiples_of_the_unit():
    ask, asked = linear(0, 1)
    found = largest(ask, 100, unit=16, known={16: 16}, questions=9, most=2**10)
    assert (found.size, found.exact) == (96, True)
    assert all(size % 16 == 0 for size in asked)


def test_a_guess_of_the_slope_serves_for_the_first_question():
    ask, asked = linear(14, 8)
    found = largest(ask, 100, unit=1, known={1: 22}, questions=8, most=1000, slope=8.0)
    assert asked == [10, 11] and (found.size, found.exact) == (10, True)


@pytest.mark.parametrize("base, known, size, exact", [(200, {1: 208}, 0, True), (90, {4: 122}, 1, True)])
def test_a_start_that_does_not_fit_is_searched_downwards(base, known, size, exact):
    ask, _ = linear(base, 8)
    found = largest(ask, 100, unit=1, known=known, questions=9, most=1000)
    assert (found.size, found.exact) == (size, exact)


def test_no_question_is_asked_when_none_may_be():
    ask, asked = linear(0, 1)
    found = largest(ask, 100, unit=1, known={8: 8}, questions=0, most=1000)
    assert asked == [] and (found.size, found.exact) == (8, False)


def test_nothing_above_most_is_asked_for():
    ask, asked = linear(0, 1)
    found = largest(ask, 10**9, unit=1, known={1: 1}, questions=20, most=64)
    assert max(asked) == found.size == 64 and not found.exact


@pytest.mark.parametrize("seed", range(40))
def test_with_curved_memory_the_answer_is_never_too_large(seed):
    draw = random.Random(seed)
    base, slope, curve = draw.uniform(1, 60), draw.uniform(0.5, 9), draw.uniform(0, 0.05)
    unit = draw.choice([1, 4, 16])

    def ask(size: int) -> int:
        steps = size / unit
        return round(1000 * (base + slope * steps + curve * steps**2 + (3 if steps > 7 else 0)))

    true = max((unit * n for n in range(1, 200) if ask(unit * n) <= 100_000), default=0)
    start = unit * draw.choice([1, 2, 8])
    guess = draw.choice([0.0, 1000 * slope / unit, 1e4 / unit])
    found = largest(ask, 100_000, unit=unit, known={start: ask(start)}, questions=8, most=2**16 * unit, slope=guess)
    assert found.size == true
