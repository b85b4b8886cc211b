"""Benchmarks from local files: the rows of a public copy -> rows with the columns that lm-eval's own task reads.

In: a folder with data sets, and a folder to write to. Out: a task file for each that is found, which includes lm-eval's
shipped one and changes nothing but where the rows come from, under the same name; so prompts, choices, filters and
metrics are the shipped ones.
"""

from __future__ import annotations

import bz2
import csv
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from s3ft_jax.harness.settings import HarnessError

Row = dict[str, Any]
LETTERS = "ABCDEFGH"
BEGUN = re.compile(r"(?<=[.!?]) ([a-z][^.!?]*)$")
"""The sentence that HellaSwag's endings go on with. 3,236 of the 10,042 items have one. All 3,243 from ActivityNet
should; the other 7 begin it with a number or a quotation mark, which no capital changes."""
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
"""What a task file calls the splits that it reads."""


@dataclasses.dataclass(frozen=True)
class Local:
    """How one data set is read.

    Attributes:
      shipped: lm-eval's task files that read it, below its folder of tasks.
      files: split -> file below the data folder; ``{subject}`` stands for each subject of a set that has several.
      read: file -> rows in the columns of the hub's copy.
      says: what differs from the hub's copy; empty: nothing.
    """

    shipped: tuple[str, ...]
    files: Mapping[str, str]
    read: Callable[[pathlib.Path], Iterator[Row]]
    says: str = ""


