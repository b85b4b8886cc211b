"""prepare: every split in its file, ids unique, what was read is counted."""

import json

import pytest

from s3ft_jax.records import Example, Selection
from s3ft_jax.stages import prepare, select
from s3ft_jax.tasks import DataError
from s3ft_jax.workdir import SettingsChanged, Workdir, WorkdirError
from small import small_config


def test_every_split_is_there_and_counted(walked):
    _, workdir = walked
    sizes = {}
    ids = set()
    for split in ("train", "validation", "test", "general"):
        examples = workdir.read_records(Example, f"examples/{split}.jsonl")
        sizes[split] = len(examples)
        assert all(example.split == split for example in examples)
        ids |= {example.id for example in examples}
    assert sizes == {"train": 24, "validation": 8, "test": 12, "general": 21}
    assert len(ids) == sum(sizes.values())
    intake = workdir.manifest("prepare")["facts"]["intake"]
    assert intake["train"]["used"] == 24 and intake["train"]["read"] == 24


def test_only_train_carries_paraphrase_prompts(walked):
    _, workdir = walked
    assert all(e.paraphrase_messages for e in workdir.read_records(Example, "examples/train.jsonl"))
    assert not any(e.paraphrase_messages for e in workdir.read_records(Example, "examples/test.jsonl"))


def test_methods_that_replay_need_general_rows(tmp_path):
    with pytest.raises(WorkdirError, match=r"sft-replay replay general rows, but replay\.task is empty"):
        prepare.run(small_config("methods=sft,sft-replay", "replay.task="), Workdir(str(tmp_path)))
    assert not (tmp_path / "examples").exists()
    with pytest.raises(WorkdirError, match=r"replay\.frac = 1\.0; it must lie between 0 and 1"):
        prepare.check_replay(small_config("methods=sft-replay", "replay.frac=1.0"))
    prepare.check_replay(small_config("methods=sft", "replay.task="))


