"""Unanswerable: refusals as gold where the passage does not say; the rest as in reading."""

import json

import pytest

from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.task import REFUSAL, DataError

ROWS = [
    {"context": "It is a town.", "question": "What is it?", "answers": ["a town"]},
    {"context": "It is a town.", "question": "Who built it?", "answers": []},
    {"context": "It is a town.", "question": "When?", "answers": [{"text": "1900"}], "is_impossible": True},
    {"context": "It is a town.", "question": "Why?", "answers": {"text": [], "answer_start": []}},
]


def test_gold_is_a_refusal_where_there_is_no_answer(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    settings = {"name": "unanswerable", "data": str(path), "split_fracs": (1, 0, 0), "min_f1": 0.5}
    examples, intake = load_examples(settings, "train")
    assert [example.gold for example in examples] == ["a town", REFUSAL, REFUSAL, REFUSAL]
    assert [example.check["unanswerable"] for example in examples] == [False, True, True, True]
    assert examples[1].check == {"answers": [], "unanswerable": True, "min_f1": 0.5}
    assert all(REFUSAL in example.messages[0]["content"] for example in examples)
    shown = [example.paraphrase_messages[0]["content"] for example in examples]
    assert all(f"Reference answer: {one.gold}" in text for one, text in zip(examples, shown, strict=True))
    assert all("in as few words as possible" in text for text in shown)
    assert [f"does not hold the answer, write: {REFUSAL}" in text for text in shown] == [False, True, True, True]
    assert examples[0].judge == "answers"
    assert (intake.read, intake.used) == (4, 4)


def settings_of(tmp_path, rows, **more):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"name": "unanswerable", "data": str(tmp_path / "train.jsonl"), "split_fracs": (1, 0, 0), **more}


@pytest.mark.parametrize("answers", [None, "", []])
def test_null_and_empty_say_that_there_is_no_answer(tmp_path, answers):
    row = {"context": "c", "question": "q", "answers": answers}
    ((example,), intake) = load_examples(settings_of(tmp_path, [row]), "train")
    assert (example.gold, example.check["unanswerable"], intake.num_dropped) == (REFUSAL, True, 0)


def test_a_row_without_the_column_is_bad_and_told_which_to_map(tmp_path):
    settings = settings_of(tmp_path, [{"context": "c", "question": "q", "answer": "a"}])
    with pytest.raises(
        DataError, match=r"no column 'answers'\. The row has context, question, answer\. .*answers=answer"
    ):
        load_examples(settings, "train")
    ((example,), _) = load_examples(settings | {"columns": {"answers": "answer"}}, "train")
    assert example.gold == "a"


def test_a_refusal_of_ones_own_is_asked_for_and_gold(tmp_path):
    own = "There is no answer in the text."
    ((example,), _) = load_examples(settings_of(tmp_path, ROWS[1:2], refusal=own), "train")
    assert example.gold == own and f"write: {own}\n" in example.messages[0]["content"]
    words = settings_of(tmp_path, ROWS[1:2], refusal=own, prompt="{context} {question} Or say: {refusal}")
    assert load_examples(words, "train")[0][0].messages[0]["content"].endswith(f"Or say: {own}")


def test_a_refusal_that_the_judge_does_not_know_stops(tmp_path):
    settings = settings_of(tmp_path, ROWS, refusal="Steht nicht da.")
    for judge in ("", "first(answers, model)"):
        with pytest.raises(DataError, match=r"task\.refusal: 'Steht nicht da\.': the judge `answers` does not see"):
            load_examples(settings | {"judge": judge}, "train")
    assert load_examples(settings | {"judge": "model"}, "train")[0][1].gold == "Steht nicht da."


def test_real_data(data_dir):
    path = data_dir / "datasets" / "squad" / "squad2.0_dev_half_16articles.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    examples, _ = load_examples({"name": "unanswerable", "data": str(path), "split_fracs": (1, 0, 0)}, "train")
    assert len(examples) == 6078
    assert sum(example.check["unanswerable"] for example in examples) == 3168
