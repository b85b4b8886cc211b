"""Texts in one form, and LaTeX taken away, row by row."""

import pytest

from s3ft_jax.judges.dressing import SYMBOL, one_form, without_latex


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("\u22125", "-5"),
        ("minus 5", "-5"),
        ("5 minus 3", "5 minus 3"),
        ("18\u202f000", "18000"),
        ("<<3*6=18>>18", "18"),
        ("Rs.450", "450"),
        ("$2.5k", "$2.5 thousand"),
        ("$5k$", "$5k$"),
        ("$2M", "$2 million"),
        ("$2 M", "$2 million"),
        ("\u20ac2m.", "\u20ac2 million."),
        ("2m", "2m"),
        ("2M", "2M"),
        ("$3b", "$3 billion"),
        ("3bn", "3 billion"),
        ("2\u00bd", "2 1/2"),
        ("10\u00b2", "10^2"),
    ],
)
def test_one_form(text, form):
    assert one_form(text) == form


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (r"\frac{1}{2}", "1/2"),
        (r"-\frac{1}{2}", "-1/2"),
        (r"\frac{-1}{2}", "-1/2"),
        (r"-\frac{1}{-2}", "1/2"),
        (r"1\dfrac34", "1 3/4"),
        (r"5-\frac12", "5-1/2"),
        (r"\frac123", "1/2 3"),
        (r"x\frac12", "x*1/2"),
        (r"\frac12 y", "1/2* y"),
        (r"\frac12\text{ cup}", "1/2 cup"),
        (r"(\frac12)", "(1/2)"),
        (r"\left(5,\,6\right)", "(5,6)"),
        (r"1{,}080", "1080"),
        (r"90^\circ", "90"),
        (r"\frac{\pi}{2}", SYMBOL),
        (r"3\sqrt[3]{2^{5}} + 1", f"3{SYMBOL} + 1"),
        (r"\frac{\frac{a}{2}}{3} m", f"{SYMBOL} m"),
        (r"\binom{5}{2}", SYMBOL),
        (r"\pi 2", f"{SYMBOL} 2"),
        ("2pi and pins", f"2{SYMBOL} and pins"),
        (r"\frac{a", SYMBOL),
    ],
)
def test_without_latex(text, bare):
    assert without_latex(text) == bare


def test_what_is_never_closed_ends_somewhere():
    assert without_latex("\\sqrt{" + "1" * 1000).startswith(SYMBOL + "1")
