"""Judges put together: how a name is read, who is asked about what, and whose verdict stands."""

import itertools

import pytest

from s3ft_jax.judges import answers, model
from s3ft_jax.judges.composition import RULES, Composition, judge_composed, parse, single_names
from s3ft_jax.judges.verdicts import JudgeError, make_verdict
from s3ft_jax.records import OUTCOMES, Example, Response


def pair(number, judge, text="", check=None):
    example = Example(f"t/test/{number}", "t", "test", ({"role": "user", "content": "q"},), "", judge, check or {})
    return example, Response(example.id, "own", 0, text, (3,), (1, 2), True, -1.5)


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("numbers", "numbers"),
        (" my_module:my_judge ", "my_module:my_judge"),
        ("length( 1 , 20 )", "length(1,20)"),
        ("first(numbers,model)", Composition("first", ("numbers", "model"))),
        (
            "all(length(1, 9), any(exact, first(a:b, model)))",
            Composition("all", ("length(1,9)", Composition("any", ("exact", Composition("first", ("a:b", "model")))))),
        ),
    ],
)
def test_a_name_is_read(name, tree):
    assert parse(name) == tree


def test_single_judges_are_listed_once():
    assert single_names("all(length(1, 9), any(exact, numbers), exact)") == ("length(1,9)", "exact", "numbers")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("", "a judge's name is missing at the end"),
        ("first()", r"a judge's name is missing before '\)'"),
        ("first(numbers)", "needs at least two judges"),
        ("first(numbers, model", "the bracket behind 'first' is not closed"),
        ("first(numbers model)", "a comma is missing before 'model'"),
        ("first(numbers, model))", r"'\)' is left over"),
        ("length(1, 2", "the bracket behind 'length' is not closed"),
        ("all(, exact)", "missing before ','"),
    ],
)
def test_a_name_that_cannot_be_read_is_explained(name, cause):
    with pytest.raises(JudgeError, match=rf"judge\.name=.*{cause}.*Write one judge, or e\.g\. first"):
        parse(name)


def oracle(pairs):
    """The verdict a single judge gives: the response's text holds one letter for each judge, a to d."""
    letters = {"r": "right", "w": "wrong", "u": "undecided"}
    outcomes = [letters[response.text["abcd".index(example.judge)]] for example, response in pairs]
    return [
        make_verdict(response, example.judge, outcome, "", f"{outcome}: by {example.judge}")
        for (example, response), outcome in zip(pairs, outcomes, strict=True)
    ]


def expected(rule, outcomes):
    if rule == "first":
        return next((outcome for outcome in outcomes if outcome != "undecided"), "undecided")
    settling, other = ("wrong", "right") if rule == "all" else ("right", "wrong")
    return settling if settling in outcomes else "undecided" if "undecided" in outcomes else other


@pytest.mark.parametrize("rule", RULES)
def test_every_outcome_of_three_judges(rule):
    texts = ["".join(letters) for letters in itertools.product("rwu", repeat=3)]
    verdicts = judge_composed([pair(n, f"{rule}(a, b, c)", text) for n, text in enumerate(texts)], oracle)
    names = dict(zip("rwu", OUTCOMES, strict=True))
    for text, verdict in zip(texts, verdicts, strict=True):
        outcomes = [names[letter] for letter in text]
        assert verdict.outcome == expected(rule, outcomes), text
        who = verdict.reason[-2]
        assert verdict.reason == f"{verdict.outcome}: by {who} [{who}]" and verdict.judge == f"{rule}(a, b, c)"
        assert names[text["abc".index(who)]] == verdict.outcome  # the one whose verdict it is really said so


def test_nobody_is_asked_about_what_is_settled():
    asked = []

    def counted(pairs):
        asked.append((pairs[0][0].judge, [response.text for _, response in pairs]))
        return oracle(pairs)

    texts = ["ruuu", "uruu", "uuwu", "wuuu"]
    verdicts = judge_composed([pair(n, "first(a, any(b, c), d)", text) for n, text in enumerate(texts)], counted)
    assert asked == [("a", texts), ("b", ["uruu", "uuwu"]), ("c", ["uuwu"]), ("d", ["uuwu"])]
    assert [verdict.outcome for verdict in verdicts] == ["right", "right", "undecided", "wrong"]
    assert [verdict.example_id for verdict in verdicts] == [f"t/test/{n}" for n in range(4)]


def test_single_judges_share_one_call_and_the_order_stays():
    calls = []

    def counted(pairs):
        calls.append([example.judge for example, _ in pairs])
        return oracle(pairs)

    judged = judge_composed([pair(0, "a", "rwww"), pair(1, "all(a, b)", "rwww"), pair(2, "d", "wwwr")], counted)
    assert ["a", "d"] in calls and [verdict.outcome for verdict in judged] == ["right", "wrong", "right"]
    assert judged[0].reason == "right: by a"  # not put together: as the judge wrote it


def test_each_judge_is_given_what_stands_under_its_name():
    seen = {}

    def look(pairs):
        seen.update({example.judge: dict(example.check) for example, _ in pairs})
        return [make_verdict(response, example.judge, "undecided", "", "u: u") for example, response in pairs]

    judge_composed([pair(0, "first(a, b)", check={"a": {"answer": "1"}, "rest": 2})], look)
    assert seen == {"a": {"answer": "1"}, "b": {"a": {"answer": "1"}, "rest": 2}}


def test_a_model_is_the_second_opinion_on_refusals():
    """any(answers, model): a refusal in words that no phrase has; the model is asked about nothing else."""
    asked = []

    def ask(prompts):
        asked.extend(prompts)
        return ["Verdict: same" if "keeps silent" in prompt else "Verdict: different" for prompt in prompts]

    def single(pairs):
        if pairs[0][0].judge == "model":
            return model.judge_all(pairs, ask=ask)
        return [answers.judge(*one) for one in pairs]

    texts = ["The passage does not say.", "On that, the writer keeps silent.", "It was built in 1911."]
    check = {"unanswerable": True}
    verdicts = judge_composed([pair(n, "any(answers, model)", text, check) for n, text in enumerate(texts)], single)
    assert [verdict.outcome for verdict in verdicts] == ["right", "right", "wrong"]
    assert len(asked) == 4 and not any("does not say." in prompt for prompt in asked)
