"""The task room's terms: settings are checked, every row is counted, prompts have a place for every field."""

import pytest

from s3ft_jax.records import Example
from s3ft_jax.tasks.task import (
    BadRow,
    DataError,
    Intake,
    Row,
    TaskSettings,
    collect,
    example_id,
    fill_prompt,
    with_system,
)


def make_example(row):
    return Example(
        example_id("t", "train", row.index), "t", "train", ({"role": "user", "content": "q"},), "a", "exact", {}
    )


def test_settings_fill_in_defaults_and_drop_empty_maps():
    settings = TaskSettings.from_mapping({"name": "gsm8k", "limit": None, "splits": {"test": "x.jsonl", "train": ""}})
    assert settings.limit == 0
    assert settings.splits == {"test": "x.jsonl"}
    assert settings.bad_rows == "error"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, r"task\.name: not set"),
        ({"name": "gsm8k", "colums": {}}, r"task\.colums: unknown setting. Did you mean `task\.columns`"),
        ({"name": "gsm8k", "limit": "3"}, r"task\.limit: expected int, found '3'"),
        ({"name": "gsm8k", "limit": True}, r"task\.limit: expected int"),
        ({"name": "gsm8k", "limit": -1}, r"task\.limit: -1 is below 0"),
        ({"name": "gsm8k", "keep_marks": 1}, r"task\.keep_marks: expected bool"),
        ({"name": "gsm8k", "bad_rows": "ignore"}, r"task\.bad_rows: 'ignore'"),
        ({"name": "gsm8k", "splits": {"dev": "x"}}, r"task\.splits\.dev: unknown split"),
        ({"name": "gsm8k", "split_fracs": (0.5, 0.1, 0.1)}, r"task\.split_fracs: .* sum to 1"),
    ],
)
def test_wrong_settings_name_the_key(mapping, message):
    with pytest.raises(DataError, match=message):
        TaskSettings.from_mapping(mapping)


def test_the_smaller_limit_counts():
    settings = TaskSettings("t", limit=10, num_train=4, num_test=40)
    assert [settings.max_examples(split) for split in ("train", "validation", "test")] == [4, 10, 10]
    assert TaskSettings("t").max_examples("train") == 0


def test_collect_counts_every_row():
    rows = [Row(f"f:{number + 1}", number, {"n": number}) for number in range(6)] + [Row("f:7", 6, None, "not JSON")]
    intake = Intake("t", "train", "f")

    def build(row):
        if row.values["n"] == 1:
            raise BadRow("empty answer", "Fill it in.")
        return "another split" if row.values["n"] == 2 else make_example(row)

    examples = collect(rows, "train", TaskSettings("t", bad_rows="skip", limit=3), intake, build)
    assert [example.id for example in examples] == ["t/train/00000", "t/train/00003", "t/train/00004"]
    assert intake.left == {"another split": 1, "beyond the limit": 2}
    assert intake.dropped == {"empty answer": ["f:2"]}
    assert (intake.read, intake.used, intake.num_dropped) == (7, 3, 1)
    assert intake.lines() == [
        "t train: 3 used of 7 rows of f",
        "  1 left: another split",
        "  2 left: beyond the limit",
        "  1 dropped: empty answer (f:2)",
    ]


def test_a_bad_row_stops_with_place_cause_and_fix():
    def build(row):
        raise BadRow("empty answer", "Fill it in.")

    with pytest.raises(DataError, match=r"f:3: empty answer\. Fill it in\. Or set `task\.bad_rows=skip`"):
        collect([Row("f:3", 2, {})], "train", TaskSettings("t"), Intake("t", "train"), build)


def test_long_lists_of_dropped_rows_are_shortened_for_people_only():
    intake = Intake("t", "train", dropped={"empty": [f"f:{number}" for number in range(8)]})
    assert intake.lines()[1] == "  8 dropped: empty (f:0, f:1, f:2, f:3, f:4 and 3 more)"
    assert len(intake.to_json()["dropped"]["empty"]) == 8


def test_what_was_noticed_is_told():
    intake = Intake("t", "test", "f", read=9, used=9, unread=["eval.jsonl"], shared=4)
    for _ in range(9):
        intake.note(["context", "system"], ["no answer is wanted"])
    intake.note(["note"])
    lines = intake.lines()
    assert lines[1:3] == [
        "  9 rows: no answer is wanted",
        "  columns not used: context, system (9 rows), note (1 row)",
    ]
    assert lines[3].startswith("  files not used: eval.jsonl (") and "task.splits.SPLIT=FILE" in lines[3]
    assert lines[4].startswith("  WARNING: 4 of 9 prompts are training prompts, too")
    assert len(Intake("t", "test").lines()) == 1


def test_a_system_text_goes_before_turns_that_have_none():
    user, own = {"role": "user", "content": "q"}, {"role": "system", "content": "own"}
    assert with_system((user,), "s") == ({"role": "system", "content": "s"}, user)
    assert with_system((own, user), "s") == (own, user) and with_system((user,), "") == (user,)
    assert with_system((), "s") == ()


def test_fill_prompt_replaces_only_its_fields_and_each_once():
    assert fill_prompt("{question} as {answer}: {gold}", "k", question="{gold}?", gold="7") == "{gold}? as {answer}: 7"
    with pytest.raises(DataError, match=r"task\.prompt: the wording has no place for \{question\}"):
        fill_prompt("Solve it.", "task.prompt", question="q")
    assert fill_prompt("{key}", "k", key="v") == "v" and fill_prompt("{as} it is", "k") == "{as} it is"
