"""The records that walk between the rooms: Example, Response, Verdict, Likelihood, Selection, Score.

Each is a frozen dataclass that is one JSON object on one line of a file in the workdir, so that a person can open
every file and ``grep ID -r workdir`` shows the whole life of one example. No JAX, no tokenizer, standard library only.

One word per idea, everywhere: *example* (a question with its gold answer), *response* (a text the model produced),
*verdict* (what a judge said of a response), *selection* (what will be trained on), *score* (one number of the report),
*origin* (where a text came from: own, paraphrase, repair, gold or replay).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args

Origin = Literal["own", "paraphrase", "repair", "gold", "replay"]
Outcome = Literal["right", "wrong", "undecided"]
Encoded = Literal["", "same", "changed"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
SAMPLED: tuple[Origin, ...] = ("own", "paraphrase", "repair")
"""The origins that the model writes itself, in the order in which they are sampled."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

Message = Mapping[str, str]
"""One chat turn: ``{"role": "user", "content": "..."}``; roles are system, user and assistant."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One question with its gold answer.

    Attributes:
      id: stable for ever and unique in a run, ``task/split/number``, e.g. ``gsm8k/train/00017``.
      task: name of the task or general skill it belongs to, e.g. ``gsm8k``.
      split: ``train``, ``validation``, ``test``, ``general`` or ``replay`` (general rows mixed into training).
      messages: the chat turns that ask the question; no answer in them.
      paraphrase_messages: the turns that show the question and gold and ask for the model's own wording;
        empty when this example is never paraphrased (test and general examples).
      gold: the data set's answer, as text.
      judge: name of the judge that decides (a key of ``s3ft_jax.judges.JUDGES`` or ``my_module:my_judge``).
      check: what that judge needs (a number, unit tests, accepted answers, choices); plain JSON values.
    """

    id: str
    task: str
    split: str
    messages: tuple[Message, ...]
    gold: str
    judge: str
    check: Mapping[str, Any]
    paraphrase_messages: tuple[Message, ...] = ()


