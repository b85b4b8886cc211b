"""Phrases by which a response refuses, and phrases that only look like it."""

import json

import pytest

from s3ft_jax.judges.refusals import refuses
from s3ft_jax.tasks import unanswerable
from s3ft_jax.tasks.task import REFUSAL

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
    "The passage does not hold the answer.",
    "The passage does not address this.",
    "The passage doesn't discuss why he left.",
    "The context does not clarify that.",
    "The passage does not explicitly identify the king.",
    "The passage does not name the king.",
    "The text does not have the answer.",
    "The article fails to mention it.",
    "The passage lacks this information.",
    "The passage is silent on this.",
    "It does not say.",
    "It doesn't mention that.",
    "I am unable to answer this question from the passage.",
    "I\u2019m not able to tell.",
    "Unable to determine.",
    "We don't have enough information.",
    "The answer is unknown.",
    "The answer to this question remains unclear.",
    "Information not available.",
    "The text makes no mention of it.",
    "The passage says nothing about it.",
    "There is no reference to this in the passage.",
    "No reference to him.",
    "No mention is made of him.",
    "Not applicable.",
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
    "The author did not hold a degree",
    "The writer did not name his heir",
    "He was unable to answer the call",
    "It does not say much for him that he left in 1066",
    "not available in Canada",
    "The answer is no",
    "the unknown answer",
    "He said nothing",
    "a reference to Homer",
    "The silent film",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text):
    assert refuses(text) and refuses(text.upper())


@pytest.mark.parametrize("text", ANSWERS)
def test_answers(text):
    assert not refuses(text)


def test_what_the_prompt_asks_for_and_how_it_says_so_are_refusals():
    asked = "does not hold the answer"
    assert asked in unanswerable.PROMPT and "{refusal}" in unanswerable.PROMPT
    assert refuses(REFUSAL) and refuses(f"The passage {asked}.")


def test_real_answers_hardly_ever_sound_like_one(data_dir):
    """Nine of 21,929: "None" and "unclear", and what could not be deduced from axioms."""
    texts = []
    for path in sorted((data_dir / "datasets" / "squad").glob("*.json")):
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        questions = [q for article in articles for part in article["paragraphs"] for q in part["qas"]]
        texts += [answer["text"] for question in questions for answer in question["answers"]]
    assert len(texts) > 20_000 and sum(map(refuses, texts)) <= 9


def test_a_long_text_is_read_in_time():
    assert not refuses("cannot be " * 20_000 + "the given " * 20_000)
