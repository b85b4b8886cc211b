"""Stage: data rows -> examples/train, validation, test and general. The only stage that imports a task."""

from __future__ import annotations

from ml_collections import ConfigDict

from s3ft_jax.judges import check_name
from s3ft_jax.judges.composition import single_names
from s3ft_jax.progress import say
from s3ft_jax.records import Example
from s3ft_jax.stages.launch import plain_settings
from s3ft_jax.tasks import load_examples
from s3ft_jax.workdir import Workdir, WorkdirError

KEY = "prepare"
SPLITS = ("train", "validation", "test")


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Load the task's splits and the general skills.

    Raises:
      JudgeError: ``judge.name`` names no judge; found out here, before anything is written.
    """
    settings = {"task": plain_settings(config.task), "general": plain_settings(config.general)}
    if config.judge.name:
        check_name(config.judge.name)
    judges: tuple[str, ...] = ()
    if config.task.name == "custom":  # its rows are made into what the judge checks; other tasks know their judge
        judges = single_names(config.judge.name) if config.judge.name else ()
        settings["judge"] = config.judge.name
    with workdir.stage(KEY, settings=settings, writes=["examples"], redo=redo) as stage:
        if not stage.needed:
            return say("prepare: already done")
        task = settings["task"] | {"judge": config.judge.name, "judges": judges}
        intakes = {}
        for split in SPLITS:
            examples, intake = load_examples(task, split)
            intakes[split] = intake.to_json()
            _write(workdir, split, examples)
        general: list[Example] = []
        for name in config.general.tasks:
            examples, intake = load_examples({"name": name, "limit": config.general.limit}, "general")
            intakes[name] = intake.to_json()
            general += examples
        _write(workdir, "general", general)
        stage.facts = {"intake": intakes}


def _write(workdir: Workdir, split: str, examples: list[Example]) -> None:
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise WorkdirError(f"two {split} examples have the id {example.id}; ids must be unique")
        seen.add(example.id)
    workdir.write_records(f"examples/{split}.jsonl", examples)
    say(f"prepare: {len(examples)} {split} examples")
