"""Judges room: judges put together, and gates before them.

In: a name such as ``first(numbers, model)``, and pairs of example and response. Out: one verdict for each. What a judge
of the composition needs stands in the example's ``check`` under its name, else it is given the whole check.

    first(a, b, ...)   a's verdict where it decides, else b's, ...: rules first, a model for what they leave open
    all(a, b, ...)     wrong where one says wrong, right where all say right, else undecided
    any(a, b, ...)     right where one says right, wrong where all say wrong, else undecided
    length(1, 200)     a gate: wrong unless the response has from 1 to 200 words; length(1) has no upper end
    script(latin)      a gate: wrong unless nine of ten letters are of this script
    language(en)       a gate: wrong where another language is far likelier

They nest: ``all(length(1, 200), first(numbers, model))``. A judge is asked only about what those before it left open,
so put the cheap ones first. The verdict is that of the judge that settled it, its name in brackets at the end of the
reason.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from s3ft_jax.judges.model import MODEL
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Outcome, Response, Verdict

Pair = tuple[Example, Response]
RULES = ("first", "all", "any")
_TOKEN = re.compile(r"\s*([(),]|[^\s(),]+)")


@dataclasses.dataclass(frozen=True)
class Composition:
    """Judges under one rule.

    Attributes:
      rule: one of ``RULES``.
      parts: names of single judges, as ``find_judge`` takes them, or further compositions.
    """

    rule: Literal["first", "all", "any"]
    parts: tuple[str | Composition, ...]


def parse(name: str) -> str | Composition:
    """A judge's name -> the name itself, spaces taken out, or what it is put together from.

    ``"first(numbers, all(length(1,9), exact))"`` -> ``Composition("first", ("numbers", Composition("all", ...)))``

    Raises:
      JudgeError: brackets or commas are wrong, or a rule has fewer than two parts.
    """
    tokens = [match.group(1) for match in _TOKEN.finditer(name)]
    tree, rest = _read(tokens, name)
    if rest:
        raise _error(name, f"{''.join(rest)!r} is left over")
    return tree


def single_names(name: str) -> tuple[str, ...]:
    """The single judges in a name, each once, in order.

    Raises:
      JudgeError: see ``parse``.
    """

    def walk(tree: str | Composition) -> list[str]:
        return [tree] if isinstance(tree, str) else [single for part in tree.parts for single in walk(part)]

    return tuple(dict.fromkeys(walk(parse(name))))


def _error(name: str, cause: str) -> JudgeError:
    return JudgeError(
        f"judge.name={name!r}: {cause}. Write one judge, or e.g. first(numbers, model), all(length(1, 200), answers), "
        "any(exact, numbers)."
    )


def _read(tokens: list[str], name: str) -> tuple[str | Composition, list[str]]:
    """One judge or composition from the front of the tokens; what follows it."""
    if not tokens or tokens[0] in "(),":
        raise _error(name, "a judge's name is missing" + (f" before {tokens[0]!r}" if tokens else " at the end"))
    first, rest = tokens[0], tokens[1:]
    if rest[:1] != ["("]:
        return first, rest
    if first not in RULES:  # a gate: its arguments belong to its name
        if ")" not in rest:
            raise _error(name, f"the bracket behind {first!r} is not closed")
        end = rest.index(")") + 1
        return first + "".join(rest[:end]), rest[end:]
    parts, rest = [], rest[1:]
    while True:
        part, rest = _read(rest, name)
        parts.append(part)
        if not rest:
            raise _error(name, f"the bracket behind {first!r} is not closed")
        mark, rest = rest[0], rest[1:]
        if mark == ")":
            break
        if mark != ",":
            raise _error(name, f"a comma is missing before {mark!r}")
    if len(parts) < 2:
        raise _error(name, f"{first}(...) needs at least two judges")
    return Composition(first, tuple(parts)), rest


def judge_composed(pairs: Sequence[Pair], judge_single: Callable[[Sequence[Pair]], Sequence[Verdict]]) -> list[Verdict]:
    """One verdict for each pair, by the judge or the composition that its example names.

    Args:
      pairs: ``example.judge`` may be anything that ``parse`` reads.
      judge_single: verdicts of pairs whose examples name single judges, in their order; called once for each judge of a
        composition, with all pairs that it has to decide. A model's pairs never come together with those of rules.

    Raises:
      JudgeError: see ``parse``.
    """
    verdicts: dict[int, Verdict] = {}
    by_name: dict[str, list[int]] = {}
    for place, (example, _) in enumerate(pairs):
        by_name.setdefault(example.judge, []).append(place)
    singles: dict[bool, list[int]] = {True: [], False: []}
    for name, places in by_name.items():
        tree = parse(name)
        if isinstance(tree, str):
            singles[tree == MODEL] += places
            continue
        found = _decide(tree, [pairs[place] for place in places], judge_single)
        verdicts |= {
            place: dataclasses.replace(verdict, judge=name, reason=f"{verdict.reason} [{verdict.judge}]")
            for place, verdict in zip(places, found, strict=True)
        }
    # the pairs of all single judges that are rules in one call, so that workers are started once
    for places in filter(None, singles.values()):
        verdicts |= dict(zip(places, judge_single([pairs[place] for place in places]), strict=True))
    return [verdicts[place] for place in range(len(pairs))]


def _decide(
    tree: str | Composition, pairs: Sequence[Pair], judge_single: Callable[[Sequence[Pair]], Sequence[Verdict]]
) -> list[Verdict]:
    """Verdicts of single judges, each the one that settled its pair."""
    if isinstance(tree, str):
        return list(judge_single([(made_out_to(tree, example), response) for example, response in pairs]))
    settled: dict[int, Verdict] = {}
    unsure: dict[int, Verdict] = {}
    open_places = list(range(len(pairs)))
    for part in tree.parts:
        found = _decide(part, [pairs[place] for place in open_places], judge_single) if open_places else []
        left = []
        for place, verdict in zip(open_places, found, strict=True):
            if _settles(tree.rule, verdict.outcome):
                settled[place] = verdict
                continue
            left.append(place)
            # what it will be if nobody settles it: undecided before anything else, else the last word
            if tree.rule == "first" or place not in unsure or unsure[place].outcome != "undecided":
                unsure[place] = verdict
        open_places = left
    return [settled.get(place) or unsure[place] for place in range(len(pairs))]


def _settles(rule: str, outcome: Outcome) -> bool:
    """Whether nobody need be asked after this outcome."""
    return {"first": outcome != "undecided", "all": outcome == "wrong", "any": outcome == "right"}[rule]


def made_out_to(name: str, example: Example) -> Example:
    """The example as one judge of a composition is given it."""
    own = example.check.get(name)
    return dataclasses.replace(example, judge=name, check=own if isinstance(own, Mapping) else example.check)
