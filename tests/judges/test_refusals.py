"""Phrases by which a response refuses, and phrases that only look like it."""

import pytest

from s3ft_jax.judges.refusals import refuses

REFUSALS = [
    "The question is unanswerable.",
    "It cannot be answered from the passage.",
    "I can\u2019t answer that based on the passage.",
    "The year could not be found.",
    "There isn't enough information to answer this.",
    "The text does not say.",
    "The author never says who paid for it.",
    "Nothing in the passage tells us when she was born.",
    "The passage gives no date for the treaty.",
    "It is unclear from the text why he left.",
    "Who painted it is not revealed.",
    "The year of his death isn't given.",
    "No information is given about his wife.",
    "This is impossible to tell.",
    "Not found",
    "unknown",
    "This question has no valid answer because the text confuses two clubs.",
    "We do not know.",
]
ANSWERS = [
    "Oslo",
    "He could not be found guilty.",
    "He was not given a pension.",
    "She was not known to the police.",
    "The unknown soldier",
    "No man's land",
    "No. 7 is the answer",
    "The passage to India",
    "It gives no quarter",
    "A clear sky",
    "He never came back in the winter",
    "not only Bergen but Oslo",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text):
    assert refuses(text) and refuses(text.upper())


@pytest.mark.parametrize("text", ANSWERS)
def test_answers(text):
    assert not refuses(text)


def test_a_long_text_is_read_in_time():
    assert not refuses("cannot be " * 20_000 + "the given " * 20_000)
