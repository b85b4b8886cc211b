"""Stage: data rows -> examples/train, validation, test, general and replay. The only stage that imports a task."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.judges import check_name
from s3ft_jax.judges.composition import single_names
from s3ft_jax.progress import say
from s3ft_jax.records import Example
from s3ft_jax.selection import METHODS, num_replayed, replays
from s3ft_jax.stages.launch import plain_settings
from s3ft_jax.stages.select import REPLAY, REPLAYED, check_replayed
from s3ft_jax.tasks import DataError, Intake, count_shared, load_examples
from s3ft_jax.tasks.rows import file_digests, is_hub_id
from s3ft_jax.workdir import Workdir, WorkdirError

KEY = "prepare"
SPLITS = ("train", "validation", "test")


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Load the task's splits and the general skills; and general rows, where a method replays them.

    Raises:
      JudgeError: ``judge.name`` names no judge; found out here, before anything is written.
      DataError: rows or settings that cannot be used.
      WorkdirError: see ``check_replay`` and ``run_replay``.
    """
    check_replay(config)
    settings = {"task": plain_settings(config.task), "general": plain_settings(config.general)}
    if config.judge.name:
        check_name(config.judge.name)
    judges: tuple[str, ...] = ()
    if config.task.name == "custom":  # its rows are made into what the judge checks; other tasks know their judge
        judges = single_names(config.judge.name) if config.judge.name else ()
        settings["judge"] = config.judge.name
    with workdir.stage(
        KEY,
        settings=settings,
        files=_files(workdir, settings["task"]),
        writes=[f"examples/{part}.jsonl" for part in (*SPLITS, "general")],
        redo=redo,
        first_only=True,
    ) as stage:
        if stage.needed:
            task = settings["task"] | {"judge": config.judge.name, "judges": judges}
            stage.facts = {"intake": _load(config, workdir, task)}
        else:
            say("prepare: already done")
    if _replaying(config):
        run_replay(config, workdir, redo=redo)


def _files(workdir: Workdir, section: dict[str, Any]) -> dict[str, str]:
    """Digests of the files that a section's rows are in, as the first process sees them: it is the one to read them."""
    mine = file_digests(section["data"], section["splits"]) if workdir.processes.is_first else {}
    return workdir.processes.first(mine, "the data's digests")


def _load(config: ConfigDict, workdir: Workdir, task: dict[str, Any]) -> dict[str, Any]:
    """Write every split, once all of them could be read; returns what became of the rows."""
    intakes, made = {}, {}
    general: list[Example] = []
    for split in SPLITS:
        made[split], intake = load_examples(task, split)
        intake.shared = count_shared(made[split], made["train"]) if split != "train" else 0
        intakes[split] = intake.to_json()
        _tell(intake.lines())
    for name in config.general.tasks:
        examples, intake = load_examples({"name": name, "limit": config.general.limit}, "general")
        intakes[name] = intake.to_json()
        general += examples
        _tell(intake.lines())
    for split, examples in (made | {"general": general}).items():
        _write(workdir, split, examples)
    return intakes


def _replaying(config: ConfigDict) -> list[str]:
    return replays([method for method in config.methods if method in METHODS])


def check_replay(config: ConfigDict) -> None:
    """Refuse methods that replay where no general rows are configured.

    Raises:
      WorkdirError: names method, key and fix.
    """
    methods, own = _replaying(config), config.replay
    if methods and not own.task:
        raise WorkdirError(
            f"methods: {', '.join(methods)} replay general rows, but replay.task is empty. Set replay.task=custom and "
            "replay.data=FILE (rows with a question and an answer; no replay=off in the config's arguments), or leave "
            "these methods out."
        )
    if methods and not 0 < own.frac < 1:
        raise WorkdirError(f"replay.frac = {own.frac}; it must lie between 0 and 1: the share of general rows")


def run_replay(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Load general rows; those that are measured too are left out and counted.

    Raises:
      WorkdirError: data or a setting of ``replay`` cannot be used, or there are fewer rows than ``replay.frac`` needs.
    """
    own = plain_settings(config.replay)
    frac = own.pop("frac")
    told = {"settings": own, "reads": [KEY], "files": _files(workdir, own), "writes": [REPLAYED]}
    with workdir.stage(REPLAY, **told, redo=redo, first_only=True) as stage:
        if stage.needed:
            # gold is trained on and never judged, so any judge's check would do; exact needs gold alone
            task = own | {"name": own["task"], "split_fracs": (1.0, 0.0, 0.0), "judge": "exact", "judges": ("exact",)}
            del task["task"]
            try:
                rows, intake = load_examples(task, "train")
            except DataError as error:
                raise WorkdirError(f"{_as_replay(str(error))}{_without_hub(config)}") from None
            rows = _unmeasured(workdir, rows, intake)
            stage.facts = {"intake": intake.to_json()}
            _write(workdir, "replay", rows)
            _tell([_as_replay(line) for line in intake.lines()])
        else:
            say("prepare replay: already done")
    train = len(workdir.read_records(Example, "examples/train.jsonl"))
    check_replayed(num_replayed(train, frac), len(workdir.read_records(Example, REPLAYED)), frac)


def _without_hub(config: ConfigDict) -> str:
    """What else there is to do where general rows cannot be had from the hub; empty where they are files."""
    if not is_hub_id(config.replay.data) or pathlib.Path(config.replay.data).exists():
        return ""
    return (
        f"\nThey are for {', '.join(_replaying(config))}. Give general rows of yours, --config.replay.data=FILE, or "
        "leave these methods out of `methods` and `compare.baselines`. The configs of real tasks say it shorter: "
        "replay=FILE, as in configs/gsm8k.py:model=FOLDER,replay=FILE, or replay=off."
    )


def _as_replay(message: str) -> str:
    """A message about the section ``task``, made out to ``replay``, whose rows are read in the same way."""
    return re.sub(r"(?<!/)\btask\.(\w+)", lambda key: "replay." + {"name": "task"}.get(key[1], key[1]), message)


def _unmeasured(workdir: Workdir, rows: list[Example], intake: Intake) -> list[Example]:
    """The rows whose prompt is no question of validation, test or general, under ids of their own."""
    parts = [workdir.read_records(Example, f"examples/{part}.jsonl") for part in ("validation", "test", "general")]
    measured = {_asked(example) for part in parts for example in part}
    kept = []
    for row in rows:
        if _asked(row) in measured:
            intake.leave("measured too")
            intake.used -= 1
        else:
            kept.append(dataclasses.replace(row, id=f"replay/{row.id}", split="replay", paraphrase_messages=()))
    return kept


def _asked(example: Example) -> str:
    """The question with all its turns, as one text that can be compared."""
    return json.dumps([(turn["role"], turn["content"]) for turn in example.messages])


def _tell(lines: Sequence[str]) -> None:
    """What became of the rows, for people."""
    for line in lines:
        say(f"  {line}")


def _write(workdir: Workdir, split: str, examples: list[Example]) -> None:
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise WorkdirError(f"two {split} examples have the id {example.id}; ids must be unique")
        seen.add(example.id)
    workdir.write_records(f"examples/{split}.jsonl", examples)
    say(f"prepare: {len(examples)} {split} examples")
