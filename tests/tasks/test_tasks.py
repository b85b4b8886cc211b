"""The table of tasks: unknown names, splits, lazy imports, and generated tasks."""

import subprocess
import sys

import pytest

from s3ft_jax.records import Example
from s3ft_jax.tasks import POCKET_SIZES, TASKS, load_examples
from s3ft_jax.tasks.task import DataError


def test_every_task_goes_by_its_key():
    assert all(key == task.name for key, task in TASKS.items())
    assert [key for key, task in TASKS.items() if task.general] == ["pocket/skills"]


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("gsm8", "train", "unknown task 'gsm8'. Did you mean 'gsm8k'"),
        ("zzz", "train", "Tasks: gsm8k, mbpp"),
        ("gsm8k", "dev", "gsm8k has no split 'dev'; it has train, validation, test"),
        ("pocket/skills", "test", "it has general, train"),
    ],
)
def test_unknown_names(name, split, message):
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        load_examples({"name": name}, split)


def test_a_split_without_examples_is_an_error_with_the_counts(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"question": "q", "answer": "no number"}\n')
    settings = {"name": "gsm8k", "data": str(tmp_path), "bad_rows": "skip", "num_validation": 0}
    with pytest.raises(
        DataError, match=r"no example could be made\.\n.*0 used of 1 rows.*\n.*1 dropped: .*train\.jsonl:1"
    ):
        load_examples(settings, "train")


def test_heavy_packages_are_not_imported():
    heavy = "datasets", "pyarrow", "transformers", "jax", "numpy", "tensorflow_datasets"
    script = f"import sys, s3ft_jax.tasks; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_generated_tasks_get_size_seed_and_style(monkeypatch):
    calls = []

    def examples(split, count, seed, gold_style):
        calls.append((split, count, seed, gold_style))
        turn = ({"role": "user", "content": "q"},)
        return [
            Example(f"pocket/reading/{split}/{n:05}", "pocket/reading", split, turn, "a", "exact", {})
            for n in range(count)
        ]

    monkeypatch.setitem(sys.modules, "s3ft_jax.tasks.pocket.reading", type(sys)("reading"))
    sys.modules["s3ft_jax.tasks.pocket.reading"].examples = examples
    monkeypatch.setattr("s3ft_jax.tasks.pocket.reading", sys.modules["s3ft_jax.tasks.pocket.reading"], raising=False)
    made, intake = load_examples({"name": "pocket/reading", "num_train": 8, "seed": 3, "gold_style": "far"}, "train")
    assert len(made) == intake.read == intake.used == 8
    load_examples({"name": "pocket/reading", "num_validation": 5, "limit": 4}, "validation")
    load_examples({"name": "pocket/reading"}, "test")
    assert calls == [("train", 8, 3, "far"), ("validation", 4, 0, "mid"), ("test", POCKET_SIZES["test"], 0, "mid")]


def test_a_limit_on_general_skills_holds_for_each(monkeypatch):
    turn = ({"role": "user", "content": "q"},)
    skills = type(sys)("skills")
    skills.examples = lambda seed: [
        Example(f"skill/{task}/general/{n}", f"skill/{task}", "general", turn, "a", "exact", {})
        for task in "ab"
        for n in range(5)
    ]
    monkeypatch.setitem(sys.modules, "s3ft_jax.tasks.pocket.skills", skills)
    monkeypatch.setattr("s3ft_jax.tasks.pocket.skills", skills, raising=False)
    examples, intake = load_examples({"name": "pocket/skills", "limit": 2}, "general")
    assert [example.task for example in examples] == ["skill/a", "skill/a", "skill/b", "skill/b"]
    assert intake.left == {"beyond the limit": 6}


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("gsm8k", "input", r"task\.columns\.input: has no effect: gsm8k .*knows question, answer"),
        ("reading", "contxt", r"task\.columns\.contxt: .*knows context, question, answers"),
        ("pocket/arithmetic", "question", r"task\.columns\.question: .*knows none"),
    ],
)
def test_a_mapping_that_the_task_does_not_read_stops(name, column, message):
    with pytest.raises(DataError, match=message):
        load_examples({"name": name, "data": "x", "columns": {column: "y"}}, "train")


def test_a_system_text_stands_before_every_prompt():
    examples, _ = load_examples({"name": "pocket/arithmetic", "limit": 3, "system": "Be short."}, "train")
    for example in examples:
        for messages in (example.messages, example.paraphrase_messages):
            assert [turn["role"] for turn in messages] == ["system", "user"] and messages[0]["content"] == "Be short."


def test_a_folder_says_which_files_no_split_is_read_from(tmp_path):
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").write_text('{"context": "c", "question": "q", "answers": ["a"]}\n')
    settings = {"name": "reading", "data": str(tmp_path), "split_fracs": (1, 0, 0)}
    assert load_examples(settings, "train")[1].unread == ["eval.jsonl"]
