"""Stage: general benchmarks through lm-evaluation-harness, of one model -> benchmarks/METHOD/: scores, items, samples.

A part of ``s3ft evaluate``, kept by itself: other benchmarks leave the scores of the task as they are. Each task is
kept when it is finished, so that a kill loses at most one. Also for a model folder alone, without a workdir.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict
from rich.table import Table

from s3ft_jax.evaluation import ACCURACY
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.harness.local_data import digest
from s3ft_jax.harness.settings import HarnessError, HarnessSettings
from s3ft_jax.progress import console, say
from s3ft_jax.records import Example, ItemScore, Score
from s3ft_jax.report import BenchmarkResult
from s3ft_jax.stages import evaluate
from s3ft_jax.stages.launch import BASE, POCKET, load_texts, plain_settings, pocket_model_folder, spans_hosts
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.workdir import Workdir

if TYPE_CHECKING:
    from s3ft_jax.harness.run import Outcome

PACKAGES = ("datasets", "evaluate", "nltk", "langdetect", "rouge_score", "sacrebleu", "scikit-learn")
"""What lm-eval's own metrics are computed with, where it is installed."""
SPLIT = "general"
"""Benchmarks are never trained on."""


def key(method: str, seed: int | None) -> str:
    """Name of the stage in ``manifests/``."""
    return f"benchmark-{evaluate.name(method, seed).replace('/', '-')}"


def folder(method: str, seed: int | None) -> str:
    """Where its files lie, below the workdir."""
    return f"benchmarks/{evaluate.name(method, seed)}"


def settings_of(config: ConfigDict) -> HarnessSettings | None:
    """What is asked for; None where no benchmark is.

    Raises:
      HarnessError: settings that cannot be, the target task among the benchmarks, or lm_eval is not installed.
    """
    if not config.benchmark.tasks:
        return None
    if config.task.name in config.benchmark.tasks:
        raise HarnessError(f"benchmark.tasks: {config.task.name} is the task that is trained for; leave it out there")
    return checked(HarnessSettings(**plain_settings(config.benchmark)))


