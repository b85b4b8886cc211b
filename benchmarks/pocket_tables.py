"""The tables of benchmarks/pocket/README.md, from the spreadsheets of the experiment's finished parts.

    python -m benchmarks.pocket_tables

Nothing is computed here that a comparison has not written down, but for the tables over several parts (noise, distance
and forgetting), whose rules are in the functions' docstrings.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from benchmarks.pocket_experiment import KEPT, NOISE, TASKS, chosen
from s3ft_jax.report import GridPoint
from s3ft_jax.report.evidence import Evidence
from s3ft_jax.report.frontier import LOSSES, forgetting, frontier_table
from s3ft_jax.report.markdown import draw_table

GOLDS = ("near", "mid", "far")
METHODS = ("sft", "ssr", "sdft", "rft", "s3ft")
"""Those of the papers, beside baselines."""
MODELS = ("first", "second", "third")


def rows(part: str, sheet: str) -> list[dict[str, str]]:
    """A spreadsheet of a part; nothing where the part is not finished."""
    path = KEPT / part / f"{sheet}.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def finished() -> list[str]:
    """The parts that are there."""
    return sorted(path.parent.name for path in KEPT.glob("*/facts.json"))


def results(part: str) -> Iterator[str]:
    """Target and general change of each line at its chosen setting, with the intervals of the report."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows(part, "summary"):
        found.setdefault(row["method"], {})[row["what"]] = row
    taken = {row["label"]: row for row in rows(part, "grid") if row["chosen"] == "True"}
    yield "| model | peak rate, steps | target, % | change | general change |"
    yield "| --- | --- | --- | --- | --- |"
    for method, told in found.items():
        point = taken.get(method, {})
        setting = f"{point['learning_rate']}, {point['num_steps']}" if point.get("num_steps") else ""
        changes = [_interval(told[name]) if method != "base" else "" for name in ("target change", "general change")]
        yield f"| {method} | {setting} | {_interval(told['target'], '')} | {' | '.join(changes)} |"


def _interval(row: dict[str, str], sign: str = "+") -> str:
    mean, low, high = (100 * float(row[name]) for name in ("mean", "low", "high"))
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def grid(part: str) -> tuple[GridPoint, ...]:
    """The grid of a part."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    return tuple(
        GridPoint(
            row["label"],
            row["variant"],
            int(row["seed"]) if row["seed"] else None,
            number(row["learning_rate"]),
            int(row["num_steps"]) if row["num_steps"] else None,
            float(row["score"]),
            number(row["general"]),
            number(row["kl"]),
            row["chosen"] == "True",
        )
        for row in rows(part, "grid")
    )


def distances(parts: Sequence[str]) -> Iterator[str]:
    """How well KL to the base ranks what was lost: Spearman's correlation over all models of a part's grid, and the
    mean over its lines of the correlation within one."""
    yield "| part | models | over all models | within a line, mean |\n| --- | --- | --- | --- |"
    for part in parts:
        evidence = Evidence("", "", ("sft",), (0,), (), grid=grid(part))
        found = forgetting(evidence, {})
        values = ["\u2013" if value is None else f"{value:.2f}" for value in (found.rank, found.within)]
        yield f"| {part} | {len(found.marks)} | {values[0]} | {values[1]} |"


def noise(task: str) -> Iterator[str]:
    """Target and general change with verdicts turned round on purpose; all at s3ft's setting without noise."""
    yield "| verdicts | ssr: target, general change | s3ft: target, general change |\n| --- | --- | --- |"
    levels = [("as the judge found them", task)]
    levels += [
        (f"{100 * share:.0f} % false {kind}", f"{task}-{kind}-{round(100 * share)}")
        for kind in ("accepts", "rejects")
        for share in NOISE
    ]
    for name, part in levels:
        told = {(row["method"], row["what"]): row for row in rows(part, "summary")}
        if told:
            cells = [
                f"{_interval(told[method, 'target'], '')}, {_interval(told[method, 'general change'])}"
                if chosen(part, method) == chosen(task)
                else "another setting"
                for method in ("ssr", "s3ft")
            ]
            yield f"| {name} | {cells[0]} | {cells[1]} |"


