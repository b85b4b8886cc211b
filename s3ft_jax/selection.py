"""What each example is trained on: an ordered preference for where the target comes from, over shared responses.

In: an example, its responses, their verdicts, gold's ids. Out: Selections. Pure and total: the same in, the same out,
and every example gets a target (methods whose preference ends in gold) or is counted as without one.

The rule is S3FT's (arXiv 2502.08130, section 3): the model's own answer where the judge finds it right, else its
paraphrase of gold where the judge finds that right, else gold. SSR (arXiv 2409.04787) leaves the paraphrase out. A
repair (STaR's rationalization, arXiv 2203.14465; guided re-solving, arXiv 2509.15157) is a further rung before gold.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from s3ft_jax.edit_distance import mean_distances
from s3ft_jax.records import Example, Likelihood, Origin, Response, Selection, Verdict

Pick = Literal["first", "likeliest", "diverse"]
PICKS: tuple[Pick, ...] = get_args(Pick)
LESS_LIKELY = "less likely than gold"
TOO_LONG = "too long to be compared with gold"
CHANGED = "encoded ids give another text"


@dataclasses.dataclass(frozen=True)
class Method:
    """A method of target building, as data.

    Attributes:
      prefer: origins in order of preference.
      judged: False trains on own answers whatever the judge says (a control).
      keep_all: True keeps every distinct right response of every preferred origin, not only the first origin's best.
      pick: which of several right responses; None takes the setting ``select.pick``.
      replay: whether rows of general data are mixed in (the section ``replay`` of the settings).
      source: paper.
    """

    prefer: tuple[Origin, ...]
    judged: bool = True
    keep_all: bool = False
    pick: Pick | None = None
    replay: bool = False
    source: str = ""


METHODS: Mapping[str, Method] = {
    "sft": Method(("gold",), source="ordinary supervised fine-tuning"),
    "ssr": Method(("own", "gold"), source="Gupta et al. 2024, arXiv 2409.04787"),
    "sdft": Method(("paraphrase", "gold"), source="Yang et al. 2024, arXiv 2402.13669"),
    "s3ft": Method(("own", "paraphrase", "gold"), source="Gupta et al. 2025, arXiv 2502.08130"),
    "rft": Method(("own", "gold"), keep_all=True, source="Yuan et al. 2023, arXiv 2308.01825"),
    "self-output": Method(("own", "gold"), pick="likeliest", source="Wu et al. 2025, arXiv 2501.14315"),
    "repair": Method(
        ("own", "repair", "gold"),
        source="Mind the Gap (2025), arXiv 2509.15157; STaR's rationalization, arXiv 2203.14465",
    ),
    "s3ft-repair": Method(("own", "paraphrase", "repair", "gold"), source="S3FT with a repair before gold"),
    "sft-replay": Method(("gold",), replay=True, source="SFT with general rows mixed in, the plain remedy"),
    "s3ft-replay": Method(("own", "paraphrase", "gold"), replay=True, source="S3FT with general rows mixed in"),
    "unverified": Method(("own",), judged=False, source="control: does judging matter"),
}


@dataclasses.dataclass(frozen=True)
class Gold:
    """The ids of an example's plain question and gold answer, encoded once."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


def asked_after(methods: Sequence[str], origin: Origin) -> tuple[Origin, ...] | None:
    """After which origins ``origin`` is sampled: only questions that none of these has solved are asked.

    sdft looks at the paraphrase first, so every question is asked for one: (). s3ft does only where no own answer is
    usable: ("own",). For several methods: the origins that come before it in all of them. None: no method wants it.
    """
    wanting = [METHODS[name] for name in methods if origin in METHODS[name].prefer]
    if not wanting:
        return None
    before = [() if rule.keep_all else rule.prefer[: rule.prefer.index(origin)] for rule in wanting]
    return tuple(other for other in before[0] if all(other in some for some in before))


def weighs(methods: Sequence[str], origin: Origin, pick: Pick) -> list[str]:
    """The methods that choose among right responses of ``origin`` by their log-probability.

    Args:
      methods: keys of ``METHODS``.
      origin: of the responses.
      pick: the setting ``select.pick``.
    """
    rules = {name: METHODS[name] for name in methods if origin in METHODS[name].prefer}
    return [name for name, rule in rules.items() if not rule.keep_all and (rule.pick or pick) == "likeliest"]


def replays(methods: Sequence[str]) -> list[str]:
    """The methods that mix general rows in."""
    return [name for name in methods if METHODS[name].replay]


def num_replayed(num_examples: int, frac: float) -> int:
    """General rows beside ``num_examples`` questions, so that they are ``frac`` of all rows; at least one if any."""
    return max(1, round(frac * num_examples / (1 - frac))) if frac else 0


