"""The largest size that fits, found with few questions, each of which may be a compile of a minute. No JAX.

In: a question (size -> bytes needed) and what is there. Out: the largest size that fits and whether the next does not.
Memory grows close to linearly with a batch, so a straight line through two answers points near the edge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Largest:
    """Outcome of a search.

    Attributes:
      size: largest size that was found to fit; 0 if none was.
      exact: whether the next size was found not to fit; else there may be larger ones that fit.
      answers: size -> bytes, in the order asked.
    """

    size: int
    exact: bool
    answers: dict[int, int]


def largest(
    ask: Callable[[int], int],
    capacity: int,
    *,
    unit: int,
    known: dict[int, int],
    questions: int,
    most: int,
    slope: float = 0.0,
) -> Largest:
    """Search the multiples of ``unit``.

        capacity 100, unit 1, known {1: 22}:  2 -> 30, line 14 + 8 n: 10 -> 94, 11 -> 102: the largest is 10

    Args:
      ask: size -> bytes it needs; more than ``capacity`` if it does not fit.
      capacity: bytes.
      unit: sizes are multiples of this.
      known: answers already there.
      questions: how many may be asked.
      most: no size above this is asked for.
      slope: guess of the bytes that one more needs, for the first question; 0: none.
    """
    answers = {size: need for size, need in known.items() if size % unit == 0}
    for _ in range(questions):
        size = _next(answers, capacity, unit, most, slope)
        if size is None:
            break
        answers[size] = ask(size)
    fits, over = _bracket(answers, capacity, unit)
    return Largest(fits, over is not None and over - fits == unit, answers)


def _bracket(answers: dict[int, int], capacity: int, unit: int) -> tuple[int, int | None]:
    """Largest size that fits (0: none) and the smallest that does not (None: none)."""
    over = min((size for size, need in answers.items() if need > capacity), default=None)
    fits = [size for size, need in answers.items() if need <= capacity and (over is None or size < over)]
    return max(fits, default=0), over


def _next(answers: dict[int, int], capacity: int, unit: int, most: int, slope: float) -> int | None:
    """The size to ask for next; None when the edge is found."""
    fits, over = _bracket(answers, capacity, unit)
    low, high = fits + unit, (most if over is None else over - unit)
    if low > high:
        return None
    guess = _line(answers, capacity, slope)
    if guess is None:
        guess = 2 * fits if over is None else over // 2
    size = round(guess // unit) * unit
    if over is not None and fits + unit < over - unit and not low <= size <= high:
        size = (low + high) // 2 // unit * unit
    return min(max(size, low), high // unit * unit)


def _line(answers: dict[int, int], capacity: int, slope: float) -> float | None:
    """Where the line through the two answers nearest to ``capacity`` meets it; None if they are no rising line.

    Through a single answer it is taken to rise by ``slope``.
    """
    nearest = sorted(answers.items(), key=lambda answer: abs(answer[1] - capacity))[:2]
    if not nearest:
        return None
    (size, need), (other, other_need) = min(nearest), max(nearest)
    if other > size:
        slope = (other_need - need) / (other - size)
    return size + (capacity - need) / slope if slope > 0 else None
