"""GSM8K: gold in the judge's form, the held-out rows, the prompts; counts on the real data."""

import json

import pytest

from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.gsm8k import split_answer
from s3ft_jax.tasks.task import BadRow, DataError

ROWS = [
    {
        "question": f"Ann has {n} pens and gets 1,000 more. How many?",
        "answer": f"{n}+1000=<<{n}+1000=1{n:03}>>1{n:03}\n#### 1,{n:03}",
    }
    for n in range(10)
]


@pytest.fixture
def folder(tmp_path):
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def load(folder, split, **settings):
    return load_examples({"name": "gsm8k", "data": str(folder), "num_validation": 3, **settings}, split)


def test_a_row_becomes_an_example(folder):
    example = load(folder, "train")[0][2]
    assert example.id == "gsm8k/train/00002"
    assert example.gold == "2+1000=1002\nThe answer is 1002"
    assert example.judge == "numbers"
    assert example.check == {"answer": "1002"}
    (turn,) = example.messages
    assert turn["role"] == "user"
    assert turn["content"].endswith("The answer is {answer}.\n\nAnn has 2 pens and gets 1,000 more. How many?")
    assert example.gold not in turn["content"]
    (shown,) = example.paraphrase_messages
    assert example.gold in shown["content"]
    assert "Ann has 2 pens" in shown["content"]


def test_calculator_marks_can_be_kept(folder):
    assert "<<2+1000=1002>>" in load(folder, "train", keep_marks=True)[0][2].gold


def test_validation_is_the_end_of_train_and_never_trained_on(folder):
    train, intake = load(folder, "train")
    validation, other = load(folder, "validation")
    assert [example.id for example in validation] == [f"gsm8k/validation/{n:05}" for n in (7, 8, 9)]
    assert len(train) == 7
    assert not {e.messages[0]["content"] for e in train} & {e.messages[0]["content"] for e in validation}
    assert intake.left == {"held out for validation": 3}
    assert other.left == {"rows of train": 7}
    assert all(not example.paraphrase_messages for example in validation)
    assert load(folder, "validation", num_validation=0)[0] == []
    assert len(load(folder, "train", num_validation=0)[0]) == 10


def test_a_validation_file_leaves_train_whole(folder):
    (folder / "validation.jsonl").write_text(json.dumps(ROWS[0]))
    assert len(load(folder, "train")[0]) == 10
    assert len(load(folder, "validation")[0]) == 1


def test_one_file_is_never_both_train_and_test(folder):
    file = folder / "train.jsonl"
    assert len(load(file, "train")[0]) == 7
    with pytest.raises(DataError, match=r"no test rows of its own.*task\.splits\.test"):
        load(file, "test")
    assert len(load(file, "test", splits={"test": "test.jsonl"})[0]) == 2


def test_holding_out_everything_is_an_error(folder):
    with pytest.raises(DataError, match=r"task\.num_validation: 10 is not below the 10 rows"):
        load(folder, "train", num_validation=10)


def test_bad_rows_stop_or_are_counted(folder):
    with (folder / "test.jsonl").open("a") as file:
        file.write(
            '{"question": "q", "answer": "it is 3"}\n{"question": "q", "answer": "#### three"}\n{"question": "q"}\n'
        )
    with pytest.raises(DataError, match=r"test\.jsonl:3: the answer has no '####'"):
        load(folder, "test")
    examples, intake = load(folder, "test", bad_rows="skip")
    assert len(examples) == 2
    assert [places[0].split(":")[-1] for places in intake.dropped.values()] == ["3", "4", "5"]


def test_own_wording(folder):
    example = load(folder, "train", prompt="Q: {question}", paraphrase_prompt="{gold} for {question}")[0][0]
    assert example.messages[0]["content"] == "Q: Ann has 0 pens and gets 1,000 more. How many?"
    assert example.paraphrase_messages[0]["content"].startswith("0+1000=1000\nThe answer is 1000 for Ann")
    with pytest.raises(DataError, match=r"task\.paraphrase_prompt: .*\{gold\}"):
        load(folder, "train", paraphrase_prompt="{question}")


def test_split_answer():
    assert split_answer("a ####b\n#### -1,234.5") == ("a ####b", "-1234.5")
    for answer in ("no mark 3", "x\n#### about 3", "x\n####"):
        with pytest.raises(BadRow):
            split_answer(answer)


def test_real_data(data_dir):
    folder = data_dir / "datasets" / "gsm8k"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    sizes, questions = {}, {}
    for split in ("train", "validation", "test"):
        examples, _ = load(folder, split, num_validation=473)
        sizes[split] = len(examples)
        questions[split] = {example.messages[0]["content"] for example in examples}
        for example in examples:
            assert example.gold.endswith(f"\nThe answer is {example.check['answer']}")
            assert "<<" not in example.gold and "####" not in example.gold
    assert sizes == {"train": 7000, "validation": 473, "test": 1319}
    assert not questions["train"] & questions["validation"]
    assert not questions["test"] & (questions["train"] | questions["validation"])