def rows_of_my_own(folder, messages):
    lines = [json.dumps({"question": question, "answer": f"answer {n}"}) for n, question in enumerate(messages)]
    (folder / "general.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "general.jsonl"


def test_rows_that_were_changed_are_noticed(copied, tmp_path):
    _, workdir = copied
    file = rows_of_my_own(tmp_path, [f"What about {n}?" for n in range(30)])
    overrides = (f"task.data={file}", "task.name=custom", "judge.name=exact", "general.tasks=()", "methods=sft")
    prepare.run(small_config(*overrides), workdir, redo=True)
    rows_of_my_own(tmp_path, [f"What about {n}?" for n in range(40)])
    with pytest.raises(SettingsChanged, match=r"input general\.jsonl: "):
        prepare.run(small_config(*overrides), workdir)
    prepare.run(small_config(*overrides), workdir, redo=True)
    assert workdir.manifest("prepare")["facts"]["intake"]["train"]["read"] == 40
    file.unlink()
    with pytest.raises(DataError, match="no such file"):
        prepare.run(small_config(*overrides), workdir)


def test_the_remedy_of_a_bad_row_is_not_refused(tmp_path):
    file = rows_of_my_own(tmp_path, [f"What about {n}?" for n in range(30)])
    file.write_text(file.read_text() + '{"question": "What?", "answer": ""}\n')
    overrides = (f"task.data={file}", "task.name=custom", "judge.name=exact", "general.tasks=()", "methods=sft")
    workdir = Workdir(str(tmp_path / "run"))
    with pytest.raises(DataError, match=r"task\.bad_rows=skip"):
        prepare.run(small_config(*overrides), workdir)
    prepare.run(small_config(*overrides, "task.bad_rows=skip"), workdir)
    assert workdir.manifest("prepare")["facts"]["intake"]["train"]["used"] > 0


def test_rows_of_my_own_are_replayed_but_never_what_is_measured(copied, tmp_path):
    _, workdir = copied
    measured = [workdir.read_records(Example, f"examples/{part}.jsonl")[0] for part in ("test", "general")]
    questions = [f"What about {n}?" for n in range(9)] + [example.messages[0]["content"] for example in measured]
    overrides = ("methods=sft-replay", "replay.task=custom", f"replay.data={rows_of_my_own(tmp_path, questions)}")
    prepare.run(small_config(*overrides), workdir)
    rows = workdir.read_records(Example, "examples/replay.jsonl")
    assert [row.messages[0]["content"] for row in rows] == questions[:9]
    assert [row.id for row in rows][:2] == ["replay/custom/train/00000", "replay/custom/train/00001"]
    assert {(row.split, row.paraphrase_messages) for row in rows} == {("replay", ())}
    intake = workdir.manifest("prepare-replay")["facts"]["intake"]
    assert intake["left"] == {"measured too": 2} and (intake["read"], intake["used"]) == (11, 9)
    with pytest.raises(SettingsChanged, match="limit: 0 -> 5"):
        prepare.run(small_config(*overrides, "replay.limit=5"), workdir)


def test_too_few_general_rows_stop_before_sampling(copied, tmp_path):
    _, workdir = copied
    data = rows_of_my_own(tmp_path, ["One?", "Two?"])
    config = small_config("methods=sft-replay", "replay.task=custom", f"replay.data={data}", "replay.frac=0.5")
    with pytest.raises(WorkdirError, match=r"replay\.frac = 0\.5 asks for 24 general rows, but there are 2"):
        prepare.run(config, workdir)


def test_a_message_about_general_rows_names_keys_of_replay(copied, tmp_path):
    _, workdir = copied
    (tmp_path / "odd.jsonl").write_text('{"body": "x", "reply": "y"}\n')
    data = f"replay.data={tmp_path / 'odd.jsonl'}"
    with pytest.raises(WorkdirError, match=r"replay\.columns") as raised:
        prepare.run(small_config("methods=sft-replay", "replay.task=custom", data), workdir)
    assert "task." not in str(raised.value)
    columns = ("replay.columns.question=body", "replay.columns.answer=reply")
    prepare.run(small_config("methods=sft-replay", "replay.task=custom", data, *columns), workdir, redo=True)
    assert len(workdir.read_records(Example, "examples/replay.jsonl")) == 1


def test_general_rows_of_the_hub_are_fetched_only_where_a_method_replays(copied, monkeypatch):
    import datasets

    def offline(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "get_dataset_split_names", offline)
    _, workdir = copied
    data = ("replay.task=custom", "replay.data=databricks/databricks-dolly-15k")
    prepare.run(small_config("methods=sft,s3ft", *data), workdir)
    with pytest.raises(WorkdirError, match="no network") as raised:
        prepare.run(small_config("methods=sft,sft-replay", *data), workdir)
    for part in ("databricks/databricks-dolly-15k", "They are for sft-replay", "replay=FILE", "replay=off"):
        assert part in str(raised.value)
    assert "task." not in str(raised.value)


def test_general_rows_that_fit_no_row_of_training_are_passed_over(copied, tmp_path, capsys):
    """One long row among many must not stop a run after sampling; every method replays the same ones."""
    _, workdir = copied
    data = rows_of_my_own(tmp_path, [f"What about {n}?" * (200 if n % 3 == 0 else 1) for n in range(30)])
    given = ("methods=sft-replay,s3ft-replay", "replay.task=custom", f"replay.data={data}", "replay.frac=0.25")
    config = small_config(*given)
    prepare.run(config, workdir)
    for method in config.methods:
        select.run(config, workdir, method)
    replayed = [
        [s for s in workdir.read_records(Selection, f"selections/{method}.jsonl") if s.origin == "replay"]
        for method in config.methods
    ]
    assert [s.example_id for s in replayed[0]] == [s.example_id for s in replayed[1]] and len(replayed[0]) == 8
    assert all(len(s.prompt_ids) + len(s.response_ids) <= config.train.max_length for s in replayed[0])
    assert "general rows longer than train.max_length = " in " ".join(capsys.readouterr().out.split())
    config = small_config(*given[:-1], "replay.frac=0.5")
    with pytest.raises(WorkdirError, match=r"asks for 24 general rows, but there are 20 that fit train\.max_length"):
        select.run(config, workdir, "sft-replay", redo=True)


def test_all_methods_replay_the_same_rows_in_the_share_asked_for(copied):
    _, workdir = copied
    config = small_config("methods=sft-replay,s3ft-replay", "replay.frac=0.2")
    prepare.run(config, workdir)
    replayed = []
    for method in config.methods:
        select.run(config, workdir, method)
        selections = workdir.read_records(Selection, f"selections/{method}.jsonl")
        replayed.append([(s.example_id, s.prompt_ids, s.response_ids) for s in selections if s.origin == "replay"])
        facts = workdir.manifest(f"select-{method}")["facts"]
        assert facts["replay"] == 6 == facts["rungs"]["replay"]["targets"] and len(selections) == 30
        assert facts["without"] == 0
    assert replayed[0] == replayed[1] and len(set(replayed[0])) == 6
    general = {e.messages[0]["content"] for e in workdir.read_records(Example, "examples/general.jsonl")}
    rows = {row.id: row.messages[0]["content"] for row in workdir.read_records(Example, "examples/replay.jsonl")}
    assert general and not general & {rows[example_id] for example_id, _, _ in replayed[0]}


def custom(tmp_path, rows, *overrides, **files):
    """The workdir, and the config of one's own rows."""
    for name, lines in {"train": rows, **files}.items():
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    own = ("task.name=custom", f"task.data={tmp_path / 'data'}", "judge.name=numbers", "general.tasks=()")
    unlimited = ("task.num_train=0", "task.num_validation=0", "task.num_test=0", "methods=sft")
    return Workdir(str(tmp_path / "run")), small_config(*own, *unlimited, *overrides)


ROWS = [{"question": f"What is {n}?", "context": "c", "system": "s", "answer": str(n)} for n in range(60)]


def test_what_became_of_the_rows_is_told_always(tmp_path, capsys):
    bad = [{"question": "x", "answer": ""}] * 2
    workdir, config = custom(tmp_path, ROWS + bad, "task.bad_rows=skip", test=ROWS[:40], eval=ROWS[:1])
    prepare.run(config, workdir)
    told = capsys.readouterr().out
    assert "custom test: 40 used of 40 rows" in told and "columns not used: context, system (40 rows)" in told
    assert "2 dropped: column 'answer' is empty (" in told and "files not used: eval.jsonl (" in told
    intake = workdir.manifest("prepare")["facts"]["intake"]
    assert intake["train"]["unread"] == ["eval.jsonl"] and intake["test"]["unused"] == {"context": 40, "system": 40}


def test_test_questions_that_are_training_questions_are_told(tmp_path, capsys):
    workdir, config = custom(tmp_path, ROWS, test=[*ROWS[:40], {"question": "new?", "answer": "1"}])
    prepare.run(config, workdir)
    train = [example.messages for example in workdir.read_records(Example, "examples/train.jsonl")]
    shared = sum(e.messages in train for e in workdir.read_records(Example, "examples/test.jsonl"))
    assert 30 < shared < 41 and f"WARNING: {shared} of 41 prompts are training prompts" in capsys.readouterr().out
    intake = workdir.manifest("prepare")["facts"]["intake"]
    assert [intake[split]["shared"] for split in ("train", "validation", "test")] == [0, 0, shared]


def test_generated_questions_share_no_prompt(walked):
    intake = walked[1].manifest("prepare")["facts"]["intake"]
    assert not any(part["shared"] or part["unused"] for part in intake.values())
