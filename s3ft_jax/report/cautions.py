"""The cautions of the report room: what a careful reader must keep in mind, said only where the numbers call for it.

In: the scoreboard, summary and flow of this run. Out: sentences. Standing limits of any such run come last.
"""

from __future__ import annotations

import math

from s3ft_jax.grid import RULES, Cell, choose, nearly_chosen
from s3ft_jax.report.evidence import BASE, Evidence
from s3ft_jax.report.flow import Flow
from s3ft_jax.report.frontier import Spot, setting, spots
from s3ft_jax.report.intake import intake_cautions
from s3ft_jax.report.scoreboard import Scoreboard
from s3ft_jax.report.wording import count_of, join, method_name, percent, points

FEW_SEEDS = 3
FEW_EXAMPLES = 500
FEW_ANSWERS = 3
"""Validation answers on which a choice of settings should not hang."""
SATURATED = 0.99
WEAK_PARAPHRASER = 0.55
"""Below this share of accepted paraphrases the advantage of S3FT mostly went away in this project's own trials on the
pocket tasks; the paper's own shares are 83, 46 and 76 % (derived from arXiv 2502.08130, Table 3)."""


def build_cautions(evidence: Evidence, board: Scoreboard, flow: Flow) -> list[str]:
    """Every caution that applies to this run."""
    return [
        *_about_counts(board),
        *_about_skills(board, {score.task for score in evidence.scores if score.shown}),
        *intake_cautions(evidence),
        *_about_flow(flow),
        *_about_outside(evidence),
        *_about_steps(evidence),
        *_about_settings(evidence),
        *_about_noise(evidence),
        *_about_curves(evidence),
        *_about_rounding(evidence),
        *_standing(board),
    ]


def _about_counts(board: Scoreboard) -> list[str]:
    found = []
    fewest = min(len(board.seeds(method)) for method in board.methods)
    if fewest == 1:
        found.append("One seed: intervals are over examples only and say nothing of the spread between tuning runs.")
    elif fewest < FEW_SEEDS:
        found.append(
            f"{fewest} seeds: Student's factor is 12.7 here (4.3 with 3 seeds, 2.8 with 5), so intervals over "
            "seeds are very wide, and a claim can fail to hold for want of seeds alone. More seeds narrow them."
        )
    uneven = {method: board.seeds(method) for method in board.methods}
    if len(set(uneven.values())) > 1:
        text = "; ".join(f"{method_name(method)} {list(seeds)}" for method, seeds in uneven.items())
        found.append(f"The methods were run with different seeds ({text}); differences use the seeds they share.")
    models = [(BASE, None), *((method, seed) for method in board.methods for seed in board.seeds(method))]
    values = {board.score(model, board.task).value for model in models}
    if len(values) == 1:
        found.append(
            f"Every model scores {percent(values.pop())} % on {board.task}: of the target nothing can be said. Look at "
            "the answers below, at the length limit (evaluate.max_new_tokens) and at the judge."
        )
    count = board.score((BASE, None), board.task).count
    if count < FEW_EXAMPLES:
        found.append(
            f"Only {count_of(count, 'test example')}: one score near 50 % has a standard error of "
            f"{percent(0.5 / math.sqrt(count))} points."
        )
    return found


def _about_skills(board: Scoreboard, benchmarks: set[str]) -> list[str]:
    if not board.skills:
        return ["No general skill was scored, so this report says nothing about forgetting."]
    found = []
    full = [skill for skill in board.skills if board.score((BASE, None), skill).value >= SATURATED]
    if full:
        found.append(f"The base is at {percent(SATURATED)} % or more on {join(full)}: these can only fall.")
    counts = [board.score((BASE, None), skill).count for skill in board.skills]
    worst = max(board.score((BASE, None), skill).stderr for skill in board.skills)
    size = count_of(counts[0], "example") if len(set(counts)) == 1 else f"{min(counts):,} to {max(counts):,} examples"
    found.append(
        f"One general skill has {size} and a standard error of up to {percent(worst)} points for the base; read the "
        "mean over the skills before any single one."
    )
    if not board.choices and set(board.skills) - benchmarks:
        found.append(
            "General skills are scored by exact match only: an answer that is right but written in the tuned style "
            "counts as lost."
        )
    return found


