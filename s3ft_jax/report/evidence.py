"""The evidence of the report room: everything a report is made of, as plain values.

In: what the stages measured. Out: one ``Evidence`` that has been checked, so that the other modules of this room may
trust it. Every part but the scores may be absent; the section it feeds then says why it is not there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.records import ORIGINS, OUTCOMES, SAMPLED, Outcome, Score, Verdict

BASE = "base"

Model = tuple[str, int | None]
"""(method, seed); ``("base", None)`` is the untouched model."""


class EvidenceError(ValueError):
    """The evidence contradicts itself or lacks what no report can do without. The message says what and where."""


@dataclasses.dataclass(frozen=True)
class ResponseCount:
    """How many responses of one origin were sampled, and how they ended; sampled = ended + cut."""

    sampled: int
    ended: int
    cut: int


@dataclasses.dataclass(frozen=True)
class BrowsedAnswer:
    """One model's answer to a browsed example: its text and what the judge found in it and why."""

    method: str
    seed: int | None
    text: str
    outcome: Outcome
    found: str
    reason: str


@dataclasses.dataclass(frozen=True)
class BrowsedExample:
    """One test example for people to read: the prompt and gold as text, and the answers of base and tuned models."""

    example_id: str
    prompt: str
    gold: str
    answers: tuple[BrowsedAnswer, ...]


