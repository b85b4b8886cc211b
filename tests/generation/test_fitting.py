"""fitting: memory that runs out halves the slots, and loses nothing."""

import jax
import numpy as np
import pytest

from s3ft_jax.generation.fitting import FittingEngine, is_out_of_memory
from s3ft_jax.generation.sampling import GenerationError
from s3ft_jax.generation.slots import Sampled

FULL = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1234 bytes.")
CUT = "bcf"


class Small:
    """An engine of letters: with more than ``room`` slots it runs out of memory after two responses."""

    def __init__(self, num_slots, room, error=FULL):
        self.num_slots, self.room, self.error, self.asked = num_slots, room, error, []

    def generate(self, params, requests, on_progress, on_finished):
        self.asked.append(list(requests))
        for number, request in enumerate(requests):
            if self.num_slots > self.room and number == 2:
                raise self.error
            on_finished(number, Sampled((request,), np.zeros(1, np.float32), request not in CUT))
            on_progress(number + 1, len(requests), number + 1, sum(map(CUT.__contains__, requests[: number + 1])))


def test_slots_are_halved_until_they_fit_and_stay_so():
    built, warned, told, finished = [], [], [], []
    engine = FittingEngine(lambda slots: built.append(Small(slots, room=3)) or built[-1], 8, warned.append)
    requests = list("abcdefg")
    sampled = engine.generate(
        None, requests, lambda *n: told.append(n), lambda n, one: finished.append((n, one.response_ids[0]))
    )
    assert [one.response_ids[0] for one in sampled] == requests
    assert [small.num_slots for small in built] == [8, 4, 2]
    assert [small.asked for small in built] == [[list("abcdefg")], [list("cdefg")], [list("efg")]], "nothing twice"
    assert finished == list(enumerate(requests))
    assert told == [(n, 7, n, sum(map(CUT.__contains__, requests[:n]))) for n in range(1, 8)]
    assert len(warned) == 2 and "8 slots do not fit" in warned[0] and "--config.sample.num_slots=2" in warned[1]
    engine.generate(None, requests)
    assert len(built) == 3 and engine.engine.num_slots == 2


@pytest.mark.parametrize(("slots", "error"), [(1, FULL), (8, jax.errors.JaxRuntimeError("INTERNAL: a bug"))])
def test_other_failures_and_a_single_slot_that_does_not_fit_are_raised(slots, error):
    engine = FittingEngine(lambda number: Small(number, room=0, error=error), slots, lambda text: None)
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        engine.generate(None, list("abc"))
    assert caught.value is error


def test_with_other_processes_slots_are_not_halved_but_the_setting_is_named():
    built = []
    engine = FittingEngine(lambda slots: built.append(slots) or Small(slots, room=3), 8, print, together=True)
    with pytest.raises(GenerationError, match=r"8 slots do not fit.*sample\.num_slots = 4, for all of them"):
        engine.generate(None, list("abc"))
    assert built == [8]


def test_what_the_backends_say():
    assert is_out_of_memory(FULL) and is_out_of_memory("INTERNAL: Failed to allocate: out of memory")
    assert not is_out_of_memory("INVALID_ARGUMENT: shapes")
