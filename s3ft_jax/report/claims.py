"""The claims of the report room: what may be said of this run, computed from its numbers and from nothing else.

In: scoreboards of the run and of its control. Out: ``Claim`` values, each with a verdict:

* ``holds``: every interval there is (over seeds, over examples, over both) lies on the claimed side of zero.
* ``does not hold``: every interval lies on the other side.
* ``within noise``: the mean points somewhere, but an interval reaches zero; the sentence says which way.
* ``does not apply``: the question makes no sense here (nothing was forgotten, so nothing can be halved).
* ``not measured``: a method or the general skills are missing.

The claims are those of the S3FT paper (arXiv 2502.08130, abstract: better than SFT on the task at about half of its
loss on general benchmarks) and the comparisons a reader must know: SDFT, SSR, the base and the negative control.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from s3ft_jax.report.contrast import Contrast, contrast
from s3ft_jax.report.evidence import BASE
from s3ft_jax.report.scoreboard import Scoreboard
from s3ft_jax.report.summary import Estimate, Row
from s3ft_jax.report.wording import interval_phrase, join, method_name, percent, points

HOLDS = "holds"
FAILS = "does not hold"
NOISE = "within noise"
VOID = "does not apply"
UNMEASURED = "not measured"

SUBJECT = "s3ft"
RIVAL = "sft"
FEW_SHOT = "few-shot"
SEEN = 1.43
"""(z(0.975) + z(0.8)) / z(0.975): what half of a 95 % interval is multiplied with for a power of 80 %."""
BASELINES = ("sft-low-rate", "sft-replay", FEW_SHOT)
"""What a comparison has beside the methods; claims about them are made where they are there."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement with its verdict.

    Attributes:
      name: stable key for report.json.
      statement: what is claimed, in words.
      verdict: one of the five above.
      detail: the numbers behind it, one or two sentences.
      contrast: the difference tested; None when not measured or not one difference.
      in_mean: whether the mean alone is on the claimed side; None without a contrast.
    """

    name: str
    statement: str
    verdict: str
    detail: str
    contrast: Contrast | None = None
    in_mean: bool | None = None

    @property
    def sentence(self) -> str:
        """Statement, verdict and numbers in one line."""
        return f"{self.statement}: {self.verdict}. {self.detail}"


def build_claims(board: Scoreboard, rows: list[Row], control: Scoreboard | None = None) -> list[Claim]:
    """Every claim about this run, in the order in which a reader asks.

    Args:
      board: the run.
      rows: ``summary.summarize(board)``.
      control: the scoreboard of the negative control, if there is one.
    """
    found = {row.method: row for row in rows}
    claims = [
        _versus(board, found, SUBJECT, RIVAL, "target", strict=False),
        _half_drop(board, found),
    ]
    for rival in ("sdft", "ssr"):
        claims += [_versus(board, found, SUBJECT, rival, where, strict=True) for where in ("target", "general")]
    for rival in (name for name in BASELINES if name in board.methods):
        claims += [
            _versus(board, found, SUBJECT, rival, where, strict=True)
            for where in ("target", "general")
            if where == "target" or rival != FEW_SHOT  # which is the base on general skills
        ]
    claims.append(_base_beaten(board, found))
    if control is not None:
        claims += [_no_advantage(control, where) for where in ("target", "general")]
    return claims


def judge_contrast(found: Contrast) -> str:
    """holds, does not hold or within noise, for the claim that the contrast is above zero, or at least zero.

    An end at zero itself decides neither: with one answer in 600 that two models differ in, that is where the bootstrap
    over examples ends.
    """
    if all(interval.low > 0 for interval in found.intervals):
        return HOLDS
    return FAILS if all(interval.high < 0 for interval in found.intervals) else NOISE


def _versus(board: Scoreboard, rows: Mapping[str, Row], subject: str, rival: str, where: str, *, strict: bool) -> Claim:
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
    return _tested(name, statement, values, found, strict=strict)


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
    return _tested(name, statement, f"{values} (half: {points(drop / 2)})", found, strict=False)


def _base_beaten(board: Scoreboard, rows: Mapping[str, Row]) -> Claim:
    """Does any method beat the untouched base on the target?"""
    tuned = [method for method in board.methods if method != FEW_SHOT]
    contrasts = {method: contrast(board, {method: 1.0, BASE: -1.0}, (board.task,)) for method in tuned}
    verdicts = {method: judge_contrast(found) for method, found in contrasts.items() if found is not None}
    better = [method_name(method) for method, verdict in verdicts.items() if verdict == HOLDS]
    unclear = [method_name(method) for method, verdict in verdicts.items() if verdict == NOISE]
    worse = [method_name(method) for method, verdict in verdicts.items() if verdict == FAILS]
    parts = [f"base {percent(rows[BASE].target.mean)} %"]
    for names, words in ((better, "better"), (unclear, "not told apart from it"), (worse, "worse")):
        if names:
            parts.append(f"{words}: {join(names)}")
    detail = "; ".join(parts) + "."
    if all(rows[method].target.mean < rows[BASE].target.mean for method in tuned):
        detail += " In the mean the untouched base beats every method on the target."
    verdict = HOLDS if better else NOISE if unclear else FAILS
    return Claim("base_beaten_on_target", "Some tuned model beats the untouched base on the target", verdict, detail)


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
    # half an interval is what would be seen every second time
    widest = max(interval.high - interval.low for interval in found.intervals) / 2 * SEEN
    detail = f"{_difference(found)} A true difference below about {percent(widest)} points could go unseen here."
    return Claim(name, statement, verdict, detail[0].upper() + detail[1:], found, found.mean <= 0)


def _tested(name: str, statement: str, values: str, found: Contrast, *, strict: bool) -> Claim:
    """The claim that a contrast is above (strict) or at least zero; within noise, which way the mean points is said."""
    verdict = judge_contrast(found)
    in_mean = found.mean > 0 if strict else found.mean >= 0
    detail = f"{values}; {_difference(found)}"
    if verdict == NOISE:
        across = [f"over {interval.over}" for interval in found.intervals if interval.low <= 0 <= interval.high]
        side = "In the mean it holds" if in_mean else "In the mean it does not hold"
        detail += f" {side}, but the interval {join(across)} reaches zero." if across else f" {side}."
    return Claim(name, statement, verdict, detail, found, in_mean)


def _missing(board: Scoreboard, methods: tuple[str, ...], tasks: tuple[str, ...]) -> str:
    absent = [method_name(method) for method in methods if method not in board.methods]
    if absent:
        return f"{join(absent)} {'was' if len(absent) == 1 else 'were'} not run."
    return "" if tasks else "No general skill was scored."


def _difference(found: Contrast) -> str:
    spread = ", ".join(interval_phrase(interval) for interval in found.intervals)
    return f"difference {points(found.mean)} points, 95 % interval {spread}."


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
    noise = "" if change.certain else " (within noise)"
    return f"{'gained' if change.mean > 0 else 'lost'} {percent(abs(change.mean))} points{noise}"
