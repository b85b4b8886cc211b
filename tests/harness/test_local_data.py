"""Local copies of data sets, in the columns that lm-eval's tasks read."""

import bz2
import json

import pytest

from s3ft_jax.harness.local_data import LOCAL, digest, write_tasks
from s3ft_jax.harness.settings import HarnessError


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for name in ("hellaswag", "winogrande", "arc", "truthfulqa", "mmlu/test", "mmlu/dev"):
        (root / name).mkdir(parents=True)
    text = "Canoeing: A man rows. he\n2\nsinks.\nflies.\nrows on.\nreads.\n"
    (root / "hellaswag/hellaswag_val_full.txt.bz2").write_bytes(bz2.compress(text.encode()))
    wino = {
        "context_options": ["Ann paid Andy so Ann", "Ann paid Andy so Andy"],
        "continuation": "had less.",
        "gold": 0,
    }
    (root / "winogrande/winogrande.jsonl").write_text(json.dumps(wino) + "\n")
    arc = {"choices": ["a", "b", "c"], "query": "Question: Which?", "gold": 2}
    (root / "arc/arc_easy.jsonl").write_text(json.dumps(arc) + "\n")
    truth = {"question": "Why?", "mc1_targets": {"so": 1, "no": 0}, "mc2_targets": {"no": 0, "so": 1, "thus": 1}}
    (root / "truthfulqa/data_mc_task.json").write_text(json.dumps([truth]))
    (root / "mmlu/test/virology_test.csv").write_text('"A, or ""B""?",1,2,3,4,C\n')
    (root / "mmlu/dev/virology_dev.csv").write_text("Q?,1,2,3,4,A\n")
    return root


def test_rows_have_the_columns_of_the_hubs_copies(data, tmp_path):
    out = tmp_path / "out"
    found = write_tasks(str(data), out)
    assert set(found) == {
        "hellaswag", "winogrande", "arc_easy", "truthfulqa_mc1", "truthfulqa_mc2", "mmlu_virology",
    }  # fmt: skip
    assert "small letter" in found["hellaswag"] and not found["winogrande"]
    (one,) = rows(out / "hellaswag-validation.jsonl")
    assert one == {
        "activity_label": "Canoeing", "ctx_a": "A man rows.", "ctx_b": "he", "label": "2",
        "endings": ["sinks.", "flies.", "rows on.", "reads."],
    }  # fmt: skip
    (one,) = rows(out / "winogrande-validation.jsonl")
    assert one == {"sentence": "Ann paid Andy so _ had less.", "option1": "Ann", "option2": "Andy", "answer": "1"}
    (one,) = rows(out / "arc_easy-test.jsonl")
    assert one == {
        "question": "Which?", "choices": {"text": ["a", "b", "c"], "label": ["A", "B", "C"]}, "answerKey": "C",
    }  # fmt: skip
    (one,) = rows(out / "truthfulqa-validation.jsonl")
    assert one["mc2_targets"] == {"choices": ["no", "so", "thus"], "labels": [0, 1, 1]}
    (one,) = rows(out / "mmlu_virology-test.jsonl")
    assert one == {"question": 'A, or "B"?', "subject": "virology", "choices": ["1", "2", "3", "4"], "answer": 2}


@pytest.mark.parametrize(
    ("context", "begun"),
    [
        ("A man, e.g. Bob, rows. He is fast! the man", "the man"),
        ("A man rows. He is fast.", ""),
        ('She holds a sign. " power dribble', ""),
        ("1 a guy is rowing. 2 a guy", ""),
        ("the man", ""),
    ],
)
def test_the_sentence_that_hellaswags_endings_go_on_with(context, begun, tmp_path):
    (tmp_path / "hellaswag").mkdir()
    text = f"Canoeing: {context}\n0\na\nb\nc\nd\n"
    (tmp_path / "hellaswag/hellaswag_val_full.txt.bz2").write_bytes(bz2.compress(text.encode()))
    write_tasks(str(tmp_path), tmp_path / "out")
    (one,) = rows(tmp_path / "out/hellaswag-validation.jsonl")
    assert one["ctx_b"] == begun and f"{one['ctx_a']} {one['ctx_b']}".strip() == context


