"""Claims: a truth table over synthetic scores, so that no sentence can be hard-coded."""

import dataclasses

import pytest
from synthetic_evidence import (
    GENERAL,
    METHODS,
    SKILLS,
    TARGET,
    TASK,
    synthetic_answers,
    synthetic_contents,
    synthetic_scores,
)

from s3ft_jax.evaluation.statistics import Interval
from s3ft_jax.report.claims import (
    FAILS,
    FAILS_BEFORE,
    HOLDS,
    HOLDS_BEFORE,
    NOISE,
    UNCORRECTED,
    UNMEASURED,
    VOID,
    build_claims,
    headline,
    judge_contrast,
)
from s3ft_jax.report.comparisons import TESTED, Comparison, compare_all
from s3ft_jax.report.contrast import Contrast
from s3ft_jax.report.scoreboard import build_scoreboard
from s3ft_jax.report.summary import summarize


def claims_of(scores, methods=METHODS, control=None, answers=None):
    board = build_scoreboard(scores, TASK, methods, answers)
    return {claim.name: claim for claim in build_claims(board, summarize(board), control)}


def corrected_claims(targets, corrected):
    """Claims of sft and s3ft alone, every comparison with the given corrected p."""
    scores = synthetic_scores(targets, {name: GENERAL[name] for name in targets}, skills=SKILLS[:2])
    methods = tuple(name for name in targets if name != "base")
    board = build_scoreboard(scores, TASK, methods, synthetic_answers(scores))
    comparisons = [dataclasses.replace(one, corrected=corrected) for one in compare_all(board)]
    rows = summarize(board, comparisons)
    return {claim.name: claim for claim in build_claims(board, rows, None, comparisons)}, rows


def span(low, high, over="seeds"):
    return Interval((low + high) / 2, low, high, over, 3, "synthetic")


@pytest.mark.parametrize(
    ("seeds", "examples", "expected"),
    [
        ((0.1, 0.2), (0.05, 0.3), HOLDS),
        ((0.1, 0.2), (-0.01, 0.3), NOISE),
        ((-0.1, 0.3), (0.05, 0.3), NOISE),
        ((-0.2, -0.1), (-0.3, -0.1), FAILS),
        ((-0.2, -0.1), (-0.3, 0.1), NOISE),
        ((0.0, 0.0), (0.0, 0.0), NOISE),
        (None, (0.05, 0.3), HOLDS),
        (None, (-0.05, 0.3), NOISE),
        (None, (0.0, 0.005), NOISE),
        (None, (-0.005, 0.0), NOISE),
    ],
)
def test_verdict_of_a_difference(seeds, examples, expected):
    over_seeds = span(*seeds) if seeds else None
    over_examples = span(*examples, over="examples")
    mean = (over_seeds or over_examples).mean
    assert judge_contrast(Contrast(mean, {}, over_seeds, over_examples)) == expected


@pytest.mark.parametrize(("s3ft", "expected"), [(0.89, HOLDS), (0.62, NOISE), (0.40, FAILS)])
def test_target_against_sft(s3ft, expected):
    claim = claims_of(synthetic_scores({**TARGET, "s3ft": s3ft}))["s3ft_vs_sft_target"]
    assert claim.verdict == expected
    assert "95 % interval over 3 seeds" in claim.detail
    assert claim.in_mean == (claim.contrast.mean >= 0)
    assert ("In the mean it" in claim.detail) == (expected == NOISE)


@pytest.mark.parametrize(
    ("s3ft", "sft", "expected"),
    [(0.93, 0.75, HOLDS), (0.845, 0.75, NOISE), (0.76, 0.75, FAILS), (0.92, 0.95, VOID)],
)
def test_drop_at_most_half_of_sfts(s3ft, sft, expected):
    scores = synthetic_scores(general={**GENERAL, "s3ft": s3ft, "sft": sft})
    claim = claims_of(scores)["s3ft_drop_at_most_half"]
    assert claim.verdict == expected
    assert ("nothing to halve" in claim.detail) == (expected == VOID)


@pytest.mark.parametrize("rival", ["sdft", "ssr"])
@pytest.mark.parametrize(("target", "expected"), [(0.30, HOLDS), (0.89, NOISE), (0.99, FAILS)])
def test_rivals_on_the_target(rival, target, expected):
    claims = claims_of(synthetic_scores({**TARGET, rival: target}))
    assert claims[f"s3ft_vs_{rival}_target"].verdict == expected