def _about_flow(flow: Flow) -> list[str]:
    found = list(flow.warnings)
    accepted, asked = flow.rescued or (0, 0)
    if asked and accepted / asked < WEAK_PARAPHRASER:
        found.append(
            f"Only {percent(accepted / asked)} % of the examples without a right own response got an accepted "
            "paraphrase; with a weak paraphraser many targets are gold, and S3FT comes close to SSR."
        )
    for origin in flow.origins:
        if origin.cut and origin.sampled:
            found.append(
                f"{origin.cut:,} of {origin.sampled:,} {origin.origin} responses "
                f"({percent(origin.cut / origin.sampled)} %) hit the length limit; they are never trained on."
            )
        found += [
            f"{count_of(count, 'question')} could not be asked for a response of origin {origin.origin}: {reason}."
            for reason, count in origin.unasked.items()
        ]
        undecided = origin.outcomes.get("undecided", 0)
        if undecided:
            found.append(
                f"The judge could not decide {undecided:,} of {sum(origin.outcomes.values()):,} {origin.origin} "
                "responses; undecided never counts as right."
            )
    alike: dict[tuple[int, ...], list[str]] = {}
    for method, counts in flow.targets.items():
        alike.setdefault(tuple(counts.values()), []).append(method_name(method))
    found += [
        f"{join(names)} take the same number of targets from each origin here."
        for names in alike.values()
        if len(names) > 1
    ]
    return found


def _about_outside(evidence: Evidence) -> list[str]:
    """Responses that another engine sampled: whose ids they have, and what is not known of them."""
    return [
        f"The {origin} responses were sampled by an outside engine ({told['model']} at {told['server']}). "
        f"{told['returned']:,} have the ids that it sampled; {told['same']:,} have ids encoded from its text; "
        f"{told['changed']:,} are never trained on, since their encoded ids give another text. The log-probability of "
        f"{told['without_logprob']:,} is not known."
        for origin, told in evidence.outside.items()
    ]


def _about_steps(evidence: Evidence) -> list[str]:
    """Training that ended before it had seen every target once; one sentence for all seeds of a method, and for
    methods of which the same is to be said."""
    methods: dict[str, list[str]] = {}
    for method in dict.fromkeys(method for method, _ in evidence.seen):
        runs = [counts for (name, _), counts in evidence.seen.items() if name == method]
        short = [(seen, there) for seen, there in runs if seen < there]
        if short:
            some = "" if len(short) == len(runs) else f" (in {len(short)} of {len(runs)} seeds)"
            seen, there = (
                _between([f"{number:,}" for number in sorted(numbers)]) for numbers in zip(*short, strict=True)
            )
            passes = _between(sorted(f"{seen / there:.2f}" for seen, there in short))
            said = f"trained on {seen} of {there} targets{some}, {passes} passes over the data"
            methods.setdefault(said, []).append(method_name(method))
    return [
        f"{join(names)}: {said}. The others were made and never seen: train.num_steps times train.batch_size is less "
        "than there are; train.num_epochs=1 takes as many as there are questions."
        for said, names in methods.items()
    ]


def _between(numbers: list[str]) -> str:
    """The first and the last, or the only one: ``1,677 to 1,696``."""
    return numbers[0] if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def _about_settings(evidence: Evidence) -> list[str]:
    """Methods that were tuned with settings of their own: a difference between them may be one of settings."""
    if evidence.grid:
        return [
            "Each line has the setting that its own validation scores chose from the same grid, so a difference "
            "between two of them is one of method and setting together. What other settings give is shown, too.",
            *_about_choices(evidence),
        ]
    per_method = evidence.config.get("train", {}).get("per_method", {})
    found = {method: per_method.get(method, {}) for method in evidence.methods}
    if all(settings == found[evidence.methods[0]] for settings in found.values()):
        return []
    told = [
        f"{method_name(method)} {', '.join(f'{name} {value}' for name, value in sorted(own.items())) or 'as shared'}"
        for method, own in found.items()
    ]
    return [
        f"The methods were tuned with settings of their own ({'; '.join(told)}), so a difference between two of them "
        "is one of method and settings together."
    ]


