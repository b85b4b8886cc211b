"""Judges room: a language model's opinion on whether a response means the same as gold.

In: pairs of example and response, and ``ask``, which takes prompts and gives replies, greedily. Out: a verdict for
each. Where the model runs (this project's engine, an endpoint) is the caller's business; nothing here imports JAX.

    question, gold, response -> prompt -> reply -> "Verdict: same" | "Verdict: different" | anything else: undecided

Controls. Each pair is asked twice, gold first and response first; only where both replies agree is it decided. A
response without a letter or a digit is wrong and is never asked about. Before the first pair the canaries are asked:
gold itself must be right; a ":", an empty text, "Thought process:" and gold of another question must not be (Zhao et
al. 2025, arXiv 2507.08794, found that judges call such texts right). Where too many fail, the judge is not used.

The S3FT paper judges reading comprehension by a model that is shown question, predicted and gold response (arXiv
2502.08130, figure 8); its wording is not known to us. ``PROMPT`` is ours.

The reason's class: same (right), different, empty (both wrong); disagree (one reply each way), unparsed (undecided).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from s3ft_jax.judges.verdicts import JudgeError, make_verdict
from s3ft_jax.records import Example, Outcome, Response, Verdict

MODEL = "model"
"""Name of this judge."""
Ask = Callable[[Sequence[str]], Sequence[str]]
"""Prompts -> replies, in their order; the same prompt always gets the same reply."""

PROMPT = """Here are a question and two answers to it.

Question: {question}

{first_name}: {first}

{second_name}: {second}

