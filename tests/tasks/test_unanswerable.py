"""Unanswerable: refusals as gold where the passage does not say; the rest as in reading."""

import json

import pytest

from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.unanswerable import REFUSAL

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


def test_real_data(data_dir):
    path = data_dir / "datasets" / "squad" / "squad2.0_dev_half_16articles.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    examples, _ = load_examples({"name": "unanswerable", "data": str(path), "split_fracs": (1, 0, 0)}, "train")
    assert len(examples) == 6078
    assert sum(example.check["unanswerable"] for example in examples) == 3168
