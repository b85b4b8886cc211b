"""Chat turns: ours, ShareGPT's, and texts in parts; what is no text is refused."""

import pytest

from s3ft_jax.tasks.task import BadRow
from s3ft_jax.tasks.turns import extra_keys, is_empty, read_list

TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "4"},
]


@pytest.mark.parametrize(
    "value",
    [
        TURNS,
        [
            {"from": "system", "value": "Be short."},
            {"from": "human", "value": "2 + 2?"},
            {"from": "gpt", "value": "4", "weight": None},
        ],
        [
            {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "short."}]},
            {"role": "user", "content": "2 + 2?", "from": None, "value": None},
            {"role": "assistant", "content": [{"type": "text", "text": "4"}]},
        ],
        [
            {"role": None, "content": None, "from": "system", "value": "Be short."},
            {"from": "user", "value": "2 + 2?"},
            {"from": "assistant", "value": "4"},
        ],
    ],
)
def test_every_way_of_writing_turns_gives_the_same(value):
    assert read_list(value, "chat") == TURNS


@pytest.mark.parametrize(
    ("turn", "cause"),
    [
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "has a part of type 'image_url'"),
        ({"role": "user", "content": [{"type": "text", "text": None}]}, "has a part of type 'text'"),
        ({"role": "user", "content": ["x"]}, "has a part of type 'str'"),
        ({"role": "user", "content": []}, "is empty"),
        ({"role": "assistant", "content": None, "tool_calls": [{}]}, "is empty"),
        ({"role": "user", "content": 4}, "says int, not text"),
        ({"role": ["user"], "content": "x"}, r"has role ['user']"),
        ({"from": "function_call", "value": "x"}, "has role 'function_call'"),
        ({"from": "human"}, "has from, not role and content"),
        ("hello", "has str, not role and content"),
    ],
)
def test_turns_that_cannot_be_read_say_why(turn, cause):
    with pytest.raises(BadRow) as raised:
        read_list([turn], "chat")
    assert raised.value.cause == f"a turn in 'chat' {cause}" and raised.value.fix


def test_what_is_not_read_of_a_turn():
    turns = [TURNS[1] | {"name": "Ann"}, {"from": "gpt", "value": "4", "weight": 0, "tool_calls": []}]
    assert extra_keys(turns) == {"name", "weight"} and extra_keys("text") == extra_keys(TURNS) == set()
    assert [is_empty(value) for value in ("", [], None, 0, False, " ")] == [True, True, True, False, False, False]
