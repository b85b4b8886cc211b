"""MBPP: small Python functions from a sentence and three tests (Austin et al., arXiv 2108.07732), 974 tasks.

In: rows with ``text`` (or ``prompt``), ``code``, ``task_id``, ``test_list`` and ``test_setup_code`` (or
``test_imports``), from one file of all tasks (``mbpp.jsonl``, or a folder with it) or from the hub
(``google-research-datasets/mbpp``, configuration ``full``; the default). Out: examples for the programs judge. Splits
go by task_id, as the data set's README says (google-research/google-research, mbpp/README.md): 601-974 train, 511-600
validation, 11-510 test; 1-10 are kept for prompts and never used. That is 374, 90 and 500 tasks.

A row, and the example it becomes::

    text        Write a python function to remove first and last occurrence of a given character from the string.
    code        def remove_Occ(s,ch): ...
    task_id     11
    test_list   ["assert remove_Occ(\\"hello\\",\\"l\\") == \\"heo\\"", ...]

    id          mbpp/test/00011                 (the number is the task_id)
    messages    user: PROMPT with the sentence and all tests
    gold        [BEGIN]
                def remove_Occ(s,ch): ...
                [DONE]
    check       {"entry": "remove_Occ", "tests": [...], "setup": "", "name": "remove_Occ"}

Prompts. The first sentences and the marks [BEGIN] and [DONE] are those of Austin et al. (section 3, and the README
above); S3FT uses the same persona, tests and marks (2502.08130, figures 4 and 6, known by description). The sentence
that asks for nothing else, and the paraphrase prompt's wording after SDFT (sail-sg/sdft: "Using the reference answer as
a guide, write your own response."), are ours. Gold stands between the same marks, so that every origin has one form.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.records import Example
from s3ft_jax.tasks.columns import read_text
from s3ft_jax.tasks.rows import Source, find_source, read_rows
from s3ft_jax.tasks.task import (
    BadRow,
    DataError,
    Intake,
    Row,
    TaskSettings,
    collect,
    example_id,
    fill_prompt,
    user_turn,
)

HUB_ID = "google-research-datasets/mbpp:full"
TASK_IDS = {"train": range(601, 975), "validation": range(511, 601), "test": range(11, 511)}

PROMPT = (
    "You are an expert Python programmer, and here is your task: {question} Your code should pass these tests:\n\n"
    "{tests}\n\nWrite the code between [BEGIN] and [DONE], and write nothing else."
)
PARAPHRASE_PROMPT = (
    "You are an expert Python programmer, and here is your task: {question} Your code should pass these tests:\n\n"
    "{tests}\n\nBelow is a reference answer. Using the reference answer as a guide, write your own response.\n\n"
    "{gold}\n\nWrite the code between [BEGIN] and [DONE], and write nothing else."
)


def load(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    """Examples of one split, in the order of the data.

    Raises:
      DataError: the data is not there, or a row cannot be used and ``task.bad_rows`` is ``error``.
    """
    source = _find(settings.data or HUB_ID, split, settings)
    intake.source = source.name

    def build(row: Row) -> Example | str:
        number = row.values.get("task_id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise BadRow("no whole number in column 'task_id'", "Give the row its MBPP task_id; it decides the split.")
        if number not in TASK_IDS[split]:
            return "task_ids of other splits"
        return build_example(row, number, split, settings)

    return collect(read_rows(source), split, settings, intake, build)


def build_example(row: Row, number: int, split: str, settings: TaskSettings) -> Example:
    """One row as an example.

    Raises:
      BadRow: a column is missing or empty, a test is not Python, or no test calls a function that the code defines.
    """
    values = row.values
    question = read_text(values, "text" if "text" in values else "prompt").strip()
    code = _lines(read_text(values, "code"))
    tests = [_lines(test) for test in _tests(values)]
    setup = values.get("test_setup_code") or "\n".join(values.get("test_imports") or ())
    entry = find_entry(code, tests)
    gold = f"[BEGIN]\n{code}\n[DONE]"
    fields = {"question": question, "tests": "\n".join(tests)}
    prompt = fill_prompt(settings.prompt or PROMPT, "task.prompt", **fields)
    paraphrase = fill_prompt(
        settings.paraphrase_prompt or PARAPHRASE_PROMPT, "task.paraphrase_prompt", **fields, gold=gold
    )
    return Example(
        id=example_id("mbpp", split, number),
        task="mbpp",
        split=split,
        messages=user_turn(prompt),
        gold=gold,
        judge="programs",
        check={"entry": entry, "tests": tests, "setup": _lines(setup), "name": entry},
        paraphrase_messages=user_turn(paraphrase) if split == "train" else (),
    )


def find_entry(code: str, tests: Sequence[str]) -> str:
    """The function that the tests call and the code defines; the outermost such call of the first test that has one.

    Raises:
      BadRow: a test is not Python, or there is no such function.
    """
    defined = set(re.findall(r"^[ \t]*def[ \t]+(\w+)", code, re.MULTILINE))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # tests may hold strings like "\\B"
            trees = [ast.parse(test) for test in tests]
    except SyntaxError as error:
        raise BadRow(f"a test is not Python ({error.msg})", "Repair it.") from None
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
            return node.func.id
    raise BadRow("no test calls a function that the code defines", "Let a test call the function by name.")


def _find(data: str, split: str, settings: TaskSettings) -> Source:
    source = find_source(data, split, settings.splits)
    if source is None:
        raise DataError(
            f"task.data: {data} has no {split} rows. Give one file with all MBPP tasks, such as mbpp.jsonl."
        )
    return source


def _tests(values: Mapping[str, Any]) -> list[str]:
    tests = values.get("test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) and test.strip() for test in tests):
        raise BadRow("column 'test_list' is not a list of assert lines", 'Use ["assert f(1) == 2", ...].')
    return tests


def _lines(text: str) -> str:
    """MBPP's code has Windows line ends; a model writes plain ones."""
    return text.replace("\r\n", "\n").strip()
