"""Which column is the question and which is gold: found by name, or mapped in the configuration.

In: a row's columns and ``task.columns``. Out: a ``Layout``, and for each row its chat turns and gold answer.

    layout              columns                         prompt                          gold
    messages            messages                        all turns but the last          the last turn (assistant)
    conversations       conversations                   the same                        the same
    prompt_completion   prompt, completion              text, or a list of turns        text, or a list of one turn
    prompt_response     prompt, response                the same                        the same
    prompt_answer       prompt, answer                  the same                        the same
    question_answer     question, answer                one user turn                   text or number
    instruction_output  instruction, output             one user turn                   text or number
    instruction_response  instruction, response         one user turn                   text or number

Where the prompt is one text, the column ``input`` goes behind it, a blank line between; in the last layout, which is
Dolly's (databricks/databricks-dolly-15k), the column ``context`` where there is no ``input``. Turns are read as
``turns.py`` says. A column of another name is mapped: ``--config.task.columns.question=query`` reads the column
``query``.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from s3ft_jax.records import Message
from s3ft_jax.tasks.task import BadRow, DataError
from s3ft_jax.tasks.turns import extra_keys, is_empty, read_list

LAYOUTS: dict[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "question_answer": ("question", "answer"),
    "instruction_output": ("instruction", "output"),
    "conversations": ("conversations",),
    "prompt_response": ("prompt", "response"),
    "prompt_answer": ("prompt", "answer"),
    "instruction_response": ("instruction", "response"),
}
LATER = (("instruction_response",), ("prompt_response", "prompt_answer", "instruction_response"))
"""Layouts that are only meant where no other fits, or a column is mapped to them; the first ones last of all."""
DOLLY = "instruction_response"
"""The layout whose text behind the question is called ``context``."""
CHATS = ("messages", "conversations")
"""Layouts of which one column holds the whole conversation."""
EXTRAS = ("input", "tests", "check", "unanswerable")
"""More text behind a question; unit tests, what the judge gets in place of gold, and whether there is no answer."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the rows of a file are to be read.

    Attributes:
      kind: a key of ``LAYOUTS``.
      names: our column name -> the file's.
      found: all columns of the row by which it was found.
      mapped: our names of the columns that ``task.columns`` names.
    """

    kind: str
    names: Mapping[str, str]
    found: tuple[str, ...] = ()
    mapped: frozenset[str] = frozenset()

    @property
    def gold(self) -> str:
        """The file's column that holds gold; empty where it is the last turn of a chat."""
        return "" if self.kind in CHATS else self.names[LAYOUTS[self.kind][-1]]


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
    for later in LATER:
        fitting = [kind for kind in fitting if kind not in later] or fitting
    if fitting == [DOLLY] and "context" in found:
        names = {"input": "context"} | names
    if len(fitting) == 1:
        kept = {name: names[name] for name in (*LAYOUTS[fitting[0]], *EXTRAS) if name in names}
        return Layout(fitting[0], kept, tuple(found), frozenset(mapping))
    looked = "; ".join(" + ".join(needed) for needed in LAYOUTS.values())
    if not fitting:
        raise DataError(
            f"{where}: cannot tell the question from the answer. {listing} Looked for: {looked}. Say which is which, "
            "for example `--config.task.columns.question=NAME --config.task.columns.answer=NAME`."
        )
    keys = " or ".join(f"`task.columns.{name}={names[name]}`" for name in map(_telling(fitting), fitting))
    raise DataError(f"{where}: more than one way to read the columns ({', '.join(fitting)}). {listing} Set {keys}.")


def _telling(kinds: list[str]) -> Callable[[str], str]:
    """Of each layout the column that as few as may be of the others have, so that naming it settles which is meant."""
    counts = collections.Counter(name for kind in kinds for name in LAYOUTS[kind])
    return lambda kind: min(LAYOUTS[kind], key=lambda name: counts[name])


def read_turns(values: Mapping[str, Any], layout: Layout) -> tuple[tuple[Message, ...], str]:
    """A row's prompt as chat turns, and its gold answer.

    Raises:
      BadRow: a column is missing, empty or of the wrong type; no user turn; the last turn is not the assistant's.
    """
    names = layout.names
    first, *rest = (_value(values, names[name]) for name in LAYOUTS[layout.kind])
    asked = names[LAYOUTS[layout.kind][0]]
    if layout.kind in CHATS:
        return _split_turns(read_list(first, asked), asked)
    gold = rest[0]
    if isinstance(gold, list) and layout.kind.startswith("prompt"):
        answer = read_list(gold, layout.gold)
        if len(answer) != 1 or answer[0]["role"] != "assistant":
            raise BadRow(f"column {layout.gold!r} is not one assistant turn", "Give one turn, or plain text.")
        gold = answer[0]["content"]
    more = values.get(names["input"]) if "input" in names else None
    if isinstance(first, list) and layout.kind.startswith("prompt"):
        if not is_empty(more) and "input" in layout.mapped:
            raise BadRow(
                f"column {asked!r} holds turns, behind which {names['input']!r} has no place",
                "Put its text into a turn.",
            )
        return _checked_prompt(read_list(first, asked), asked), _text(gold, layout.gold)
    question = _text(first, asked)
    if not is_empty(more):
        question += "\n\n" + _text(more, names["input"])
    return ({"role": "user", "content": question},), _text(gold, layout.gold)


def read_columns(values: Mapping[str, Any], layout: Layout) -> set[str]:
    """The file's columns that ``read_turns`` reads of this row."""
    names = [layout.names[name] for name in LAYOUTS[layout.kind]]
    takes_input = layout.kind not in CHATS and not isinstance(values.get(names[0]), list)
    return {*names, *([layout.names["input"]] if takes_input and "input" in layout.names else [])}


def unread(values: Mapping[str, Any], layout: Layout, used: set[str]) -> list[str]:
    """What a row says that nobody reads: columns by name, and keys of turns as ``messages.tool_calls``.

    Args:
      values: the row.
      layout: how it is read.
      used: the file's columns that are read.
    """
    turns = [layout.names[name] for name in LAYOUTS[layout.kind]]
    keys = [f"{column}.{key}" for column in turns for key in sorted(extra_keys(values.get(column)))]
    return [column for column, value in values.items() if column not in used and not is_empty(value)] + keys


def read_flag(values: Mapping[str, Any], column: str) -> bool | None:
    """A column that says yes or no, as JSON or as text; None where it says nothing.

    Raises:
      BadRow: it says something else.
    """
    value = values.get(column)
    if is_empty(value):
        return None
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    word = f"{value:g}" if isinstance(value, int | float) else str(value).strip().casefold()
    if word not in known:
        raise BadRow(f"column {column!r} is {value!r}, neither true nor false", "Write true or false.")
    return known[word]


def read_text(values: Mapping[str, Any], column: str) -> str:
    """One column as text, with numbers written out.

    Raises:
      BadRow: the column is missing, empty or of the wrong type.
    """
    return _text(_value(values, column), column)


def _value(values: Mapping[str, Any], column: str) -> Any:
    if column not in values:
        raise BadRow(
            f"no column {column!r}",
            f"The row has {', '.join(map(str, values)) or 'no columns'}. Add it, or name yours in `task.columns`.",
        )
    return values[column]


def _text(value: Any, column: str) -> str:
    if value is None or value != value or (isinstance(value, str) and not value.strip()):  # NaN is not itself
        raise BadRow(f"column {column!r} is empty", "Fill it in or remove the row.")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    if not isinstance(value, str):
        raise BadRow(f"column {column!r} is {type(value).__name__}, not text", "Write it as text.")
    return value


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
