"""repairs: gold is cut at borders and nowhere else; the mending prompt shows all three texts."""

import pytest

from s3ft_jax.repairs import MEND_PROMPT, RepairError, check_settings, cut, mend_messages

STORY = "Tom has 3.5 kg. He eats one.\nTwo are left (really!). So it is 2.5."


def decode(ids):
    return bytes(ids).decode("utf-8", "replace")


def begun(text, frac):
    ids = text.encode()
    number = cut(ids, decode, frac)
    return None if number is None else decode(ids[:number])


@pytest.mark.parametrize(
    "frac, expected",
    [
        (0.05, "Tom has 3.5 kg."),
        (0.3, "Tom has 3.5 kg."),
        (0.45, "Tom has 3.5 kg. He eats one.\n"),
        (0.99, "Tom has 3.5 kg. He eats one.\nTwo are left (really!)."),
    ],
)
def test_the_nearest_line_or_sentence_border(frac, expected):
    assert begun(STORY, frac) == expected


def test_a_number_or_the_end_is_no_border():
    assert begun("It costs 3.5 now.", 0.5) == "It costs", "no sentence ends inside: between two words"
    assert begun("2.5", 0.5) is None and begun("x", 0.5) is None and begun("One.\n", 0.5) is None


def test_no_cut_inside_a_character():
    text = "caf\u00e9\u3002\u00e9\u00e9\u00e9\u00e9"
    assert begun(text, 0.9) == "caf\u00e9\u3002"


def test_indents_stay_with_the_line_break():
    assert begun("def f(x):\n    return x", 0.6) in ("def f(x):\n", "def f(x):\n  ", "def f(x):\n    ")


def test_all_three_texts_are_shown_as_they_are():
    turns = [{"role": "system", "content": "S"}, {"role": "user", "content": "What is {gold}?"}]
    system, user = mend_messages(turns, "four {wrong}", "five")
    assert system == turns[0]
    expected = MEND_PROMPT.split("{question}")[1].split("{gold}")[0]
    assert user["content"].startswith("What is {gold}?" + expected + "four {wrong}\n") and "\nfive\n" in user["content"]
    assert mend_messages(turns, "g", "w", "{wrong}>{gold}<{question}")[1]["content"] == "w>g<What is {gold}?"


@pytest.mark.parametrize(
    "settings, key",
    [
        (("patch", 0.5, ""), "sample.repair ="),
        (("mend", 1.0, ""), "repair_frac"),
        (("mend", 0.5, "{gold}"), "question"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, key):
    check_settings("continue", 0.5, "")
    with pytest.raises(RepairError, match=key):
        check_settings(*settings)