@dataclasses.dataclass(frozen=True)
class ItemAnswer:
    """One model's answer to an item of a general skill or benchmark.

    Attributes:
      method, seed: whose.
      text: the response; where choices were ranked, each with its log-probability in nats.
      value: what it got: 1 right, 0 not, or between them where the benchmark gives shares.
      why: what the judge found and why, or what was read out of the response; may be empty.
    """

    method: str
    seed: int | None
    text: str
    value: float
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of a general skill or benchmark for people to read; see ``BrowsedExample``."""

    item_id: str
    prompt: str
    gold: str
    answers: tuple[ItemAnswer, ...]


@dataclasses.dataclass(frozen=True)
class ChangedItems:
    """What became of the items of one general skill or benchmark, from the base to one model.

    Attributes:
      method, seed: the model.
      skill: the skill's or benchmark's name.
      regressed, fixed, unchanged: how many items got less than from the base, more, and the same within 0.005.
      lost, won: some of the regressed and of the fixed, the largest changes first.
      note: why there are none to read although items changed; empty where there are.
    """

    method: str
    seed: int
    skill: str
    regressed: int
    fixed: int
    unchanged: int
    lost: tuple[Item, ...] = ()
    won: tuple[Item, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Control:
    """A second set of models and scores shown beside the first, e.g. the same run with gold in the ``near`` style.

    Attributes:
      title: what it is, e.g. ``near gold (negative control)``.
      scores: as ``Evidence.scores``, base included, same task.
      notes: how it was made, in sentences; printed as they are.
      answers, items: as in ``Evidence``; without them its claims rest on unpaired intervals.
    """

    title: str
    scores: Sequence[Score]
    notes: tuple[str, ...] = ()
    answers: Mapping[tuple[str, int | None, str], Sequence[Verdict]] = dataclasses.field(default_factory=dict)
    items: Mapping[tuple[str, int | None, str], Mapping[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GridPoint:
    """One model of a comparison: how it was tuned, and what it scored where settings are chosen.

    Attributes:
      label: the line of the tables that it was tried for; ``base`` for the untouched model.
      variant: its full name, with the settings.
      seed: of the tuning; None for the base.
      learning_rate, num_steps: peak rate and optimizer steps; None for the base.
      score: on the task's validation examples, a fraction.
      general: mean over general skills and benchmarks; None where none was measured.
      kl: KL(base || model) on validation questions, nats per token; None where it was not measured.
      chosen: whether its settings are those of the label's line.
      count: validation examples; 0 where it is not known.
    """

    label: str
    variant: str
    seed: int | None
    learning_rate: float | None
    num_steps: int | None
    score: float
    general: float | None
    kl: float | None
    chosen: bool
    count: int = 0


@dataclasses.dataclass(frozen=True)
class BenchmarkResult:
    """What lm-eval said of one model on one benchmark.

    Attributes:
      task: the name that was asked for, a task or a group.
      headline: the metric that stands for it, e.g. ``acc,none``.
      value, stderr: the headline's, and its standard error over items.
      in_means: whether the headline is a share of items, and so in the report's scores and means.
      metrics: (sub)task or group -> ``metric,filter`` -> value, as lm-eval gives them.
      sizes: (sub)task -> items.
      facts: ``harness.run.Outcome.facts``: lm_eval, versions, shots, data, counts.
      asked: how it was asked for: shots, chat, system, limit, max_new_tokens, seed.
    """

    task: str
    headline: str
    value: float
    stderr: float
    in_means: bool
    metrics: Mapping[str, Mapping[str, float]]
    sizes: Mapping[str, int]
    facts: Mapping[str, Any]
    asked: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a report is made of. Only the first five are needed.

    Attributes:
      title: the report's title.
      task: the target task; its scores have split ``test``. General skills have split ``general``.
      methods: the tuned methods in the order of every table, without ``base``.
      seeds: the tuning seeds.
      scores: of base (seed None) and of every method and seed; target, general skills, and any others.
      config: the settings, nested as the user wrote them.
      intakes: split or general skill -> rows read, used, left (reason -> count), dropped (cause -> places); and, of
        newer runs, notes and unused (both -> count), unread (files) and shared (prompts that train has, too).
      encoding: what the prompt encoder counted, see ``PromptEncoder.counts``.
      left_out: (method, seed) -> ids of the targets too long for training.
      seen: (method, seed) -> targets that the tuned model was trained on, and how many there were; where it is known.
      selections: method -> one (example_id, origin, reason) per training target.
      responses: origin (own, paraphrase, repair) -> how many were sampled, ended and were cut at the length limit.
      outside: origin -> what its manifest says of the outside engine that sampled it: server, model, and how many
        responses came with ids (returned), were encoded from text (same, or changed by that), or have no
        log-probability (without_logprob); only where one did.
      unasked: origin -> reason -> questions that wanted a response of this origin and could not be asked.
      verdicts: origin -> the verdicts on the training responses.
      gated: origin -> (example id, index) -> why a gate refused this response, which the judge found right.
      rungs: method -> origin, in the method's order -> reached, accepted (questions), targets, responses, tokens.
      pass_rate: of own responses: examples, mean, and by_right: number of right ones -> questions.
      rounds: (method, seed) -> for each time that own answers were sampled anew: step, responses, pass_rate, origins
        (origin -> targets) and changed (targets other than before); only where they were.
      answers: (method, seed, task) -> the verdicts on the test or general examples of that task, base under
        ``("base", None, task)``. With them differences are tested on the same examples (paired); without them the
        report falls back to unpaired intervals and says so.
      items: (method, seed, task) -> item -> what the model got on it, for benchmarks, which have no verdicts.
      benchmarks: (method, seed) -> all that lm-eval said of the model; empty where no benchmark was run.
      measured: (method, seed, metric) -> example -> value of the target's answers by a metric of
        ``evaluation.answers``, for every model or for none; empty where the task has no passages.
      examples: a few test examples to browse.
      changed: of the subject and its rival, one tuning seed: what became of the items of each skill and benchmark.
      logprobs: origin (own, paraphrase, repair, gold) -> per text (sum of log-probability under the base in nats,
        tokens).
      curves: (method, seed) -> (step, mean loss per trained token in nats).
      looks: (method, seed) -> what was measured on validation examples while it was tuned: step, validation_loss,
        validation_kl (nats per token) and, where answers were judged, validation_score; only where it was looked at.
      kl: (method, seed) -> KL(base || model) along the base's answers to questions of the task, nats per token.
      grid: every model of a comparison's grid, base first; empty where settings were not searched.
      rounded: (method, seed) -> dtype of the frozen kernels its adapters were trained on, and the largest change of a
        logit of the base that this made, as a share of the largest logit; only where they were rounded.
      compared: origin -> the verdicts of a second judge on the training responses, in the order of ``verdicts``.
      canaries: kind of text whose verdict is known before -> how many of these the judging model passed, and how many
        there were; only where a model judges.
      costs: stage -> {"seconds": ..., "tokens": ..., "stops": ..., "unseen": ...}, in the order in which the stages
        ran: how often it was stopped and went on, and how many of these stops were kills, whose last minute is not in
        the seconds. Tokens may be missing, and stops of an older version's stages are.
      versions, hashes: name -> value.
      sandbox: the level of the programs sandbox in words; empty if no program was run.
      notes: disclosures, printed word for word.
      control: optional negative control.
      reference: a key of ``references.REFERENCES``; empty: none.
      absent: part -> why it is absent, e.g. {"curves": "the train stage was not run here"}.
    """

    title: str
    task: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    scores: Sequence[Score]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    intakes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    encoding: Mapping[str, int] = dataclasses.field(default_factory=dict)
    left_out: Mapping[tuple[str, int], tuple[str, ...]] = dataclasses.field(default_factory=dict)
    seen: Mapping[tuple[str, int], tuple[int, int]] = dataclasses.field(default_factory=dict)
    selections: Mapping[str, Sequence[tuple[str, str, str]]] = dataclasses.field(default_factory=dict)
    responses: Mapping[str, ResponseCount] = dataclasses.field(default_factory=dict)
    outside: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    unasked: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    verdicts: Mapping[str, Sequence[Verdict]] = dataclasses.field(default_factory=dict)
    gated: Mapping[str, Mapping[tuple[str, int], str]] = dataclasses.field(default_factory=dict)
    rungs: Mapping[str, Mapping[str, Mapping[str, int]]] = dataclasses.field(default_factory=dict)
    pass_rate: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rounds: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    answers: Mapping[tuple[str, int | None, str], Sequence[Verdict]] = dataclasses.field(default_factory=dict)
    items: Mapping[tuple[str, int | None, str], Mapping[str, float]] = dataclasses.field(default_factory=dict)
    benchmarks: Mapping[Model, Sequence[BenchmarkResult]] = dataclasses.field(default_factory=dict)
    measured: Mapping[tuple[str, int | None, str], Mapping[str, float]] = dataclasses.field(default_factory=dict)
    examples: Sequence[BrowsedExample] = ()
    changed: Sequence[ChangedItems] = ()
    logprobs: Mapping[str, Sequence[tuple[float, int]]] = dataclasses.field(default_factory=dict)
    curves: Mapping[tuple[str, int], Sequence[tuple[int, float]]] = dataclasses.field(default_factory=dict)
    looks: Mapping[tuple[str, int], Sequence[Mapping[str, float]]] = dataclasses.field(default_factory=dict)
    kl: Mapping[tuple[str, int], float] = dataclasses.field(default_factory=dict)
    grid: Sequence[GridPoint] = ()
    rounded: Mapping[tuple[str, int], tuple[str, float]] = dataclasses.field(default_factory=dict)
    compared: Mapping[str, Sequence[Verdict]] = dataclasses.field(default_factory=dict)
    canaries: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    costs: Mapping[str, Mapping[str, float | None]] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sandbox: str = ""
    notes: tuple[str, ...] = ()
    control: Control | None = None
    reference: str = ""
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def why_absent(self, part: str) -> str:
        """Why a part is empty, as one sentence."""
        return self.absent.get(part) or f"Absent: this run recorded no {part}."


