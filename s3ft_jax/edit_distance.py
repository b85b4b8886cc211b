"""Edit distance between rows of token ids: how differently two responses say it. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 2048
"""Tokens of a row that are looked at; what lies behind them is left out, so that no row takes quadratic time."""


def edit_distance(one: Sequence[int], two: Sequence[int]) -> int:
    """Fewest insertions, deletions and replacements of a token that turn ``one`` into ``two``.

    By Myers' bit vectors in Hyyro's form (H. Hyyro 2003, "A bit-vector algorithm for computing Levenshtein and Damerau
    edit distances"): a column of the table is two whole numbers, so a pair costs len(two) steps on len(one) bits, about
    half a millisecond for 500 tokens each.

    Args:
      one, two: token ids; of more than ``LONGEST`` only the first are compared.
    """
    one, two = one[:LONGEST], two[:LONGEST]
    if not one:
        return len(two)
    places: dict[int, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    rises, falls, distance = every, 0, len(one)  # of the distance, from a place of ``one`` to the next
    for token in two:
        match = places.get(token, 0)
        same = (((match & rises) + rises) ^ rises) | match | falls
        more, fewer = falls | ~(same | rises) & every, rises & same
        distance += bool(more & last) - bool(fewer & last)
        more, fewer = more << 1 | 1, fewer << 1
        rises, falls = (fewer | ~(same | more)) & every, more & same & every
    return distance


def mean_distances(rows: Sequence[Sequence[int]]) -> list[float]:
    """For each row its mean distance from the others, in tokens; 0 for a row that is alone."""
    totals = [0] * len(rows)
    for first in range(len(rows)):
        for second in range(first + 1, len(rows)):
            distance = edit_distance(rows[first], rows[second])
            totals[first] += distance
            totals[second] += distance
    return [total / max(1, len(rows) - 1) for total in totals]
