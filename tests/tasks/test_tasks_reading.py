"""Reading: SQuAD's layout and flat rows, answers in order of frequency, splits by passage."""

import json

import pytest

from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.task import DataError


def question(text, *answers, **more):
    return {"question": text, "answers": [{"text": answer, "answer_start": 0} for answer in answers], **more}


def squad(num_passages=1, **more):
    paragraphs = [
        {
            "context": f"Town {n} lies by the sea.",
            "qas": [
                question(f"Where is town {n}?", "the sea", "by the sea", "by the sea"),
                question(f"What is {n}?", "a town", **more),
            ],
        }
        for n in range(num_passages)
    ]
    return {"version": "x", "data": [{"title": "Towns", "paragraphs": paragraphs}]}


def write(tmp_path, content, name="train.json"):
    path = tmp_path / name
    path.write_text(json.dumps(content) if name.endswith(".json") else "".join(json.dumps(r) + "\n" for r in content))
    return {"name": "reading", "data": str(tmp_path), "split_fracs": (1.0, 0.0, 0.0)}


def test_squad_layout(tmp_path):
    examples, intake = load_examples(write(tmp_path, squad()), "train")
    first = examples[0]
    assert first.id == "reading/train/00000"
    assert first.gold == "by the sea"
    assert first.check == {"answers": ["by the sea", "the sea"], "unanswerable": False, "min_f1": 0.6}
    assert first.messages[0]["content"].endswith("Passage: Town 0 lies by the sea.\n\nQuestion: Where is town 0?")
    shown = first.paraphrase_messages[0]["content"]
    assert "Reference answer: by the sea" in shown
    assert all("in as few words as possible" in text for text in (first.messages[0]["content"], shown))
    assert (intake.read, intake.used) == (2, 2)


@pytest.mark.parametrize(
    "answers", [["a town"], "a town", [{"text": "a town"}], {"text": ["a town"], "answer_start": [3]}], ids=str
)
def test_flat_rows(tmp_path, answers):
    rows = [{"context": "It is a town.", "question": "What is it?", "answers": answers}]
    ((example,), _) = load_examples(write(tmp_path, rows, "train.jsonl"), "train")
    assert example.check["answers"] == ["a town"]


def test_columns_can_be_mapped(tmp_path):
    rows = [{"passage": "It is a town.", "q": "What is it?", "a": ["a town"]}]
    settings = write(tmp_path, rows, "train.jsonl")
    columns = {"context": "passage", "question": "q", "answers": "a"}
    ((example,), _) = load_examples({**settings, "columns": columns}, "train")
    assert example.gold == "a town"
    with pytest.raises(DataError, match=r"train\.jsonl:1: no column 'context'\. The row has passage, q, a"):
        load_examples(settings, "train")


def test_unanswerable_questions_are_left_out_and_counted(tmp_path):
    examples, intake = load_examples(write(tmp_path, squad(2, is_impossible=True)), "train")
    assert len(examples) == 2
    assert intake.left == {"unanswerable questions": 2}


def test_rows_without_answers_are_bad(tmp_path):
    rows = [{"context": "c", "question": "q", "answers": [""]}]
    with pytest.raises(DataError, match=r"train\.jsonl:1: column 'answers' holds no answer text"):
        load_examples(write(tmp_path, rows, "train.jsonl"), "train")


def test_bad_questions_of_squad_files_are_named(tmp_path):
    content = squad(2)
    content["data"][0]["paragraphs"][1]["qas"][1]["question"] = " "
    with pytest.raises(DataError, match=r"train\.json:1 paragraph 2 question 2: column 'question' is empty"):
        load_examples(write(tmp_path, content), "train")


def test_no_passage_lies_in_two_splits(tmp_path):
    settings = write(tmp_path, squad(60)) | {"split_fracs": (0.6, 0.2, 0.2)}
    passages, total = {}, 0
    for split in ("train", "validation", "test"):
        examples, _ = load_examples(settings, split)
        passages[split] = {example.messages[0]["content"].split("\n\n")[1] for example in examples}
        total += len(examples)
        assert passages[split]
    assert total == 120
    assert sum(map(len, passages.values())) == len(set().union(*passages.values())) == 60


def test_a_split_with_a_file_is_taken_whole(tmp_path):
    write(tmp_path, squad(30))
    settings = write(tmp_path, squad(5), "dev.json") | {"split_fracs": (0.5, 0.25, 0.25)}
    assert len(load_examples(settings, "validation")[0]) == 10
    train, test = (load_examples(settings, split)[0] for split in ("train", "test"))
    assert len(train) + len(test) == 60
    assert len(train) > len(test) > 0


def test_real_data(data_dir):
    path = data_dir / "datasets" / "squad" / "squad1.1_train_subset_44articles.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    sizes = [
        len(load_examples({"name": "reading", "data": str(path)}, split)[0])
        for split in ("train", "validation", "test")
    ]
    assert sum(sizes) == 11877
    assert min(sizes) > 900
