"""Which column is the question and which is gold: found by name, or mapped in the configuration.

In: a row's columns and ``task.columns``. Out: a ``Layout``, and for each row its chat turns and gold answer.

    layout              columns                         prompt                          gold
    messages            messages                        all turns but the last          the last turn (assistant)
    prompt_completion   prompt, completion              text, or a list of turns        text, or a list of one turn
    question_answer     question, answer                one user turn                   text or number
    instruction_output  instruction, output (, input)   instruction, blank line, input  text or number

A column of another name is mapped: ``--config.task.columns.question=query`` reads the column ``query``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from s3ft_jax.records import Message
from s3ft_jax.tasks.task import BadRow, DataError

LAYOUTS: dict[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "question_answer": ("question", "answer"),
    "instruction_output": ("instruction", "output"),
}
ROLES = ("system", "user", "assistant")
EXTRAS = ("input", "tests", "check")
"""Columns that go with any layout: more input, unit tests, and what the judge gets in place of gold."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the rows of a file are to be read.

    Attributes:
      kind: a key of ``LAYOUTS``.
      names: our column name -> the file's.
    """

    kind: str
    names: Mapping[str, str]


def find_layout(found: Iterable[str], mapping: Mapping[str, str], where: str) -> Layout:
    """Decide which layout the columns are in.

    Args:
      found: the column names of the data.
      mapping: ``task.columns``: our name -> the data's.
      where: file and row, for messages.

    Raises:
      DataError: a mapped column is not there, or no layout fits, or more than one does.
    """
    found = list(found)
    listing = f"The data has the columns {', '.join(found) or '(none)'}."
    known = {name for names in LAYOUTS.values() for name in names} | set(EXTRAS)
    for ours, theirs in mapping.items():
        if ours not in known:
            raise DataError(f"task.columns.{ours}: unknown; map one of {', '.join(sorted(known))}.")
        if theirs not in found:
            raise DataError(f"task.columns.{ours}: {where} has no column {theirs!r}. {listing}")
    names = {name: name for name in known if name in found} | dict(mapping)
    main = {name for name in mapping if name not in EXTRAS}
    fitting = [
        kind for kind, needed in LAYOUTS.items() if main <= set(needed) and all(name in names for name in needed)
    ]
    if len(fitting) == 1:
        return Layout(fitting[0], {name: names[name] for name in (*LAYOUTS[fitting[0]], *EXTRAS) if name in names})
    looked = "; ".join(" + ".join(needed) for needed in LAYOUTS.values())
    if not fitting:
        raise DataError(
            f"{where}: cannot tell the question from the answer. {listing} Looked for: {looked}. Say which is which, "
            "for example `--config.task.columns.question=NAME --config.task.columns.answer=NAME`."
        )
    keys = " or ".join(f"`task.columns.{LAYOUTS[kind][0]}={names[LAYOUTS[kind][0]]}`" for kind in fitting)
    raise DataError(f"{where}: more than one way to read the columns ({', '.join(fitting)}). {listing} Set {keys}.")


def read_turns(values: Mapping[str, Any], layout: Layout) -> tuple[tuple[Message, ...], str]:
    """A row's prompt as chat turns, and its gold answer.

    Raises:
      BadRow: a column is missing, empty or of the wrong type; no user turn; the last turn is not the assistant's.
    """
    names = layout.names
    first, *rest = (_value(values, names[name]) for name in LAYOUTS[layout.kind])
    if layout.kind == "messages":
        return _split_turns(_turns(first, names["messages"]), names["messages"])
    gold = rest[0]
    if layout.kind == "prompt_completion":
        if isinstance(gold, list):
            answer = _turns(gold, names["completion"])
            if len(answer) != 1 or answer[0]["role"] != "assistant":
                raise BadRow(
                    f"column {names['completion']!r} is not one assistant turn", "Give one turn, or plain text."
                )
            gold = answer[0]["content"]
        if isinstance(first, list):
            turns = _turns(first, names["prompt"])
            return _checked_prompt(turns, names["prompt"]), _text(gold, names["completion"])
        return _question(_text(first, names["prompt"])), _text(gold, names["completion"])
    if layout.kind == "instruction_output":
        question = _text(first, names["instruction"])
        more = values.get(names["input"]) if "input" in names else None
        if more:
            question += "\n\n" + _text(more, names["input"])
        return _question(question), _text(gold, names["output"])
    return _question(_text(first, names["question"])), _text(gold, names["answer"])


def read_text(values: Mapping[str, Any], column: str) -> str:
    """One column as text, with numbers written out.

    Raises:
      BadRow: the column is missing, empty or of the wrong type.
    """
    return _text(_value(values, column), column)


def _question(text: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": text},)


def _value(values: Mapping[str, Any], column: str) -> Any:
    if column not in values:
        raise BadRow(
            f"no column {column!r}",
            f"The row has {', '.join(map(str, values)) or 'no columns'}. Add it, or name yours in `task.columns`.",
        )
    return values[column]


def _text(value: Any, column: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow(f"column {column!r} is empty", "Fill it in or remove the row.")
    if not isinstance(value, str):
        raise BadRow(f"column {column!r} is {type(value).__name__}, not text", "Write it as text.")
    return value


def _turns(value: Any, column: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise BadRow(f"column {column!r} is not a list of chat turns", 'Use [{"role": "user", "content": "..."}, ...].')
    for turn in value:
        if not isinstance(turn, Mapping) or not {"role", "content"} <= set(turn):
            keys = ", ".join(map(str, turn)) if isinstance(turn, Mapping) else type(turn).__name__
            raise BadRow(
                f"a turn in {column!r} has {keys}, not role and content", 'Use {"role": "user", "content": "..."}.'
            )
        if turn["role"] not in ROLES:
            raise BadRow(f"a turn in {column!r} has role {turn['role']!r}", f"Roles are {', '.join(ROLES)}.")
        _text(turn["content"], f"{column}.content")
    return [{"role": turn["role"], "content": _text(turn["content"], column)} for turn in value]


def _split_turns(turns: list[Message], column: str) -> tuple[tuple[Message, ...], str]:
    if turns[-1]["role"] != "assistant":
        raise BadRow(
            f"the last turn in {column!r} is {turns[-1]['role']}'s, not the assistant's",
            "End the row with the gold answer as an assistant turn.",
        )
    return _checked_prompt(turns[:-1], column), turns[-1]["content"]


def _checked_prompt(turns: list[Message], column: str) -> tuple[Message, ...]:
    if not any(turn["role"] == "user" for turn in turns):
        raise BadRow(f"no user turn in {column!r}", "Add the question as a user turn.")
    if turns[-1]["role"] != "user":
        raise BadRow(
            f"the prompt in {column!r} does not end with a user turn", "Put the user's turn before the answer."
        )
    if any(turn["role"] == "system" for turn in turns[1:]):
        raise BadRow(f"a system turn in {column!r} is not the first turn", "Move it to the front.")
    return tuple(turns)
