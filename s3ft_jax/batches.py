"""Selections -> packed batches, in a fixed order that follows from a seed alone.

In: selections (prompt ids, response ids). Out: numpy ``Batch``es, this host's rows. No JAX, no tokenizer, no text.

The order does not depend on the number of hosts or on the library version: examples are sorted by a hash of
(seed, epoch, example id). Examples are packed best-fit into rows with segment isolation; nothing is ever cut, and an
example longer than a row is an error or a counted drop, by option.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from s3ft_jax.records import Selection

_DEALT_STEPS = 16
"""Most steps whose examples are drawn together and then dealt out."""


class Batch(NamedTuple):
    """Arrays of one step, all [rows, row_length].

    Two examples in one row; prompt ids are P, response ids are R, E is the end token:

        tokens     P P R E P R R E 0
        positions  0 1 2 3 0 1 2 3 0
        segments   1 1 1 1 2 2 2 2 0
        weights    0 0 1 1 0 1 1 1 0

    Attributes:
      tokens: int32; padding is 0 and never seen.
      positions: int32, from 0 in each segment.
      segments: int32, from 1 in each row; 0 = padding.
      weights: float32; weight of predicting *this* token from those before it. The shift is done once, in losses.py.
    """

    tokens: np.ndarray
    positions: np.ndarray
    segments: np.ndarray
    weights: np.ndarray


class BatchError(ValueError):
    """The selections cannot be made into batches; the message names the examples and the config key."""


@dataclasses.dataclass(frozen=True)
class Step:
    """The examples of one optimizer step: which selection lies in which row."""

    rows: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """Every step of a run, decided before it starts.

    Attributes:
      steps: one entry per step.
      rows_per_step: rows of every batch (the most any step needs), so that one program serves the whole run.
      row_length: tokens of a row.
      dropped: ids of examples longer than a row.
      fill: share of slots that hold a token, over all steps.
    """

    steps: tuple[Step, ...]
    rows_per_step: int
    row_length: int
    dropped: tuple[str, ...]
    fill: float


def hash_order(names: Sequence[str], salt: str) -> list[int]:
    """Indices of ``names`` in the order of sha256(salt / name): a shuffle that is the same everywhere, for ever.

    Equal names keep their order.
    """

    def rank(index: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{salt}/{names[index]}".encode()).digest(), index

    return sorted(range(len(names)), key=rank)


def draw(selections: Sequence[Selection], count: int, seed: int) -> list[Selection]:
    """The selections of a seeded subset of ``count`` examples; all of them if ``count`` is 0.

    The same seed draws the same examples for every method, so methods differ in targets only. Replayed rows come on
    top, as many as keep their share, drawn by the same seed.

    Raises:
      BatchError: there are fewer examples than ``count``.
    """
    ids = sorted({selection.example_id for selection in selections if selection.origin != "replay"})
    if count > len(ids):
        raise BatchError(f"train.num_examples is {count} but there are only {len(ids)} examples with a selection")
    if count == 0:
        return list(selections)
    chosen = {ids[index] for index in hash_order(ids, f"draw/{seed}")[:count]}
    replayed = [selection.example_id for selection in selections if selection.origin == "replay"]
    kept = max(1, round(len(replayed) * count / len(ids)))  # a share that is asked for is never rounded away
    chosen |= {replayed[index] for index in hash_order(replayed, f"draw/{seed}")[:kept]}
    return [selection for selection in selections if selection.example_id in chosen]


def pack(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Best-fit: each example goes into the fullest row that still holds it, longest example first.

    Args:
      lengths: tokens of each example, none above ``row_length``.
      row_length: tokens of a row.

    Returns:
      Rows of indices into ``lengths``; ties keep the given order.
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fitting = [(free[row], row) for row in range(len(rows)) if free[row] >= lengths[index]]
        if fitting:
            _, row = min(fitting)
            rows[row].append(index)
            free[row] -= lengths[index]
        else:
            rows.append([index])
            free.append(row_length - lengths[index])
    return rows


def _check(selections: Sequence[Selection], row_length: int, too_long: Literal["error", "drop"]) -> list[int]:
    """Indices that fit; raises or leaves out those that do not. A row that trains nothing is always an error."""
    empty = [s.example_id for s in selections if not s.response_ids or not s.prompt_ids]
    if empty:
        raise BatchError(
            f"{len(empty)} selections have an empty prompt or response and would train nothing, e.g. {empty[:3]}; "
            "look at one with `s3ft show ID`"
        )
    long = [i for i, s in enumerate(selections) if len(s.prompt_ids) + len(s.response_ids) > row_length]
    if long and too_long == "error":
        worst = max(len(selections[i].prompt_ids) + len(selections[i].response_ids) for i in long)
        raise BatchError(
            f"{len(long)} of {len(selections)} examples are longer than train.max_length = {row_length} tokens "
            f"(longest {worst}), e.g. {[selections[i].example_id for i in long[:3]]}. Raise train.max_length, or set "
            "train.too_long = 'drop' to leave them out, counted. Nothing is ever cut."
        )
    kept = set(range(len(selections))) - set(long)
    if not kept:
        raise BatchError(f"no selection fits train.max_length = {row_length} tokens; nothing to train on")
    return sorted(kept)


def plan_batches(
    selections: Sequence[Selection],
    *,
    row_length: int,
    num_steps: int,
    seed: int | str,
    examples_per_step: int = 0,
    rows_per_step: int = 0,
    too_long: Literal["error", "drop"] = "error",
) -> BatchPlan:
    """Decide every step of a run.

    Args:
      selections: what to train on.
      row_length: tokens of a row; no example may be longer.
      num_steps: optimizer steps; the examples are gone through again and again, newly ordered each time.
      seed: of the order.
      examples_per_step: a step holds exactly so many examples, in as many rows as they need. Methods with longer
        targets then take equally many steps. Steps that follow each other share their examples out so that each has
        about as many tokens.
      rows_per_step: or: a step holds so many rows, filled from a window of examples (for pretraining).
      too_long: what to do with an example longer than a row.

    Raises:
      BatchError: see ``_check``; or not exactly one of the two sizes is given.
    """
    if (examples_per_step > 0) == (rows_per_step > 0):
        raise BatchError("exactly one of examples_per_step and rows_per_step must be positive")
    kept = _check(selections, row_length, too_long)
    lengths = [len(s.prompt_ids) + len(s.response_ids) for s in selections]
    # a method may train on several targets of one example (rft): the key must tell them apart
    names = [f"{s.example_id}/{s.origin}/{s.index}" for s in selections]
    order = _endless([names[i] for i in kept], kept, seed)
    steps: list[Step] = []
    if examples_per_step:
        deals = _deal_sizes(len(kept), examples_per_step)
        while len(steps) < num_steps:
            together = next(deals)
            drawn = [next(order) for _ in range(together * examples_per_step)]
            for chosen in _deal(drawn, lengths, together):
                rows = pack([lengths[i] for i in chosen], row_length)
                steps.append(Step(tuple(tuple(chosen[i] for i in row) for row in rows)))
        del steps[num_steps:]  # dealt whole, so that a longer run begins with the same steps
    else:
        steps = list(_fill_rows(order, lengths, row_length, rows_per_step, num_steps))
    most = max(len(step.rows) for step in steps) if steps else 1
    used = sum(lengths[i] for step in steps for row in step.rows for i in row)
    fill = used / (len(steps) * most * row_length) if steps else 0.0
    dropped = tuple(selections[i].example_id for i in sorted(set(range(len(selections))) - set(kept)))
    return BatchPlan(tuple(steps), most, row_length, dropped, fill)


def with_rows(plan: BatchPlan, rows: int) -> BatchPlan:
    """The same steps in batches of so many rows, at least as many as before."""
    fill = plan.fill * plan.rows_per_step / rows
    return dataclasses.replace(plan, rows_per_step=rows, fill=fill)


def _endless(names: list[str], indices: list[int], seed: int | str) -> Iterator[int]:
    epoch = 0
    while True:
        for position in hash_order(names, f"order/{seed}/{epoch}"):
            yield indices[position]
        epoch += 1


def _deal_sizes(num_examples: int, examples_per_step: int) -> Iterator[int]:
    """Steps whose examples are dealt out together: about ``_DEALT_STEPS``, and none from two epochs if that can be.

    100 examples, 8 per step: 12 steps (96 examples); the next deal begins with the four that are left: 13 steps.
    """
    for epoch in itertools.count():
        steps = (epoch + 1) * num_examples // examples_per_step - epoch * num_examples // examples_per_step
        parts = -(-steps // _DEALT_STEPS)
        for part in range(parts):
            yield (part + 1) * steps // parts - part * steps // parts


def _deal(drawn: Sequence[int], lengths: Sequence[int], steps: int) -> list[list[int]]:
    """Deal examples out to steps: equally many and about as many tokens to each, so that each needs as many rows.

    Longest first, each to the step with the fewest tokens that has room (LPT scheduling, Graham
    1969, with equal counts). Four examples for two steps:

        drawn    a b c d
        lengths  9 3 5 8        steps  a b (12)  and  c d (13)

    Returns:
      ``steps`` lists of ``drawn``'s entries, in the order in which their first members were drawn.
    """
    room = len(drawn) // steps
    dealt: list[list[int]] = [[] for _ in range(steps)]
    tokens = [0] * steps
    for place in sorted(range(len(drawn)), key=lambda p: (-lengths[drawn[p]], p)):
        step = min((s for s in range(steps) if len(dealt[s]) < room), key=lambda s: (tokens[s], s))
        dealt[step].append(place)
        tokens[step] += lengths[drawn[place]]
    return [[drawn[place] for place in sorted(places)] for places in sorted(dealt, key=min)]


def _fill_rows(
    order: Iterator[int], lengths: Sequence[int], row_length: int, rows_per_step: int, num_steps: int
) -> Iterator[Step]:
    """Full rows first: keep a window of waiting examples and top each row up with the longest that fits."""
    window: list[int] = []
    for _ in range(num_steps):
        rows = []
        for _ in range(rows_per_step):
            row, free = [], row_length
            while True:
                while len(window) < 64:
                    window.append(next(order))
                if not row:
                    best = window[0]  # the oldest first, so that nobody waits for ever
                else:
                    fitting = [i for i in window if lengths[i] <= free]
                    if not fitting:
                        break
                    best = max(fitting, key=lambda i: lengths[i])
                window.remove(best)
                row.append(best)
                free -= lengths[best]
            rows.append(tuple(row))
        yield Step(tuple(rows))


def token_weights(
    selections: Sequence[Selection],
    average: Literal["token", "example"] = "token",
    *,
    losses: Sequence[np.ndarray] = (),
    mask_above: float = 0.0,
) -> list[np.ndarray]:
    """Weight of each response token of each selection, float32.

    A gold answer of five tokens and its end token, whose third token the base finds unlikely, with ``mask_above`` 2.5:

        losses     0.1 0.3 4.0 0.2 0.1 3.0
        token        1   1   0   1   1   1      the end token is always trained, or the model never learns to stop
        example    0.2 0.2   0 0.2 0.2 0.2      each example has weight 1 in all

    Args:
      selections: what is trained.
      average: token: each counts 1; example: the tokens of an example share a weight of 1.
      losses: of each selection's response tokens under the base, in nats; needed for ``mask_above``.
      mask_above: tokens of gold with a higher loss get weight 0 (STM, arXiv 2501.14315, which takes 2.5 and masks
        the end token like any other); 0: off.
    """
    found = []
    for number, selection in enumerate(selections):
        weights = np.ones(len(selection.response_ids), np.float32)
        if mask_above and selection.origin == "gold":
            weights[:-1] = losses[number][:-1] <= mask_above
        found.append(weights / weights.sum() if average == "example" else weights)
    return found


def build_batch(
    plan: BatchPlan, step: int, selections: Sequence[Selection], weighed: Sequence[np.ndarray] = ()
) -> Batch:
    """The arrays of one step, [plan.rows_per_step, plan.row_length] each; see ``Batch`` for an example.

    ``weighed`` are the ``token_weights`` of the selections; empty: 1 for each response token.
    """
    shape = (plan.rows_per_step, plan.row_length)
    tokens, positions, segments = (np.zeros(shape, np.int32) for _ in range(3))
    weights = np.zeros(shape, np.float32)
    for row, members in enumerate(plan.steps[step].rows):
        start = 0
        for segment, index in enumerate(members, start=1):
            prompt, response = selections[index].prompt_ids, selections[index].response_ids
            middle, end = start + len(prompt), start + len(prompt) + len(response)
            tokens[row, start:end] = prompt + response
            positions[row, start:end] = np.arange(end - start)
            segments[row, start:end] = segment
            weights[row, middle:end] = weighed[index] if weighed else 1.0
            start = end
    return Batch(tokens, positions, segments, weights)
