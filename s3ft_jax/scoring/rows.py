"""Pairs of prompt and response -> rows of a fixed size in which a common beginning stands once.

Sequences are sorted by their tokens, so that those which begin alike are neighbours, and laid one after the other into
a row; each adds the tokens in which it differs from the one before. That shares a question among its choices, a page of
examples among all questions asked below it, and the beginning of choices that begin alike. A row that is full ends
there; the next one starts with a whole sequence.

The logits at a place speak of the next token, so a response's first token is read at the prompt's last place, and a
token that nothing follows is not fed. Each different (place, next token) is one slot of the result:

    pairs            p q -> A B C,  p q -> A B D,  p q -> E F
    place            0   1   2   3   4             models/tree_attention.py says who sees whom
    token            p   q   A   B   E
    position         0   1   2   3   2
    slot             0   1   2   3   4   5
    read at          1   2   3   3   1   4
    next token       A   B   C   D   E   F
    slots of pairs   0 1 2,  0 1 3,  4 5
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from s3ft_jax.models.tree_attention import BLOCKS, PAGE, QUERIES, Tree

FILL = 4
"""Queries per block for which a row has blocks enough; with fewer on the average it ends before it is full."""
STEP = BLOCKS * FILL
"""Row sizes are multiples of this, so that their blocks are whole chunks."""
MOST_BRANCHES = 256
"""Branches of a row, so that their paths stay small (256 x 32,768 positions: 32 MB)."""


@dataclasses.dataclass(frozen=True)
class RowShape:
    """The shape of a row's arrays.

    Attributes:
      size: T, tokens.
      num_positions: S, of the longest path.
    """

    size: int
    num_positions: int

    @classmethod
    def holding(cls, length: int, row_tokens: int, max_positions: int) -> RowShape:
        """The shape for a sequence of ``length`` fed tokens, which follows from that length alone.

        Args:
          length: tokens.
          row_tokens: of an ordinary row; doubled until the sequence fits.
          max_positions: of the model.
        """
        size = -(-row_tokens // STEP) * STEP
        while size < length:
            size *= 2
        return cls(size, min(size, -(-max_positions // PAGE) * PAGE))

    @property
    def num_blocks(self) -> int:
        """M, blocks of queries."""
        return self.size // FILL

    @property
    def num_branches(self) -> int:
        """A, branches."""
        return min(self.num_blocks, MOST_BRANCHES)


class RowArrays(NamedTuple):
    """What the program reads of a row; all int32. With several rows side by side each array has an axis B in front.

    Attributes:
      tokens, positions: [T].
      tree: who sees whom.
      places, targets: [T]; slot i asks for the log-probability of ``targets[i]`` by the logits at ``places[i]``.
      count: scalar, slots in use.
    """

    tokens: np.ndarray
    positions: np.ndarray
    tree: Tree
    places: np.ndarray
    targets: np.ndarray
    count: np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
    """One row, and who wants what of its result.

    Attributes:
      arrays: for the program.
      num_tokens: tokens in use.
      slots: (pair number, [response length] slots of its tokens).
    """

    arrays: RowArrays
    num_tokens: int
    slots: list[tuple[int, np.ndarray]]


def fill_rows(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    numbers: Sequence[int],
    shape: RowShape,
    pad_id: int,
) -> Iterator[Row]:
    """Rows that hold the given pairs, each pair in one row.

    Args:
      prompts, responses: token ids, at least one each.
      numbers: the pairs to lay out, of at most ``shape.size`` + 1 tokens each.
      shape: of every row.
      pad_id: fills unused places.
    """
    whole = {number: np.array([*prompts[number], *responses[number]], np.int32) for number in numbers}
    # big-endian bytes are in the order of the tokens, a beginning before what goes on
    ordered = sorted(numbers, key=lambda number: whole[number].astype(">i4").tobytes())
    row, before = _Filling(shape, pad_id), None
    for number in ordered:
        sequence = whole[number]
        same = 0 if before is None else _common(before, sequence)
        if not row.add(number, sequence, len(prompts[number]), same):
            yield row.finished()
            row = _Filling(shape, pad_id)
            row.add(number, sequence, len(prompts[number]), 0)
        before = sequence
    if before is not None:
        yield row.finished()


def empty_row(shape: RowShape, pad_id: int) -> Row:
    """A row of padding."""
    return _Filling(shape, pad_id).finished()


def _common(one: np.ndarray, other: np.ndarray) -> int:
    """How many tokens two sequences have in common from the beginning."""
    length = min(len(one), len(other))
    differs = one[:length] != other[:length]
    return int(np.argmax(differs)) if differs.any() else length


class _Filling:
    """A row that is being filled."""

    def __init__(self, shape: RowShape, pad_id: int):
        self._shape = shape
        self._tokens = np.full(shape.size, pad_id, np.int32)
        self._positions, self._homes, self._places, self._targets = (np.zeros(shape.size, np.int32) for _ in range(4))
        self._paths = np.zeros((shape.num_branches, shape.num_positions), np.int32)
        self._path = np.zeros(shape.num_positions, np.int32)
        # the slot in which the token after each position is read, -1 where nobody has asked
        self._read = np.full(shape.num_positions, -1, np.int64)
        self._blocks: list[tuple[int, int, int, int]] = []  # first place, how many, last position, branch
        self._num_tokens = self._num_branches = self._count = self._known = 0
        self._slots: list[tuple[int, np.ndarray]] = []

    def add(self, number: int, sequence: np.ndarray, prompt_length: int, same: int) -> bool:
        """Lay out one sequence, of which ``same`` tokens are those of the one before; False if there is no room."""
        fed = len(sequence) - 1
        shared = min(same, self._known)
        new = fed - shared
        starts = range(shared, fed, QUERIES)
        read = self._read[:fed].copy()
        read[max(0, same - 1) :] = -1  # another token follows
        asked = np.flatnonzero(read[prompt_length - 1 :] < 0) + prompt_length - 1
        if (
            self._num_tokens + new > self._shape.size
            or len(self._blocks) + len(starts) > self._shape.num_blocks
            or self._num_branches + (new > 0) > self._shape.num_branches
            or self._count + len(asked) > self._shape.size
        ):
            return False
        first = self._num_tokens
        at = slice(first, first + new)
        self._tokens[at], self._positions[at] = sequence[shared:fed], np.arange(shared, fed)
        self._path[shared:fed] = np.arange(first, first + new)
        if new:
            self._paths[self._num_branches, :fed] = self._path[:fed]
            for start in starts:
                end = min(start + QUERIES, fed)
                self._blocks.append((first + start - shared, end - start, end - 1, self._num_branches))
            self._num_branches += 1
        slots = slice(self._count, self._count + len(asked))
        self._places[slots], self._targets[slots] = self._path[asked], sequence[asked + 1]
        read[asked] = np.arange(slots.start, slots.stop)
        self._read[:fed] = read
        self._slots.append((number, read[prompt_length - 1 :]))
        self._num_tokens, self._count, self._known = first + new, slots.stop, fed
        return True

    def finished(self) -> Row:
        """The row as it stands. Blocks with the longest paths come first, so that those of a chunk are alike."""
        num_blocks = self._shape.num_blocks
        queries, branches = np.zeros((num_blocks, QUERIES), np.int32), np.zeros(num_blocks, np.int32)
        pages = np.zeros(num_blocks, np.int32)
        for block, (first, width, last, branch) in enumerate(sorted(self._blocks, key=lambda block: -block[2])):
            places = np.arange(first, first + width)
            queries[block, :width], branches[block], pages[block] = places, branch, last // PAGE + 1
            self._homes[places] = block * QUERIES + np.arange(width)
        chunks = np.int32(-(-len(self._blocks) // BLOCKS))
        tree = Tree(queries, branches, self._paths, pages.reshape(-1, BLOCKS).max(axis=1), chunks, self._homes)
        count = np.int32(self._count)
        arrays = RowArrays(self._tokens, self._positions, tree, self._places, self._targets, count)
        return Row(arrays, self._num_tokens, self._slots)
