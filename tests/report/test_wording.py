"""Wording: numbers as people read them."""

import pytest

from s3ft_jax.report.wording import bounds, chance, clean_text, count_of, duration, join, method_name, points, share


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.1634, "+16.3"), (-0.0251, "\u22122.5"), (0.0, "0.0"), (-0.0001, "0.0"), (0.0004, "0.0")]
)
def test_points(fraction, text):
    assert points(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (38.4, "38 s"), (59.7, "1 min 00 s"), (245, "4 min 05 s"), (7380, "2 h 03 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_small_words():
    assert bounds(-0.01, 0.2) == "[\u22121.0, +20.0]"
    assert bounds(0.5, 0.6, signed=False) == "[50.0, 60.0]"
    assert (chance(0.0312), chance(0.0004), chance(1.0)) == ("0.031", "<0.001", "1.000")
    assert (count_of(1, "seed"), count_of(1200, "example")) == ("1 seed", "1,200 examples")
    assert (join(["a"]), join(["a", "b"]), join(["a", "b", "c"])) == ("a", "a and b", "a, b and c")
    assert (share(1, 3), share(0, 0)) == ("33.3 %", "\u2013")
    assert (method_name("s3ft"), method_name("self-output")) == ("S3FT", "self-output")


def test_clean_text():
    assert clean_text("a\tb\nc\x07\ud800") == "a\tb\nc\ufffd\ufffd"
    assert clean_text("abcdef", 2) == "ab\n[4 more characters not shown]"
