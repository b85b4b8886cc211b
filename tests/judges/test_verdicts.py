"""How a verdict is written down."""

from __future__ import annotations

from s3ft_jax.judges.verdicts import FOUND_LENGTH, REASON_LENGTH, make_verdict, one_line
from s3ft_jax.records import Response, Verdict, from_line, to_line

RESPONSE = Response("t/test/0", "paraphrase", 3, "x", (), (), True, 0.0)


def test_a_verdict_belongs_to_the_response_judged():
    verdict = make_verdict(RESPONSE, "numbers", "undecided", "12", "bad_check: no answer")
    assert verdict == Verdict("t/test/0", "paraphrase", 3, "numbers", "undecided", "12", "bad_check: no answer")


def test_verdicts_are_short_single_lines_that_can_be_written():
    verdict = make_verdict(RESPONSE, "numbers", "wrong", "a\nb" * 500, "wrong: \ud800 " + "x " * 500)
    assert len(verdict.found) == FOUND_LENGTH and len(verdict.reason) <= REASON_LENGTH and "\n" not in verdict.found
    assert verdict.found.endswith("\u2026") and verdict.reason.startswith("wrong: ? x x")
    assert from_line(Verdict, to_line(verdict), "here") == verdict
    to_line(verdict).encode("utf-8")


def test_a_text_that_fits_is_kept_and_a_longer_one_is_marked():
    assert one_line("a  b\n\tc\r\n", 10) == "a b c"
    assert one_line("x" * 10, 10) == "x" * 10
    assert one_line("x" * 11, 10) == "x" * 9 + "\u2026"
    assert one_line("", 10) == ""
    # What is cut before the spaces are joined must be marked too.
    assert one_line(" " * 100 + "end", 10).strip("\u2026") == ""