def checked(settings: HarnessSettings) -> HarnessSettings:
    """The settings, where lm_eval is there to follow them.

    Raises:
      HarnessError: it is not.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise HarnessError(
            f"benchmarks {', '.join(settings.tasks)} need lm_eval: pip install 's3ft_jax[eval]' (in a checkout: "
            "pip install -e '.[eval]'), or leave benchmark.tasks empty"
        )
    return settings


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int | None, *, redo: bool = False) -> None:
    """Every benchmark of ``benchmark.tasks`` on the base or one tuned model; nothing where none is asked for."""
    wanted = settings_of(config)
    if wanted is None:
        return
    engine, name = engine_settings(config), evaluate.name(method, seed)
    own = {name: value for name, value in dataclasses.asdict(wanted).items() if name != "data"}  # its digest counts
    settings = {"benchmark": own, "engine": engine.decisive}
    skills = {example.task for example in workdir.read_records(Example, "examples/general.jsonl")}
    if skills & set(wanted.tasks):
        raise HarnessError(f"benchmark.tasks: {sorted(skills & set(wanted.tasks))} are general skills of this run, too")
    reads = ["import"] + ([f"train-{name.replace('/', '-')}"] if seed is not None else [])
    where = folder(method, seed)
    files = {"benchmark.data": digest(wanted.data, wanted.tasks)} if wanted.data else {}
    alone = not spans_hosts(engine, workdir)
    with workdir.stage(
        key(method, seed), settings=settings, reads=reads, files=files, writes=[where], redo=redo, first_only=alone
    ) as stage:
        if not stage.needed:
            return say(f"benchmark {name}: already done")
        left = [task for task in wanted.tasks if not workdir.has(f"{where}/{task}.json")]
        left = workdir.processes.first(left, f"benchmarks of {name} to begin")  # all run the same ones
        if left:
            from s3ft_jax.texts import TextEncoder

            model = evaluate.load(config, workdir, method, seed)
            text = TextEncoder(workdir / BASE / "tokenizer")
            for outcome in _outcomes(wanted, left, model, text, engine, config.evaluate.batch_tokens):
                _keep(outcome, workdir, where)
        workdir.processes.wait(f"benchmarks of {name}")
        files = {task: f"{where}/{task}.json" for task in wanted.tasks}
        for file in files.values():
            workdir.wait_for(file)
        found = {task: workdir.read_json(file) for task, file in files.items()}
        scores = [_score(task, values, method, seed) for task, values in found.items() if _is_share(values)]
        workdir.write_records(f"{where}/scores.jsonl", scores)
        items = [
            ItemScore(task, item, value)
            for task, values in found.items()
            if _is_share(values)
            for item, value in values["items"].items()
        ]
        workdir.write_records(f"{where}/items.jsonl", items)
        stage.facts = {"tasks": {task: values["facts"] for task, values in found.items()}} | _tokens(found)
        for task, values in found.items():
            say(f"benchmark {name}: {task} {_said(values)}")
            if not _is_share(values):
                say(
                    f"benchmark {name}: {task}: {values['headline']} is no share of items (0 to 1), so it is in no "
                    f"score of the report, but in its table of benchmarks; it is kept in {where}/{task}.json"
                )


def results(workdir: Workdir, method: str, seed: int | None) -> list[BenchmarkResult]:
    """All that lm-eval said of a model that was put through benchmarks, those of no share among it.

    Raises:
      MissingStage, Damaged: see ``Workdir``.
    """
    where = folder(method, seed)
    asked = workdir.manifest(key(method, seed))["settings"]["benchmark"]
    told = {name: value for name, value in asked.items() if name != "tasks"}
    found = []
    for task in asked["tasks"]:
        values = workdir.read_json(f"{where}/{task}.json")
        sizes = Counter(item.rpartition("/")[0] for item in values["items"])
        numbers = values["headline"], values["value"], values["stderr"], _is_share(values), values["metrics"]
        sizes = sizes or _sizes(workdir, f"{where}/{task}-samples.jsonl")
        found.append(BenchmarkResult(task, *numbers, dict(sizes), values["facts"], told))
    return found


def _sizes(workdir: Workdir, name: str) -> dict[str, int]:
    """Items of each (sub)task by its samples, where the headline has no value of a single item."""
    if not workdir.has(name):
        return {}
    rows = map(json.loads, (workdir / name).read_text(encoding="utf-8").split("\n")[:-1])
    return Counter(task for task, _ in {(row["task"], row["doc_id"]) for row in rows})


def run_alone(path: str, settings: HarnessSettings, out: str, *, dtype: str = "", batch_tokens: int = 2048) -> None:
    """Benchmarks of a model folder or hub id, printed as a table.

    Args:
      path: the model.
      settings: which benchmarks, and how.
      out: folder for metrics, items and samples of each task, made where it is not there; empty: nothing is kept.
      dtype: float32 or bfloat16; empty: float32 on a CPU, else bfloat16.

    Raises:
      HarnessError: see ``settings_of``.
    """
    import jax

    checked(settings)
    dtype = dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
    engine = EngineSettings(num_slots=0, activation_dtype=dtype, length=2048)
    model, text = load_texts(str(pocket_model_folder()) if path == POCKET else path, engine)
    kept: list[tuple[str, dict[str, Any]]] = []
    try:
        for outcome in _outcomes(settings, settings.tasks, model, text, engine, batch_tokens):
            kept.append((outcome.task, _values(outcome)))
            if out:
                _keep(outcome, Workdir(out), ".")
    finally:
        _print(kept)  # also what was done before a task failed


def _outcomes(
    settings: HarnessSettings, tasks: Sequence[str], model: Any, text: Any, engine: EngineSettings, batch_tokens: int
) -> Iterable[Outcome]:
    from s3ft_jax.harness.language_model import LanguageModel
    from s3ft_jax.harness.run import Harness

    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "s3ft_jax" / "benchmarks"
    # a folder for each place that rows come from: lm_eval takes every task file that it finds there
    place = hashlib.sha256(str(pathlib.Path(settings.data).resolve()).encode()).hexdigest()[:16]
    harness = Harness(settings, cache / place)
    language_model = LanguageModel(
        model,
        text,
        engine,
        batch_tokens=batch_tokens,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
    )
    for task in tasks:
        say(f"benchmark {task}")
        yield harness.run(task, language_model)


def _values(outcome: Outcome) -> dict[str, Any]:
    """All of an outcome but the samples, as plain values."""
    values = dataclasses.asdict(dataclasses.replace(outcome, samples={}))
    return {name: value for name, value in values.items() if name != "samples"} | {"stderr": outcome.stderr}


def _keep(outcome: Outcome, workdir: Workdir, where: str) -> None:
    """Samples first: where the metrics stand, the task is done."""
    from s3ft_jax.harness.run import sample_lines

    lines = "".join(f"{line}\n" for line in sample_lines(outcome))
    workdir.write_bytes(f"{where}/{outcome.task}-samples.jsonl", lines.encode())
    text = json.dumps(_values(outcome), indent=1, ensure_ascii=False)
    workdir.write_bytes(f"{where}/{outcome.task}.json", text.encode())


def _tokens(found: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Tokens scored and sampled for all tasks; none where an older version made one of them, which did not count."""
    counts = [values["facts"]["counts"].get("tokens") for values in found.values()]
    return {} if None in counts else {"tokens": sum(counts)}


def _is_share(values: dict[str, Any]) -> bool:
    """Whether the headline is a share; a perplexity is kept, but in no mean of the report."""
    return bool(values["items"]) and all(0.0 <= value <= 1.0 for value in values["items"].values())


def _score(task: str, values: dict[str, Any], method: str, seed: int | None) -> Score:
    numbers = values["value"], len(values["items"]), values["stderr"]
    return Score(method, seed, task, SPLIT, ACCURACY, *numbers, shown=values["headline"].partition(",")[0])


def _said(values: dict[str, Any]) -> str:
    """``0.2612 +- 0.0044 (acc,none, 10,042 items)`` and what was cut."""
    said = f"{values['value']:.4f} +- {values['stderr']:.4f}"
    return f"{said} ({', '.join([values['headline'], format(len(values['items']), ',') + ' items', *_noted(values)])})"


def _noted(values: dict[str, Any]) -> list[str]:
    """What was too long or put otherwise, in words."""
    counts = values["facts"]["counts"]
    told = {
        "cut_contexts": "texts longer than the model reads lost their beginning",
        "cut_answers": "answers cut by their limit",
        "unfinished_thoughts": "of these were still thinking, so that nothing of them counts",
        "system_folded": "conversations whose system turn went into the user's, as the chat template has none",
    }
    noted = [f"{counts[name]:,} {what}" for name, what in told.items() if counts.get(name)]
    return noted + sorted(set(values["facts"]["data"].values()) - {"hub", "local"})


def _print(kept: Sequence[tuple[str, dict[str, Any]]]) -> None:
    if not kept:
        return
    table = Table("benchmark", "metric", "value", "+-", "items", box=None)
    for task, values in kept:
        numbers = (f"{values['value']:.4f}", f"{values['stderr']:.4f}", f"{len(values['items']):,}")
        table.add_row(task, values["headline"], *numbers)
    console.print(table)
    for task, values in kept:
        for what in _noted(values):
            say(f"{task}: {what}")
