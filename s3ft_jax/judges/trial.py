"""Judges room: a judge of one's own (``my_module:my_judge``) tried on texts whose verdict is known before.

In: examples. Out: what the judge says of gold, which must be right, of an empty text and of another question's gold,
which should not be. Before sampling, so that a judge that cannot be found, raises or finds nothing right costs seconds.

    judge my_rules:polite, tried on 4 examples: gold 4 right; an empty text 4 wrong; gold of another question 4 wrong

Also how often a judge failed at its work, for any judge: a verdict that only says so is undecided.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from s3ft_jax.judges import pool
from s3ft_jax.judges.composition import made_out_to, single_names
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Response, Verdict

FAILED = ("judge_error", "judge_timeout", "judge_died")
"""Classes of the reasons of verdicts whose judge failed."""
MOST_FAILED = 0.5
"""Share of a judge's verdicts; where more of them only say that it failed, nothing is built on the rest."""
NUM_TRIED = 4
"""Examples that a judge is tried on, and workers that do so: one that hangs shall not take minutes."""
GOLD, EMPTY, OTHER = "gold", "an empty text", "gold of another question"


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a judge said.

    Attributes:
      judge: its name.
      is_alone: no other judge decides beside it, so that gold must be right by its word.
      said: kind of text -> the examples asked about and their verdicts.
    """

    judge: str
    is_alone: bool
    said: dict[str, list[tuple[Example, Verdict]]]

    def describe(self) -> str:
        """One line, see the module's first lines."""
        shown = []
        for kind, found in self.said.items():
            counts = Counter("failed" if has_failed(verdict) else verdict.outcome for _, verdict in found)
            shown.append(f"{kind} " + ", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
        failures = describe_failures([verdict for found in self.said.values() for _, verdict in found])
        shown += [failures] if failures else []
        return f"judge {self.judge}, tried on {len(self.said[GOLD])} examples: {'; '.join(shown)}"

    def check(self) -> None:
        """Stop at a judge that cannot be of use.

        Raises:
          JudgeError: every call failed, or gold was never right; it names the judge, an example and what was said.
        """
        said = [one for found in self.said.values() for one in found]
        failed = [one for one in said if has_failed(one[1])]
        golds = self.said[GOLD]
        if len(failed) == len(said):
            what = f"it failed in all of {len(said)} calls"
        elif not any(self._passes(verdict) for _, verdict in golds):
            failed = [one for one in golds if has_failed(one[1])]
            what = f"it finds none of {len(golds)} gold answers right"
        else:
            return
        example, verdict = (failed or golds)[0]
        raise JudgeError(
            f"judge.name: {self.judge}: {what}. E.g. {example.id}, gold {example.gold[:80]!r}, check "
            f"{dict(example.check)!r:.200}: {verdict.outcome} ({verdict.reason}). Mend it; nothing was judged."
        )

    def _passes(self, verdict: Verdict) -> bool:
        return verdict.outcome == "right" or (
            not self.is_alone and verdict.outcome == "undecided" and not has_failed(verdict)
        )


def has_failed(verdict: Verdict) -> bool:
    """Whether the verdict says no more than that its judge raised, hung or died."""
    return verdict.outcome == "undecided" and verdict.reason.partition(":")[0] in FAILED


def describe_failures(verdicts: Sequence[Verdict]) -> str:
    """``"2 failed, most often judge_error: ..."``; empty if none did."""
    reasons = Counter(verdict.reason for verdict in verdicts if has_failed(verdict))
    if not reasons:
        return ""
    ((reason, count),) = reasons.most_common(1)
    return f"{reasons.total():,} of {len(verdicts):,} failed, {count:,} of them with {reason}"


def check_failures(judge: str, verdicts: Sequence[Verdict]) -> None:
    """Stop where a judge failed on more than ``MOST_FAILED`` of what it was asked.

    Raises:
      JudgeError: it did; says how often, and the commonest reason.
    """
    failed = sum(map(has_failed, verdicts))
    if failed > MOST_FAILED * len(verdicts):
        raise JudgeError(
            f"judge {judge}: {describe_failures(verdicts)}. Mend the judge and give the same command again; what was "
            "sampled is kept."
        )


def own_judges(name: str) -> list[str]:
    """The judges of one's own in a judge's name."""
    return [single for single in single_names(name) if ":" in single]


def try_judges(examples: Sequence[Example]) -> list[Trial]:
    """Try every judge of one's own that these examples name, alone or in a composition.

    Raises:
      JudgeError: a judge cannot be found.
    """
    by_name = {name: [e for e in examples if e.judge == name] for name in dict.fromkeys(e.judge for e in examples)}
    return [_try(judge, judge == name, named) for name, named in by_name.items() for judge in own_judges(name)]


def _try(judge: str, is_alone: bool, examples: Sequence[Example]) -> Trial:
    """One judge, in a worker process, as it will be asked."""
    by_gold: dict[str, Example] = {}
    for example in examples:
        by_gold.setdefault(example.gold.strip(), example)
    chosen = list(by_gold.values())[:NUM_TRIED]
    asked = [(GOLD, example, example.gold) for example in chosen] + [(EMPTY, example, "") for example in chosen]
    if len(chosen) > 1:
        others = [*chosen[1:], chosen[0]]
        asked += [(OTHER, example, other.gold) for example, other in zip(chosen, others, strict=True)]
    pairs = [
        (made_out_to(judge, example), Response(example.id, "own", 0, text, (), (), True, 0.0))
        for _, example, text in asked
    ]
    said: dict[str, list[tuple[Example, Verdict]]] = {}
    for (kind, example, _), verdict in zip(asked, pool.judge_all(pairs, num_workers=NUM_TRIED), strict=True):
        said.setdefault(kind, []).append((example, verdict))
    return Trial(judge, is_alone, said)
