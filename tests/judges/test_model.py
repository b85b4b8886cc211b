"""A model as judge: how it is asked, how its reply is read, and the controls that keep it honest."""

import pytest

from s3ft_jax.judges import model
from s3ft_jax.judges.model import PROMPT, ask_canaries, check_canaries, check_prompt, make_prompts, read_verdict
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Response


def pair(number, text, gold="Oslo", question="Where {is} it?"):
    example = Example(f"t/test/{number}", "t", "test", ({"role": "user", "content": question},), gold, "model", {})
    return example, Response(example.id, "own", 0, text, (3,), (1, 2), True, -1.5)


def answers(prompt):
    """First and second answer of a prompt, and whether gold is the first."""
    first, second = (part.split(": ", 1)[1] for part in prompt.split("\n\n")[2:4])
    return first, second, "Reference answer: " in prompt.split("\n\n")[2]


def fair(prompts):
    """A judge that compares letter by letter."""
    return [f"Hm.\nVerdict: {'same' if len(set(answers(p)[:2])) == 1 else 'different'}" for p in prompts]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("Verdict: same", "right"),
        ("Both name Oslo.\n\n**Verdict: same**\n", "right"),
        ("verdict - DIFFERENT.", "wrong"),
        ("Verdict: same\nVerdict: different", "wrong"),
        ("", "undecided"),
        ("same", "undecided"),
        ("Verdict:", "undecided"),
        ("Verdict: same or different", "undecided"),
        ("Verdict: not the same", "undecided"),
        ("Verdict: same. But the date differs.", "undecided"),
        ("Verdict: same\nI hope this helps!", "undecided"),
    ],
)
def test_a_reply_is_read_or_passed_over(reply, outcome):
    assert read_verdict(reply) == outcome


def test_the_same_question_is_put_in_both_orders_and_braces_stay():
    example, _ = pair(0, "", gold="{second}")
    one, two = make_prompts(example, "a {first} b")
    assert "Question: Where {is} it?" in one and one.splitlines()[-1].startswith("yourself. End your reply")
    assert answers(one) == ("{second}", "a {first} b", True)
    assert answers(two) == ("a {first} b", "{second}", False)


def test_verdicts_come_in_order_and_silence_is_wrong_without_asking():
    asked, told = [], []

    def ask(prompts):
        asked.extend(prompts)
        return fair(prompts)

    pairs = [pair(0, "Oslo"), pair(1, " ... "), pair(2, "Bergen"), pair(3, "")]
    options = {"on_progress": lambda *n: told.append(n), "on_verdict": lambda place, v: told.append((place, v.outcome))}
    verdicts = model.judge_all(pairs, ask=ask, **options)
    assert [(v.example_id, v.outcome, v.reason.partition(":")[0]) for v in verdicts] == [
        ("t/test/0", "right", "same"),
        ("t/test/1", "wrong", "empty"),
        ("t/test/2", "wrong", "different"),
        ("t/test/3", "wrong", "empty"),
    ]
    assert len(asked) == 4 and told[:2] == [(0, "right"), (1, 4)] and told[-1] == (4, 4)
    assert verdicts[0].found == "Verdict: same | Verdict: same"


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda prompts: ["Verdict: same" if answers(p)[2] else "Verdict: different" for p in prompts], "disagree"),
        (lambda prompts: ["Yes, they are the same." for _ in prompts], "unparsed"),
        (lambda prompts: ["Verdict: same" if answers(p)[2] else "" for p in prompts], "unparsed"),
    ],
)
def test_without_two_clear_replies_that_agree_nothing_is_decided(ask, kind):
    (verdict,) = model.judge_all([pair(0, "Bergen")], ask=ask)
    assert verdict.outcome == "undecided" and verdict.reason.startswith(kind)


def test_many_pairs_are_asked_about_in_parts(monkeypatch):
    monkeypatch.setattr(model, "BATCH", 3)
    sizes = []
    model.judge_all([pair(n, "x") for n in range(7)], ask=lambda prompts: sizes.append(len(prompts)) or fair(prompts))
    assert sizes == [6, 6, 2]


EXAMPLES = [pair(n, "", gold=gold)[0] for n, gold in enumerate(["Oslo", "Rome", "oslo", "?", "Bern"])]


def test_canaries_of_a_fair_judge_all_pass():
    canaries = ask_canaries(EXAMPLES, fair)
    kinds = ("gold itself", "''", "':'", "'Thought process:'", "gold of another question")
    assert canaries.asked == dict.fromkeys(kinds, 3) == canaries.passed
    assert canaries.worst[1] == 1.0
    check_canaries(canaries, 1.0)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [("Verdict: same", "'Thought process:'|gold of another question"), ("Verdict: different", "gold itself")],
)
def test_a_judge_that_always_says_the_same_is_stopped(reply, kind):
    canaries = ask_canaries(EXAMPLES, lambda prompts: [reply] * len(prompts))
    with pytest.raises(JudgeError, match=rf"of 3 texts of the kind ({kind}), 0 got the verdict .*0%, wanted 80%"):
        check_canaries(canaries, 0.8)


def test_without_gold_there_is_nothing_to_compare_with():
    with pytest.raises(JudgeError, match="no example has a gold answer in words"):
        check_canaries(ask_canaries([EXAMPLES[3]], fair), 0.8)


@pytest.mark.parametrize(
    ("prompt", "wrong"), [("Same?", "first"), (PROMPT.replace("{question}", ""), "question"), (PROMPT + "{x}", "'x'")]
)
def test_a_wording_that_cannot_be_filled_is_refused(prompt, wrong):
    with pytest.raises(JudgeError, match=rf"judge\.model\.prompt: .*{wrong}.* missing or unknown"):
        check_prompt(prompt)
