"""Fates of test examples: counts that agree with the table of the page, and answers to read with their verdicts."""

import dataclasses

from synthetic_evidence import METHODS, SEEDS, synthetic_browsed, synthetic_contents, synthetic_evidence

from s3ft_jax.report import fates


def test_counts_of_every_model_agree_with_the_table():
    contents = synthetic_contents()
    found = fates.fate_counts(contents.board)
    assert [(one["method"], one["seed"]) for one in found] == [(name, seed) for name in METHODS for seed in SEEDS]
    assert all(sum(v for k, v in one.items() if k not in ("method", "seed")) == 600 for one in found)
    shown = [cell.text for cell in contents.paired_table.rows[0][1:]]
    names = ("regressed", "fixed", "right_in_both", "not_right_in_both")
    assert shown == [f"{sum(one[name] for one in found[:3]) / 3:,.1f}" for name in names]
    assert fates.fate_counts(dataclasses.replace(contents.board, paired={})) == []


def test_answers_to_read_carry_fate_verdict_and_text():
    evidence = synthetic_evidence(methods=("sft", "ssr"), examples=synthetic_browsed(4))
    assert fates.subject_of(synthetic_evidence()) == "s3ft" and fates.subject_of(evidence) == "ssr"
    values = fates.example_values(evidence)
    assert [one["fate"] for one in values] == [fates.WRONG, fates.REGRESSED, fates.FIXED, fates.RIGHT]
    base = values[0]["answers"][0]
    assert base == {
        "method": "base", "seed": None, "outcome": "wrong", "found": "f", "reason": "wrong: test 2 gave 12, not 14",
        "text": "def f(a):\n    return sum(a)  # <script>alert(1)</script>",
    }  # fmt: skip


def test_long_and_odd_texts_are_cut_with_a_word_and_an_unanswered_example_has_no_fate():
    one = dataclasses.replace(synthetic_browsed(1)[0], prompt="x" * 4000, gold="\x00\ud800", answers=())
    (told,) = fates.example_values(synthetic_evidence(examples=(one,)))
    assert told["prompt"].endswith("[1,000 more characters not shown]") and told["gold"] == "\ufffd\ufffd"
    assert told["fate"] is None and told["answers"] == []


def test_only_examples_that_both_answered_are_counted():
    board = synthetic_contents().board
    key = (METHODS[0], SEEDS[0]), board.task
    some = dict(list(board.paired[key].items())[:10])
    (first, *_) = fates.fate_counts(dataclasses.replace(board, paired={**board.paired, key: some}))
    assert sum(value for name, value in first.items() if name not in ("method", "seed")) == 10
