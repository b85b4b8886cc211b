"""Every pair of models, corrected for how many there are."""

import itertools

import pytest
from synthetic_evidence import METHODS, TASK, synthetic_answers, synthetic_scores

from s3ft_jax.evaluation.comparisons import holm
from s3ft_jax.report.comparisons import MEAN, compare_all, comparison_values
from s3ft_jax.report.contrast import contrast
from s3ft_jax.report.scoreboard import build_scoreboard


@pytest.fixture(scope="module")
def board():
    scores = synthetic_scores()
    return build_scoreboard(scores, TASK, METHODS, synthetic_answers(scores))


def test_every_pair_once_on_the_target_the_mean_and_each_skill(board):
    found = compare_all(board)
    pairs = {frozenset(pair) for pair in itertools.combinations((*METHODS, "base"), 2)}
    for where in (TASK, MEAN, *board.skills):
        mine = [frozenset((one.first, one.second)) for one in found if one.where == where]
        assert len(mine) == len(pairs) and set(mine) == pairs
    assert [one.where for one in found][: len(pairs)] == [TASK] * len(pairs)
    assert [one.corrected for one in found] == pytest.approx(holm([one.p for one in found]))
    (one,) = (c for c in found if (c.first, c.second, c.where) == ("s3ft", "sft", TASK))
    assert one.contrast == contrast(board, {"s3ft": 1, "sft": -1}, (TASK,))
    assert 0 < one.detectable < 0.2 and one.mcnemar is not None


def test_a_mean_of_skills_has_no_mcnemar_and_shares_have_none(board):
    found = compare_all(board)
    assert all(one.mcnemar is None for one in found if one.where == MEAN)
    model = (("s3ft", 0), board.skills[0])
    shares = dict(board.paired[model])
    shares[next(iter(shares))] = 0.5
    board.paired[model], kept = shares, board.paired[model]
    try:
        mine = [one for one in compare_all(board) if one.where == board.skills[0] and "s3ft" in (one.first, one.second)]
        assert mine and all(one.mcnemar is None for one in mine)
    finally:
        board.paired[model] = kept


def test_sure_needs_every_interval_and_the_corrected_p(board):
    import dataclasses

    one = next(one for one in compare_all(board) if one.is_sure)
    assert not dataclasses.replace(one, corrected=0.06).is_sure
    across = dataclasses.replace(one.contrast.over_examples, low=-0.01, high=0.02)
    assert not dataclasses.replace(one, contrast=dataclasses.replace(one.contrast, over_examples=across)).is_sure


def test_many_comparisons_do_not_drown_a_plain_difference(board):
    found = compare_all(board)
    assert min(one.corrected for one in found) <= 2 / 200 + 1e-3, "the bootstrap has resamples enough for all"


def test_none_without_answers_to_single_examples():
    assert compare_all(build_scoreboard(synthetic_scores(), TASK, METHODS)) == []


def test_values_for_report_json(board):
    values = comparison_values(compare_all(board))[0]
    assert values["where"] == TASK and {"difference", "p", "corrected_p", "mcnemar_p", "detectable", "sure"} <= set(
        values
    )
    assert [interval["over"] for interval in values["intervals"]] == ["seeds", "examples", "seeds and examples"]
