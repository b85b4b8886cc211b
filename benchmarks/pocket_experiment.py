"""The experiment behind the README's results, in parts; what is finished is kept in benchmarks/pocket/ and skipped.

    python -m benchmarks.pocket_experiment                        # every part that is not there yet
    python -m benchmarks.pocket_experiment --parts=programs,arithmetic --core=1
    python -m benchmarks.pocket_experiment --list
    python -m benchmarks.pocket_experiment --again                # reports anew, of parts whose workdir is still there

A part is one ``s3ft compare`` with configs/pocket.py, in runs/pocket/NAME. Killed and run again, it goes on where it
was. Each part runs on one core, since two parts side by side take less time than one after the other on both; on
another number of threads XLA adds in another order, so that the last digits may differ.

The second and the third base model are both ``s3ft pretrain --config=configs/pocket_model.py:seed=1
--workdir=runs/pocket_model_1``, the third on one core: with the same documents, start values and order, what differs by
rounding from the fifth step on is another model after 6,000. The second one's weights were lost after its parts on mid
and near gold; the third's are kept in benchmarks/pocket/third_model.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import lzma
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "pocket"
TASKS = ("programs", "arithmetic", "reading")
SECOND, THIRD = "runs/pocket_model_1/model", "benchmarks/pocket/third_model"
NOISE = (0.05, 0.10, 0.20)
SHEETS = ("summary", "grid", "comparisons", "targets", "kl")
"""Spreadsheets of a comparison that are kept."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One comparison.

    Attributes:
      name: of its folders.
      argument: of configs/pocket.py.
      flags: further arguments of ``s3ft compare``.
      after: the part whose chosen setting of s3ft is the only one tried here; empty: the whole grid.
      folder: of its files below runs/pocket; empty: its name.
    """

    name: str
    argument: str
    flags: tuple[str, ...] = ()
    after: str = ""
    folder: str = ""


def parts() -> list[Part]:
    """All of them, in the order in which they are worth having."""
    found = [Part(task, f"task={task}") for task in TASKS]
    found += [Part(f"{task}-{gold}", f"task={task},gold={gold}") for gold in ("near", "far") for task in TASKS]
    found += [
        Part(f"{task}-{lines}", f"task={task},lines={lines}", folder=task)
        for task in TASKS
        for lines in ("losses", "targets")
    ]
    found += [
        Part(
            f"{task}-{kind}-{round(100 * share)}",
            f"task={task}",
            (f"--config.judge.noise.false_{kind}={share}", "--methods=ssr,s3ft", "--config.compare.baselines=()"),
            after=task,
        )
        for task in TASKS
        for kind in ("accepts", "rejects")
        for share in NOISE
    ]
    found += [Part(f"{task}-lora", f"task={task},tune=lora") for task in TASKS]
    found += [
        Part(f"{task}-{gold}-{name}", f"task={task},gold={gold},model={model}")
        for name, model, styles in (("second", SECOND, ("mid", "near")), ("third", THIRD, ("far", "mid", "near")))
        for gold in styles
        for task in TASKS
    ]
    return found


def run(part: Part, core: int | None) -> None:
    """Compare, and keep what the tables are made of."""
    folder = ROOT / "runs" / "pocket" / (part.folder or part.name)
    command = [sys.executable, "-m", "s3ft_jax", "compare", f"--config=configs/pocket.py:{part.argument}"]
    command += [f"--workdir={folder}", *part.flags]
    if part.after:
        rate, steps = chosen(part.after)
        command += [f"--learning_rates={rate}", f"--num_steps={steps}"]
    print("+", *command[1:], flush=True)
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    log = folder.with_name(f"{part.name}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        subprocess.run(command, check=True, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, preexec_fn=pin)
    keep(part, folder)


def chosen(name: str, label: str = "s3ft") -> tuple[str, str]:
    """Peak rate and steps that a line took in a finished part."""
    with (KEPT / name / "grid.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["label"] == label and row["chosen"] == "True")
    return row["learning_rate"], row["num_steps"]


def keep(part: Part, folder: pathlib.Path) -> None:
    """Report and spreadsheets, and of the document what says how they came to be; whole, or not there at all."""
    document = json.loads((folder / "comparison.json").read_text())
    names = ("title", "headline", "claims", "cautions", "seeds", "settings", "versions", "hashes", "costs")
    facts = {"command": f"s3ft compare --config=configs/pocket.py:{part.argument} {' '.join(part.flags)}".strip()}
    partial = KEPT / f".{part.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in SHEETS:
        shutil.copy(folder / "comparison-csv" / f"{name}.csv", partial / f"{name}.csv")
    # every model's result on every question, 2.4 MB as text: whoever doubts a statistic can compute it anew
    answers = (folder / "comparison-csv" / "answers.csv").read_bytes()
    (partial / "answers.csv.xz").write_bytes(lzma.compress(answers, preset=9))
    shutil.copy(folder / "comparison.md", partial / "comparison.md")
    if part.name in TASKS:  # 0.7 MB each: of the main parts only
        shutil.copy(folder / "comparison.html", partial / "comparison.html")
    text = json.dumps(facts | {name: document[name] for name in names}, indent=1)
    (partial / "facts.json").write_text(text + "\n")
    shutil.rmtree(KEPT / part.name, ignore_errors=True)
    partial.rename(KEPT / part.name)


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="", help="names, or beginnings of names ending in *; default all")
    parser.add_argument("--core", type=int, default=None, help="which core to run on; default any")
    parser.add_argument("--again", action="store_true", help="write the reports of finished parts anew; trains nothing")
    parser.add_argument("--list", action="store_true", help="say what there is and what is finished")
    arguments = parser.parse_args()
    wanted = arguments.parts.split(",") if arguments.parts else ["*"]
    for part in parts():
        done = (KEPT / part.name / "facts.json").exists()
        if arguments.list:
            print("done" if done else "    ", part.name)
        elif done == arguments.again and any(pathlib.PurePath(part.name).match(name) for name in wanted):
            manifest = ROOT / "runs" / "pocket" / (part.folder or part.name) / "manifests" / "compare.json"
            if arguments.again and not manifest.exists():
                print(f"{part.name}: its workdir is gone; the report stays as it is")
                continue
            manifest.unlink(missing_ok=True)
            run(part, arguments.core)


if __name__ == "__main__":
    main()
