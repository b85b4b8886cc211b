"""overview: the table told before training says what is in the rows, and a masked end token is refused."""

import re

import numpy as np
import pytest

from s3ft_jax.batches import plan_batches, token_weights
from s3ft_jax.records import Selection
from s3ft_jax.stages import overview, train
from s3ft_jax.workdir import WorkdirError


def selection(number: int, origin: str, prompt: int, answer: int) -> Selection:
    ids = tuple(range(1, answer + 1))
    return Selection(f"t/train/{number}", "s3ft", origin, None, "", (1,) * prompt, ids, "")


ROWS = [selection(0, "own", 3, 4), selection(1, "gold", 2, 6), selection(2, "own", 5, 2), selection(3, "gold", 30, 9)]


def test_examples_and_tokens_by_origin():
    losses = [np.full(len(row.response_ids), 0.1, np.float32) for row in ROWS]
    losses[1][[0, 2, -1]] = 9.0
    plan = plan_batches(ROWS, row_length=16, num_steps=2, seed=0, examples_per_step=2, too_long="drop")
    weighed = token_weights(ROWS, losses=losses, mask_above=2.5)
    facts = overview.examples(plan, ROWS, weighed)
    assert facts["examples"] == "3: 2 own, 1 gold; 1 longer than a row left out"
    assert facts["passes over the data"] == "1.3 (3 of 3 examples seen)"
    assert facts["answer tokens"] == "12: 6 own, 6 gold; 2 masked"
    assert facts["prompt tokens"] == "10, read and not trained; longest example 8 tokens"


def test_few_steps_are_a_share_of_the_data():
    plan = plan_batches(ROWS, row_length=64, num_steps=1, seed=0, examples_per_step=1)
    facts = overview.examples(plan, ROWS, token_weights(ROWS))
    assert facts["passes over the data"] == "0.25 (1 of 4 examples seen)"


def test_an_end_token_that_is_not_trained_is_refused_by_name():
    weighed = token_weights(ROWS)
    overview.check_masks(ROWS, weighed)
    weighed[1][-1] = 0.0
    with pytest.raises(WorkdirError, match=r"1 examples whose end token is not trained, e\.g\. \['t/train/1'\]"):
        overview.check_masks(ROWS, weighed)


def test_a_run_tells_it_before_it_starts(copied, capsys):
    config, workdir = copied
    workdir.remove("train-s3ft-seed-0", [train.folder("s3ft", 0)])
    train.run(config, workdir, "s3ft", 0)
    said = " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())
    assert said.index("train s3ft seed 0 ") < said.index("train s3ft seed 0: 4/4")
    manifest = workdir.manifest("train-s3ft-seed-0")
    assert "1,136,000 of 1,136,000 parameters, adamw" in said
    assert f"each {manifest['facts']['rows_per_step']} rows of" in said and "of them filled" in said
    assert re.search(r"examples 16: \d+ \w+, \d+ \w+", said) and "checked: each of the 16 end tokens is trained" in said
    assert re.search(r"memory of a device about [\d.]+ [MG]iB: ", said)
