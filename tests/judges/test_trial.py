"""Judges of one's own tried on gold, an empty text and another question's gold; and how often a judge failed."""

import textwrap

import pytest

from s3ft_jax.judges.trial import check_failures, describe_failures, has_failed, own_judges, try_judges
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Verdict

RULES = """
    def fair(example, response):
        return response.text == example.gold

    def raises(example, response):
        return 1 / 0

    def never(example, response):
        return False

    def picky(example, response):
        if example.gold == "Rome":
            raise KeyError("Rome")
        return response.text == example.gold

    def unsure(example, response):
        from s3ft_jax.judges.verdicts import make_verdict
        return make_verdict(response, "unsure", "undecided", "", "unsure: always")
"""


@pytest.fixture
def examples(tmp_path, monkeypatch):
    """judge -> examples; the module `trial_rules` lies in the current folder."""
    (tmp_path / "trial_rules.py").write_text(textwrap.dedent(RULES))
    monkeypatch.chdir(tmp_path)
    golds = ["Oslo", "Rome", "Oslo", "Bern", "Paris", "Riga"]

    def named(judge):
        return [Example(f"t/train/{n}", "t", "train", (), gold, judge, {"n": n}) for n, gold in enumerate(golds)]

    return named


def test_a_fair_judge_passes_and_one_line_says_how(examples):
    (trial,) = try_judges(examples("trial_rules:fair"))
    trial.check()
    assert trial.describe() == (
        "judge trial_rules:fair, tried on 4 examples: gold 4 right; an empty text 4 wrong; gold of another question "
        "4 wrong"
    )
    assert try_judges(examples("numbers")) == []


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("raises", r"trial_rules:raises: it failed in all of 12 calls.*t/train/0, gold 'Oslo', check \{'n': 0\}: undeci"
         r"ded \(judge_error: ZeroDivisionError: division by zero \(trial_rules\.py, line 6\)"),
        ("never", r"trial_rules:never: it finds none of 4 gold answers right.*t/train/0.*wrong: the judge says False"),
        ("unsure", "it finds none of 4 gold answers right.*unsure: always"),
    ],
)  # fmt: skip
def test_a_judge_of_no_use_is_named_with_an_example_and_what_it_said(examples, judge, message):
    (trial,) = try_judges(examples(f"trial_rules:{judge}"))
    with pytest.raises(JudgeError, match=message):
        trial.check()


def test_a_judge_that_is_not_there_is_found_out(examples):
    with pytest.raises(JudgeError, match="has no function 'absent'"):
        try_judges(examples("trial_rules:absent"))
    with pytest.raises(JudgeError, match="importing 'no_such_rules' raised ModuleNotFoundError"):
        try_judges(examples("no_such_rules:judge"))


def test_some_failures_are_told_and_beside_other_judges_it_may_be_unsure(examples):
    (trial,) = try_judges(examples("trial_rules:picky"))
    trial.check()
    assert "gold 1 failed, 3 right" in trial.describe() and "of 12 failed, " in trial.describe()
    assert "judge_error: KeyError: 'Rome' (trial_rules.py, line 13)" in trial.describe()
    composed = "first(trial_rules:unsure, all(trial_rules:never, exact))"
    assert own_judges(composed) == ["trial_rules:unsure", "trial_rules:never"]
    unsure, never = try_judges(examples(composed))
    unsure.check()
    with pytest.raises(JudgeError, match="none of 4 gold answers right"):
        never.check()


def test_failures_are_counted_and_most_of_them_stop():
    def verdict(outcome, reason):
        return Verdict("t/train/0", "own", 0, "j", outcome, "", reason)

    fine, failed = verdict("right", "right: yes"), verdict("undecided", "judge_error: KeyError: 'x' (r.py, line 2)")
    hung = verdict("undecided", "judge_timeout: no verdict after 30 s")
    assert [has_failed(one) for one in (fine, failed, hung, verdict("undecided", "unsure: x"))] == [0, 1, 1, 0]
    assert describe_failures([fine]) == "" and check_failures("j", [fine, failed]) is None
    told = "3 of 4 failed, 2 of them with judge_error: KeyError: 'x' (r.py, line 2)"
    assert describe_failures([failed, hung, fine, failed]) == told
    with pytest.raises(JudgeError, match=r"judge j: 3 of 4 failed, 2 of them with judge_error.*Mend the judge"):
        check_failures("j", [failed, hung, fine, failed])
    check_failures("j", [])