def _about_choices(evidence: Evidence) -> list[str]:
    """Lines whose setting hangs on a few validation answers, which no interval knows of."""
    rule, found = evidence.config.get("compare", {}).get("rule", ""), []
    for name in dict.fromkeys(spot.label for spot in spots(evidence.grid)):
        mine = {spot.variant: spot for spot in spots(evidence.grid) if spot.label == name}
        tried = [point for point in evidence.grid if point.label == name]
        if rule not in RULES or len(mine) < 2 or not all(point.count for point in tried):
            continue
        cells = [
            Cell(
                name,
                spot.variant,
                spot.learning_rate,
                spot.num_steps,
                {point.seed: point.score for point in tried if point.variant == spot.variant},
                tried[0].count,
            )
            for spot in mine.values()
        ]
        near, taken = nearly_chosen(cells, rule, FEW_ANSWERS), mine[choose(cells, rule).variant]
        if near is not None:
            number, other = near[0], mine[near[1].variant]
            found.append(
                f"{method_name(name)} took {setting(taken)} (general change {_change(taken)}); with {number} of "
                f"{tried[0].count:,} validation answers otherwise it would be {setting(other)} ({_change(other)}). The "
                "intervals know nothing of this."
            )
    return found


def _change(spot: Spot) -> str:
    return "not measured" if spot.change is None else f"{points(spot.change)} points"


def _about_noise(evidence: Evidence) -> list[str]:
    """Verdicts that were made wrong on purpose."""
    noise = evidence.config.get("judge", {}).get("noise", {})
    accepts, rejects = noise.get("false_accepts", 0.0), noise.get("false_rejects", 0.0)
    if not accepts and not rejects:
        return []
    return [
        f"An experiment: {percent(accepts)} % of the wrong training responses were taken for right, and "
        f"{percent(rejects)} % of the right ones for wrong, on purpose (judge.noise). Test answers were judged as ever."
    ]


def _about_curves(evidence: Evidence) -> list[str]:
    broken = sorted(
        f"{method_name(method)} seed {seed}"
        for (method, seed), curve in evidence.curves.items()
        if any(not math.isfinite(loss) for _, loss in curve)
    )
    return [f"The training loss was not finite in {join(broken)}."] if broken else []


def _about_rounding(evidence: Evidence) -> list[str]:
    """Adapters that were trained on a rounded base; one sentence per dtype, with the largest error measured."""
    errors: dict[str, list[float]] = {}
    for dtype, error in evidence.rounded.values():
        errors.setdefault(dtype, []).append(error)
    return [
        f"Adapters were trained on kernels rounded to {dtype}, which changed a logit of the base by up to "
        f"{100 * max(found):.2g} % of the largest (measured on the first tokens of each run's training data); all "
        "scores are of these adapters on the base as imported."
        for dtype, found in errors.items()
    ]


def _standing(board: Scoreboard) -> list[str]:
    found = [
        "Every run starts from one base model: the spread between seeds is that of tuning (order and sampling of "
        "training examples), not of pretraining another base.",
        "The intervals are not corrected for looking at several methods and skills at once; the p-values of every pair "
        "of models are, where the answers to single examples are known, and filled arrows and claims about two models "
        "go by them there.",
        "The same kind of judge picks the training targets and scores the test answers, so a blind spot of the judge "
        "shows in both.",
    ]
    if board.choices:
        found.append("Exact match also counts a change of style as a loss; choice likelihood does not, so read both.")
    return found
