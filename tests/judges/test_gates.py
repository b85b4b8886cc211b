"""Gates: what may pass by its form."""

import pytest

from s3ft_jax.judges import check_name, find_judge, gates
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Response


def verdict(name, text):
    example = Example("t/test/0", "t", "test", ({"role": "user", "content": "q"},), "", name, {})
    return find_judge(name)(example, Response(example.id, "own", 0, text, (3,), (1, 2), True, -1.5))


@pytest.mark.parametrize(
    ("name", "text", "outcome", "kind"),
    [
        ("length(1,3)", "one two three", "right", "passed"),
        ("length(1,3)", "one two three four", "wrong", "too_long"),
        ("length(1,3)", " \n ", "wrong", "too_short"),
        ("length(2)", "word " * 10_000, "right", "passed"),
        ("length(0,0)", "", "right", "passed"),
        ("script(latin)", "The answer is 4, naïve café.", "right", "passed"),
        ("script(latin)", "Ответ: четыре.", "wrong", "other_script"),
        ("script(cyrillic)", "Ответ: четыре.", "right", "passed"),
        ("script(Latin)", "The area is πr², with π and r as usual.", "right", "passed"),
        ("script(latin)", "答案是 four", "wrong", "other_script"),
        ("script(cjk)", "答案是四", "right", "passed"),
        ("script(latin)", "12 + 30 = 42", "right", "passed"),
        ("script(latin)", "\ud800\U0010ffff\ue000", "right", "passed"),
    ],
)
def test_what_passes(name, text, outcome, kind):
    found = verdict(name, text)
    assert (found.outcome, found.reason.partition(":")[0], found.judge) == (outcome, kind, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("length(a)", "takes one or two numbers of words"),
        ("length(5,1)", "lets nothing pass"),
        ("length()", "is written length"),
        ("length(1,2,3)", "is written length"),
        ("script(elvish)", "choose from latin"),
        ("lenght(1,2)", "did you mean length"),
    ],
)
def test_a_gate_that_cannot_be_is_refused(name, message):
    with pytest.raises(JudgeError, match=message):
        check_name(f"all({name}, numbers)")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("The answer is 18 because she sells them at the market.", "right"),
        ("Die Antwort ist achtzehn, weil sie die Eier verkauft.", "wrong"),
        ("Le texte ne le dit pas.", "wrong"),
        ("Oslo", "right"),
        ("18", "right"),
        ("", "right"),
        ("```python\ndef summe(zahlen):\n    return sum(zahlen)\n```", "right"),
        ("$\\frac{1}{2}$", "right"),
        ("\ud800", "right"),
    ],
)
def test_language(text, outcome):
    found = verdict("language(en)", text)
    assert found.outcome == outcome, found.reason
    assert found.reason.startswith("passed" if outcome == "right" else "other_language")


def test_a_language_that_is_not_known_or_a_library_that_is_not_there_is_refused(monkeypatch):
    with pytest.raises(JudgeError, match=r"language\(english\) is not known; choose from .*, de, "):
        find_judge("language(english)")
    monkeypatch.setattr(gates.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(JudgeError, match=r"s3ft_jax\[language\]"):
        find_judge("language(en)")
