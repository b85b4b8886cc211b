"""The browsing of the report room: what people read of what was lost and won on general skills and benchmarks.

In: ``Evidence.changed``. Out: counts of all items as a table, and for the page as many items as it has room for: it
stays small enough for a phone, whatever the benchmarks' prompts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from markupsafe import escape

from s3ft_jax.report.evidence import BrowsedExample, ChangedItems, Item, ItemAnswer
from s3ft_jax.report.tables import Cell, Table
from s3ft_jax.report.wording import clean_text, method_name

TEXT_LIMIT = 1500
"""Characters of a text of an item; of a test example's the page has a limit of its own."""
TITLE_LIMIT = 160
ROOM = 1_000_000
"""Bytes of the page for the items, and as many for the test examples."""
AROUND = 400
"""Bytes of markup around a text, about."""

One = TypeVar("One")


@dataclasses.dataclass(frozen=True)
class Shown:
    """The items of one skill that the page shows: ``lost`` before ``won``, cut to what there is room for."""

    changed: ChangedItems
    lost: tuple[Item, ...]
    won: tuple[Item, ...]

    @property
    def fates(self) -> list[tuple[str, int, tuple[Item, ...]]]:
        """(title, how many items, those shown), without the empty ones."""
        found = (("Regressed", self.changed.regressed, self.lost), ("Fixed", self.changed.fixed, self.won))
        return [fate for fate in found if fate[2]]


def shown_items(changed: Sequence[ChangedItems], room: int = ROOM) -> dict[tuple[str, int], list[Shown]]:
    """(method, seed) -> its skills, those with most losses first; equally many items of each fate as there is room."""
    most = most_that_fit([some for one in changed for some in (one.lost, one.won)], _size, room)
    found: dict[tuple[str, int], list[Shown]] = {}
    for one in _sorted(changed):
        found.setdefault((one.method, one.seed), []).append(Shown(one, one.lost[:most], one.won[:most]))
    return found


def _sorted(changed: Sequence[ChangedItems]) -> list[ChangedItems]:
    """Methods in their order; of each the skills with most losses first."""
    order = list(dict.fromkeys(one.method for one in changed))
    return sorted(changed, key=lambda one: (order.index(one.method), -one.regressed, -one.fixed, one.skill))


def most_that_fit(groups: Sequence[Sequence[One]], size: Callable[[One], int], room: int) -> int:
    """The largest number such that the first so many of each group are no more than ``room`` bytes together."""
    longest = max(map(len, groups), default=0)
    used = 0
    for number in range(longest):
        used += sum(size(group[number]) for group in groups if number < len(group))
        if used > room:
            return number
    return longest


def _size(item: Item) -> int:
    texts = [item.prompt, item.gold, *(f"{one.text}{one.why}" for one in item.answers)]
    return TITLE_LIMIT + sum(_bytes(text, TEXT_LIMIT) for text in texts)


def example_size(example: BrowsedExample, limit: int) -> int:
    """Bytes that a test example takes in the page; its prompt is there twice. ``limit``: characters of a text."""
    texts = [example.prompt, example.prompt, example.gold]
    return sum(_bytes(text, limit) for text in texts + [f"{one.text}{one.reason}" for one in example.answers])


def _bytes(text: str, limit: int) -> int:
    return AROUND + len(str(escape(text[:limit])).encode("utf-8", "replace"))


def title_of(item: Item) -> str:
    """The end of the prompt on one line: behind examples and instructions stands what is asked."""
    line = " ".join(clean_text(item.prompt.strip().rpartition("\n\n")[2]).split())
    return line if len(line) <= TITLE_LIMIT else f"\u2026{line[-TITLE_LIMIT:]}"


def clean_end(text: str) -> str:
    """``clean_text`` of a prompt: what is cut is its beginning, and that is said."""
    more = len(text) - TEXT_LIMIT
    return f"[{more:,} characters before this not shown]\n{clean_text(text[more:])}" if more > 0 else clean_text(text)


def changes_table(changed: Sequence[ChangedItems]) -> Table | None:
    """How many items of each skill got less, more and the same, by model; None where nothing is known."""
    if not changed:
        return None
    body = []
    for one in _sorted(changed):
        counts = (one.regressed + one.fixed + one.unchanged, one.regressed, one.fixed, one.unchanged)
        name = Cell(f"{method_name(one.method)}, {one.skill}", number=False, method=one.method)
        body.append((name, *(Cell(f"{count:,}") for count in counts)))
    caption = (
        "General skills and benchmarks, item by item, from the base to one model of each method (one tuning seed: "
        f"{changed[0].seed}). Regressed: the item got less than from the base; fixed: more; "
        "where a benchmark gives shares, by 0.005 or more."
    )
    return Table(caption, ("", "items", "regressed", "fixed", "unchanged"), tuple(body))


def changed_values(changed: Sequence[ChangedItems]) -> list[dict[str, Any]]:
    """The counts for report.json and changed.csv."""
    names = ("method", "seed", "skill", "regressed", "fixed", "unchanged")
    return [{name: getattr(one, name) for name in names} for one in _sorted(changed)]


def item_values(changed: Sequence[ChangedItems]) -> list[dict[str, Any]]:
    """The items that the page shows, for report.json: with fate, prompt, gold and the answers of base and models."""
    shown = [one for skills in shown_items(changed).values() for one in skills]
    return [
        {"method": one.changed.method, "seed": one.changed.seed, "skill": one.changed.skill, "fate": fate.lower()}
        | {"item_id": item.item_id, "prompt": clean_end(item.prompt), "gold": clean_text(item.gold, TEXT_LIMIT)}
        | {"answers": [_answer_values(answer) for answer in item.answers]}
        for one in shown
        for fate, _, items in one.fates
        for item in items
    ]


def _answer_values(answer: ItemAnswer) -> dict[str, Any]:
    texts = {name: clean_text(getattr(answer, name), TEXT_LIMIT) for name in ("text", "why")}
    return {"method": answer.method, "seed": answer.seed, "value": answer.value} | texts
