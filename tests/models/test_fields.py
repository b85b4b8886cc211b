"""Fields of a config.json: read, refused by name and value, or known to be harmless."""
# ruff: noqa: E501 - one row of a table on one line

from __future__ import annotations

import pytest

from s3ft_jax.models.config import Rope
from s3ft_jax.models.families.fields import HARMLESS, Fields, UnsupportedModel, read_rope

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
OLD_LLAMA3 = {key: value for key, value in LLAMA3.items() if key != "rope_theta"}


def refusal(read, **values) -> str:
    with pytest.raises(UnsupportedModel) as caught:
        read(Fields(values, "some/config.json"))
    assert str(caught.value).startswith("some/config.json: ")
    return str(caught.value)


def test_absent_and_null_give_the_default():
    fields = Fields({"a": 3, "b": None, "c": 0, "d": False})
    assert [fields.take(name, 7) for name in "abcde"] == [3, 7, 0, False, 7]
    assert [fields.number(name, 7) for name in "abce"] == [3, 7, 0, 7]
    assert fields.number("f", 0.5, whole=False) == 0.5


@pytest.mark.parametrize("value", ["8", 8.0, True, [8], {}])
def test_a_number_that_is_none_is_refused_with_its_value(value):
    message = refusal(lambda fields: fields.number("head_dim"), head_dim=value)
    assert f"field 'head_dim' must be a whole number, found {value!r}" in message
    assert "whole model?" in message


def test_numbers_that_need_not_be_whole():
    assert Fields({"eps": 1}).number("eps", whole=False) == 1
    assert Fields({"eps": 1e-5}).number("eps", whole=False) == 1e-5
    assert "field 'eps' must be a number, found 'small'" in refusal(lambda f: f.number("eps", whole=False), eps="small")
    assert "field 'size' must be a whole number, found None" in refusal(lambda fields: fields.number("size"))


def test_a_required_value_is_named_with_the_cause():
    message = refusal(lambda f: f.require("hidden_act", ("silu",), "write it in torch first"), hidden_act="gelu")
    assert message.endswith("hidden_act = 'gelu' is not supported: write it in torch first")
    for values in ({}, {"hidden_act": None}, {"hidden_act": "silu"}):
        fields = Fields(values)
        fields.require("hidden_act", ("silu",), "")
        fields.finish()


def test_what_nobody_read_is_listed_with_its_values():
    def read(fields: Fields) -> None:
        fields.take("hidden_size", 0)
        fields.finish()

    message = refusal(read, hidden_size=8, sliding_window=4096, logits_scaling=8.0, use_cache=True)
    assert "nobody reads logits_scaling = 8.0, sliding_window = 4096. " in message
    assert "hidden_size" not in message and "use_cache" not in message
    assert "delete it" in message and "HARMLESS" in message


def test_what_is_off_or_harmless_passes():
    fields = Fields({"a": None, "b": False, "c": "", "d": [], "e": {}, **dict.fromkeys(HARMLESS, "x")})
    fields.finish()
    Fields({"embedding_dropout": 0.0, "num_experts": 0}).finish()  # zero is off, as False is
    assert "nobody reads num_experts = 1, switch = True." in refusal(Fields.finish, num_experts=1, switch=True)
    # Fields that change the network must never be waved through.
    assert not HARMLESS & {"hidden_act", "sliding_window", "rope_scaling", "tie_word_embeddings", "quantization_config"}


def test_the_values_given_are_not_changed():
    values = {"rope_parameters": dict(LLAMA3)}
    read_rope(Fields(values), 10000.0)
    assert values == {"rope_parameters": LLAMA3}


def test_old_and_new_rope_fields_read_alike():
    expected = Rope(500.0, "llama3", 8.0, 1.0, 4.0, 32)
    for values in (
        {"rope_theta": 500.0, "rope_scaling": OLD_LLAMA3},
        {"rope_parameters": LLAMA3},
        {"rope_parameters": LLAMA3, "rope_scaling": OLD_LLAMA3, "rope_theta": 500.0},
        {"rope_parameters": {**LLAMA3, "partial_rotary_factor": 1.0}},
    ):
        fields = Fields(values)
        assert read_rope(fields, 10000.0) == expected
        fields.finish()  # all of it was read
    linear = read_rope(Fields({"rope_scaling": {"type": "linear", "factor": 2}}), 10000.0)
    assert linear == Rope(scaling="linear", factor=2.0)
    assert read_rope(Fields({}), 250.0) == read_rope(Fields({"rope_theta": 250}), 9.0) == Rope(theta=250.0)
    assert read_rope(Fields({"rope_scaling": {"rope_type": "default", "type": "default"}}), 9.0) == Rope(theta=9.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling of type 'yarn' is not supported; supported: default, linear, llama3"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters of type 'yarn'"),
        ({"rope_scaling": {"type": "linear"}}, "missing ['factor'], not supported []"),
        ({"rope_scaling": {"type": "linear", "factor": None}}, "missing ['factor']"),
        ({"rope_scaling": {"type": "default", "factor": 2.0}}, "not supported ['factor']"),
        ({"rope_scaling": {**LLAMA3, "attention_factor": 2.0}}, "missing [], not supported ['attention_factor']"),
        ({"rope_parameters": {**LLAMA3, "partial_rotary_factor": 0.5}}, "not supported ['partial_rotary_factor']"),
        ({"rope_parameters": LLAMA3, "rope_scaling": {"type": "linear", "factor": 2.0}}, "'factor': 2.0} and rope_parameters"),
        ({"rope_parameters": LLAMA3, "rope_scaling": {**OLD_LLAMA3, "factor": 4.0}}, "disagree. Delete one of them."),
        ({"rope_theta": "big"}, "field 'rope_theta' must be a number, found 'big'"),
    ],
)  # fmt: skip
def test_rope_that_cannot_be_served_is_refused(values, words):
    assert words in refusal(lambda fields: read_rope(fields, 10000.0), **values)