Do both answers say the same, as answers to this question? Wording and length may differ. Do not answer the question
yourself. End your reply with one line: "Verdict: same" or "Verdict: different"."""
GOLD_NAME, RESPONSE_NAME = "Reference answer", "Candidate answer"
FIELDS = ("question", "first_name", "first", "second_name", "second")

BATCH = 256
"""Pairs asked about between two looks at progress and cache."""
NUM_CANARIES = 16
"""Examples from which canaries are made."""
NEVER_RIGHT = ("", ":", "Thought process:")
_VERDICT = re.compile(r"^[\W_]*verdict[\W_]*(same|different)[\W_]*$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Canaries:
    """How the model did on texts whose verdict is known before.

    Attributes:
      passed: kind of canary -> how many got the verdict they must get.
      asked: kind -> how many there were.
    """

    passed: Mapping[str, int]
    asked: Mapping[str, int]

    @property
    def worst(self) -> tuple[str, float]:
        """The kind with the lowest share passed, and that share; ("", 1.0) without canaries."""
        shares = [(self.passed[kind] / count, kind) for kind, count in self.asked.items() if count]
        share, kind = min(shares, default=(1.0, ""))
        return kind, share


def read_verdict(reply: str) -> Outcome:
    """right for same, wrong for different, undecided unless exactly one of them is the last line that is not empty.

    ``"Both name Oslo.\\n**Verdict: same**"`` -> right; ``"same"``, ``"Verdict: same or different"`` -> undecided.
    """
    lines = [line for line in reply.strip().splitlines() if line.strip()]
    match = _VERDICT.match(lines[-1]) if lines else None
    if match is None:
        return "undecided"
    return "right" if match.group(1).lower() == "same" else "wrong"


def check_prompt(prompt: str) -> None:
    """Refuse a wording that cannot be filled.

    Raises:
      JudgeError: a field is missing or unknown; names it.
    """
    found = set(re.findall(r"\{(\w*)\}", prompt))
    if found != set(FIELDS):
        wrong = sorted(found ^ set(FIELDS))
        raise JudgeError(
            f"judge.model.prompt: {wrong} missing or unknown; it must hold {', '.join('{' + f + '}' for f in FIELDS)}, "
            "first and second being gold and response in either order"
        )


def make_prompts(example: Example, text: str, prompt: str = PROMPT) -> tuple[str, str]:
    """The same question put twice: gold first, response first."""
    question = example.messages[-1]["content"]
    gold, response = (GOLD_NAME, example.gold), (RESPONSE_NAME, text)

    def fill(first: tuple[str, str], second: tuple[str, str]) -> str:
        values = dict(zip(FIELDS, (question, *first, *second), strict=True))
        # not str.format: question, gold and response may hold braces
        return re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], prompt)

    return fill(gold, response), fill(response, gold)


def judge_all(
    pairs: Sequence[tuple[Example, Response]],
    *,
    ask: Ask,
    prompt: str = PROMPT,
    on_progress: Callable[[int, int], None] | None = None,
    on_verdict: Callable[[int, Verdict], None] | None = None,
) -> list[Verdict]:
    """One verdict for each pair, in order.

    Args:
      pairs: examples, whose ``gold`` is the reference, and responses.
      ask: the model.
      prompt: the wording; see ``FIELDS``.
      on_progress, on_verdict: see ``pool.judge_all``.

    Raises:
      JudgeError: see ``check_prompt``; or what ``ask`` raises.
    """
    check_prompt(prompt)
    verdicts: list[Verdict] = []
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        asked = [place for place, (_, response) in enumerate(batch) if _says_something(response.text)]
        prompts = [text for place in asked for text in make_prompts(batch[place][0], batch[place][1].text, prompt)]
        replies = list(ask(prompts)) if prompts else []
        both = dict(zip(asked, zip(replies[::2], replies[1::2], strict=True), strict=True))
        for place, (_, response) in enumerate(batch):
            verdicts.append(_verdict(response, both.get(place)))
            if on_verdict is not None:
                on_verdict(len(verdicts) - 1, verdicts[-1])
            if on_progress is not None:
                on_progress(len(verdicts), len(pairs))
    return verdicts


def _says_something(text: str) -> bool:
    return any(letter.isalnum() for letter in text)


def _verdict(response: Response, replies: tuple[str, str] | None) -> Verdict:
    if replies is None:
        return make_verdict(response, MODEL, "wrong", "", "empty: no letter and no digit")
    outcomes = [read_verdict(reply) for reply in replies]
    found = " | ".join(reply.strip().splitlines()[-1] if reply.strip() else "" for reply in replies)
    if "undecided" in outcomes:
        return make_verdict(response, MODEL, "undecided", found, "unparsed: a reply does not end in a verdict")
    if outcomes[0] != outcomes[1]:
        return make_verdict(response, MODEL, "undecided", found, "disagree: the order of the answers changes the reply")
    words = {"right": "same: as gold, in both orders", "wrong": "different: from gold, in both orders"}
    return make_verdict(response, MODEL, outcomes[0], found, words[outcomes[0]])


def ask_canaries(examples: Sequence[Example], ask: Ask, prompt: str = PROMPT) -> Canaries:
    """Try the judge on texts whose verdict is known.

    Args:
      examples: the first ``NUM_CANARIES`` with different golds are used.
      ask, prompt: of the judge.

    Raises:
      JudgeError: see ``judge_all``.
    """
    by_gold = {example.gold.strip().lower(): example for example in examples if _says_something(example.gold)}
    chosen = list(by_gold.values())[:NUM_CANARIES]
    kinds: list[tuple[str, Example, str, bool]] = [("gold itself", example, example.gold, True) for example in chosen]
    for text in NEVER_RIGHT:
        kinds += [(repr(text), example, text, False) for example in chosen]
    if len(chosen) > 1:
        others = [*chosen[1:], chosen[0]]
        kinds += [
            ("gold of another question", example, other.gold, False)
            for example, other in zip(chosen, others, strict=True)
        ]
    pairs = [(example, Response(example.id, "own", 0, text, (), (), True, 0.0)) for _, example, text, _ in kinds]
    verdicts = judge_all(pairs, ask=ask, prompt=prompt)
    passed = dict.fromkeys([kind for kind, *_ in kinds], 0)
    asked = dict(passed)
    for (kind, _, _, must), verdict in zip(kinds, verdicts, strict=True):
        asked[kind] += 1
        passed[kind] += (verdict.outcome == "right") == must
    return Canaries(passed, asked)


def check_canaries(canaries: Canaries, least: float) -> None:
    """Stop where the judge fails.

    Args:
      canaries: its results.
      least: share of each kind that must pass, in [0, 1].

    Raises:
      JudgeError: a kind is below; names it and its share. Or there was no gold to make canaries of.
    """
    if not canaries.asked:
        raise JudgeError("judge.name: no example has a gold answer in words, so a model has nothing to compare with")
    kind, share = canaries.worst
    if share < least:
        raise JudgeError(
            f"judge.name: the model fails its canaries: of {canaries.asked[kind]} texts of the kind {kind}, "
            f"{canaries.passed[kind]} got the verdict they must get ({share:.0%}, wanted {least:.0%}). Take another "
            "model (judge.model.path or judge.model.endpoint) or wording (judge.model.prompt), or lower "
            "judge.model.least_canaries."
        )