def models(task: str) -> Iterator[str]:
    """Target and general change of the methods from each base model, each at the setting it took there."""
    yield f"| gold | method | {' | '.join(f'{name} model: target, general change' for name in MODELS)} |"
    yield "| --- | --- |" + " --- |" * len(MODELS)
    for gold in GOLDS:
        parts = [part_name(task, gold, name) for name in MODELS]
        told = [{(row["method"], row["what"]): row for row in rows(part, "summary")} for part in parts]
        if not any(told[1:]):
            continue
        for place, method in enumerate(("base", *METHODS)):
            cells = [levels(one, method) if one else "" for one in told]
            yield f"| {gold if place == 0 else ''} | {method} | {' | '.join(cells)} |"


def part_name(task: str, gold: str, model: str) -> str:
    """The part of full tuning with every method: ``reading``, ``reading-near``, ``reading-mid-second``."""
    names = [task] if (gold, model) == ("mid", MODELS[0]) else [task, gold]
    return "-".join(names if model == MODELS[0] else [*names, model])


def wordings() -> Iterator[str]:
    """Differences on reading by what accuracy does not show, where it was tested; ``*``: survives correction."""
    columns = ("sdft", "s3ft", "token_f1"), ("s3ft", "sft", "token_f1"), ("s3ft", "sft", "unanswerable_accuracy")
    yield "| gold, model | token F1, sdft - s3ft | token F1, s3ft - sft | unanswerable, declined, s3ft - sft |"
    yield "| --- | --- | --- | --- |"
    for gold in GOLDS:
        for model in MODELS:
            found = rows(part_name("reading", gold, model), "comparisons")
            told = {(row["first"], row["second"], row.get("metric")): row for row in found}
            told |= {(second, first, metric): _turned(row) for (first, second, metric), row in told.items()}
            if all(column in told for column in columns):
                yield f"| {gold}, {model} | {' | '.join(_difference(told[column]) for column in columns)} |"


def _turned(row: dict[str, str]) -> dict[str, str]:
    """A comparison the other way round."""
    low, high = (f"{side}_over_seeds_and_examples" for side in ("low", "high"))
    values = {"difference": row["difference"], low: row[high], high: row[low]}
    return row | {name: str(-float(value)) for name, value in values.items()}


def _difference(row: dict[str, str]) -> str:
    names = "difference", "low_over_seeds_and_examples", "high_over_seeds_and_examples"
    mean, low, high = (f"{100 * float(row[name]):+.1f}" for name in names)
    return f"{mean} [{low}, {high}]{'*' if row['sure'] == 'True' else ''}"


def levels(told: dict[tuple[str, str], dict[str, str]], method: str) -> str:
    level = _interval(told[method, "target"], "")
    return level if method == "base" else f"{level}, {_interval(told[method, 'general change'])}"


def sure(part: str) -> Iterator[str]:
    """The differences between s3ft and every other line that survive correction, on the target and the general mean."""
    for row in rows(part, "comparisons"):
        pair = row["first"], row["second"]
        if "s3ft" in pair and row["sure"] == "True" and row["where"] in (part.split("-")[0], "general mean"):
            value = 100 * float(row["difference"]) * (1 if pair[0] == "s3ft" else -1)
            yield f"* {row['where']}: s3ft {value:+.1f} points against {pair[1] if pair[0] == 's3ft' else pair[0]}"


def main() -> None:
    """Print all tables of what is finished."""
    there = finished()
    for part in there:
        print(f"\n## {part}\n")
        print("\n".join(results(part)))
        table = frontier_table(grid(part))
        if table is not None and len(grid(part)) > 20:
            allowed = ", ".join(f"{100 * loss:g}" for loss in LOSSES)
            print(f"\nBest validation score at a general loss of at most {allowed} points:\n\n{draw_table(table)}")
        print("\nSurvives correction:\n")
        print("\n".join(sure(part)) or "* nothing")
    print("\n## Distance and forgetting\n")
    print("\n".join(distances([part for part in there if len(grid(part)) > 20])))
    for task in TASKS:
        if any(part.startswith(f"{task}-accepts") for part in there):
            print(f"\n## Noise: {task}\n")
            print("\n".join(noise(task)))
    for task in TASKS:
        if any(part.startswith(task) and part.endswith(MODELS[1:]) for part in there):
            print(f"\n## Several base models: {task}\n")
            print("\n".join(models(task)))
    print("\n## Answers on reading by their words\n")
    print("\n".join(wordings()))


if __name__ == "__main__":
    main()
