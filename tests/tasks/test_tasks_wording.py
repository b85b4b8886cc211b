"""Own wordings: columns are shown, gold never is, and what stays as it is is named."""

import pytest

from s3ft_jax.tasks.columns import find_layout
from s3ft_jax.tasks.task import BadRow, DataError, TaskSettings
from s3ft_jax.tasks.wording import fill, shown, shown_anywhere, unfilled

ROW = {"q": "Where?", "context": "By the sea.", "n": 3, "key": "k", "answer": "the sea", "check": "sea"}
LAYOUT = find_layout(ROW, {"question": "q"}, "f:1")


def test_columns_are_shown_but_gold_is_not():
    assert shown("{context} {question} {n} {answer} {check} {gold} {what}", LAYOUT) == ["context", "n"]
    settings = TaskSettings(
        "custom", prompt="{question} {n}", system="{context}", paraphrase_prompt="{question} {gold}"
    )
    assert shown_anywhere(settings, LAYOUT) == {"n", "context"}


def test_a_wording_is_filled_with_columns_and_fields():
    assert fill("{key}: {n} {question} {answer}", "task.prompt", ROW, LAYOUT, question="{n}?") == "k: 3 {n}? {answer}"
    assert fill("No place.", "task.system", ROW, LAYOUT) == "No place."
    with pytest.raises(DataError, match=r"task\.prompt: the wording has no place for \{question\}"):
        fill("{context}", "task.prompt", ROW, LAYOUT, question="q")
    for values, cause in (({"q": "x"}, "no column 'context'"), ({"context": [1]}, "is list, not text")):
        with pytest.raises(BadRow, match=cause):
            fill("{context}", "task.system", values, LAYOUT)


def test_what_stays_as_it_is_is_named():
    settings = TaskSettings("custom", prompt='{question} {contxt} {"a": 1} {check}', system="{n} {question}")
    assert unfilled(settings, LAYOUT) == [
        "{contxt} in task.prompt stays as it is: it is no column",
        "{check} in task.prompt stays as it is: it is gold, which is not shown",
        "{question} in task.system stays as it is: it is no column",
    ]
