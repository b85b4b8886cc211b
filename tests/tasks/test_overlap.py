"""Overlap: the same conversation counts whatever its case and white space; another passage or turn is another one."""

from s3ft_jax.records import Example
from s3ft_jax.tasks.overlap import count_shared


def asked(*texts):
    roles = ("user", "assistant") * len(texts)
    turns = tuple({"role": role, "content": text} for role, text in zip(roles, texts, strict=False))
    return Example("t/test/0", "t", "test", turns, "gold", "exact", {})


def test_prompts_that_train_has_too_are_counted():
    train = [asked("What is 2 + 2?"), asked("Hello", "Hi", "What now?")]
    others = [
        asked("what is  2 + 2?\n"),
        asked("What is 2 + 2?"),
        asked("What now?"),
        asked("Hello", "Ho", "What now?"),
    ]
    assert count_shared(others, train) == 2
    assert count_shared(others, []) == count_shared([], train) == 0
