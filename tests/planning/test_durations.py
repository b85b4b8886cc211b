"""durations: seconds of the stages, by hand."""

import dataclasses

import pytest
from tiny_experiment import changed

from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.planning import costs, durations
from s3ft_jax.planning.chips import parse_topology
from s3ft_jax.planning.experiment import Decode, Prefill, TrainStep

CHIP = parse_topology("v5e:2x2").chip
QUESTIONS = durations.Questions(1000, prompt_tokens=30.0, response_tokens=20.0, responses=2)


def test_training_takes_a_steps_time_as_often_as_there_are_steps():
    step = TrainStep(changed(), costs.Split(4))
    bound = costs.bound(step.work(8), CHIP, 4, "bfloat16")
    assert durations.train_duration(step, 8, 50, CHIP) == (50 * bound.seconds, bound.by)
    assert durations.train_duration(step, 5, 1, CHIP).seconds == bound.seconds, "rows are filled up to the four parts"


def test_every_prompt_is_read_once_and_every_token_is_a_step_of_a_slot():
    decode = Decode(changed(engine=EngineSettings(num_slots=10)), costs.Split())
    bound = costs.bound(decode.work_of(10, 40, 1), CHIP, 1, "float32")
    found = durations.decode_duration(decode, QUESTIONS, 4, CHIP)
    assert found.seconds == pytest.approx(2000 / 4 / 10 * 20 * bound.seconds) and found.by == bound.by
    few = dataclasses.replace(QUESTIONS, number=3)
    assert durations.decode_duration(decode, few, 4, CHIP).seconds == pytest.approx(20 * bound.seconds), "not 3 steps"


def test_prompts_are_shared_out_among_the_copies():
    prefill = Prefill(changed(), costs.Split())
    one, four = (durations.prefill_duration(prefill, QUESTIONS, copies, CHIP).seconds for copies in (1, 4))
    assert one == pytest.approx(4 * four)
    tokens = prefill.size * prefill.sizes(1, 1).prompt_length
    bound = costs.bound(prefill.work_of(tokens // 30, 30), CHIP, 1, "float32")
    assert one == pytest.approx(1000 / (tokens // 30) * bound.seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (42, "42 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (3600, "60 min"),
        (18_400, "5.1 h"),
        (3e5, "3.5 days"),
    ],
)
def test_for_people(seconds, text):
    assert durations.shown(seconds) == text
