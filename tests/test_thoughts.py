"""Thoughts apart from answers; put together again they are the response."""

import pytest

from s3ft_jax.thoughts import CLOSED, is_begun, is_unfinished, split

CASES = [
    ("Oslo", False, "", "Oslo"),
    ("  x = 1\n", False, "", "  x = 1\n"),
    ("<think>\n\n</think>\n\nOslo", False, "<think>\n\n</think>\n\n", "Oslo"),
    ("\n<think>Norway.</think> \n  def f():", False, "\n<think>Norway.</think> \n", "  def f():"),
    ("<think>a</think>Oslo</think>", False, "<think>a</think>", "Oslo</think>"),
    ("<think>Norway. Its", False, "<think>Norway. Its", ""),
    ("<think>Norway</think>", False, "<think>Norway</think>", ""),
    ("Oslo <think>is it?</think>", False, "", "Oslo <think>is it?</think>"),
    ("Norway.\n</think>\n\nOslo", True, "Norway.\n</think>\n\n", "Oslo"),
    ("Norway", True, "Norway", ""),
    (CLOSED + "Oslo", True, CLOSED, "Oslo"),
    ("", False, "", ""),
]


@pytest.mark.parametrize(("text", "begun", "thought", "answer"), CASES)
def test_thought_and_answer(text, begun, thought, answer):
    assert split(text, begun=begun) == (thought, answer)
    assert thought + answer == text
    assert is_unfinished(thought) == (bool(thought) and "</think>" not in thought)


def test_a_prompt_that_ends_inside_a_thought():
    assert is_begun("Say <think> and </think>.\nassistant: <think>\n")
    assert not is_begun("assistant: <think>\n\n</think>\n\n") and not is_begun("assistant:")
