"""What changed between the settings and inputs a stage was made with and those it is asked to run with now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ADDED: dict[str, Any] = {
    "task.unanswerable_frac": 0.0,
    "task.system": "",
    "task.refusal": "The passage does not say.",
    "template_args.enable_thinking": False,
    "num_epochs": 0.0,
}
"""Settings that came later, each with the value that does what was done before: an older workdir goes on with it."""

SOURCE = ("source.", "judge.source.")
"""Settings that say which source text a judge of one's own had; an older workdir does not know, and goes on."""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists and scalars are leaves."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def plain(value: Any) -> Any:
    """The value as it comes back from JSON, so that now and then can be compared (tuples become lists)."""
    return json.loads(json.dumps(value))


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lines ``key: old -> new`` for every setting and input that differs; ``ADDED`` ones are not missed."""
    lines = []
    for part in ("settings", "inputs"):
        old, new = flatten(before[part]), flatten(now[part])
        for key in sorted(set(old) | set(new)):
            is_now = new.get(key, "(not set)")
            was = old.get(key, is_now if key.startswith(SOURCE) else ADDED.get(key, "(not set)"))
            if was != is_now:
                label = key if part == "settings" else f"input {key}"
                lines.append(f"{label}: {_short(was)} -> {_short(is_now)}")
    return lines


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
