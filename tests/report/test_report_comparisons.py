"""Every pair of models, corrected for how many there are."""

import itertools

import pytest
from synthetic_evidence import METHODS, SKILLS, TASK, synthetic_answers, synthetic_measured, synthetic_scores

from s3ft_jax.evaluation.comparisons import holm
from s3ft_jax.report import EvidenceError
from s3ft_jax.report.comparisons import MEAN, TESTED, compare_all, comparison_values, find
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


def passages(unanswerable=4):
    """A small board of sft and s3ft, and the metrics of their answers."""
    scores = [score for score in synthetic_scores(skills=SKILLS[:2]) if score.method in ("base", "sft", "s3ft")]
    answers = synthetic_answers(scores)
    measured, _ = synthetic_measured(answers, unanswerable=unanswerable)
    return build_scoreboard(scores, TASK, ("sft", "s3ft"), answers), measured


def test_answers_on_passages_are_compared_by_f1_and_by_kind_of_question_too():
    board, measured = passages()
    found = compare_all(board, measured)
    asked = [one for one in found if one.metric in TESTED]
    assert [one.where for one in asked[::3]] == [
        f"{TASK}: token F1",
        f"{TASK}: answerable, right",
        f"{TASK}: unanswerable, declined",
    ]
    assert len(asked) == 9 and len(found) == 9 + 3 * 4 and not any(one.metric == "false_refusals" for one in found)
    assert [one.corrected for one in found] == pytest.approx(holm([one.p for one in found])), "one family"
    assert [one.where for one in found[:4]] == [TASK] * 3 + [f"{TASK}: token F1"]
    for one in asked:
        assert [over.over for over in one.contrast.intervals] == ["seeds", "examples", "seeds and examples"]
        assert (one.mcnemar is None) == (one.metric == "token_f1"), "F1 lies between right and wrong"
    (kind,) = (c for c in asked if (c.first, c.second, c.metric) == ("s3ft", "sft", "unanswerable_accuracy"))
    means = [
        sum(sum(measured[method, seed, kind.metric].values()) for seed in (0, 1, 2)) / 3 / 150
        for method in ("s3ft", "sft")
    ]
    assert kind.contrast.mean == pytest.approx(means[0] - means[1]) and kind.contrast.over_examples.count == 150
    assert find(found, ("sft", "s3ft"), (TASK,)).metric == "accuracy"
    assert {value["metric"] for value in comparison_values(found)} == {"accuracy", *TESTED}


def test_a_metric_that_is_the_accuracy_itself_is_not_compared_again():
    board, measured = passages(unanswerable=0)
    assert {one.metric for one in compare_all(board, measured)} == {"accuracy", "token_f1"}
    right = {(*model, "token_f1"): dict(values) for (model, task), values in board.paired.items() if task == TASK}
    assert compare_all(board, right) == compare_all(board)


def test_a_metric_is_given_for_all_models_or_refused():
    board, measured = passages()
    less = {key: values for key, values in measured.items() if key != ("sft", 1, "token_f1")}
    with pytest.raises(EvidenceError, match=r"token_f1 of sft \(seed 1\): 0 examples, base 600"):
        compare_all(board, less)
    other = dict(measured)
    other["sft", 1, "token_f1"] = {f"x{key}": value for key, value in measured["sft", 1, "token_f1"].items()}
    with pytest.raises(EvidenceError, match="not the same"):
        compare_all(board, other)
