"""changes: lines that name a setting with both values; settings that came later are not missed."""

from configs.defaults import defaults
from s3ft_jax.changes import ADDED, describe_changes, flatten, plain


def test_settings_that_came_later_do_nothing_by_default():
    config = defaults().to_dict()
    known = flatten(config) | flatten(config["model"]) | flatten(config["train"])  # as manifests name them
    assert {key: known[key] for key in ADDED} == ADDED


def test_each_change_is_a_line_with_both_values():
    before = {"settings": {"a": {"b": 1, "c": [1, 2]}, "gone": "x"}, "inputs": {"sample-own": "00ff"}}
    now = {"settings": {"a": {"b": 2, "c": [1, 2]}, "new": "y" * 100}, "inputs": {"sample-own": "ff00"}}
    assert describe_changes(before, now) == [
        "a.b: 1 -> 2",
        "gone: x -> (not set)",
        "new: (not set) -> " + "y" * 77 + "...",
        "input sample-own: 00ff -> ff00",
    ]
    assert describe_changes(before, before) == []


def test_the_source_of_a_judge_is_not_missed_where_it_was_never_written_down():
    def made(**settings):
        return {"settings": {"judge": settings}, "inputs": {}}

    assert describe_changes(made(), made(source={"rules:mine": "00ff"})) == []
    before, now = made(source={"rules:mine": "00ff"}), made(source={"rules:mine": "ff00"})
    assert describe_changes(before, now) == ["judge.source.rules:mine: 00ff -> ff00"]


def test_a_tuple_is_the_list_that_it_comes_back_as():
    assert plain({"a": (1, (2, 3))}) == {"a": [1, [2, 3]]}
    assert flatten({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}
