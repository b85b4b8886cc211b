"""rounds: which steps, and which answers a method chooses from."""

import pytest

from s3ft_jax.records import Response, Verdict
from s3ft_jax.rounds import Round, answers_anew, candidates, split, steps_of


@pytest.mark.parametrize(
    ("num_steps", "size", "spans"),
    [
        (10, 0, [(0, 10)]),
        (10, 5, [(0, 5), (5, 10)]),
        (10, 4, [(0, 4), (4, 8), (8, 10)]),
        (11, 5, [(0, 5), (5, 11)]),
        (100, 24, [(0, 24), (24, 48), (48, 72), (72, 100)]),
        (10, 10, [(0, 10)]),
        (10, 99, [(0, 10)]),
        (0, 0, [(0, 0)]),
        (0, 4, [(0, 0)]),
    ],
)
def test_split(num_steps, size, spans):
    assert split(num_steps, size) == [Round(number, *span) for number, span in enumerate(spans)]


def test_steps_of():
    assert steps_of(0, 768, 16) == 0
    assert steps_of(1, 768, 16) == 48
    assert steps_of(0.5, 100, 16) == 3
    assert steps_of(0.001, 100, 16) == 1


def test_methods_that_use_own_answers():
    assert [m for m in ("sft", "ssr", "sdft", "s3ft", "rft", "unverified") if answers_anew(m)] == [
        "ssr",
        "s3ft",
        "rft",
        "unverified",
    ]


def pool(outcomes, num_own=1, cut=()):
    """Own responses 0, 1, ... with these outcomes, and a paraphrase."""
    responses = [Response("e", "own", i, f"t{i}", (1,), (i, 9), i not in cut, -1.0) for i in range(len(outcomes))]
    responses.append(Response("e", "paraphrase", 0, "p", (2,), (5, 9), True, -1.0))
    verdicts = {("own", i): Verdict("e", "own", i, "j", outcome, "", outcome) for i, outcome in enumerate(outcomes)}
    return responses, verdicts


@pytest.mark.parametrize(
    ("outcomes", "num_own", "kept"),
    [
        (["right", "right", "right"], 1, [2]),
        (["right", "right", "wrong"], 1, [1]),  # the newest that is fit
        (["right", "wrong", "undecided"], 1, [0]),
        (["wrong", "wrong", "wrong"], 1, [2]),  # none is: the newest, for its reason
        (["right", "wrong", "wrong", "right"], 2, [2, 3]),  # two a round
        (["wrong", "right", "wrong", "wrong"], 2, [0, 1]),
    ],
)
def test_candidates(outcomes, num_own, kept):
    responses, verdicts = pool(outcomes, num_own)
    found = candidates("s3ft", responses, verdicts, num_own)
    assert [r.index for r in found if r.origin == "own"] == kept
    assert [r.text for r in found if r.origin == "paraphrase"] == ["p"], "other origins stay"


def test_candidates_of_methods_that_keep_all_or_judge_nothing():
    responses, verdicts = pool(["right", "wrong", "right"])
    assert candidates("rft", responses, verdicts, 1) == responses
    assert [r.index for r in candidates("unverified", responses, verdicts, 1) if r.origin == "own"] == [2]
    responses, verdicts = pool(["wrong", "wrong"], cut=(1,))
    assert [r.index for r in candidates("unverified", responses, verdicts, 1) if r.origin == "own"] == [0]


def test_candidates_without_own_answers():
    responses, verdicts = pool([])
    assert candidates("s3ft", responses, verdicts, 1) == responses