def test_what_did_not_change_is_not_written_again(data, tmp_path):
    out = tmp_path / "out"
    write_tasks(str(data), out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    write_tasks(str(data), out)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before and len(before) == 12


def test_task_files_include_the_shipped_ones_and_read_what_is_there(data, tmp_path):
    import yaml

    write_tasks(str(data), tmp_path / "out")
    task = yaml.safe_load((tmp_path / "out/arc_easy.yaml").read_text())
    assert task["include"].endswith("lm_eval/tasks/arc/arc_easy.yaml") and task["task"] == "arc_easy"
    assert task["dataset_path"] == "json" and list(task["dataset_kwargs"]["data_files"]) == ["test"]
    assert {name: task[name] for name in ("training_split", "validation_split")} == {
        "training_split": None,
        "validation_split": None,
    }
    assert "test_split" not in task


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("arc/arc_easy.jsonl", b"{", r"arc_easy\.jsonl, row 1: Expecting property name"),
        ("arc/arc_easy.jsonl", b'{"query": "Question: Which?", "gold": 0}\n', r"row 1: no 'choices'\. Fetch"),
        ("arc/arc_easy.jsonl", b'{"choices": ["a"], "query": "?", "gold": 1}\n', "row 1: list index out of range"),
        ("hellaswag/hellaswag_val_full.txt.bz2", b"no archive", r"txt\.bz2, row 1: Invalid data stream"),
        ("hellaswag/hellaswag_val_full.txt.bz2", bz2.compress(b"one\ntwo"), "2 lines are no whole number"),
        ("mmlu/test/virology_test.csv", b"Q?,1,2,3,4,E\n", r"virology_test\.csv, row 1: expected question"),
        ("truthfulqa/data_mc_task.json", b'[{"question": "Why?", "mc1_targets": {"no": 0}}]', "must come first"),
    ],
)
def test_a_broken_file_is_named(data, tmp_path, file, content, message):
    (data / file).write_bytes(content)
    with pytest.raises(HarnessError, match=message):
        write_tasks(str(data), tmp_path / "out")


def test_a_data_set_that_is_gone_is_no_longer_read(data, tmp_path):
    out = tmp_path / "out"
    write_tasks(str(data), out)
    (data / "arc/arc_easy.jsonl").unlink()
    assert "arc_easy" not in write_tasks(str(data), out)
    assert not (out / "arc_easy.yaml").exists() and (out / "winogrande.yaml").exists()


def test_other_line_ends_inside_a_text_end_no_line(data, tmp_path):
    text = json.dumps({"choices": ["a\u2028b", "c"], "query": "Q\u0085?", "gold": 0}, ensure_ascii=False)
    (data / "arc/arc_easy.jsonl").write_text(text + "\n", encoding="utf-8")
    write_tasks(str(data), tmp_path / "out")
    (one,) = map(json.loads, (tmp_path / "out/arc_easy-test.jsonl").read_text(encoding="utf-8").strip().split("\n"))
    assert one["choices"]["text"] == ["a\u2028b", "c"] and one["question"] == "Q\u0085?"


def test_a_folder_without_data_sets_says_what_is_looked_for(tmp_path):
    with pytest.raises(HarnessError, match="no such folder"):
        write_tasks(str(tmp_path / "none"), tmp_path / "out")
    with pytest.raises(HarnessError, match=r"holds none of .*winogrande/winogrande\.jsonl"):
        write_tasks(str(tmp_path), tmp_path / "out")


def test_the_shipped_task_files_are_all_there():
    import pathlib

    import lm_eval.tasks

    shipped = [path.format(subject="virology") for local in LOCAL.values() for path in local.shipped]
    assert all((pathlib.Path(lm_eval.tasks.__file__).parent / path).exists() for path in shipped)


def test_the_digest_is_of_what_the_tasks_read(data):
    before = {task: digest(str(data), [task]) for task in ("mmlu", "mmlu_virology", "truthfulqa_mc2", "openllm")}
    (data / "mmlu/dev/virology_dev.csv").write_text("Q?,1,2,3,4,B\n")
    after = {task: digest(str(data), [task]) for task in before}
    assert {task for task in before if before[task] != after[task]} == {"mmlu", "mmlu_virology", "openllm"}