def select(
    example: Example,
    method: str,
    gold: Gold,
    responses: Sequence[Response],
    verdicts: Mapping[tuple[Origin, int], Verdict],
    *,
    pick: Pick = "first",
    max_targets: int = 0,
    gated: Mapping[tuple[Origin, int], str] | None = None,
) -> list[Selection]:
    """The targets of one example under one method.

    Args:
      example: the question.
      method: a key of ``METHODS``.
      gold: its encoded prompt and gold answer.
      responses: all responses to it, of every origin sampled.
      verdicts: (origin, index) -> verdict of each response.
      pick: which of several right responses of one origin, unless the method says so itself.
      max_targets: with ``keep_all``, most responses kept of one origin, those farthest from the others; 0: all.
      gated: (origin, index) -> why a gate refuses a response that the judge found right.

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
            reasons = [refusal(r, verdicts, rule.judged, gated) for r in mine]
            usable = [r for r, refused in zip(mine, reasons, strict=True) if refused is None]
            best = _distinct(usable, max_targets) if rule.keep_all else _pick(usable, rule.pick or pick)[:1]
            reason = "; ".join([*passed, f"{origin} right" if rule.judged else f"{origin} unjudged"])
            chosen += [
                Selection(example.id, method, origin, r.index, r.text, gold.prompt_ids, r.response_ids, reason)
                for r in best
            ]
            why = next(filter(None, reasons), "right") if mine else "not sampled"
            passed.append(f"{origin} {why}")
        if chosen and not rule.keep_all:
            break
    return chosen


def refusal(
    response: Response,
    verdicts: Mapping[tuple[Origin, int], Verdict],
    judged: bool = True,
    gated: Mapping[tuple[Origin, int], str] | None = None,
) -> str | None:
    """Why a response may not be trained on, or None if it may.

    A response cut by the length limit has no end token and never gets one; undecided never counts as right. What an
    outside engine returned as text alone must come back from our tokenizer, or something else would be trained on.
    """
    if not response.ended:
        return "cut by the length limit"
    if response.encoded == "changed":
        return CHANGED
    if not judged:
        return None
    place = (response.origin, response.index)
    verdict = verdicts.get(place)
    if verdict is None:
        return "not judged"
    if verdict.outcome != "right":
        return f"{verdict.outcome}: {verdict.reason}"
    return (gated or {}).get(place)


def less_likely(likelihoods: Iterable[Likelihood]) -> dict[str, dict[tuple[Origin, int], str]]:
    """The responses that the gate ``likelier`` refuses: their mean log-probability per token is not above gold's.

    Both are of the base, as answers to the plain question, which is how they would be trained on.

    Args:
      likelihoods: of right responses and of gold, each at most once.

    Returns:
      example id -> (origin, index) -> reason.
    """
    means: dict[tuple[str, Origin, int | None], float | None] = {
        (one.example_id, one.origin, one.index): None if one.logprob is None else one.logprob / one.tokens
        for one in likelihoods
    }
    refused: dict[str, dict[tuple[Origin, int], str]] = {}
    for (example_id, origin, index), mean in means.items():
        if index is None:
            continue
        golds = means.get((example_id, "gold", None))
        if mean is None or golds is None:
            refused.setdefault(example_id, {})[origin, index] = TOO_LONG
        elif mean <= golds:
            refused.setdefault(example_id, {})[origin, index] = LESS_LIKELY
    return refused


def _pick(usable: Sequence[Response], pick: Pick) -> list[Response]:
    """Best first. Likeliest is by mean log-probability per sampled token, so that short answers are not favoured;
    responses whose log-probability is not known come last.

    Diverse is by mean edit distance from the other usable responses, farthest first (RFT, arXiv 2308.01825).
    """
    if pick == "likeliest":
        return sorted(usable, key=_unlikelihood)
    if pick == "diverse":
        distances = mean_distances([r.response_ids for r in usable])
        order = sorted(range(len(usable)), key=lambda place: (-distances[place], usable[place].index))
        return [usable[place] for place in order]
    return list(usable)


def _unlikelihood(response: Response) -> tuple[float, int]:
    if response.logprob is None:
        return math.inf, response.index
    return -response.logprob / max(1, len(response.response_ids) - response.given), response.index


def _distinct(usable: Sequence[Response], max_targets: int) -> list[Response]:
    """Different responses, by index; of more than ``max_targets`` the farthest from the others."""
    first: dict[tuple[int, ...], Response] = {}
    for response in usable:
        first.setdefault(response.response_ids, response)
    kept = list(first.values())
    if max_targets and len(kept) > max_targets:
        kept = sorted(_pick(kept, "diverse")[:max_targets], key=lambda r: r.index)
    return kept
