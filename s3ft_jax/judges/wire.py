"""Judges room, sandbox: plain data between the tester and the program under test. Runs on both sides.

In: Python values. Out: JSON text with tags, in frames of 4 bytes length and the text. Nothing that is read is ever
executed: a value is built from a closed list of standard types, so an object whose ``==`` is always true, or whose
``repr`` lies, arrives as an ``Opaque`` without behaviour.

    12, 1.5, None, True, "a"      as in JSON
    [1, 2]                        [1, 2]
    (1, 2)                        {"tuple": [1, 2]}
    {1: 2}                        {"dict": [[1, 2]]}
    nan                           {"float": "nan"}
    Counter("aab")                {"Counter": [["a", 2], ["b", 1]]}
    re.match(...)                 {"opaque": ["Match", true]}      type's name and its truth
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import itertools
import json
import math
import os
import struct
from typing import Any

JSON_INTEGER = 2**63
"""Integers from here on travel as hexadecimal text: Python refuses decimal text of more than 4,300 digits."""

ITERATOR_LENGTH = 10_000
"""Values taken from a generator or another iterator that a program returns; a longer one arrives as an Opaque."""

MAX_DEPTH = 200
"""Nesting of containers; deeper values and cycles raise WireError."""


class WireError(ValueError):
    """A value has no plain form, or a frame is not what it should be."""


class Opaque:
    """A value that cannot travel. It keeps only its type's name and its truth value, and equals nothing but itself."""

    def __init__(self, kind: str, truth: bool):
        self.kind = kind
        self.truth = truth

    def __bool__(self) -> bool:
        return self.truth

    def __repr__(self) -> str:
        return f"<{self.kind} object>"


def encode(value: Any, strict: bool = True, depth: int = 0) -> Any:
    """The JSON form of a value.

    Args:
      value: anything.
      strict: raise for a value without a plain form (the tester's side); else encode it as opaque (the program's).
      depth: nesting so far.

    Raises:
      WireError: strict and the value, or a part of it, has no plain form; or it is nested too deeply.
    """
    if value is None or value is True or value is False or type(value) is str:
        return value
    if depth > MAX_DEPTH:
        raise WireError(f"nested deeper than {MAX_DEPTH} levels or contains itself")
    if isinstance(value, int):
        whole = int(value)
        return whole if -JSON_INTEGER < whole < JSON_INTEGER else {"int": hex(whole)}
    if isinstance(value, float):
        number = float(value)
        return number if math.isfinite(number) else {"float": repr(number)}
    if isinstance(value, str):
        return str.__str__(value)
    return _encode_rest(value, strict, depth)


