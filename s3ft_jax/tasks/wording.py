"""Own wordings of custom rows: ``task.prompt``, ``task.paraphrase_prompt`` and ``task.system`` with columns in them.

In: a wording and the columns that the first row has. Out: which of them the wording shows, and the wording filled in.

    Passage: {context}\\n\\nQuestion: {question}       context is a column, question the row's last user turn
    The answer is {answer}                          stays as it is where answer is gold: the prompt would give it away
    {"a": 1}, {contxt}                              no column: stay as they are, and ``unfilled`` names the second
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from s3ft_jax.tasks.columns import Layout, read_text
from s3ft_jax.tasks.task import TaskSettings, fill_prompt

KEYS = {"prompt": {"question"}, "paraphrase_prompt": {"question", "gold"}, "system": set()}
"""Settings that are wordings, each with the fields that must have a place in it."""


def shown(wording: str, layout: Layout) -> list[str]:
    """The columns that a wording shows; never gold, nor what the judge gets in its place."""
    hidden = {"question", "gold", *_gold(layout)}
    return [name for name in layout.found if name not in hidden and "{" + name + "}" in wording]


def shown_anywhere(settings: TaskSettings, layout: Layout) -> set[str]:
    """The columns that any of the user's wordings shows."""
    return {name for key in KEYS for name in shown(getattr(settings, key), layout)}


def unfilled(settings: TaskSettings, layout: Layout) -> list[str]:
    """Sentences about ``{name}`` in a wording that look like columns and stay as they are."""
    found = []
    for key, fields in KEYS.items():
        wording = getattr(settings, key)
        for name in dict.fromkeys(re.findall(r"\{([^{}\s]+)\}", wording)):
            if name not in fields and name not in shown(wording, layout):
                why = "is gold, which is not shown" if name in _gold(layout) else "is no column"
                found.append(f"{{{name}}} in task.{key} stays as it is: it {why}")
    return found


def fill(wording: str, key: str, values: Mapping[str, Any], layout: Layout, **fields: str) -> str:
    """The wording with columns of the row, and fields, in their places.

    Raises:
      BadRow: the row lacks a column that the wording shows, or it is empty or no text.
      DataError: a field has no place in the wording.
    """
    columns = {name: read_text(values, name) for name in shown(wording, layout)}
    return fill_prompt(wording, key, **columns | fields)


def _gold(layout: Layout) -> set[str]:
    return {layout.gold, layout.names.get("check", layout.gold)}