@dataclasses.dataclass(frozen=True)
class Response:
    """One text the model produced for an example.

    Attributes:
      example_id: the example it answers.
      origin: ``own`` (the plain question was asked), ``paraphrase`` (gold was shown) or ``repair`` (a beginning of
        gold was continued, or gold and a wrong own answer were shown). Answers to test examples are ``own``.
      index: 0..n-1 among the n samples of this example and origin.
      text: the decoded answer without its end token, for judges and people; what was thought before it is in
        ``thought``.
      prompt_ids: the prompt's token ids as the model saw them.
      response_ids: the token ids exactly as sampled, end token included when there was one. These are
        trained on; the text is never tokenised again, but see ``encoded``.
      ended: True if an end token was sampled or a stop text said (``sample.stop``: the ids hold it, the text does not),
        False if the length limit cut the response.
      logprob: sum over the sampled ids of log p at temperature 1 under the sampling model, in nats; None if an outside
        engine did not give it.
      given: so many of the first response_ids were not sampled but handed to the model behind the prompt: gold's ids,
        of a repair that continues gold.
      encoded: empty if response_ids are those that were sampled. Where an outside engine returned no ids, they are its
        text, encoded by our tokenizer, the end token added where the engine says that one was sampled: ``same`` if
        they decode to this text again, else ``changed``, and then they are never trained on.
      thought: what was written before the answer in a ``<think>`` block, with its marks; empty if nothing. The ids hold
        it, no judge sees it. One that never ends is all there is: the text is empty, and the verdict wrong.
    """

    example_id: str
    origin: Origin
    index: int
    text: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    ended: bool
    logprob: float | None
    given: int = 0
    encoded: Encoded = ""
    thought: str = ""


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """How likely the base finds one text as the answer to the plain question.

    Attributes:
      example_id, origin: whose text.
      index: which response of that origin; None for gold.
      logprob: sum of log p over the text's tokens, end token included, in nats; None if prompt and text together are
        longer than the model reads.
      tokens: number of these tokens.
    """

    example_id: str
    origin: Origin
    index: int | None
    logprob: float | None
    tokens: int


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a judge said of one response.

    Attributes:
      example_id, origin, index: the response judged.
      judge: the judge's name.
      outcome: ``right``, ``wrong``, or ``undecided`` when the judge could not tell; undecided never counts as right
        and is reported apart.
      found: what the judge read out of the response (a number, a function, an answer); empty if nothing.
      reason: why, in a few words; the first word is a class that can be counted, e.g. ``wrong: 12 is not 14``.
    """

    example_id: str
    origin: Origin
    index: int
    judge: str
    outcome: Outcome
    found: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Selection:
    """What one example will be trained on under one method.

    Attributes:
      example_id: the example.
      method: e.g. ``s3ft``.
      origin: where the target came from.
      index: which response of that origin; None for gold and replay.
      text: the target's text, for people.
      prompt_ids: ids of the plain question (never of the paraphrase prompt).
      response_ids: ids trained on, end token included. As sampled for own, paraphrase and repair; gold is encoded
        once, here.
      reason: why this rung was reached, e.g. ``own wrong: 12 is not 14; paraphrase right``.
    """

    example_id: str
    method: str
    origin: Origin
    index: int | None
    text: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    reason: str


@dataclasses.dataclass(frozen=True)
class Score:
    """One number of the report: a metric of one model on one task.

    Attributes:
      method: ``base`` for the untouched model, else the method that tuned it.
      seed: the tuning seed; None for the base.
      task: task or general skill.
      split: ``test``, ``validation`` or ``general``.
      metric: ``accuracy`` (judged right; of a benchmark: its headline metric), ``choice_likelihood`` (right choice is
        the likeliest), ...
      value: a fraction in [0, 1].
      count: number of examples scored.
      stderr: standard error of ``value`` over examples, a fraction: sqrt(value (1 - value) / count), of a benchmark
        that of the mean over its items.
      undecided: examples the judge could not decide; they count as not right.
      shown: of a benchmark: the name of its headline metric, e.g. ``acc_norm``.
    """

    method: str
    seed: int | None
    task: str
    split: str
    metric: str
    value: float
    count: int
    stderr: float
    undecided: int = 0
    shown: str = ""


@dataclasses.dataclass(frozen=True)
class ItemScore:
    """What one model got on one item of a benchmark.

    Attributes:
      task: the benchmark that was asked for.
      item: (sub)task/number of the item.
      value: a fraction in [0, 1], usually 0 or 1.
    """

    task: str
    item: str
    value: float


Record = TypeVar("Record", Example, Response, Verdict, Likelihood, Selection, Score, ItemScore)


class RecordError(ValueError):
    """A line of a file is not the record it should be. The message names file, line, cause and fix."""


def to_line(record: Record) -> str:
    """One record as one line of JSON: keys in field order, no line break at the end."""
    return json.dumps(dataclasses.asdict(record), ensure_ascii=False, allow_nan=False)


def from_line(kind: type[Record], line: str, where: str) -> Record:
    """Parse one line written by ``to_line``.

    Args:
      kind: the record's class.
      line: the JSON text.
      where: ``file:line`` for the message.

    Raises:
      RecordError: the line is not JSON or its keys are not this record's fields.
    """
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{where}: not JSON ({error.msg} at column {error.colno}). The file was cut or edited; "
            "delete it and run the stage that writes it again."
        ) from None
    if not isinstance(values, dict):
        raise RecordError(f"{where}: expected a JSON object for {kind.__name__}, found {type(values).__name__}.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    needed = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
    missing = sorted(needed - set(values))
    if unknown or missing:
        raise RecordError(
            f"{where}: not a {kind.__name__}: missing keys {missing}, unknown keys {unknown}. "
            f"A {kind.__name__} has {sorted(fields)}."
        )
    for name, value in values.items():
        if isinstance(value, list) and str(fields[name].type).startswith("tuple"):
            values[name] = tuple(value)
    return kind(**values)
