"""What numbers and words of the config can be, so that one that cannot is refused before hours of work.

In: settings by their dotted keys. Out: what is wrong with one, in words. What only a room can tell, e.g. whether a
model has a parameter of some name, that room checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_COUNT, _SIZE = (0, math.inf), (1, math.inf)
_SHARE, _BELOW_ONE = (0.0, 1.0), (0.0, math.nextafter(1.0, 0.0))

RANGES: Mapping[str, tuple[float, float]] = {
    "sample.num_own": _COUNT,
    "sample.num_paraphrase": _COUNT,
    "sample.num_repair": _COUNT,
    "sample.max_new_tokens": _SIZE,
    "sample.temperature": (0.0, math.inf),
    "sample.top_k": _COUNT,
    "sample.top_p": (math.nextafter(0.0, 1.0), 1.0),
    "sample.min_p": _BELOW_ONE,
    "sample.repetition_penalty": (math.nextafter(0.0, 1.0), math.inf),
    "sample.shard_size": _SIZE,
    "judge.num_workers": _COUNT,
    "judge.noise.false_accepts": _SHARE,
    "judge.noise.false_rejects": _SHARE,
    "evaluate.temperature": (0.0, math.inf),
    "evaluate.max_new_tokens": _SIZE,
    "evaluate.limit": _COUNT,
    "evaluate.batch_tokens": _SIZE,
    "evaluate.kl": _COUNT,
    "benchmark.limit": _COUNT,
    "benchmark.max_new_tokens": _SIZE,
    "report.num_browse": _COUNT,
    "report.num_scored": _COUNT,
    "train.learning_rate": (0.0, math.inf),
    "train.num_steps": _SIZE,
    "train.num_epochs": (0.0, math.inf),
    "train.num_questions": _COUNT,
    "train.batch_size": _COUNT,
    "train.batch_rows": _COUNT,
    "train.accumulation": _SIZE,
    "train.max_length": (2, math.inf),
    "train.refresh_epochs": (0.0, math.inf),
    "train.num_examples": _COUNT,
    "train.warmup_frac": _SHARE,
    "train.flat_frac": _SHARE,
    "train.final_frac": _SHARE,
    "train.b1": _BELOW_ONE,
    "train.b2": _BELOW_ONE,
    "train.eps": (0.0, math.inf),
    "train.weight_decay": (0.0, math.inf),
    "train.clip_norm": (0.0, math.inf),
    "train.chunk_tokens": _COUNT,
    "train.save_every": _SIZE,
    "train.keep": _SIZE,
    "train.max_skipped": _SIZE,
    "train.validate.every": _COUNT,
    "train.validate.count": _SIZE,
    "train.validate.patience": _COUNT,
    "train.validate.max_kl": (0.0, math.inf),
    "train.validate.samples": _COUNT,
}
"""Key -> the least and the largest value."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "evaluate.split": ("test", "validation"),
    "train.too_long": ("error", "drop"),
    "task.bad_rows": ("error", "skip"),
    "replay.bad_rows": ("error", "skip"),
}


def find_outside(settings: Mapping[str, Any]) -> str:
    """What cannot be in these settings: the first of them, with what can; "" where nothing is wrong.

    >>> find_outside({"train.num_steps": 0, "train.too_long": "drop"})
    'train.num_steps = 0: it must be at least 1'
    """
    for key, value in settings.items():
        if key in CHOICES and value not in CHOICES[key]:
            return f"{key} = {value!r}; choose from {', '.join(CHOICES[key])}"
        if key in RANGES and not RANGES[key][0] <= value <= RANGES[key][1]:
            return f"{key} = {value!r}: it must be {_worded(*RANGES[key])}"
    return _find_together(settings)


def _worded(least: float, most: float) -> str:
    low = "above 0" if 0.0 < least < 1e-300 else f"at least {least:g}"
    if most == math.inf:
        return low
    return f"{low} and {'below 1' if 0.5 < most < 1.0 else f'at most {most:g}'}"


def _find_together(settings: Mapping[str, Any]) -> str:
    """Settings that cannot be beside each other."""
    if settings.get("train.batch_size") == 0 and settings.get("train.batch_rows") == 0:
        return "train.batch_size and train.batch_rows are both 0: a step needs examples or rows"
    if settings.get("train.num_epochs") and settings.get("train.batch_rows"):
        return (
            "train.num_epochs reckons with examples per step, and train.batch_rows counts rows: give train.num_steps, "
            "or set train.batch_rows=0"
        )
    risen = settings.get("train.warmup_frac", 0.0) + settings.get("train.flat_frac", 0.0)
    if risen > 1.0:
        return f"train.warmup_frac + train.flat_frac = {risen:g}: they are shares of the steps, at most 1 together"
    if settings.get("train.validate.every") == 0:
        for name in ("patience", "max_kl"):
            if settings.get(f"train.validate.{name}"):
                return f"train.validate.{name} does nothing without looks: set train.validate.every above 0"
    seeds = settings.get("train.seeds", (0,))
    if not seeds or len(set(seeds)) != len(seeds):
        return f"train.seeds = {tuple(seeds)}: at least one seed, and none twice"
    return ""
