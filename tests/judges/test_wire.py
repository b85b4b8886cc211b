"""Plain data between tester and program."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import json
import math
import os
import re

import pytest

from s3ft_jax.judges import wire

VALUES = [
    None,
    True,
    False,
    0,
    -7,
    2**63,
    -(2**200),
    10**5000,
    1.5,
    -0.0,
    "",
    "a\n\u00e9",
    "\ud800",
    b"\x00\xff",
    bytearray(b"ab"),
    [],
    [1, [2]],
    (),
    (1, (2,)),
    {1, "a"},
    set(),
    frozenset({1}),
    {},
    {1: {"a": (1,)}},
    {"tuple": [1]},
    {(1, 2): [3]},
    1 + 2j,
    range(1, 9, 2),
    ...,
    collections.Counter("aab"),
    collections.OrderedDict([(2, 1), (1, 2)]),
    collections.deque([1, 2], 3),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    datetime.time(1, 2),
    datetime.timedelta(1, 2, 3),
    int,
    list,
    type(None),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value):
    again = wire.decode(json.loads(json.dumps(wire.encode(value))))
    assert again == value and type(again) is type(value)


def test_not_finite():
    assert math.isnan(wire.decode(wire.encode(math.nan)))
    assert wire.decode(wire.encode([math.inf, -math.inf])) == [math.inf, -math.inf]


def test_subclasses_travel_as_what_they_hold():
    class Always(list):
        def __eq__(self, other):
            return True

    Point = collections.namedtuple("Point", "x y")
    assert type(wire.decode(wire.encode(Always([1])))) is list
    assert type(wire.decode(wire.encode(Point(1, 2)))) is tuple
    assert wire.decode(wire.encode(collections.defaultdict(list, {1: [2]}))) == {1: [2]}


def test_iterators_are_drawn_and_long_ones_are_not():
    assert list(wire.decode(wire.encode((n for n in range(3)), strict=False))) == [0, 1, 2]
    forever = wire.encode(iter(int, 1), strict=False)
    assert isinstance(wire.decode(forever), wire.Opaque)


def test_opaque_keeps_name_and_truth_and_equals_nothing():
    form = wire.encode([re.match("a", "a")], strict=False)
    value = wire.decode(form)[0]
    assert wire.holds_opaque(form) and not wire.holds_opaque(wire.encode([{1: 2}]))
    assert bool(value) and value != 1 and repr(value) == "<Match object>"


def test_strict_refuses_what_has_no_plain_form():
    for value in (lambda: 0, object(), [object()], re):
        with pytest.raises(wire.WireError, match="no plain form"):
            wire.encode(value)


def test_cycles_and_depth_are_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.encode(loop)


@pytest.mark.parametrize(
    "form",
    [
        {"eval": "1"},
        {"int": 3},
        {"int": "x"},
        {"tuple": 1},
        {"dict": [[1]]},
        {"set": [[1]]},
        {"type": "object"},
        {"Fraction": [1, 0]},
        {"range": ["a"]},
        {"a": 1, "b": 2},
        {},
        {"Decimal": "x"},
        {"opaque": []},
        {"deque": []},
        {"bytes": "zz"},
    ],
)
def test_unknown_forms_are_refused(form):
    with pytest.raises(wire.WireError):
        wire.decode(form)


def test_frames():
    reader, writer = os.pipe()
    try:
        wire.send(writer, {"a": [1]})
        assert wire.receive(reader, 100) == {"a": [1]}
        wire.send(writer, {"a": "x" * 100})
        with pytest.raises(OverflowError):
            wire.receive(reader, 50)
    finally:
        os.close(writer)
        os.close(reader)
    for frame, error in [
        (b"\x00\x00\x00\x03{{{", wire.WireError),
        (b"\x00\x00\x00\x02[]", wire.WireError),
        (b"\x00\x00", EOFError),
        (b"\x00\x00\x00\x09{}", EOFError),
    ]:
        reader, writer = os.pipe()
        os.write(writer, frame)
        os.close(writer)
        with pytest.raises(error):
            wire.receive(reader, 100)
        os.close(reader)


def test_views_of_dicts_compare_as_they_do_in_python():
    held = {"b": 1, "a": 2}
    keys, values, items = (wire.decode(wire.encode(view)) for view in (held.keys(), held.values(), held.items()))
    assert keys == {"a", "b"} and list(keys) == ["b", "a"]
    assert items == {("a", 2), ("b", 1)} and list(values) == [1, 2] and values != [1, 2]