def _json_lines(path: pathlib.Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:  # not splitlines: a text may hold other line ends than a file's
        yield from map(json.loads, file)


def _hellaswag(path: pathlib.Path) -> Iterator[Row]:
    """Six lines an item: activity label and context, number of the right ending, four endings.

    The hub's copy has the context in two parts, and lm-eval's task makes the second begin with a capital:

        A man rows. he      ctx_a "A man rows."    ctx_b "he"
    """
    lines = bz2.decompress(path.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")
    if len(lines) % 6:
        raise ValueError(f"{len(lines)} lines are no whole number of items of 6 lines")
    for start in range(0, len(lines), 6):
        said, label, *endings = lines[start : start + 6]
        activity, _, context = said.partition(": ")
        begun = BEGUN.search(context)
        whole = context[: begun.start()] if begun else context
        ctx = {"ctx_a": whole, "ctx_b": begun[1] if begun else ""}
        yield {"activity_label": activity} | ctx | {"label": label, "endings": endings}


def _winogrande(path: pathlib.Path) -> Iterator[Row]:
    """Two sentences up to the gap's end, and what follows: the gap begins where the two part."""
    for row in _json_lines(path):
        one, two = row["context_options"]
        alike = itertools.takewhile(lambda letters: letters[0] == letters[1], zip(one, two, strict=False))
        start = "".join(letter for letter, _ in alike).rfind(" ") + 1
        yield {
            "sentence": f"{one[:start]}_ {row['continuation']}",
            "option1": one[start:],
            "option2": two[start:],
            "answer": str(row["gold"] + 1),
        }


def _arc(path: pathlib.Path) -> Iterator[Row]:
    for row in _json_lines(path):
        labels = list(LETTERS[: len(row["choices"])])
        yield {
            "question": row["query"].removeprefix("Question: "),
            "choices": {"text": row["choices"], "label": labels},
            "answerKey": labels[row["gold"]],
        }


def _truthfulqa(path: pathlib.Path) -> Iterator[Row]:
    for row in json.loads(path.read_text(encoding="utf-8")):
        if next(iter(row["mc1_targets"].values())) != 1:
            raise ValueError("the right answer of mc1_targets must come first")
        names = ("mc1_targets", "mc2_targets")
        targets = {name: {"choices": list(row[name]), "labels": list(row[name].values())} for name in names}
        yield {"question": row["question"]} | targets


def _mmlu(path: pathlib.Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        for question, *choices, answer in csv.reader(file):
            if len(choices) != 4 or answer not in LETTERS[:4]:
                raise ValueError("expected question, four choices and a letter")
            subject = path.stem.rsplit("_", 1)[0]
            yield {"question": question, "subject": subject, "choices": choices, "answer": LETTERS.index(answer)}


LOCAL = {
    "hellaswag": Local(
        ("hellaswag/hellaswag.yaml",),
        {"validation": "hellaswag/hellaswag_val_full.txt.bz2"},
        _hellaswag,
        "the copy does not say where a context's last part begins; it is found by its small letter after a full stop",
    ),
    "winogrande": Local(("winogrande/default.yaml",), {"validation": "winogrande/winogrande.jsonl"}, _winogrande),
    "arc_easy": Local(("arc/arc_easy.yaml",), {"test": "arc/arc_easy.jsonl"}, _arc),
    "arc_challenge": Local(("arc/arc_challenge.yaml",), {"test": "arc/arc_challenge.jsonl"}, _arc),
    "truthfulqa": Local(
        ("truthfulqa/truthfulqa_mc1.yaml", "truthfulqa/truthfulqa_mc2.yaml"),
        {"validation": "truthfulqa/data_mc_task.json"},
        _truthfulqa,
    ),
    "mmlu": Local(
        ("mmlu/default/mmlu_{subject}.yaml",),
        {"test": "mmlu/test/{subject}_test.csv", "dev": "mmlu/dev/{subject}_dev.csv"},
        _mmlu,
    ),
    "gsm8k": Local(
        ("gsm8k/gsm8k.yaml", "gsm8k/gsm8k-cot.yaml"),
        {"test": "gsm8k/test.jsonl", "train": "gsm8k/train.jsonl"},
        _json_lines,
    ),
    "ifeval": Local(("ifeval/ifeval.yaml",), {"train": "ifeval/input_data.jsonl"}, _json_lines),
}
"""Data sets by name."""


def write_tasks(data: str, out: pathlib.Path) -> dict[str, str]:
    """Write rows and a task file for every data set that the folder holds.

    Args:
      data: the folder.
      out: where to; what stands there is written over.

    Returns:
      Name of each task that is read from here -> what differs from the hub's copy.

    Raises:
      HarnessError: no such folder, nothing known in it, or a file that is not as it should be.
    """
    root = pathlib.Path(data)
    if not root.is_dir():
        raise HarnessError(f"benchmark.data = {data!r}: no such folder")
    found: dict[str, str] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name, local in LOCAL.items():
        for subject in _subjects(root, local):
            files = {split: root / path.format(subject=subject) for split, path in local.files.items()}
            if not all(file.exists() for file in files.values()):
                continue
            stem = f"{name}_{subject}" if subject else name
            rows = {
                split: _write_rows(local.read, file, out / f"{stem}-{split}.jsonl") for split, file in files.items()
            }
            for shipped in local.shipped:
                task = _write_task(shipped.format(subject=subject), rows, out)
                found[task] = local.says
    if not found:
        expected = ", ".join(sorted({path for local in LOCAL.values() for path in local.files.values()}))
        raise HarnessError(f"benchmark.data = {data!r} holds none of {expected}")
    for file in out.glob("*.yaml"):
        if file.stem not in found:  # of a data set that the folder no longer holds
            file.unlink()
    return found


def digest(data: str, tasks: Sequence[str]) -> str:
    """sha256 of the local files that these tasks may read; of a task that no data set is named after, of all there are.

    Args:
      data: the folder.
      tasks: names of tasks or groups, e.g. ``mmlu``, ``mmlu_virology``, ``truthfulqa_mc2``.
    """
    root, wanted = pathlib.Path(data), set()
    for task in tasks:
        wanted |= {name for name in LOCAL if task == name or task.startswith(f"{name}_")} or set(LOCAL)
    total = hashlib.sha256()
    for name in sorted(wanted):
        for subject in _subjects(root, LOCAL[name]):
            for path in LOCAL[name].files.values():
                file = root / path.format(subject=subject)
                if file.exists():
                    total.update(f"{path.format(subject=subject)}\0".encode() + file.read_bytes())
    return total.hexdigest()


def _subjects(root: pathlib.Path, local: Local) -> Sequence[str]:
    pattern = next(iter(local.files.values()))
    before, mark, after = pattern.partition("{subject}")
    return sorted(path.name.removesuffix(after) for path in root.glob(f"{before}*{after}")) if mark else [""]


def _write_rows(read: Callable[[pathlib.Path], Iterator[Row]], file: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    lines: list[str] = []
    try:
        lines.extend(json.dumps(row, ensure_ascii=False) + "\n" for row in read(file))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError, EOFError, StopIteration) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise HarnessError(f"{file}, row {len(lines) + 1}: {why}. Fetch the file again.") from None
    _write(path, "".join(lines))
    return path.resolve()


def _write(path: pathlib.Path, text: str) -> None:
    """Only where it changes something: by a file's time the library of data sets knows what it has read before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _write_task(shipped: str, rows: Mapping[str, pathlib.Path], out: pathlib.Path) -> str:
    """The task file that includes the shipped one, and the task's name."""
    import lm_eval.tasks
    import yaml
    from lm_eval.tasks._yaml_loader import load_yaml

    file = pathlib.Path(lm_eval.tasks.__file__).parent / shipped
    if not file.exists():
        raise HarnessError(f"lm_eval has no task file {shipped}; this needs version 0.4.13")
    own = load_yaml(file, resolve_func=False)
    lines = {
        "include": str(file),
        "task": own["task"],
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(path) for split, path in rows.items()}},
    }
    # what the copy lacks: shots are then drawn from what there is
    lines |= {name: None for name in SPLITS if own.get(name) is not None and own[name] not in rows}
    _write(out / f"{own['task']}.yaml", yaml.safe_dump(lines))
    return own["task"]
