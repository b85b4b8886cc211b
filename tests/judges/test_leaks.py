"""The leak filter for paraphrases."""

from __future__ import annotations

import pytest

from s3ft_jax.judges.leaks import mentions_reference


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("As the reference answer says, 4.", "reference answer"),
        ("As the Reference\nAnswer says, 4.", "reference answer"),
        ("Here is my response: 4", "my response"),
        ("Thanks for your response.", "your response"),
        ("Write your own response here", "your own response"),
        ("4. Now it's your turn!", "now it's your turn"),
        ("4. Now it\u2019s your turn!", "now it's your turn"),
        ("Your turn: 4", "your turn"),
        ("  your turn", "your turn"),
        ("It is your turn", None),
        ("The answer is 4.", None),
        ("The reference gives an answer", None),
        ("", None),
    ],
)
def test_phrases(text, phrase):
    assert mentions_reference(text) == phrase


def test_a_mended_answer_must_not_speak_of_the_wrong_one_either():
    text = "My previous answer said 5; the corrected answer is 4."
    assert mentions_reference(text) is None
    assert mentions_reference(text, mended=True) == "previous answer"
    assert mentions_reference("The answer is 4.", mended=True) is None
