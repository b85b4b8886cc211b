"""Cautions: said where the numbers call for them, and only there."""

import dataclasses

import pytest
from synthetic_evidence import (
    GENERAL,
    METHODS,
    TASK,
    synthetic_evidence,
    synthetic_scores,
    synthetic_verdicts,
)

from s3ft_jax.report import GridPoint
from s3ft_jax.report.cautions import build_cautions
from s3ft_jax.report.flow import build_flow
from s3ft_jax.report.scoreboard import build_scoreboard

REST = ("same", "changed", "without_logprob")


def cautions_of(**changes):
    evidence = synthetic_evidence(answers={}, **changes)
    board = build_scoreboard(evidence.scores, TASK, METHODS)
    return "\n".join(build_cautions(evidence, board, build_flow(evidence)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scores": synthetic_scores(seeds=(0,))}, "One seed: intervals are over examples only"),
        ({"scores": synthetic_scores(seeds=(0, 1))}, "2 seeds: Student's factor is 12.7"),
        ({"scores": synthetic_scores(count=200)}, "Only 200 test examples"),
        (
            {"scores": synthetic_scores(dict.fromkeys(("base", *METHODS), 0.0), spread=0.0)},
            "Every model scores 0.0 % on programs: of the target nothing can be said",
        ),
        (
            {"config": {"judge": {"noise": {"false_accepts": 0.1, "false_rejects": 0.0}}}},
            "An experiment: 10.0 % of the wrong training responses were taken for right",
        ),
        ({"scores": synthetic_scores(skills=())}, "says nothing about forgetting"),
        ({"scores": synthetic_scores(general={**GENERAL, "base": 0.97})}, "these can only fall"),
        (
            {"unasked": {"own": {"no border": 3}}},
            "3 questions could not be asked for a response of origin own",
        ),
        (
            {"outside": {"own": {"model": "m", "server": "http://x/v1", "returned": 5} | dict.fromkeys(REST, 2)}},
            "(m at http://x/v1). 5 have the ids that it sampled; 2 have ids encoded from its text; 2 are never trained",
        ),
        (
            {"seen": {("sft", 0): (1600, 8000), ("sft", 1): (1600, 8000), ("s3ft", 0): (1600, 8000)}},
            "SFT and S3FT: trained on 1,600 of 8,000 targets, 0.20 passes over the data. The others were made",
        ),
        (
            {"seen": {("rft", seed): (1600, 1696 - 9 * seed) for seed in range(3)} | {("sft", 0): (1600, 1696)}},
            "RFT: trained on 1,600 of 1,678 to 1,696 targets, 0.94 to 0.95 passes over the data. The others",
        ),
        (
            {"seen": {("rft", seed): (900 + 10 * seed, 990 + 10 * (seed < 2)) for seed in range(10)}},
            "RFT: trained on 900 to 980 of 990 to 1,000 targets (in 9 of 10 seeds), 0.90 to 0.99 passes over the data",
        ),
        ({"rounded": {("sft", 0): ("int8", 0.0123)}}, "to int8, which changed a logit of the base by up to 1.2 %"),
        ({"curves": {("sft", 0): [(1, float("nan"))]}}, "loss was not finite in SFT seed 0"),
        (
            {
                "responses": {},
                "verdicts": {
                    "own": synthetic_verdicts(0.0, "own", ["a", "b"]),
                    "paraphrase": synthetic_verdicts(0.0, "paraphrase", ["a", "b"]),
                },
            },
            "Only 0.0 % of the examples without a right own response",
        ),
        ({"selections": {"sft": [("a", "gold", "")], "s3ft": [("a", "gold", "")]}}, "SFT and S3FT take the same"),
    ],
)
def test_caution_is_said_where_it_applies_and_only_there(changes, words):
    assert words in cautions_of(**changes)
    assert words not in cautions_of()


def test_targets_that_were_all_seen_are_no_matter():
    assert "passes over the data" not in cautions_of(seen={("sft", 0): (8000, 8000)})


def test_uneven_seeds_are_said():
    scores = [score for score in synthetic_scores() if (score.method, score.seed) != ("ssr", 2)]
    assert "different seeds" in cautions_of(scores=scores)


def test_standing_limits_are_always_said():
    text = cautions_of()
    assert "one base model" in text
    assert "not corrected" in text
    assert "17 of 768 own responses (2.2 %) hit the length limit" in text


def test_methods_with_settings_of_their_own_are_said_with_them():
    own = {"sft": {"learning_rate": 2e-3, "num_steps": 50}, "s3ft": {"learning_rate": 1e-3}}
    assert "SFT learning_rate 0.002, num_steps 50; SSR as shared" in cautions_of(config={"train": {"per_method": own}})
    same = {method: {"num_steps": 9} for method in METHODS}
    assert "of their own" not in cautions_of(config={"train": {"per_method": same}})


def test_a_setting_that_hangs_on_few_validation_answers_is_named():
    """100 answers: one standard error of 90 is 3.1, so that 87 is near enough and 86 is not."""
    base = GridPoint("base", "base", None, None, None, 0.3, 0.9, 0.0, True, 100)

    def point(rate, right, general, chosen):
        return GridPoint("ssr", f"ssr@learning_rate={rate}", 0, rate, 50, right / 100, general, 0.1, chosen, 100)

    config = {"compare": {"rule": "one_stderr"}}
    near = (base, point(1e-4, 86, 0.88, False), point(1e-3, 90, 0.75, True))
    said = cautions_of(grid=near, config=config)
    assert "SSR took 0.001, 50 (general change \u221215.0 points); with 1 of 100 validation answers otherwise" in said
    assert "it would be 0.0001, 50 (\u22122.0 points). The intervals know nothing of this." in said
    for other in ((base, point(1e-4, 60, 0.88, False), point(1e-3, 90, 0.75, True)), near[:1]):
        assert "validation answers otherwise" not in cautions_of(grid=other, config=config)
    assert "validation answers otherwise" not in cautions_of(grid=near, config={})


def test_benchmarks_with_a_metric_of_their_own_are_not_said_to_be_exact_match():
    scores = [s for s in synthetic_scores() if s.metric == "accuracy"]
    assert "scored by exact match only" in cautions_of(scores=scores)
    shown = [dataclasses.replace(s, shown="acc_norm") if s.split == "general" else s for s in scores]
    assert "scored by exact match only" not in cautions_of(scores=shown)