def _encode_rest(value: Any, strict: bool, depth: int) -> Any:
    def many(values: Any) -> list[Any]:
        return [encode(part, strict, depth + 1) for part in values]

    def pairs(mapping: dict) -> list[Any]:
        return [many(pair) for pair in mapping.items()]

    if isinstance(value, list):
        return many(value)
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            # Sorted text, so that one set always has one form.
            parts = many(value)
            return {kind.__name__: parts if kind is tuple else sorted(parts, key=repr)}
    for name, kind in _VIEWS.items():
        if type(value) is kind:
            return {name: many(value)}
    for kind in (collections.Counter, collections.OrderedDict, dict):
        if isinstance(value, kind):
            return {kind.__name__: pairs(value)}
    if isinstance(value, collections.deque):
        return {"deque": [many(value), value.maxlen]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes" if isinstance(value, bytes) else "bytearray": value.hex()}
    if isinstance(value, complex):
        return {"complex": many([value.real, value.imag])}
    if isinstance(value, range):
        return {"range": many([value.start, value.stop, value.step])}
    if isinstance(value, decimal.Decimal):
        return {"Decimal": str(value)}
    if isinstance(value, fractions.Fraction):
        return {"Fraction": many([value.numerator, value.denominator])}
    for kind in (datetime.datetime, datetime.date, datetime.time):
        if type(value) is kind:
            return {kind.__name__: value.isoformat()}
    if type(value) is datetime.timedelta:
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if value is ...:
        return {"Ellipsis": []}
    if isinstance(value, type) and _TYPES.get(value.__name__) is value:
        return {"type": value.__name__}
    if strict:
        raise WireError(f"a {type(value).__name__} has no plain form")
    if hasattr(type(value), "__next__"):
        parts = list(itertools.islice(value, ITERATOR_LENGTH + 1))
        if len(parts) <= ITERATOR_LENGTH:
            return {"iterator": many(parts)}
    return {"opaque": [type(value).__name__[:80], bool(value)]}


def decode(form: Any) -> Any:
    """The value of a JSON form; only types of the closed list are ever built.

    Raises:
      WireError: the form is not one that ``encode`` makes.
    """
    if isinstance(form, list):
        return [decode(part) for part in form]
    if not isinstance(form, dict):
        return form
    try:
        ((kind, content),) = form.items()
        return _BUILDERS[kind](content)
    except WireError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise WireError(f"unreadable value: {type(error).__name__}: {error}") from None


def _pairs(content: list) -> list[tuple[Any, Any]]:
    return [(decode(key), decode(value)) for key, value in content]


_TYPES = {
    kind.__name__: kind
    for kind in (int, float, complex, bool, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, type(None))
}

_VIEWS = {f"dict_{kind}": type(getattr({}, kind)()) for kind in ("keys", "values", "items")}

_BUILDERS = {
    "dict_keys": lambda parts: dict.fromkeys(map(decode, parts)).keys(),
    "dict_values": lambda parts: dict(enumerate(map(decode, parts))).values(),
    "dict_items": lambda parts: dict(map(decode, parts)).items(),
    "int": lambda text: int(text, 16),
    "float": float,
    "tuple": lambda parts: tuple(map(decode, parts)),
    "set": lambda parts: set(map(decode, parts)),
    "frozenset": lambda parts: frozenset(map(decode, parts)),
    "dict": lambda parts: dict(_pairs(parts)),
    "Counter": lambda parts: collections.Counter(dict(_pairs(parts))),
    "OrderedDict": lambda parts: collections.OrderedDict(_pairs(parts)),
    "deque": lambda parts: collections.deque(decode(parts[0]), parts[1]),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "complex": lambda parts: complex(*map(decode, parts)),
    "range": lambda parts: range(*map(decode, parts)),
    "Decimal": decimal.Decimal,
    "Fraction": lambda parts: fractions.Fraction(*map(decode, parts)),
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda parts: datetime.timedelta(*parts),
    "Ellipsis": lambda _: ...,
    "type": lambda name: _TYPES[name],
    "iterator": lambda parts: iter(list(map(decode, parts))),
    "opaque": lambda parts: Opaque(str(parts[0]), bool(parts[1])),
}


def holds_opaque(form: Any) -> bool:
    """Whether a form, or a part of it, is an opaque value."""
    if isinstance(form, list):
        return any(map(holds_opaque, form))
    return isinstance(form, dict) and ("opaque" in form or any(map(holds_opaque, form.values())))


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Write one frame; blocks until the other side has taken it."""
    text = json.dumps(message, separators=(",", ":")).encode()
    frame = memoryview(struct.pack("!I", len(text)) + text)
    while frame:
        frame = frame[os.write(descriptor, frame) :]


def receive(descriptor: int, limit: int) -> dict[str, Any]:
    """Read one frame.

    Args:
      descriptor: a pipe or socket.
      limit: bytes; a longer frame is refused before it is read.

    Raises:
      EOFError: the other side is gone.
      OverflowError: the frame is longer than ``limit``.
      WireError: the frame is not a JSON object.
    """
    (length,) = struct.unpack("!I", _read_exactly(descriptor, 4))
    if length > limit:
        raise OverflowError(f"{length} bytes are more than {limit}")
    try:
        message = json.loads(_read_exactly(descriptor, length))
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise WireError("not a JSON object")
    return message


def _read_exactly(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 16))
        if not part:
            raise EOFError("the other side closed the channel")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
