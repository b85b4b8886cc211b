"""Columns: found by name, mapped, or an error that lists both sides; rows that cannot be used say why."""

import pytest

from s3ft_jax.tasks.columns import find_layout, read_columns, read_flag, read_turns, unread
from s3ft_jax.tasks.task import BadRow, DataError

USER = {"role": "user", "content": "2 + 2?"}
GOLD = {"role": "assistant", "content": "4"}


def turns(values, **mapping):
    return read_turns(values, find_layout(values, mapping, "f:1"))


@pytest.mark.parametrize(
    "values",
    [
        {"messages": [USER, GOLD]},
        {"prompt": "2 + 2?", "completion": "4"},
        {"prompt": [USER], "completion": [GOLD]},
        {"prompt": [USER], "completion": "4"},
        {"question": "2 + 2?", "answer": "4", "source": "web"},
        {"question": "2 + 2?", "answer": 4},
        {"question": "2 + 2?", "answer": 4.0},
        {"instruction": "2 + 2?", "output": "4"},
        {"instruction": "2 + 2?", "input": "", "output": "4"},
        {"instruction": "2 + 2?", "output": "4", "response": "5"},
        {"instruction": "2 + 2?", "response": "4"},
        {"instruction": "2 + 2?", "context": "", "response": "4", "category": "open_qa"},
        {"prompt": "2 + 2?", "response": "4", "instruction": "Add."},
        {"prompt": "2 + 2?", "response": "4"},
        {"prompt": [USER], "response": "4"},
        {"prompt": "2 + 2?", "answer": 4},
        {"prompt": "2 + 2?", "completion": "4", "answer": "5"},
        {"prompt": "x", "question": "2 + 2?", "answer": "4"},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"conversations": [USER, GOLD]},
    ],
)
def test_every_layout_gives_the_same_turns(values):
    assert turns(values) == ((USER,), "4")


def test_instruction_with_input_and_earlier_turns():
    messages, _ = turns({"instruction": "Add.", "input": "2 and 2", "output": "4"})
    assert messages == ({"role": "user", "content": "Add.\n\n2 and 2"},)
    earlier = [{"role": "system", "content": "s"}, USER, {"role": "assistant", "content": "5"}, USER]
    assert turns({"messages": [*earlier, GOLD]}) == (tuple(earlier), "4")


@pytest.mark.parametrize(("asked", "gold"), [("question", "answer"), ("prompt", "completion"), ("prompt", "response")])
def test_more_text_goes_behind_every_question_of_one_text(asked, gold):
    both = ({"role": "user", "content": "Add.\n\n2 and 2"},), "4"
    assert turns({asked: "Add.", "input": "2 and 2", gold: "4"}) == both
    assert turns({asked: "Add.", "context": "2 and 2", gold: "4"}, input="context") == both
    assert turns({asked: "Add.", "context": None, gold: "4"}, input="context")[0][0]["content"] == "Add."


def test_the_context_of_dolly_goes_behind_its_instruction():
    row = {"instruction": "When?", "context": "It began in 2000.", "response": "In 2000.", "category": "closed_qa"}
    assert turns(row) == (({"role": "user", "content": "When?\n\nIt began in 2000."},), "In 2000.")
    layout = find_layout(row, {}, "f:1")
    assert unread(row, layout, read_columns(row, layout)) == ["category"]
    mapped = turns(row | {"note": "n"}, input="note")
    assert mapped[0][0]["content"] == "When?\n\nn", "what is mapped goes before what is found"


def test_more_text_has_no_place_behind_turns():
    assert turns({"prompt": [USER], "input": "x", "completion": "4"}) == ((USER,), "4")
    with pytest.raises(BadRow, match="'prompt' holds turns, behind which 'more' has no place"):
        turns({"prompt": [USER], "more": "x", "completion": "4"}, input="more")


