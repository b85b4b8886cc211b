"""Choose learning rate and steps per method on the validation split, from one small grid shared by all methods.

    python -m benchmarks.sweep --task=programs --workdir=runs/sweep-programs

The rule was fixed before any result was seen: of the cells whose validation accuracy is within one standard error of
the method's best, take the one with the fewest steps, then the lowest rate (one-standard-error rule; Hastie, Tibshirani
and Friedman, The Elements of Statistical Learning, section 7.10). General skills are not looked at. (The error of a
perfect score, 0 at first, was corrected later: benchmarks/RESULTS.md.) The tuning seed is none of the quickstart's.
Killed and run again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import shutil

from s3ft_jax.config import load_config
from s3ft_jax.progress import say
from s3ft_jax.records import Score
from s3ft_jax.stages import evaluate, import_model, judge, prepare, sample, select, train
from s3ft_jax.stages.launch import prepare_jax
from s3ft_jax.stages.recipe import origins_wanted
from s3ft_jax.workdir import Workdir

LEARNING_RATES = (3e-4, 1e-3, 2e-3)
STEPS = (50, 100)
SEED = 1000


def plus_four_stderr(value: float, count: int) -> float:
    """Standard error of a share with two successes and two failures added, so that a perfect score has one too.

    Agresti and Coull, The American Statistician 52 (1998), page 119.
    """
    share = (value * count + 2) / (count + 4)
    return math.sqrt(share * (1 - share) / (count + 4))


def choose(cells: list[dict]) -> dict:
    """The cell of the one-standard-error rule; each has value, count, num_steps, learning_rate."""
    best = max(cells, key=lambda cell: cell["value"])
    lowest = best["value"] - plus_four_stderr(best["value"], best["count"])
    near = [cell for cell in cells if cell["value"] >= lowest]
    return min(near, key=lambda cell: (cell["num_steps"], cell["learning_rate"]))


def shared_stages(config, workdir: Workdir) -> None:
    """Everything up to selections, once for all cells."""
    import_model.run(config, workdir)
    prepare.run(config, workdir)
    for origin in origins_wanted(config.methods):
        sample.run(config, workdir, origin)
        judge.run(config, workdir, origin)
    for method in config.methods:
        select.run(config, workdir, method)


def run_cell(config, shared: Workdir, root: pathlib.Path, rate: float, steps: int) -> list[dict]:
    """Tune and score every method at one point of the grid."""
    folder = root / f"cell-{rate:g}-{steps}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(shared.path, partial)
        partial.rename(folder)
    workdir, cells = Workdir(str(folder)), []
    with config.unlocked():
        config.train.learning_rate, config.train.num_steps, config.train.per_method = rate, steps, {}
        config.evaluate.split, config.evaluate.general = "validation", False
    for method in config.methods:
        train.run(config, workdir, method, SEED)
        evaluate.run(config, workdir, method, SEED)
        (score,) = workdir.read_records(Score, f"scores/{evaluate.name(method, SEED)}/scores.jsonl")
        cell = {"method": method, "learning_rate": rate, "num_steps": steps}
        cells.append(cell | {"value": score.value, "stderr": score.stderr, "count": score.count})
    return cells


def table(cells: list[dict], chosen: dict[str, dict]) -> list[str]:
    """Markdown: validation accuracy in % by method, rate and steps; the chosen cell in bold."""
    grid = [(rate, steps) for rate in LEARNING_RATES for steps in STEPS]
    lines = ["| method | " + " | ".join(f"{rate:g}, {steps}" for rate, steps in grid) + " |", "| --- " * 7 + "|"]
    found = {(cell["method"], cell["learning_rate"], cell["num_steps"]): cell for cell in cells}
    for method, best in chosen.items():
        values = [(found[method, *point], f"{found[method, *point]['value']:.1%}") for point in grid]
        lines.append(f"| {method} | " + " | ".join(f"**{v}**" if cell == best else v for cell, v in values) + " |")
    return lines


def main() -> None:
    """Run the grid, print the table and the choice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="programs")
    parser.add_argument("--workdir", required=True)
    arguments = parser.parse_args()
    prepare_jax()
    root = pathlib.Path(arguments.workdir)
    config = load_config(f"configs/quickstart.py:task={arguments.task}")
    shared = Workdir(str(root / "shared"))
    shared_stages(config, shared)
    cells = [cell for rate in LEARNING_RATES for steps in STEPS for cell in run_cell(config, shared, root, rate, steps)]
    chosen = {method: choose([c for c in cells if c["method"] == method]) for method in config.methods}
    (root / "sweep.json").write_text(json.dumps({"cells": cells, "chosen": chosen}, indent=1) + "\n")
    for line in table(cells, chosen):
        say(line)


if __name__ == "__main__":
    main()
