"""Sampling against exact probabilities computed in NumPy."""

import jax
import numpy as np
import pytest

from s3ft_jax.generation.sampling import GREEDY, Sampling, _penalized, choose, request_key, settings_of, token_keys

VOCAB = 37
DRAWS = 20_000
CHI_SQUARE_LIMIT = 80.0  # 36 degrees of freedom or fewer: exceeded by chance with probability below 1e-4


def test_repetition_penalty_is_transformers():
    """Positive and negative logits, seen and not; a row without stays as it is; log-probabilities are the model's."""
    import torch
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = np.stack([_logits()] * 3)
    seen = np.zeros((3, VOCAB), bool)
    rows = np.array([[1, 5, 5, 9], [0, 1, 2, 3], [0, 1, 2, 3]])
    for row, ids in enumerate(rows):
        seen[row, ids] = True
    penalties = [1.7, 0.6, 1.0]
    expected = [
        RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor(rows[n : n + 1]), torch.tensor(logits[n : n + 1]))
        for n, penalty in enumerate(penalties)
    ]
    settings = settings_of([Sampling(0.0, repetition_penalty=penalty) for penalty in penalties])
    ids, logprobs = choose(logits, np.zeros((3, 2), np.uint32), settings, seen)
    assert ids.tolist() == [int(row.argmax()) for row in expected]
    plain = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(logprobs, plain[np.arange(3), ids], rtol=1e-5)
    np.testing.assert_allclose(
        _penalized(logits, seen, settings.repetition_penalty), np.concatenate(expected), rtol=1e-6
    )
    with pytest.raises(ValueError, match="repetition_penalty must be above 0"):
        Sampling(repetition_penalty=0.0)


def _logits():
    return (np.random.default_rng(3).normal(size=VOCAB) * 1.5).astype(np.float32)


def _expected(logits, sampling):
    """The filters by definition: sort, cut, normalise again after each."""
    order = np.argsort(-logits, kind="stable")
    probabilities = np.exp((logits - logits.max()).astype(np.float64) / sampling.temperature)
    probabilities /= probabilities.sum()
    if sampling.top_k:
        probabilities[order[sampling.top_k :]] = 0.0
        probabilities /= probabilities.sum()
    if sampling.top_p < 1.0:
        before = np.cumsum(probabilities[order]) - probabilities[order]
        probabilities[order[before >= sampling.top_p]] = 0.0
        probabilities /= probabilities.sum()
    probabilities[probabilities < sampling.min_p * probabilities.max()] = 0.0
    return probabilities / probabilities.sum()


def _draw(logits, samplings, seed=0):
    count = len(samplings)
    keys = token_keys(np.tile(request_key(seed, "x", "own", 0), (count, 1)), np.arange(count))
    ids, logprobs = jax.jit(choose)(np.tile(logits, (count, 1)), keys, settings_of(samplings))
    return np.asarray(ids), np.asarray(logprobs)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.7),
        Sampling(temperature=1.6),
        Sampling(top_k=5),
        Sampling(top_p=0.8),
        Sampling(min_p=0.1),
        Sampling(temperature=1.3, top_k=20, top_p=0.9, min_p=0.05),
    ],
)
def test_draws_follow_exact_probabilities(sampling):
    logits = _logits()
    expected = _expected(logits, sampling)
    ids, _ = _draw(logits, [sampling] * DRAWS)
    counts = np.bincount(ids, minlength=VOCAB)
    assert counts[expected == 0.0].sum() == 0
    alive = expected > 0.0
    assert (counts[alive][expected[alive] * DRAWS > 20] > 0).all()
    chi_square = ((counts[alive] - DRAWS * expected[alive]) ** 2 / (DRAWS * expected[alive])).sum()
    assert chi_square < CHI_SQUARE_LIMIT


def test_chi_square_sees_a_wrong_temperature():
    logits = _logits()
    expected = _expected(logits, Sampling(temperature=1.0))
    counts = np.bincount(_draw(logits, [Sampling(temperature=0.9)] * DRAWS)[0], minlength=VOCAB)
    assert ((counts - DRAWS * expected) ** 2 / (DRAWS * expected)).sum() > CHI_SQUARE_LIMIT


def test_greedy_takes_the_first_likeliest():
    logits = _logits()
    logits[[4, 9]] = logits.max() + 1.0
    ids, _ = _draw(logits, [GREEDY] * 8)
    assert ids.tolist() == [4] * 8


def test_rows_with_other_settings_do_not_change_a_row():
    logits = _logits()
    one, other = Sampling(temperature=0.8), Sampling(temperature=1.2, top_k=3, top_p=0.5)
    alone, _ = _draw(logits, [one] * 64)
    mixed, _ = _draw(logits, [one, other] * 32)
    greedy_beside, _ = _draw(logits, [one, GREEDY] * 32)
    assert (mixed[::2] == alone[::2]).all()
    assert (greedy_beside[::2] == alone[::2]).all()
    assert (greedy_beside[1::2] == logits.argmax()).all()


def test_logprob_is_the_models_own_whatever_the_settings():
    logits = _logits()
    log_softmax = logits - np.log(np.exp(logits.astype(np.float64)).sum())
    ids, logprobs = _draw(logits, [Sampling(temperature=0.3, top_k=2), GREEDY] * 16)
    np.testing.assert_allclose(logprobs, log_softmax[ids], atol=2e-6)


def test_extreme_settings_stay_inside_the_vocabulary():
    logits = _logits() * 1000.0
    ids, logprobs = _draw(logits, [Sampling(temperature=1e-6), Sampling(top_k=10**9), Sampling(top_p=1e-9)] * 20)
    assert (ids == logits.argmax()).all()
    assert np.isfinite(logprobs).all()


def test_filtered_tokens_are_never_drawn_from_a_large_vocabulary():
    logits = np.random.default_rng(0).normal(size=5003).astype(np.float32)
    ids, _ = _draw(logits, [Sampling(top_k=7, temperature=3.0)] * 4000)
    assert set(ids.tolist()) == set(np.argsort(-logits)[:7].tolist())


def test_keys_depend_on_every_part_and_on_nothing_else():
    keys = {
        tuple(request_key(*parts).tolist())
        for parts in (
            (0, "a", "own", 0),
            (1, "a", "own", 0),
            (0, "b", "own", 0),
            (0, "a", "gold", 0),
            (0, "a", "own", 1),
        )
    }
    assert len(keys) == 5
    assert request_key(0, "a/own", "b", 0).tolist() != request_key(0, "a", "own/b", 0).tolist()
    # pinned: resuming an old run with a new version must draw the same text
    assert request_key(7, "gsm8k/train/00017", "own", 2).dtype == np.uint32
    assert request_key(7, "gsm8k/train/00017", "own", 2).tolist() == [1975734034, 478051167]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("temperature", -0.1), ("temperature", float("nan")), ("top_k", -1), ("top_k", 2.5), ("top_p", 0.0),
     ("top_p", 1.1), ("min_p", 1.0), ("min_p", -0.2)],
)  # fmt: skip
def test_settings_outside_their_range_are_refused_by_name(setting, value):
    with pytest.raises(ValueError, match=setting):
        Sampling(**{setting: value})