def test_what_is_not_read_is_named():
    def left(values, **mapping):
        layout = find_layout(values, mapping, "f:1")
        return unread(values, layout, read_columns(values, layout))

    assert left({"question": "q", "context": "c", "system": "s", "note": "", "answer": "4"}) == ["context", "system"]
    assert left({"question": "q", "context": "c", "answer": "4"}, input="context") == []
    assert left({"prompt": [USER], "input": "x", "completion": "4"}) == ["input"]
    called = {**GOLD, "tool_calls": [{"id": 1}], "weight": 0, "name": None}
    assert left({"messages": [USER, called], "tools": []}) == ["messages.tool_calls", "messages.weight"]


@pytest.mark.parametrize(("value", "said"), [(True, True), ("False", False), (1, True), ("", None), (None, None)])
def test_flags(value, said):
    assert read_flag({"f": value}, "f") is said
    with pytest.raises(BadRow, match=r"'f' is .*neither true nor false"):
        read_flag({"f": "perhaps"}, "f")


def test_mapped_columns_and_mixed_names():
    assert turns({"q": "2 + 2?", "answer": "4"}, question="q") == ((USER,), "4")
    assert turns({"question": "x", "answer": "y", "chat": [USER, GOLD]}, messages="chat") == ((USER,), "4")


@pytest.mark.parametrize(
    ("columns", "mapping", "message"),
    [
        (
            ["q", "a"],
            {},
            r"f:1: cannot tell.*columns q, a\. Looked for: messages; prompt \+ completion; .*columns\.question",
        ),
        (["question", "text"], {}, r"cannot tell"),
        (
            ["prompt", "completion", "question", "answer"],
            {},
            r"more than one way.*prompt_completion, question_answer.*\.prompt=prompt` or `task\.columns\.question=",
        ),
        (
            ["question", "answer"],
            {"question": "query"},
            r"task\.columns\.question: f:1 has no column 'query'\. .*question, answer",
        ),
        (["prompt", "response", "answer"], {}, r"\.response=response` or `task\.columns\.answer=answer`"),
        (["q", "answer"], {"qustion": "q"}, r"task\.columns\.qustion: unknown"),
    ],
)
def test_columns_that_cannot_be_found_list_both_sides(columns, mapping, message):
    with pytest.raises(DataError, match=message):
        find_layout(columns, mapping, "f:1")


def test_a_mapping_settles_an_ambiguity():
    columns = ["prompt", "completion", "question", "answer"]
    assert find_layout(columns, {"question": "question"}, "f:1").kind == "question_answer"


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"question": "2 + 2?", "answer": ""}, "column 'answer' is empty"),
        ({"question": None, "answer": "4"}, "column 'question' is empty"),
        ({"question": "2 + 2?", "answer": float("nan")}, "column 'answer' is empty"),
        ({"question": "2 + 2?", "answer": ["4"]}, "column 'answer' is list, not text"),
        ({"question": "2 + 2?", "answer": True}, "column 'answer' is bool, not text"),
        ({"messages": "hi"}, "not a list of chat turns"),
        ({"messages": []}, "not a list of chat turns"),
        ({"messages": [{"from": "human", "text": "x"}]}, "a turn in 'messages' has from, text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "has role 'tool'"),
        ({"messages": [USER]}, "the last turn in 'messages' is user's"),
        ({"messages": [{"role": "system", "content": "x"}, GOLD]}, "no user turn"),
        ({"messages": [USER, GOLD, GOLD]}, "does not end with a user turn"),
        ({"messages": [USER, {"role": "system", "content": "x"}, USER, GOLD]}, "is not the first turn"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "is empty"),
        ({"prompt": [USER], "completion": [USER]}, "not one assistant turn"),
    ],
)
def test_rows_that_cannot_be_used_say_why(values, cause):
    with pytest.raises(BadRow) as raised:
        turns(values)
    assert cause in raised.value.cause
    assert raised.value.fix


def test_a_later_row_without_the_column_lists_what_it_has():
    layout = find_layout(["question", "answer"], {}, "f:1")
    with pytest.raises(BadRow, match="no column 'answer'") as raised:
        read_turns({"question": "x", "anser": "y"}, layout)
    assert "question, anser" in raised.value.fix
