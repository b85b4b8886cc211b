"""slots: host bookkeeping of what lies in which slot; a response ends at a stop token or at its limit."""

import numpy as np

from s3ft_jax.generation.sampling import GREEDY
from s3ft_jax.generation.slots import Request, Slots


def request(length: int, limit: int) -> Request:
    return Request(tuple(range(1, length + 1)), np.zeros(2, np.uint32), limit, GREEDY)


def test_slots_fill_free_and_fill_again():
    slots = Slots(3)
    assert list(slots.free()) == [0, 1, 2] and not slots.num_busy
    slots.place(1, 7, request(4, 5))
    assert list(slots.free()) == [0, 2] and slots.num_busy
    assert slots.rows.token[1] == 4, "the last prompt token is fed first"
    assert slots.rows.position[1] == 3 and slots.rows.remaining[1] == 5


def test_the_length_needed_covers_a_whole_chunk_of_the_longest_row():
    slots = Slots(2)
    slots.place(0, 0, request(4, 100))
    slots.place(1, 1, request(9, 100))
    assert slots.length_needed(16) >= 8 + 16


def advanced(slots: Slots, steps: list[int], remaining: list[int]):
    rows = slots.rows
    return rows._replace(
        position=rows.position + np.asarray(steps, np.int32), remaining=np.asarray(remaining, np.int32)
    )


def test_harvest_returns_what_ended_and_keeps_what_goes_on():
    slots = Slots(3)
    for slot, (index, limit) in enumerate([(10, 5), (11, 2), (12, 50)]):
        slots.place(slot, index, request(3, limit))
    ids = np.array([[8, 0, 0, 0], [8, 9, 0, 0], [8, 9, 9, 9]], np.int32)
    logprobs = np.full((3, 4), -0.5, np.float32)
    done = slots.harvest(advanced(slots, [1, 2, 4], [0, 0, 46]), ids, logprobs, frozenset({8}))
    assert set(done) == {10, 11}
    assert done[10].response_ids == (8,) and done[10].ended
    assert done[11].response_ids == (8, 9) and not done[11].ended, "its limit cut it"
    assert len(done[11].logprobs) == 2
    assert list(slots.free()) == [0, 1] and slots.num_busy
    more = slots.harvest(advanced(slots, [0, 0, 1], [0, 0, 0]), ids, logprobs, frozenset({8}))
    assert more[12].response_ids == (8, 9, 9, 9, 8) and more[12].ended
    assert not slots.num_busy
