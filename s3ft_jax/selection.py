"""What each example is trained on: an ordered preference for where the target comes from, over shared responses.

In: an example, its responses, their verdicts, gold's ids. Out: Selections. Pure and total: the same in, the same out,
and every example gets a target (methods whose preference ends in gold) or is counted as without one.

The rule is S3FT's (arXiv 2502.08130, section 3): the model's own answer where the judge finds it right, else its
paraphrase of gold where the judge finds that right, else gold. SSR (arXiv 2409.04787) leaves the paraphrase out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from s3ft_jax.records import Example, Origin, Response, Selection, Verdict

Pick = Literal["first", "likeliest"]


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of target building, as data.

    Attributes:
      prefer: origins in order of preference.
      judged: False trains on own answers whatever the judge says (a control).
      keep_all: True keeps every distinct right response of every preferred origin, not only the first origin's best.
      pick: which of several right responses; None takes the setting ``select.pick``.
      source: paper.
    """

    prefer: tuple[Origin, ...]
    judged: bool = True
    keep_all: bool = False
    pick: Pick | None = None
    source: str = ""


METHODS: Mapping[str, Method] = {
    "sft": Method(("gold",), source="ordinary supervised fine-tuning"),
    "ssr": Method(("own", "gold"), source="Gupta et al. 2024, arXiv 2409.04787"),
    "sdft": Method(("paraphrase", "gold"), source="Yang et al. 2024, arXiv 2402.13669"),
    "s3ft": Method(("own", "paraphrase", "gold"), source="Gupta et al. 2025, arXiv 2502.08130"),
    "rft": Method(("own", "gold"), keep_all=True, source="Yuan et al. 2023, arXiv 2308.01825"),
    "self-output": Method(("own", "gold"), pick="likeliest", source="Wu et al. 2025, arXiv 2501.14315"),
    "unverified": Method(("own",), judged=False, source="control: does judging matter"),
}


@dataclasses.dataclass(frozen=True)
class Gold:
    """The ids of an example's plain question and gold answer, encoded once."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


def needs_paraphrase(methods: Sequence[str]) -> Literal["none", "unsolved", "all"]:
    """Which training questions need a paraphrase: sdft looks at it first, s3ft only where no own answer is right."""
    need = "none"
    for name in methods:
        prefer = METHODS[name].prefer
        if "paraphrase" in prefer:
            if "own" not in prefer[: prefer.index("paraphrase")]:
                return "all"
            need = "unsolved"
    return need


def select(
    example: Example,
    method: str,
    gold: Gold,
    responses: Sequence[Response],
    verdicts: Mapping[tuple[Origin, int], Verdict],
    pick: Pick = "first",
) -> list[Selection]:
    """The targets of one example under one method.

    Args:
      example: the question.
      method: a key of ``METHODS``.
      gold: its encoded prompt and gold answer.
      responses: all responses to it, own and paraphrase.
      verdicts: (origin, index) -> verdict of each response.
      pick: which of several right responses of one origin, unless the method says so itself.

    Returns:
      One Selection; several with ``keep_all``; none if no preferred origin has a usable target.
    """
    rule = METHODS[method]
    passed: list[str] = []
    chosen: list[Selection] = []
    for origin in rule.prefer:
        if origin == "gold":
            reason = "; ".join([*passed, "gold"])
            chosen.append(
                Selection(example.id, method, "gold", None, example.gold, gold.prompt_ids, gold.response_ids, reason)
            )
        else:
            mine = sorted((r for r in responses if r.origin == origin), key=lambda r: r.index)
            usable = [r for r in mine if refusal(r, verdicts, rule.judged) is None]
            best = _distinct(usable) if rule.keep_all else _pick(usable, rule.pick or pick)[:1]
            reason = "; ".join([*passed, f"{origin} right" if rule.judged else f"{origin} unjudged"])
            chosen += [
                Selection(example.id, method, origin, r.index, r.text, gold.prompt_ids, r.response_ids, reason)
                for r in best
            ]
            passed.append(f"{origin} {_why_none(mine, verdicts, rule.judged)}")
        if chosen and not rule.keep_all:
            break
    return chosen


def refusal(response: Response, verdicts: Mapping[tuple[Origin, int], Verdict], judged: bool = True) -> str | None:
    """Why a response may not be trained on, or None if it may.

    A response cut by the length limit has no end token and never gets one; undecided never counts as right.
    """
    if not response.ended:
        return "cut by the length limit"
    if not judged:
        return None
    verdict = verdicts.get((response.origin, response.index))
    if verdict is None:
        return "not judged"
    return None if verdict.outcome == "right" else f"{verdict.outcome}: {verdict.reason}"


def _why_none(responses: Sequence[Response], verdicts: Mapping[tuple[Origin, int], Verdict], judged: bool) -> str:
    if not responses:
        return "not sampled"
    reasons = [refusal(response, verdicts, judged) for response in responses]
    return next((reason for reason in reasons if reason is not None), "right")


def _pick(usable: Sequence[Response], pick: Pick) -> list[Response]:
    """Best first. Likeliest is by mean log-probability per token, so that short answers are not favoured."""
    if pick == "likeliest":
        return sorted(usable, key=lambda r: (-r.logprob / len(r.response_ids), r.index))
    return list(usable)


def _distinct(usable: Sequence[Response]) -> list[Response]:
    first: dict[tuple[int, ...], Response] = {}
    for response in usable:
        first.setdefault(response.response_ids, response)
    return list(first.values())
