"""loop: batches made ahead, metrics read late but in order, looks between two steps."""

import threading
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest

from s3ft_jax.training import Schedule, TrainingDiverged, TrainState, fit, loop, made_ahead
from s3ft_jax.training.loop import AHEAD, IN_FLIGHT


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "batches"]


def test_items_come_in_order_and_a_few_are_made_ahead():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    ahead = made_ahead(items())
    assert next(ahead) == 0
    time.sleep(0.3)
    assert len(made) == 1 + AHEAD + 1  # given out, waiting, and the one that finds no room
    assert list(ahead) == list(range(1, 20)) and not threads()


def test_what_goes_wrong_while_making_is_raised_in_its_place():
    def items():
        yield 1
        raise KeyError("row 7")

    ahead = made_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="row 7"):
        next(ahead)
    assert not threads()


def test_closing_ends_the_thread_though_more_could_be_made():
    ahead = made_ahead(iter(range(10**9)))
    assert next(ahead) == 0 and threads()
    ahead.close()
    assert not threads()


waited: list[int] = []


class Waited:
    """A number on a device, which says when it is waited for."""

    def __init__(self, number):
        self.number = number

    def block_until_ready(self):
        waited.append(self.number)

    def __float__(self):
        return float(self.number)


def counting(bad=()):
    """A step that counts, and is not finite at the numbers ``bad``."""

    def step(state, frozen, batch, seed, rate, base):
        number = int(state.step) + 1
        metrics = {"loss": Waited(number), "skipped": number in bad, "rate": rate, "batch": batch}
        return state._replace(step=jnp.int32(number)), metrics

    return step


STATE = TrainState(jnp.int32(0), {}, ())
SCHEDULE = Schedule(1.0, 10, shape="constant", warmup_frac=0.5)


def test_metrics_are_late_and_in_order_and_name_the_rate_of_their_step():
    seen, together = [], []
    waited.clear()

    def on_steps(rows):
        together.append([row["step"] for row in rows])
        seen.extend((row["step"], row["loss"], row["batch"], row["learning_rate"]) for row in rows)
        assert all(row["rate"] == pytest.approx(row["learning_rate"]) for row in rows)

    state = fit(STATE, None, counting(), iter(range(9)), SCHEDULE, seed=0, on_steps=on_steps, read_every=3)
    assert int(state.step) == 9
    assert seen == [(n, float(n), float(n - 1), pytest.approx(min(1.0, 0.2 * n))) for n in range(1, 10)]
    assert together == [[1], [2, 3, 4], [5, 6, 7], [8, 9]], "the first alone; the two in flight are left"
    assert waited == [2, 3, 4, 5, 6, 7], "the step before the last two, and none that is read"
    assert IN_FLIGHT == 2


def test_metrics_of_slow_steps_do_not_wait_for_others(monkeypatch):
    seconds, together = [0.0], []
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: seconds[0]))

    def slow(*arguments):
        seconds[0] += 1.1
        return counting()(*arguments)

    def on_steps(rows):
        together.append([row["step"] for row in rows])

    fit(STATE, None, slow, iter(range(8)), SCHEDULE, seed=0, on_steps=on_steps, read_every=3)
    assert together == [[1], [2], [3, 4], [5, 6], [7, 8]], "every two seconds, but for the two in flight"


def test_a_look_sees_all_metrics_before_it_and_may_end_the_run():
    seen, looks = [], []

    def on_state(number, state):
        looks.append((number, len(seen), int(state.step)))
        return number == 4

    state = fit(
        STATE,
        None,
        counting(),
        iter(range(100)),
        SCHEDULE,
        seed=0,
        on_steps=lambda rows: seen.extend(row["step"] for row in rows),
        on_state=on_state,
        look_at=lambda number: number % 2 == 0,
    )
    assert looks == [(2, 2, 2), (4, 4, 4)] and int(state.step) == 4 and seen == [1, 2, 3, 4] and not threads()


def test_only_skipped_steps_in_a_row_stop_a_run():
    run = {"seed": 0, "on_steps": lambda rows: None, "max_skipped": 3, "describe": "rows of {}".format}
    state = fit(STATE, None, counting({1, 2, 4, 5}), iter(range(8)), SCHEDULE, **run)
    assert int(state.step) == 8
    with pytest.raises(TrainingDiverged, match=r"step 6: .* 3 steps in a row; the last checkpoint stays\. rows of 6 "):
        fit(STATE, None, counting({4, 5, 6}), iter(range(8)), SCHEDULE, **run)
    assert not threads()


def test_a_run_that_goes_on_takes_the_rate_of_its_step():
    rows = []
    state = STATE._replace(step=jnp.int32(3))
    fit(state, None, counting(), iter(range(2)), SCHEDULE, seed=0, on_steps=rows.extend)
    assert [(row["step"], row["rate"]) for row in rows] == [(4, pytest.approx(0.8)), (5, pytest.approx(1.0))]
    assert np.float32(SCHEDULE.rate(3)) == np.float32(0.8)
