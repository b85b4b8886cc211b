"""The claims of the report room: what may be said of this run, computed from its numbers and from nothing else.

In: scoreboards of the run and of its control, and the comparisons of every pair of models. Out: ``Claim`` values, each
with a verdict:

* ``holds``: every interval there is (over seeds, over examples, over both) lies on the claimed side of zero, and the p
  of that pair, corrected for all comparisons of the report, is below 0.05.
* ``does not hold``: the same on the other side.
* ``holds before correction``, ``fails before correction``: every interval lies on that side, but the corrected p is not
  small. (Fails, since "does not hold before correction" could be read the other way.)
* ``within noise``: the mean points somewhere, but an interval reaches zero; the sentence says which way.
* ``does not apply``: the question makes no sense here (nothing was forgotten, so nothing can be halved).
* ``not measured``: a method or the general skills are missing.

What is no comparison of the report has no corrected p: a claim of three models (half the drop), the control, and all
where the answers to single examples are not known. There the intervals decide alone, and the sentence says so.

The claims are those of the S3FT paper (arXiv 2502.08130, abstract: better than SFT on the task at about half of its
loss on general benchmarks) and the comparisons a reader must know: SDFT, SSR, the base and the negative control. Where
answers are also measured otherwise than by the judge (token F1, unanswerable questions declined), one claim for each
such metric says which models are ahead of S3FT by it, so that what accuracy does not show is not missed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from s3ft_jax.report.comparisons import SURE, Comparison, find
from s3ft_jax.report.contrast import Contrast, contrast
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.scoreboard import Scoreboard
from s3ft_jax.report.summary import Estimate, Row
from s3ft_jax.report.wording import bounds, chance, interval_phrase, join, method_name, percent, points

HOLDS = "holds"
FAILS = "does not hold"
HOLDS_BEFORE = "holds before correction"
FAILS_BEFORE = "fails before correction"
NOISE = "within noise"
VOID = "does not apply"
UNMEASURED = "not measured"

SUBJECT = "s3ft"
RIVAL = "sft"
FEW_SHOT = "few-shot"
SEEN = 1.43
"""(z(0.975) + z(0.8)) / z(0.975): what half of a 95 % interval is multiplied with for a power of 80 %."""
UNCORRECTED = "Not corrected for how many comparisons there are: this is none of them."
BASELINES = ("sft-low-rate", "sft-replay", FEW_SHOT)
"""What a comparison has beside the methods; claims about them are made where they are there."""


_AGAINST_BASE = {
    HOLDS: "better",
    HOLDS_BEFORE: "better before correction",
    NOISE: "not told apart from it",
    FAILS_BEFORE: "worse before correction",
    FAILS: "worse",
}
"""In this order the first there is decides the claim that some tuned model beats the base."""
_AGAINST_SUBJECT = {
    FAILS: "ahead of it",
    FAILS_BEFORE: "ahead of it before correction",
    NOISE: "not told apart from it",
    HOLDS_BEFORE: "behind it before correction",
    HOLDS: "behind it",
}
"""In this order the first there is decides the claim that no tuned model is ahead of S3FT."""
_BY_METRIC = {
    "token_f1": "by token F1 on the target",
    "answerable_accuracy": "on the target's questions with an answer",
    "unanswerable_accuracy": "in declining the target's questions without one",
}
_TURNED = {HOLDS: FAILS, FAILS: HOLDS, HOLDS_BEFORE: FAILS_BEFORE, FAILS_BEFORE: HOLDS_BEFORE, NOISE: NOISE}
"""The verdict of a difference taken the other way round."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement with its verdict.

    Attributes:
      name: stable key for report.json.
      statement: what is claimed, in words.
      verdict: one of the seven above.
      detail: the numbers behind it, one or two sentences.
      contrast: the difference tested; None when not measured or not one difference.
      in_mean: whether the mean alone is on the claimed side; None without a contrast.
      corrected: p of the contrast, corrected for all comparisons of the report; None where it is none of them.
    """

    name: str
    statement: str
    verdict: str
    detail: str
    contrast: Contrast | None = None
    in_mean: bool | None = None
    corrected: float | None = None

    @property
    def sentence(self) -> str:
        """Statement, verdict and numbers in one line."""
        return f"{self.statement}: {self.verdict}. {self.detail}"


def build_claims(
    board: Scoreboard, rows: list[Row], control: Scoreboard | None = None, comparisons: Sequence[Comparison] = ()
) -> list[Claim]:
    """Every claim about this run, in the order in which a reader asks.

    Args:
      board: the run.
      rows: ``summary.summarize(board)``.
      control: the scoreboard of the negative control, if there is one.
      comparisons: ``compare_all`` of the run's scoreboard.
    """
    found = {row.method: row for row in rows}
    claims = [
        _versus(board, found, SUBJECT, RIVAL, "target", comparisons, strict=False),
        _half_drop(board, found),
    ]
    for rival in ("sdft", "ssr", *(name for name in BASELINES if name in board.methods)):
        claims += [
            _versus(board, found, SUBJECT, rival, where, comparisons, strict=True)
            for where in ("target", "general")
            if where == "target" or rival != FEW_SHOT  # which is the base on general skills
        ]
    claims.append(_base_beaten(board, found, comparisons))
    claims += [claim for metric in _BY_METRIC if (claim := _none_ahead(metric, board.methods, comparisons)) is not None]
    if control is not None:
        claims += [_no_advantage(control, where) for where in ("target", "general")]
    return claims


def judge_contrast(found: Contrast, corrected: float | None = None) -> str:
    """holds, does not hold (or each before correction) or within noise, for the claim that the contrast is above zero,
    or at least zero.

    An end at zero itself decides neither: with one answer in 600 that two models differ in, that is where the bootstrap
    over examples ends.

    Args:
      found: the difference.
      corrected: its p corrected for all comparisons; None where it is none of them, and intervals decide alone.
    """
    sure = corrected is None or corrected < SURE
    if all(interval.low > 0 for interval in found.intervals):
        return HOLDS if sure else HOLDS_BEFORE
    if all(interval.high < 0 for interval in found.intervals):
        return FAILS if sure else FAILS_BEFORE
    return NOISE


def _versus(
    board: Scoreboard,
    rows: Mapping[str, Row],
    subject: str,
    rival: str,
    where: str,
    comparisons: Sequence[Comparison],
    *,
    strict: bool,
) -> Claim:
    """Is ``subject`` better than (strict) or at least as good as ``rival`` on the target or the general skills?"""
    tasks, pair = (board.task,) if where == "target" else board.skills, (subject, rival)
    first, second = method_name(subject), method_name(rival)
    if where == "target":
        statement = f"{first} is {'better than' if strict else 'at least as good as'} {second} on the target"
    else:
        statement = f"{first} keeps more of the general skills than {second}"
    name = f"{subject}_vs_{rival}_{where}"
    missing = _missing(board, (subject, rival), tasks)
    found = None if missing else contrast(board, {subject: 1.0, rival: -1.0}, tasks)
    if found is None:
        return Claim(name, statement, UNMEASURED, missing or "The two methods share no seed.")
    if where == "target":
        levels = [np.mean([board.score((one, seed), board.task).value for seed in found.per_seed]) for one in pair]
        values = f"{percent(levels[0])} % against {percent(levels[1])} %"
    else:
        values = " against ".join(points(_change(rows[one], found)) for one in pair) + " points"
    return _tested(name, statement, values, found, find(comparisons, pair, tasks), strict=strict)


def _half_drop(board: Scoreboard, rows: Mapping[str, Row]) -> Claim:
    """Is the general drop of S3FT at most half of the drop of SFT? See the worked example in ``contrast``."""
    first, second = method_name(SUBJECT), method_name(RIVAL)
    name, statement = "s3ft_drop_at_most_half", f"{first} loses at most half as much general skill as {second}"
    missing = _missing(board, (SUBJECT, RIVAL), board.skills)
    found = None if missing else contrast(board, {SUBJECT: 1.0, RIVAL: -0.5, BASE: -0.5}, board.skills)
    if found is None:
        return Claim(name, statement, UNMEASURED, missing or "The two methods share no seed.")
    change, drop = (_change(rows[one], found) for one in (SUBJECT, RIVAL))
    values = f"{first} {points(change)} points, {second} {points(drop)} points"
    if drop >= 0:
        return Claim(
            name, statement, VOID, f"{values}; {second} lost nothing in the mean, so there is nothing to halve."
        )
    return _tested(name, statement, f"{values} (half: {points(drop / 2)})", found, None, strict=False)


def _base_beaten(board: Scoreboard, rows: Mapping[str, Row], comparisons: Sequence[Comparison]) -> Claim:
    """Does any method beat the untouched base on the target?"""
    tuned = [method for method in board.methods if method != FEW_SHOT]
    verdicts: dict[str, list[str]] = {}
    for method in tuned:
        difference = contrast(board, {method: 1.0, BASE: -1.0}, (board.task,))
        one = find(comparisons, (method, BASE), (board.task,))
        if difference is not None:
            verdict = judge_contrast(difference, one.corrected if one else None)
            numbers = f" ({_span(difference)}; {_chance(one)})" if one else ""
            shown = numbers if verdict in (HOLDS_BEFORE, FAILS_BEFORE) else ""
            verdicts.setdefault(verdict, []).append(method_name(method) + shown)
    parts = [f"base {percent(rows[BASE].target.mean)} %"]
    parts += [f"{words}: {join(verdicts[verdict])}" for verdict, words in _AGAINST_BASE.items() if verdict in verdicts]
    detail = "; ".join(parts) + "."
    if {HOLDS, FAILS} & set(verdicts) and not any(find(comparisons, (one, BASE), (board.task,)) for one in tuned):
        detail += f" {UNCORRECTED}"
    if all(rows[method].target.mean < rows[BASE].target.mean for method in tuned):
        detail += " In the mean the untouched base beats every method on the target."
    verdict = next((one for one in _AGAINST_BASE if one in verdicts), FAILS)
    return Claim("base_beaten_on_target", "Some tuned model beats the untouched base on the target", verdict, detail)


def _none_ahead(metric: str, methods: Sequence[str], comparisons: Sequence[Comparison]) -> Claim | None:
    """Is no tuned model ahead of S3FT on the target by another metric than accuracy? None: nothing was compared.

    Base and few-shot base are named, too, but decide nothing: a base that declines every question is ahead in that.
    """
    words: dict[str, list[str]] = {}
    verdicts = set()
    for one in comparisons:
        if one.metric != metric or SUBJECT not in (one.first, one.second):
            continue
        verdict, mean, span = judge_contrast(one.contrast, one.corrected), one.contrast.mean, one.contrast.interval
        low, high, other = span.low, span.high, one.second
        if other == SUBJECT:
            verdict, mean, low, high, other = _TURNED[verdict], -mean, -high, -low, one.first
        shown = f"; {_chance(one)}" if verdict in (HOLDS_BEFORE, FAILS_BEFORE) else ""
        words.setdefault(verdict, []).append(f"{method_name(other)} ({points(mean)} {bounds(low, high)}{shown})")
        verdicts |= {verdict} if other in methods and other != FEW_SHOT else set()
    if not verdicts:
        return None
    name, subject = f"none_ahead_of_s3ft_{metric}", method_name(SUBJECT)
    statement = f"No tuned model is ahead of {subject} {_BY_METRIC[metric]}"
    parts = [f"{said}: {join(words[verdict])}" for verdict, said in _AGAINST_SUBJECT.items() if verdict in words]
    detail = f"{subject} minus the other, in points; {'; '.join(parts)}."
    return Claim(name, statement, next(one for one in _AGAINST_SUBJECT if one in verdicts), detail)


def _no_advantage(control: Scoreboard, where: str) -> Claim:
    """In the negative control, does S3FT show no advantage over SFT? Not seeing one is not proof that there is none."""
    tasks = (control.task,) if where == "target" else control.skills
    first, second = method_name(SUBJECT), method_name(RIVAL)
    place = "on the target" if where == "target" else "on the general skills"
    name, statement = f"control_{where}", f"In the control {first} shows no advantage over {second} {place}"
    missing = _missing(control, (SUBJECT, RIVAL), tasks)
    found = None if missing else contrast(control, {SUBJECT: 1.0, RIVAL: -1.0}, tasks)
    if found is None:
        return Claim(name, statement, UNMEASURED, missing or "The two methods share no seed.")
    verdict = {HOLDS: FAILS, FAILS: HOLDS, NOISE: NOISE}[judge_contrast(found)]
    note = "" if verdict == NOISE else f" {UNCORRECTED}"
    # half an interval is what would be seen every second time
    widest = max(interval.high - interval.low for interval in found.intervals) / 2 * SEEN
    detail = f"{_difference(found)} A true difference below about {percent(widest)} points could go unseen here.{note}"
    return Claim(name, statement, verdict, detail[0].upper() + detail[1:], found, found.mean <= 0)


def _tested(name: str, statement: str, values: str, found: Contrast, one: Comparison | None, *, strict: bool) -> Claim:
    """The claim that a contrast is above (strict) or at least zero; within noise, which way the mean points is said.

    ``one`` is the comparison of the report that the contrast is, in either direction; None where it is none.
    """
    corrected = one.corrected if one else None
    verdict = judge_contrast(found, corrected)
    in_mean = found.mean > 0 if strict else found.mean >= 0
    detail = f"{values}; {_difference(found, one)}"
    if verdict in (HOLDS_BEFORE, FAILS_BEFORE):
        detail += " Every interval leaves zero out, but among so many comparisons that may be chance."
    elif verdict != NOISE and one is None:
        detail += f" {UNCORRECTED}"
    if verdict == NOISE:
        across = [f"over {interval.over}" for interval in found.intervals if interval.low <= 0 <= interval.high]
        side = "In the mean it holds" if in_mean else "In the mean it does not hold"
        detail += f" {side}, but the interval {join(across)} reaches zero." if across else f" {side}."
    return Claim(name, statement, verdict, detail, found, in_mean, corrected)


def _missing(board: Scoreboard, methods: tuple[str, ...], tasks: tuple[str, ...]) -> str:
    absent = [method_name(method) for method in methods if method not in board.methods]
    if absent:
        return f"{join(absent)} {'was' if len(absent) == 1 else 'were'} not run."
    return "" if tasks else "No general skill was scored."


def _difference(found: Contrast, one: Comparison | None = None) -> str:
    tested = f"; {_chance(one)}" if one else ""
    return f"difference {points(found.mean)} points, 95 % interval {_span(found)}{tested}."


def _span(found: Contrast) -> str:
    return ", ".join(interval_phrase(interval) for interval in found.intervals)


def _chance(one: Comparison) -> str:
    return f"p {chance(one.p)}, corrected {chance(one.corrected)}"


def _change(row: Row, found: Contrast) -> float:
    """A method's mean general change over the seeds of a contrast."""
    return float(np.mean([row.points[seed][0] for seed in found.per_seed]))


def headline(task: str, rows: list[Row]) -> str:
    """The first sentence of the report: what each of S3FT and SFT (or all methods) won and lost against the base."""
    chosen = [row for row in rows if row.method in (SUBJECT, RIVAL)]
    chosen.sort(key=lambda row: row.method != SUBJECT)
    if not chosen:
        chosen = [row for row in rows if row.method != BASE]
    parts = []
    for row in chosen:
        text = f"{method_name(row.method)} {_moved(row.target_change)} on {task}"
        if row.general_change is not None:
            text += f" and {_moved(row.general_change)} on general skills"
        parts.append(text)
    seeds = sorted({row.seeds for row in chosen})
    number = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return "; ".join(parts) + f" (against the untouched base, {number} seed{'' if seeds == [1] else 's'})."


def _moved(change: Estimate) -> str:
    if points(change.mean) == "0.0":
        return "changed by 0.0 points"
    noise = "" if change.certain else " (within noise after correction)" if change.away else " (within noise)"
    return f"{'gained' if change.mean > 0 else 'lost'} {percent(abs(change.mean))} points{noise}"