def check_evidence(evidence: Evidence) -> None:
    """Refuse evidence that contradicts itself; scores are checked further by ``scoreboard.build_scoreboard``.

    Raises:
      EvidenceError: a method is named twice or is ``base``, a selection has an unknown origin, response counts do not
        add up, an answer or curve belongs to no method, a log-probability has no token, or ``absent`` or a mapping
        names a part that does not exist.
    """
    _check_methods(evidence)
    _check_flow(evidence)
    _check_models(evidence)
    for origin, pairs in evidence.logprobs.items():
        for total, tokens in pairs:
            if tokens < 1 or not total <= 1e-3:
                raise EvidenceError(
                    f"logprobs of {origin}: needs (sum <= 0, tokens >= 1) per text, found ({total}, {tokens})."
                )
    parts = {field.name for field in dataclasses.fields(Evidence)}
    unknown = sorted(set(evidence.absent) - parts)
    if unknown:
        raise EvidenceError(f"absent names {unknown}, which are no parts of Evidence. Parts are {sorted(parts)}.")


def _check_methods(evidence: Evidence) -> None:
    if not evidence.methods:
        raise EvidenceError("methods is empty: a report needs at least one tuned method.")
    if BASE in evidence.methods or len(set(evidence.methods)) != len(evidence.methods):
        raise EvidenceError(f"methods must be distinct and without {BASE!r}, found {list(evidence.methods)}.")
    odd = [method for method in evidence.methods if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", method)]
    if odd:
        raise EvidenceError(f"method names may hold letters, digits and _ . + - only, found {odd}.")
    if not evidence.seeds or len(set(evidence.seeds)) != len(evidence.seeds):
        raise EvidenceError(f"seeds must be distinct and at least one, found {list(evidence.seeds)}.")


def _check_flow(evidence: Evidence) -> None:
    for part, named in (("selections", evidence.selections), ("rungs", evidence.rungs)):
        strangers = sorted(set(named) - set(evidence.methods))
        if strangers:
            raise EvidenceError(f"{part} of {strangers}, which are not among the methods {list(evidence.methods)}.")
    for method, rows in evidence.selections.items():
        odd = sorted({origin for _, origin, _ in rows} - set(ORIGINS))
        if odd:
            raise EvidenceError(f"selections of {method} have origins {odd}; an origin is one of {list(ORIGINS)}.")
    for name in ("responses", "outside", "unasked", "verdicts", "gated"):
        odd = sorted(set(getattr(evidence, name)) - set(SAMPLED))
        if odd:
            raise EvidenceError(f"{name} have origins {odd}; the model writes only {', '.join(SAMPLED)}.")
    for origin, verdicts in evidence.compared.items():
        if [(v.example_id, v.index) for v in verdicts] != [
            (v.example_id, v.index) for v in evidence.verdicts.get(origin, ())
        ]:
            raise EvidenceError(f"compared of {origin}: the second judge's verdicts are not of the first's responses.")
    odd = sorted(set(evidence.logprobs) - set(ORIGINS))
    if odd:
        raise EvidenceError(f"logprobs have origins {odd}; an origin is one of {list(ORIGINS)}.")
    for origin, count in evidence.responses.items():
        if count.sampled != count.ended + count.cut or min(count.ended, count.cut) < 0:
            raise EvidenceError(
                f"responses of {origin}: {count.sampled} sampled is not {count.ended} ended + {count.cut} cut."
            )


def _check_models(evidence: Evidence) -> None:
    models = {(BASE, None), *((method, seed) for method in evidence.methods for seed in evidence.seeds)}
    used = [("curves", model) for model in evidence.curves]
    used += [("looks", model) for model in evidence.looks]
    used += [("benchmarks", model) for model in evidence.benchmarks]
    used += [("left_out", model) for model in evidence.left_out]
    used += [("seen", model) for model in evidence.seen]
    used += [("rounded", model) for model in evidence.rounded]
    used += [("kl", model) for model in evidence.kl]
    used += [("answers", (method, seed)) for method, seed, _ in evidence.answers]
    used += [("items", (method, seed)) for method, seed, _ in evidence.items]
    used += [("measured", (method, seed)) for method, seed, _ in evidence.measured]
    for skill in evidence.changed:
        read = [answer for item in (*skill.lost, *skill.won) for answer in item.answers]
        used += [(f"changed ({skill.skill})", (one.method, one.seed)) for one in (skill, *read)]
    for example in evidence.examples:
        used += [(f"examples ({example.example_id})", (answer.method, answer.seed)) for answer in example.answers]
        odd = sorted({answer.outcome for answer in example.answers} - set(OUTCOMES))
        if odd:
            raise EvidenceError(f"example {example.example_id} has outcomes {odd}; one of {list(OUTCOMES)} is needed.")
    for part, model in used:
        if model not in models:
            raise EvidenceError(
                f"{part} names model {model}, which is neither the base (seed None) nor one of the methods "
                f"{list(evidence.methods)} with a seed of {list(evidence.seeds)}."
            )
