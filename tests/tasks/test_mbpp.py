"""MBPP: splits by task_id, gold between the marks, the function under test; counts on the real data."""

import json

import pytest

from s3ft_jax.tasks import load_examples
from s3ft_jax.tasks.mbpp import find_entry
from s3ft_jax.tasks.task import BadRow, DataError


def row(number, **changes):
    values = {
        "text": "Write a function to add one.",
        "code": "def add_one(n):\r\n\treturn n + 1\r\n",
        "task_id": number,
        "test_setup_code": "",
        "test_list": ["assert add_one(1) == 2", "assert add_one(2) == 3 ", "assert add_one(3) == 4"],
    }
    return values | changes


def write(tmp_path, *rows):
    path = tmp_path / "mbpp.jsonl"
    path.write_text("".join(json.dumps(values) + "\n" for values in rows))
    return {"name": "mbpp", "data": str(path)}


def test_splits_go_by_task_id(tmp_path):
    settings = write(tmp_path, *(row(number) for number in (1, 10, 11, 510, 511, 600, 601, 974)))
    ids = {
        split: [example.id for example in load_examples(settings, split)[0]]
        for split in ("train", "validation", "test")
    }
    assert ids == {
        "train": ["mbpp/train/00601", "mbpp/train/00974"],
        "validation": ["mbpp/validation/00511", "mbpp/validation/00600"],
        "test": ["mbpp/test/00011", "mbpp/test/00510"],
    }


def test_a_row_becomes_an_example(tmp_path):
    ((example,), intake) = load_examples(write(tmp_path, row(601), row(2)), "train")
    assert example.gold == "[BEGIN]\ndef add_one(n):\n\treturn n + 1\n[DONE]"
    tests = ["assert add_one(1) == 2", "assert add_one(2) == 3", "assert add_one(3) == 4"]
    assert example.check == {"entry": "add_one", "tests": tests, "setup": "", "name": "add_one"}
    assert example.judge == "programs"
    prompt = example.messages[0]["content"]
    assert "add one. Your code should pass these tests:\n\n" + "\n".join(tests) + "\n\n" in prompt
    assert "return n + 1" not in prompt
    assert example.gold in example.paraphrase_messages[0]["content"]
    assert intake.left == {"task_ids of other splits": 1}


def test_sanitized_rows_have_other_names(tmp_path):
    values = row(12, prompt="Write it.", test_imports=["import math", "import re"])
    del values["text"], values["test_setup_code"]
    ((example,), _) = load_examples(write(tmp_path, values), "test")
    assert "Write it." in example.messages[0]["content"]
    assert example.check["setup"] == "import math\nimport re"
    assert example.paraphrase_messages == ()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"task_id": "601"}, "no whole number in column 'task_id'"),
        ({"test_list": []}, "column 'test_list' is not a list of assert lines"),
        ({"test_list": ["assert add_two(1) == 3"]}, "no test calls a function that the code defines"),
        ({"test_list": ["assert add_one(1 =="]}, "a test is not Python"),
        ({"code": ""}, "column 'code' is empty"),
    ],
)
def test_bad_rows(tmp_path, changes, cause):
    settings = write(tmp_path, row(602), row(601, **changes))
    with pytest.raises(DataError, match=rf"mbpp\.jsonl:2: {cause}"):
        load_examples(settings, "train")
    examples, intake = load_examples({**settings, "bad_rows": "skip"}, "train")
    assert (len(examples), intake.num_dropped) == (1, 1)


def test_repeated_task_id_is_an_error(tmp_path):
    with pytest.raises(DataError, match="two rows share one id"):
        load_examples(write(tmp_path, row(601), row(601)), "train")


def test_entry_is_the_outermost_call_the_code_defines():
    code = "class Pair: pass\ndef helper(x): return x\ndef chain(a): return a"
    assert find_entry(code, ["assert set(chain(helper([Pair()]))) == {1}"]) == "chain"
    with pytest.raises(BadRow):
        find_entry(code, ["assert Pair() == 1"])


def test_real_data(data_dir):
    folder = data_dir / "datasets" / "mbpp"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    sizes = {}
    for split in ("train", "validation", "test"):
        examples, intake = load_examples({"name": "mbpp", "data": str(folder)}, split)
        sizes[split] = len(examples)
        assert not intake.dropped
        for example in examples:
            assert "\r" not in example.gold
            assert all(example.check["entry"] in test for test in example.check["tests"][:1])
    assert sizes == {"train": 374, "validation": 90, "test": 500}