@pytest.mark.parametrize("rival", ["sdft", "ssr"])
@pytest.mark.parametrize(("general", "expected"), [(0.70, HOLDS), (0.91, NOISE), (0.99, FAILS)])
def test_rivals_on_general_skills(rival, general, expected):
    scores = synthetic_scores(general={**GENERAL, "base": 0.95, "s3ft": 0.90, rival: general})
    assert claims_of(scores)[f"s3ft_vs_{rival}_general"].verdict == expected


def test_the_base_that_beats_everything_is_named():
    targets = {"base": 0.80, "sft": 0.5, "ssr": 0.6, "sdft": 0.6, "s3ft": 0.7}
    claim = claims_of(synthetic_scores(targets))["base_beaten_on_target"]
    assert claim.verdict == FAILS
    assert "the untouched base beats every method" in claim.detail
    assert "worse: SFT, SSR, SDFT and S3FT" in claim.detail


def test_some_methods_beat_the_base():
    targets = {"base": 0.60, "sft": 0.4, "ssr": 0.6, "sdft": 0.9, "s3ft": 0.9}
    claim = claims_of(synthetic_scores(targets))["base_beaten_on_target"]
    assert claim.verdict == HOLDS
    assert "better: SDFT and S3FT" in claim.detail
    assert "worse: SFT" in claim.detail
    assert "beats every method" not in claim.detail


def test_methods_that_were_not_run_are_not_measured():
    keep = ("sft", "s3ft")
    scores = [score for score in synthetic_scores() if score.method in ("base", *keep)]
    claims = claims_of(scores, keep)
    assert claims["s3ft_vs_sdft_target"].verdict == UNMEASURED
    assert claims["s3ft_vs_sdft_target"].detail == "SDFT was not run."
    only = [score for score in scores if score.method != "s3ft"]
    assert {claim.verdict for claim in claims_of(only, ("sft",)).values()} == {UNMEASURED, HOLDS}


def test_without_general_skills_nothing_is_said_of_forgetting():
    claims = claims_of(synthetic_scores(skills=()))
    assert claims["s3ft_drop_at_most_half"].verdict == UNMEASURED
    assert claims["s3ft_drop_at_most_half"].detail == "No general skill was scored."
    assert claims["s3ft_vs_sft_target"].verdict == HOLDS


@pytest.mark.parametrize(("s3ft", "sft", "expected"), [(0.70, 0.92, HOLDS), (0.945, 0.92, NOISE), (0.95, 0.60, FAILS)])
def test_control(s3ft, sft, expected):
    near = {"base": 0.28, "sft": sft, "ssr": 0.9, "sdft": 0.9, "s3ft": s3ft}
    control = build_scoreboard(synthetic_scores(near), TASK, METHODS)
    claim = claims_of(synthetic_scores(), control=control)["control_target"]
    assert claim.verdict == expected
    assert "could go unseen" in claim.detail
    assert "control_target" not in claims_of(synthetic_scores())


def test_two_seeds_with_a_spread_do_not_carry_a_claim_that_examples_carry():
    targets = {**TARGET, "sft": 0.80, "s3ft": 0.90}
    scores = synthetic_scores(targets, seeds=(0, 1), spread=0.03)
    claim = claims_of(scores, answers=synthetic_answers(scores))["s3ft_vs_sft_target"]
    assert claim.contrast.over_examples.low > 0 > claim.contrast.over_seeds.low
    assert claim.verdict == NOISE
    assert claim.detail.endswith(
        "In the mean it holds, but the interval over seeds and over seeds and examples reaches zero."
    )


def test_one_seed_rests_on_examples_alone():
    claim = claims_of(synthetic_scores(seeds=(4,)))["s3ft_vs_sft_target"]
    assert claim.contrast.over_seeds is None
    assert "over seeds" not in claim.detail and "over 600 examples" in claim.detail


@pytest.mark.parametrize(
    ("s3ft", "corrected", "expected"),
    [
        (0.89, 0.01, HOLDS),
        (0.89, 0.2, HOLDS_BEFORE),
        (0.89, 0.05, HOLDS_BEFORE),
        (0.62, 0.2, NOISE),
        (0.40, 0.2, FAILS_BEFORE),
        (0.40, 0.01, FAILS),
    ],
)
def test_a_claim_about_two_models_holds_only_after_correction(s3ft, corrected, expected):
    claims, rows = corrected_claims({"base": 0.28, "sft": 0.62, "s3ft": s3ft}, corrected)
    claim = claims["s3ft_vs_sft_target"]
    assert claim.verdict == expected and claim.corrected == corrected
    assert "95 % interval over 3 seeds" in claim.detail and f"corrected {corrected:.3f}." in claim.detail
    assert ("may be chance" in claim.detail) == (expected in (HOLDS_BEFORE, FAILS_BEFORE))
    assert UNCORRECTED not in claim.detail
    assert ("(within noise after correction)" in headline(TASK, rows)) == (corrected >= 0.05)


