"""batches: order from a seed, packing with isolation, weights on the response only, nothing cut."""

import numpy as np
import pytest

from s3ft_jax.batches import BatchError, _deal, build_batch, draw, hash_order, pack, plan_batches
from s3ft_jax.records import Selection


def selection(name: str, prompt: int, response: int, start: int = 1) -> Selection:
    ids = tuple(range(start, start + prompt + response))
    return Selection(name, "sft", "gold", None, "", ids[:prompt], ids[prompt:], "")


MANY = [selection(f"t/train/{i:03d}", 2 + i % 5, 1 + i % 7) for i in range(40)]


def test_the_batch_of_the_docstring():
    rows = [selection("a", 2, 2, start=10), selection("b", 1, 3, start=20)]
    plan = plan_batches(rows, row_length=9, num_steps=1, seed=0, examples_per_step=2)
    batch = build_batch(plan, 0, rows)
    first, second = plan.steps[0].rows[0]
    assert plan.rows_per_step == 1
    assert batch.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0]]
    weights = {0: [0, 0, 1, 1], 1: [0, 1, 1, 1]}
    assert batch.weights.tolist() == [weights[first] + weights[second] + [0]]
    tokens = [[10, 11, 12, 13], [20, 21, 22, 23]]
    assert batch.tokens.tolist() == [tokens[first] + tokens[second] + [0]]


def test_every_example_is_seen_once_per_epoch_whole():
    plan = plan_batches(MANY, row_length=16, num_steps=5, seed=3, examples_per_step=8)
    seen = [i for step in plan.steps for row in step.rows for i in row]
    assert sorted(seen) == list(range(40))
    for number in range(5):
        batch = build_batch(plan, number, MANY)
        trained = sum(len(MANY[i].response_ids) for row in plan.steps[number].rows for i in row)
        assert batch.weights.sum() == trained
        assert batch.tokens.shape == (plan.rows_per_step, 16)


def test_the_deal_of_the_docstring():
    assert _deal([7, 4, 9, 2], {7: 9, 4: 3, 9: 5, 2: 8}, 2) == [[7, 4], [9, 2]]


def test_steps_have_equally_many_examples_and_about_as_many_tokens():
    lengths = np.random.default_rng(0).lognormal(4, 0.6, 320).astype(int).clip(4, 256)
    rows = [selection(f"t/train/{i:03d}", 2, int(length) - 2) for i, length in enumerate(lengths)]
    plan = plan_batches(rows, row_length=256, num_steps=20, seed=5, examples_per_step=16)
    members = [[i for row in step.rows for i in row] for step in plan.steps]
    assert sorted(i for step in members for i in step) == list(range(320)), "each once in an epoch"
    uneven = plan_batches(rows, row_length=256, num_steps=45, seed=5, examples_per_step=14)  # 22.9 steps an epoch
    seen = np.bincount([i for step in uneven.steps[:22] for row in step.rows for i in row], minlength=320)
    assert seen.max() == 1
    seen = np.bincount([i for step in uneven.steps for row in step.rows for i in row], minlength=320)
    assert seen.min() >= 1 and seen.max() == 2
    assert {len(step) for step in members} == {16}
    tokens = [sum(lengths[i] for i in step) for step in members[:10]]  # one deal
    drawn = [sum(lengths[i] for i in range(k, k + 16)) for k in range(0, 160, 16)]
    assert np.ptp(tokens) < 0.02 * np.mean(tokens) < 0.1 * np.ptp(drawn)
    longer = plan_batches(rows, row_length=256, num_steps=37, seed=5, examples_per_step=16)
    assert longer.steps[:20] == plan.steps, "a longer run begins with the same steps"
    members = [[i for row in step.rows for i in row] for step in longer.steps]
    assert all(set(members[k]) != set(other) for k in range(20) for other in members[20:]), "new company each epoch"


def test_fewer_examples_than_a_step_are_gone_through_again():
    plan = plan_batches(MANY[:3], row_length=16, num_steps=3, seed=0, examples_per_step=8)
    counts = np.bincount([i for step in plan.steps for row in step.rows for i in row])
    assert counts.tolist() == [8, 8, 8]


