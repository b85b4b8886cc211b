"""Chat turns as they are handed round -> ours: ``{"role": "user", "content": "..."}``.

In: a column's value, a list of turns. A turn has ``role`` and ``content``, or ShareGPT's ``from`` (human, gpt, system)
and ``value``; its text is one text, or a list of parts ``{"type": "text", "text": "..."}``, which are joined as chat
templates join them, with nothing between. Out: turns with the roles of ``ROLES``. What else a turn holds is not read
(tool calls, names, weights), and ``extra_keys`` says what that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s3ft_jax.records import Message
from s3ft_jax.tasks.task import BadRow

ROLES = ("system", "user", "assistant")
SPEAKERS = {"human": "user", "gpt": "assistant"}
"""ShareGPT's names of the roles, where they are not ours."""
_KEYS = (("role", "content"), ("from", "value"))
_SHAPE = 'Use {"role": "user", "content": "..."}, or {"from": "human", "value": "..."}.'


def read_list(value: Any, column: str) -> list[Message]:
    """A column's chat turns.

    Raises:
      BadRow: it is no list of turns, a turn has no role or text, a role is unknown, or a part is not text.
    """
    if not isinstance(value, list) or not value:
        raise BadRow(f"column {column!r} is not a list of chat turns", 'Use [{"role": "user", "content": "..."}, ...].')
    return [_turn(turn, column) for turn in value]


def extra_keys(value: Any) -> set[str]:
    """What stands in the turns of a list beside who speaks and what is said; nothing of a value that is no list."""
    turns = [turn for turn in value if isinstance(turn, Mapping)] if isinstance(value, list) else []
    return {str(key) for turn in turns for key, part in turn.items() if key not in _keys(turn) and not is_empty(part)}


def is_empty(value: Any) -> bool:
    """Whether a value says nothing; 0 and false say something."""
    return value is None or (isinstance(value, str | list | Mapping) and not value)


def _keys(turn: Mapping[str, Any]) -> tuple[str, str]:
    """Which two keys say who speaks and what."""
    return next((keys for keys in _KEYS if all(turn.get(key) is not None for key in keys)), _KEYS[0])


def _turn(turn: Any, column: str) -> Message:
    if not isinstance(turn, Mapping) or not set(_keys(turn)) <= set(turn):
        keys = ", ".join(map(str, turn)) if isinstance(turn, Mapping) else type(turn).__name__
        raise BadRow(f"a turn in {column!r} has {keys}, not role and content", _SHAPE)
    speaker, said = (turn[key] for key in _keys(turn))
    role = SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    if role not in ROLES:
        raise BadRow(
            f"a turn in {column!r} has role {role!r}", f"Roles are {', '.join((*ROLES, *SPEAKERS))}; remove the turn."
        )
    return {"role": role, "content": _content(said, column)}


def _content(said: Any, column: str) -> str:
    if isinstance(said, list):
        said = "".join(_part(part, column) for part in said)
    if said is None or (isinstance(said, str) and not said.strip()):
        raise BadRow(f"a turn in {column!r} is empty", "Fill it in or remove the row.")
    if not isinstance(said, str):
        raise BadRow(f"a turn in {column!r} says {type(said).__name__}, not text", "Write it as text.")
    return said


def _part(part: Any, column: str) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        raise BadRow(
            f"a turn in {column!r} has a part of type {kind!r}", 'Only {"type": "text", "text": "..."} can be read.'
        )
    return text
