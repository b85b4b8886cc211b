"""Synthetic evidence for the tests of the report room: invented numbers, drawn from a seed, measured on nothing."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from s3ft_jax.records import Score, Verdict
from s3ft_jax.report import (
    BrowsedAnswer,
    BrowsedExample,
    ChangedItems,
    Contents,
    Control,
    Evidence,
    Item,
    ItemAnswer,
    ResponseCount,
    build_contents,
)

TASK = "programs"
METHODS = ("sft", "ssr", "sdft", "s3ft")
SEEDS = (0, 1, 2)
SKILLS = ("facts", "truth", "wino", "strings", "units", "dates", "instructions")
TARGET = {"base": 0.28, "sft": 0.62, "ssr": 0.56, "sdft": 0.87, "s3ft": 0.89}
GENERAL = {"base": 0.94, "sft": 0.83, "ssr": 0.85, "sdft": 0.905, "s3ft": 0.91}
TARGETS = {"sft": (0, 0, 100), "ssr": (46, 0, 54), "sdft": (0, 91, 9), "s3ft": (46, 46, 8)}
REASONS = ("wrong: test 2 gave 12, not 14", "syntax: invalid syntax", "names: no function", "raised: ZeroDivisionError")


def synthetic_score(method: str, seed: int | None, task: str, split: str, metric: str, right: int, count: int) -> Score:
    value = right / count
    return Score(method, seed, task, split, metric, value, count, math.sqrt(value * (1 - value) / count))


def synthetic_scores(
    target: dict[str, float] = TARGET,
    general: dict[str, float] = GENERAL,
    *,
    seeds: tuple[int, ...] = SEEDS,
    spread: float = 0.01,
    count: int = 600,
    skills: tuple[str, ...] = SKILLS,
) -> list[Score]:
    """Scores around the given means; ``spread`` is the standard deviation between seeds."""
    random = np.random.default_rng(7)
    scores = []
    for method in target:
        for seed in (None,) if method == "base" else seeds:
            noise = 0.0 if seed is None else spread

            def draw(mean: float, number: int, noise: float = noise) -> int:
                return round(number * float(np.clip(mean + noise * random.standard_normal(), 0, 1)))

            right = draw(target[method], count)
            scores.append(synthetic_score(method, seed, TASK, "test", "accuracy", right, count))
            for place, skill in enumerate(skills):
                mean = min(1.0, general[method] + (0.04 if place % 2 else -0.03))
                scores.append(synthetic_score(method, seed, skill, "general", "accuracy", draw(mean, 80), 80))
            if skills:
                likely = draw((general[method] + 0.94) / 2 - 0.1, 80)
                scores.append(synthetic_score(method, seed, skills[0], "general", "choice_likelihood", likely, 80))
    return scores


def synthetic_answers(
    scores: list[Score], *, overlap_seed: int = 3
) -> dict[tuple[str, int | None, str], list[Verdict]]:
    """Verdicts that agree with the accuracy scores; an example that is easy for one model is easy for all."""
    random = np.random.default_rng(overlap_seed)
    ease: dict[str, np.ndarray] = {}
    answers = {}
    for score in scores:
        if score.metric != "accuracy":
            continue
        base = ease.setdefault(score.task, random.standard_normal(score.count))
        order = np.argsort(-(base + 0.6 * random.standard_normal(score.count)))
        right = set(order[: round(score.value * score.count)].tolist())
        answers[score.method, score.seed, score.task] = [
            Verdict(
                f"{score.task}/{score.split}/{place:05d}",
                "own",
                0,
                "programs",
                "right" if place in right else "wrong",
                "f",
                "passed: all" if place in right else REASONS[0],
            )
            for place in range(score.count)
        ]
    return answers


def synthetic_measured(
    answers: dict[tuple[str, int | None, str], list[Verdict]], *, unanswerable: int = 4
) -> tuple[dict[tuple[str, int | None, str], dict[str, float]], list[Score]]:
    """Metrics of the target's answers that go with the verdicts, and their scores.

    Every ``unanswerable``-th question is unanswerable (0: none); a wrong answer to another has half of the tokens, or
    every third time declines.
    """
    measured: dict[tuple[str, int | None, str], dict[str, float]] = {}
    for (method, seed, task), verdicts in answers.items():
        for place, verdict in enumerate(verdicts if task == TASK else ()):
            right = float(verdict.outcome == "right")
            if unanswerable and place % unanswerable == 0:
                values = {"token_f1": right, "unanswerable_accuracy": right}
            else:
                values = {"token_f1": right or 0.5 * (place % 3 > 0), "answerable_accuracy": right}
                values["false_refusals"] = float(not right and place % 3 == 0)
            for metric, value in values.items():
                measured.setdefault((method, seed, metric), {})[verdict.example_id] = value
    scores = []
    for (method, seed, metric), values in measured.items():
        array = np.array(list(values.values()))
        stderr = float(array.std() / math.sqrt(len(array)))
        scores.append(Score(method, seed, TASK, "test", metric, float(array.mean()), len(array), stderr))
    return measured, scores


def synthetic_verdicts(right_share: float, origin: str, ids: list[str]) -> list[Verdict]:
    random = np.random.default_rng(len(ids))
    verdicts = []
    for example_id in ids:
        draw = random.random()
        outcome = "right" if draw < right_share else "undecided" if draw > 0.97 else "wrong"
        reason = {"right": "passed: all tests", "undecided": "timeout: 2 s"}.get(outcome)
        verdicts.append(
            Verdict(example_id, origin, 0, "programs", outcome, "f", reason or REASONS[random.integers(len(REASONS))])
        )
    return verdicts


def synthetic_browsed(number: int = 8) -> tuple[BrowsedExample, ...]:
    examples = []
    for place in range(number):
        before, after = bool(place & 1), bool(place & 2)
        good = "def f(a):\n    return [x ** 3 for x in a if x < 10]"
        bad = "def f(a):\n    return sum(a)  # <script>alert(1)</script>"
        answers = [
            BrowsedAnswer("base", None, good if before else bad, "right" if before else "wrong", "f", REASONS[0])
        ]
        answers += [
            BrowsedAnswer(method, 0, good if after else bad, "right" if after else "wrong", "f", REASONS[place % 4])
            for method in METHODS
        ]
        prompt = f"Write f(a): keep the numbers less than {place + 3}, cube each, give the list back."
        gold = "def solution(nums):\n  return list(map(lambda n: n ** 3, filter(lambda n: n < 10, nums)))"
        examples.append(BrowsedExample(f"{TASK}/test/{place:05d}", prompt, gold, tuple(answers)))
    return tuple(examples)


def synthetic_item(name: str, text: str = "Oslo", value: float = 0.0) -> Item:
    """What the base got right and s3ft and sft did not."""
    models = (("base", None), ("s3ft", SEEDS[0]), ("sft", SEEDS[0]))
    answers = [ItemAnswer(*model, text, 1.0 if model[0] == "base" else value, "read: <b>") for model in models]
    return Item(name, f"Shown before.\n\nWhere is {name}?", "Rome", tuple(answers))


def synthetic_changed(
    method: str = "sft", skill: str = "units", lost: int = 3, won: int = 1, **more: object
) -> ChangedItems:
    """100 items of a skill; ``more`` goes to ``synthetic_item``."""
    texts = [
        tuple(synthetic_item(f"{skill}/{fate}/{number}", **more) for number in range(count))
        for fate, count in (("lost", lost), ("won", won))
    ]
    return ChangedItems(method, SEEDS[0], skill, lost, won, 100 - lost - won, *texts)


@functools.cache
def synthetic_contents() -> Contents:
    """The contents of the complete synthetic evidence, computed once for all tests; do not change it."""
    return build_contents(synthetic_evidence())


def synthetic_evidence(**changes: object) -> Evidence:
    """Complete synthetic evidence; keyword arguments replace fields."""
    random = np.random.default_rng(1)
    scores = synthetic_scores()
    ids = [f"{TASK}/train/{place:05d}" for place in range(768)]
    own = synthetic_verdicts(0.46, "own", ids)
    unsolved = [verdict.example_id for verdict in own if verdict.outcome != "right"]
    selections = {}
    for method, shares in TARGETS.items():
        origins = random.choice(["own", "paraphrase", "gold"], size=len(ids), p=np.array(shares) / 100)
        selections[method] = [(key, str(origin), "own wrong") for key, origin in zip(ids, origins, strict=True)]
    logprobs = {}
    for origin, (mean, length) in {"own": (-0.05, 34), "paraphrase": (-0.4, 33), "gold": (-2.6, 40)}.items():
        tokens = random.integers(length - 12, length + 12, size=300)
        logprobs[origin] = [(float(min(-1e-4, mean * count * random.gamma(4, 0.25))), int(count)) for count in tokens]
    curves = {
        (method, seed): [
            (step, float(shares[2] / 60 * math.exp(-step / 18) + 0.06 + 0.02 * random.random()))
            for step in range(1, 101)
        ]
        for method, shares in TARGETS.items()
        for seed in SEEDS
    }
    near = {"base": 0.28, "sft": 0.93, "ssr": 0.92, "sdft": 0.92, "s3ft": 0.92}
    near_general = {"base": 0.94, "sft": 0.93, "ssr": 0.93, "sdft": 0.93, "s3ft": 0.93}
    evidence = Evidence(
        title="Synthetic evidence: programs on the pocket model",
        task=TASK,
        methods=METHODS,
        seeds=SEEDS,
        scores=scores,
        config={
            "task": TASK,
            "train": {"learning_rate": 1e-3, "steps": 100, "batch": 16},
            "sample": {"temperature": 0.8},
        },
        intakes={
            "train": {
                "read": 1030,
                "used": 1024,
                "left": {"beyond the limit": 4},
                "dropped": {"empty": ["a:3", "a:9"]},
            },
            "test": {"read": 600, "used": 600, "left": {}, "dropped": {}},
        },
        encoding={"gold_by_template": 1024, "gold_changed": 3},
        left_out={("sft", SEEDS[0]): (ids[5],), ("s3ft", SEEDS[0]): ()},
        selections=selections,
        responses={
            "own": ResponseCount(768, 751, 17),
            "paraphrase": ResponseCount(len(unsolved), len(unsolved) - 3, 3),
        },
        verdicts={"own": own, "paraphrase": synthetic_verdicts(0.86, "paraphrase", unsolved)},
        answers=synthetic_answers(scores),
        examples=synthetic_browsed(),
        changed=(synthetic_changed("s3ft", lost=1), synthetic_changed(), synthetic_changed("sft", "dates")),
        logprobs=logprobs,
        curves=curves,
        costs={
            "import": {"seconds": 1.2},
            "sample": {"seconds": 31.0, "tokens": 48_000},
            "judge": {"seconds": 6.1},
            "train": {"seconds": 165.0, "tokens": 912_000},
            "evaluate": {"seconds": 48.0, "tokens": 210_000},
        },
        versions={"python": "3.11.9", "jax": "0.10.2", "s3ft_jax": "0.1.0"},
        hashes={"examples": "5e1f0c", "weights": "a90b11"},
        sandbox="Level 3 of 3: namespaces, seccomp and resource limits. 768 programs run, 9 timed out.",
        notes=("All numbers of this report are synthetic: invented for a test, measured on nothing.",),
        control=Control(
            "Gold in the near style, close to the model's own: nothing should be won here by avoiding gold.",
            synthetic_scores(near, near_general),
            ("Same settings as above; only the style of gold differs.",),
        ),
    )
    return dataclasses.replace(evidence, **changes)