def test_what_is_no_comparison_goes_by_intervals_and_says_so():
    half = next(claim for claim in synthetic_contents().claims if claim.name == "s3ft_drop_at_most_half")
    assert half.verdict == HOLDS and half.corrected is None and half.detail.endswith(UNCORRECTED)
    unknown = claims_of(synthetic_scores())
    assert unknown["s3ft_vs_sft_target"].verdict == HOLDS and UNCORRECTED in unknown["s3ft_vs_sft_target"].detail
    assert UNCORRECTED in unknown["base_beaten_on_target"].detail
    close = claims_of(synthetic_scores({**TARGET, "s3ft": 0.62}))["s3ft_vs_sft_target"]
    assert close.verdict == NOISE and UNCORRECTED not in close.detail, "nothing to take away"
    control = build_scoreboard(synthetic_scores({**TARGET, "s3ft": 0.4}), TASK, METHODS)
    assert UNCORRECTED in claims_of(synthetic_scores(), control=control)["control_target"].detail


@pytest.mark.parametrize(
    ("s3ft", "corrected", "expected", "said"),
    [
        (0.89, 0.01, HOLDS, "better: SFT and S3FT."),
        (0.89, 0.2, HOLDS_BEFORE, "better before correction: SFT (over 3 seeds"),
        (0.10, 0.2, FAILS_BEFORE, "worse before correction: SFT (over 3 seeds"),
        (0.10, 0.01, FAILS, "worse: SFT and S3FT."),
    ],
)
def test_the_base_is_beaten_only_after_correction(s3ft, corrected, expected, said):
    claims, _ = corrected_claims({"base": 0.28, "sft": s3ft, "s3ft": s3ft}, corrected)
    assert claims["base_beaten_on_target"].verdict == expected and said in claims["base_beaten_on_target"].detail


def by_metric(first, second, low, high, corrected=0.01, metric="token_f1"):
    """A comparison of the target by a metric, with one interval over seeds and examples."""
    interval = span(low, high, over="examples")
    where = f"{TASK}: {metric}"
    difference = Contrast((low + high) / 2, {0: (low + high) / 2}, None, interval)
    return Comparison(first, second, where, difference, corrected, corrected, None, 0.1, metric)


def metric_claims(*comparisons):
    board = build_scoreboard(synthetic_scores(), TASK, METHODS)
    rows = summarize(board)
    found = build_claims(board, rows, None, comparisons)
    return {claim.name: claim for claim in found if claim.name.startswith("none_ahead")}