def test_the_order_follows_from_the_seed_and_not_from_the_order_given():
    plans = [plan_batches(MANY, row_length=16, num_steps=4, seed=s, examples_per_step=8) for s in (1, 1, 2)]
    names = [[MANY[i].example_id for step in plan.steps for row in step.rows for i in row] for plan in plans]
    assert names[0] == names[1] != names[2]
    turned = MANY[::-1]
    plan = plan_batches(turned, row_length=16, num_steps=4, seed=1, examples_per_step=8)
    by_step = [sorted(turned[i].example_id for row in step.rows for i in row) for step in plan.steps]
    assert by_step == [sorted(MANY[i].example_id for row in step.rows for i in row) for step in plans[0].steps]


def test_hash_order_is_fixed_for_ever():
    assert hash_order(["a", "b", "c", "d"], "salt") == [1, 2, 3, 0]  # sha256 of salt/b, c, d, a: 1b, 5a, 64, e8


def test_rows_mode_fills_rows():
    plan = plan_batches(MANY, row_length=32, num_steps=10, seed=0, rows_per_step=4)
    assert plan.rows_per_step == 4
    assert plan.fill > 0.95


def test_pack_never_overfills_and_loses_nothing():
    lengths = [7, 3, 5, 5, 9, 1, 2, 8]
    rows = pack(lengths, 10)
    assert sorted(i for row in rows for i in row) == list(range(8))
    assert all(sum(lengths[i] for i in row) <= 10 for row in rows)
    assert len(rows) == 4


def test_too_long_is_an_error_or_a_named_drop():
    rows = [*MANY, selection("t/train/long", 30, 30)]
    with pytest.raises(BatchError, match=r"train\.max_length = 16 .*t/train/long"):
        plan_batches(rows, row_length=16, num_steps=1, seed=0, examples_per_step=4)
    plan = plan_batches(rows, row_length=16, num_steps=9, seed=0, examples_per_step=4, too_long="drop")
    assert plan.dropped == ("t/train/long",)
    assert all(i < 40 for step in plan.steps for row in step.rows for i in row)


def test_a_row_that_trains_nothing_is_an_error():
    with pytest.raises(BatchError, match="t/train/empty"):
        plan_batches([selection("t/train/empty", 3, 0)], row_length=8, num_steps=1, seed=0, examples_per_step=1)


def test_draw_gives_every_method_the_same_examples():
    other = [Selection(s.example_id, "s3ft", "own", 0, "", s.prompt_ids, s.response_ids, "") for s in MANY[::-1]]
    first, second = draw(MANY, 10, 5), draw(other, 10, 5)
    assert len(first) == 10
    assert {s.example_id for s in first} == {s.example_id for s in second}
    assert {s.example_id for s in draw(MANY, 10, 6)} != {s.example_id for s in first}
    with pytest.raises(BatchError, match="only 40 examples"):
        draw(MANY, 41, 0)


def test_replayed_rows_come_on_top_of_the_drawn_examples_in_their_share():
    replayed = [Selection(f"replay/{i}", "sft", "replay", None, "", (1,), (2,), "") for i in range(8)]
    mixed = draw([*MANY, *replayed], 10, 5)
    task = [s.example_id for s in mixed if s.origin == "gold"]
    assert task == [s.example_id for s in draw(MANY, 10, 5)], "the same examples as without replay"
    assert len(mixed) == 12, "8 beside 40 are 2 beside 10"
    assert mixed == draw([*MANY, *replayed], 10, 5) and len(draw([*MANY, *replayed], 0, 5)) == 48
    assert len(draw([*MANY, replayed[0]], 10, 5)) == 11, "a share is never rounded away"
    with pytest.raises(BatchError, match="only 40 examples"):
        draw([*MANY, *replayed], 41, 5)


def test_padding_rows_have_no_weight():
    plan = plan_batches(MANY, row_length=16, num_steps=5, seed=3, examples_per_step=8)
    fewest = min(range(5), key=lambda n: len(plan.steps[n].rows))
    batch = build_batch(plan, fewest, MANY)
    empty = batch.segments == 0
    assert np.all(batch.weights[empty] == 0) and np.all(batch.tokens[empty] == 0)
