"""Likelihoods under the base: means, and bins that lose no text."""

import numpy as np
import pytest

from s3ft_jax.report.likelihoods import BINS, PER_TEXT, PER_TOKEN, bars, likelihood_values, series

PAIRS = {"gold": [(-8.0, 4), (-2.0, 2), (-2.0, 4)], "own": [(-0.5, 5)], "paraphrase": []}


def test_means_worked_by_hand():
    own, gold = likelihood_values(PAIRS)["origins"]
    assert (own["origin"], own["texts"], own["nats_per_token"]) == ("own", 1, pytest.approx(-0.1))
    assert gold["nats_per_token"] == pytest.approx(-1.2) and gold["nats_per_text"] == pytest.approx(-4)
    assert gold["median"] == -2 and gold["tokens_per_text"] == pytest.approx(10 / 3)


def test_bins_hold_every_text_also_the_one_that_lies_far_out():
    values = {"own": np.array([-1.0] * 999 + [-500.0])}
    edges, counts = bars(values)
    assert len(edges) == BINS + 1 and edges[0] > -10 and edges[-1] == 0
    assert counts["own"].sum() == 1000
    per_token, per_text = likelihood_values(PAIRS)["histograms"]
    assert (per_token["of"], per_text["of"]) == (PER_TOKEN, PER_TEXT)
    assert {origin: sum(counts) for origin, counts in per_text["texts"].items()} == {"own": 1, "gold": 3}


def test_origins_without_texts_are_left_out():
    assert list(series(PAIRS)[PER_TOKEN]) == ["own", "gold"]
    assert likelihood_values({}) == likelihood_values({"own": []}) == {"origins": [], "histograms": []}