@pytest.mark.parametrize(
    ("low", "high", "corrected", "verdict", "said"),
    [
        (0.1, 0.2, 0.01, HOLDS, "behind it: SDFT (+15.0 [+10.0, +20.0])"),
        (0.1, 0.2, 0.06, HOLDS_BEFORE, "behind it before correction: SDFT (+15.0 [+10.0, +20.0]; p 0.060, corrected"),
        (-0.1, 0.2, 0.01, NOISE, "not told apart from it: SDFT (+5.0 [\u221210.0, +20.0])"),
        (-0.2, -0.1, 0.06, FAILS_BEFORE, "ahead of it before correction: SDFT (\u221215.0 [\u221220.0, \u221210.0]; p"),
        (-0.2, -0.1, 0.01, FAILS, "ahead of it: SDFT (\u221215.0 [\u221220.0, \u221210.0])"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_accuracy_does_not_show_is_said_whichever_model_is_named_first(
    low, high, corrected, verdict, said, turned
):
    one = by_metric("s3ft", "sdft", low, high, corrected)
    if turned:
        one = by_metric("sdft", "s3ft", -high, -low, corrected)
    (claim,) = metric_claims(one).values()
    assert claim.name == "none_ahead_of_s3ft_token_f1" and claim.verdict == verdict
    assert claim.statement == "No tuned model is ahead of S3FT by token F1 on the target"
    assert said in claim.detail


def test_one_model_ahead_of_s3ft_decides_and_all_are_named():
    behind, ahead = by_metric("s3ft", "sft", 0.1, 0.2), by_metric("s3ft", "sdft", -0.2, -0.1)
    rivals = by_metric("sdft", "sft", 0.3, 0.4)
    (claim,) = metric_claims(behind, rivals, ahead, by_metric("s3ft", "ssr", -0.1, 0.1)).values()
    assert claim.verdict == FAILS
    assert [claim.detail.index(name) for name in ("SDFT (", "SSR (", "SFT (+15")] == sorted(
        claim.detail.index(name) for name in ("SDFT (", "SSR (", "SFT (+15")
    ), "those ahead first"
    assert "+35.0" not in claim.detail, "a pair without S3FT"


def test_a_base_that_declines_everything_is_named_and_decides_nothing():
    metric = "unanswerable_accuracy"
    ahead = [by_metric("s3ft", name, -0.4, -0.3, metric=metric) for name in ("few-shot", "base")]
    assert metric_claims(*ahead) == {}, "no tuned model was compared"
    (claim,) = metric_claims(*ahead, by_metric("s3ft", "sft", 0.1, 0.2, metric=metric)).values()
    assert claim.verdict == HOLDS and claim.statement.endswith("in declining the target's questions without one")
    assert "ahead of it: Few-shot base (\u221235.0" in claim.detail and "and Base (" in claim.detail


def test_only_metrics_that_were_compared_are_claimed():
    assert metric_claims(by_metric("s3ft", "sft", 0.1, 0.2, metric="accuracy")) == {}
    found = metric_claims(*(by_metric("s3ft", "sft", 0.1, 0.2, metric=metric) for metric in reversed(TESTED)))
    assert list(found) == [f"none_ahead_of_s3ft_{metric}" for metric in TESTED]


def test_headline_says_gain_and_loss_with_their_signs():
    board = build_scoreboard(synthetic_scores(spread=0.0), TASK, METHODS)
    sentence = headline(TASK, summarize(board))
    assert sentence.startswith("S3FT gained 61.0 points on programs and lost ")
    assert "SFT gained 34.0 points" in sentence and sentence.endswith("3 seeds).")
    worse = build_scoreboard(synthetic_scores({**TARGET, "base": 0.95}, spread=0.0), TASK, METHODS)
    assert headline(TASK, summarize(worse)).startswith("S3FT lost 6.0 points on programs")
    close = build_scoreboard(synthetic_scores({**TARGET, "base": 0.88}, spread=0.02), TASK, METHODS)
    assert "points (within noise) on programs" in headline(TASK, summarize(close))


def test_baselines_of_a_comparison_are_claimed_where_they_are_there():
    few = {**TARGET, "few-shot": 0.40, "sft-low-rate": 0.45}
    kept = {**GENERAL, "few-shot": GENERAL["base"], "sft-low-rate": 0.93}
    scores = synthetic_scores(few, kept)
    board = build_scoreboard(scores, TASK, [name for name in few if name != "base"], synthetic_answers(scores))
    found = {claim.name: claim for claim in build_claims(board, summarize(board))}
    assert found["s3ft_vs_few-shot_target"].verdict == HOLDS and "s3ft_vs_few-shot_general" not in found
    assert found["s3ft_vs_sft-low-rate_target"].verdict == HOLDS
    assert found["s3ft_vs_sft-low-rate_general"].verdict != HOLDS, "it forgets less"
    assert "Few-shot" not in found["base_beaten_on_target"].detail, "it was not tuned"
    assert not any("few-shot" in name for name in claims_of(synthetic_scores()))


def test_one_answer_of_six_hundred_decides_nothing():
    for better, worse in (("s3ft", "sft"), ("sdft", "s3ft")):
        scores = synthetic_scores({**TARGET, better: 1.0, worse: 599 / 600}, seeds=(0,), spread=0.0)
        claims = claims_of(scores, answers=synthetic_answers(scores))
        assert claims[f"s3ft_vs_{'sft' if worse == 'sft' else 'sdft'}_target"].verdict == NOISE


def test_levels_are_of_the_seeds_that_the_difference_is_of():
    scores = [s for s in synthetic_scores() if s.method != "sft" or s.seed != 2]
    claim = claims_of(scores)["s3ft_vs_sft_target"]
    first, second = (float(part.split()[0]) for part in claim.detail.split(";")[0].split("against"))
    assert first - second == pytest.approx(100 * claim.contrast.mean, abs=0.11)
