"""The wording of the report room: how numbers and names are written for people, the same in every output.

In: fractions, counts, seconds, method names. Out: short text. Changes are in points: 100 times a difference of
fractions.
"""

from __future__ import annotations

import unicodedata

from s3ft_jax.evaluation.statistics import Interval
from s3ft_jax.report.evidence import BASE

MINUS = "\u2212"

_NAMES = {BASE: "Base", "sft": "SFT", "ssr": "SSR", "sdft": "SDFT", "s3ft": "S3FT", "rft": "RFT"}
_NAMES |= {"repair": "Repair", "s3ft-repair": "S3FT-repair", "sft-replay": "SFT-replay", "s3ft-replay": "S3FT-replay"}
_NAMES |= {"few-shot": "Few-shot base", "sft-low-rate": "SFT, low rate"}
_METRICS = {
    "accuracy": "judged right",
    "token_f1": "token F1",
    "choice_likelihood": "choice likelihood",
    "choice_likelihood_per_token": "choice likelihood per token",
}

ANSWER_METRICS = {
    "exact_match": "exact match",
    "token_f1": "token F1",
    "token_recall": "token recall",
    "answerable_accuracy": "answerable, right",
    "unanswerable_accuracy": "unanswerable, declined",
    "false_refusals": "answerable, declined",
    "answerability": "declined as it should",
}
"""As ``evaluation.answers`` names them, and as a reader does."""


def method_name(method: str) -> str:
    """The name of a method as the papers write it, e.g. ``S3FT``; other names as they are."""
    return _NAMES.get(method, method)


def metric_name(metric: str) -> str:
    """The name of a metric for people."""
    return _METRICS.get(metric, metric.replace("_", " "))


def percent(fraction: float) -> str:
    """0.7583 -> ``75.8``."""
    return f"{100 * fraction:.1f}"


def points(fraction: float) -> str:
    """A signed difference in points: 0.163 -> ``+16.3``, -0.025 -> a minus sign and 2.5, 0 -> ``0.0``."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def bounds(low: float, high: float, *, signed: bool = True) -> str:
    """An interval: ``[+12.1, +20.4]`` for changes, ``[71.2, 80.0]`` for levels."""
    write = points if signed else percent
    return f"[{write(low)}, {write(high)}]"


def interval_phrase(interval: Interval) -> str:
    """``over 3 seeds [+12.1, +20.4]``."""
    paired = ", paired" if "paired bootstrap" in interval.rule else ""
    return f"over {interval.count:,} {interval.over}{paired} {bounds(interval.low, interval.high)}"


def chance(p: float) -> str:
    """A p-value: 0.0312 -> ``0.031``, 0.0001 -> ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count_of(number: int, noun: str) -> str:
    """``1 seed``, ``3 seeds``, ``1,200 examples``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def share(part: int, whole: int) -> str:
    """``46.1 %``; a dash when there is nothing to share."""
    return f"{100 * part / whole:.1f} %" if whole else "\u2013"


def duration(seconds: float) -> str:
    """``0.4 s``, ``38 s``, ``4 min 05 s``, ``2 h 03 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def join(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def clean_text(text: str, limit: int | None = None) -> str:
    """Model text made safe to write: control characters and lone surrogates shown as U+FFFD, length cut and said so."""
    safe = "".join(
        "\ufffd" if unicodedata.category(mark) in ("Cc", "Cs") and mark not in "\n\t" else mark for mark in text
    )
    if limit is not None and len(safe) > limit:
        return safe[:limit] + f"\n[{len(safe) - limit:,} more characters not shown]"
    return safe
