"""Your own data: any rows with a question and a gold answer, and one of our judges or yours.

In: ``task.data`` (jsonl, json, csv, parquet, a folder of them, a hub id, or tfds:name/config), ``task.columns`` where
the columns are not found by name (see ``columns.py``), ``judge.name``. Out: examples ``custom/train/00000``; the number
is the row's place in its source, counted from 0.

    train.jsonl    {"question": "What is 3 times 4?", "answer": "3 times 4 is 12."}
    judge          numbers

    id             custom/train/00000
    messages       user: What is 3 times 4?
    gold           3 times 4 is 12.
    check          {"answer": "12"}

    judge                check                                        from
    numbers              {"answer": number}                           column ``check``, else gold, read as responses are
    expressions          {"answer": text}                             column ``check``, else {}: read out of gold
    answers              {"answers": [text], "unanswerable": false,   column ``check`` (a text or a list), else gold
                          "min_f1": task.min_f1}
    exact                {"answer": text}                             column ``check``, else gold
    choice               {"answer": letter}                           column ``check``, else the letter gold names
    programs             {"entry", "tests", "setup", "name"}          column ``tests``: asserts, a list or one text
    my_module:my_judge   the row's remaining columns                  all columns that are not question or gold
    first(a, b), ...     {"a": {...}, "b": {...}}                     what each of them needs

Splits. A split with a file (or hub split) of its own is that file. One that has none is cut out of train by a hash of
the *prompt* with ``task.split_fracs`` and ``task.seed``: rows with the same prompt stay together, and a row's split
does not depend on the other rows. Files given apart are taken as they are.

The paraphrase prompt is SDFT's for plain instructions (Yang et al., arXiv 2402.13669; repository sail-sg/sdft, its
template for alpaca, dolly and lima), the system line and the body in one user turn.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from s3ft_jax.judges import numbers
from s3ft_jax.records import Example, Message
from s3ft_jax.tasks.columns import LAYOUTS, Layout, find_layout, read_text, read_turns
from s3ft_jax.tasks.mbpp import find_entry
from s3ft_jax.tasks.rows import find_source, pick_split, read_rows, shares
from s3ft_jax.tasks.task import BadRow, DataError, Intake, Row, TaskSettings, collect, example_id, fill_prompt

JUDGES = ("numbers", "expressions", "answers", "exact", "choice", "programs")

PROMPT = "{question}"
PARAPHRASE_PROMPT = (
    "Below are an instruction that describes a task along with a reference answer. Using the reference answer as a "
    "guide, write your own response.\n\n### Instruction:\n{question}\n\n### Reference Answer:\n{gold}\n\n### Response:"
)

_PROBLEMS = {
    "no_number": "no number in the gold answer",
    "ambiguous": "the gold answer names several numbers",
    "expression": "the gold answer ends on an expression and not on a number",
}
_OTHER_JUDGE = (
    "The judge `numbers` needs one number: end the answer with `The answer is N`, map the column `task.columns.check`, "
    "or choose another judge in `judge.name`."
)
_CHOICE = re.compile(r"(?:.*answer is:?\s*)?\(?([A-Za-z])\)?(?:[.):]|\s*$)", re.IGNORECASE | re.DOTALL)


def load(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    """Examples of one split.

    Raises:
      DataError: no data, no judge, no layout for the columns, or a row that cannot be used while ``task.bad_rows`` is
        ``error``.
    """
    if not settings.judge:
        raise DataError(f"judge.name: not set. Use {', '.join(JUDGES)}, or your own as my_module:my_judge.")
    source = find_source(settings.data, split, settings.splits)
    fracs = {"train": 1.0}
    if source is None or source.shared or split == "train":
        source = source or find_source(settings.data, "train", settings.splits)
        fracs = shares(settings.data, settings.splits, settings.split_fracs)
    if source is None:
        raise DataError(
            f"task.data: {settings.data} has neither {split} nor train rows. Set `task.splits.{split}=FILE`."
        )
    intake.source = source.name
    divided = fracs["train"] < 1.0
    rows, layout = _with_layout(read_rows(source), settings)

    def build(row: Row) -> Example | str:
        turns, gold = read_turns(row.values, layout)
        prompt = json.dumps([[turn["role"], turn["content"]] for turn in turns], ensure_ascii=False)
        if divided and pick_split(prompt, settings.seed, fracs) != split:
            return "rows of other splits"
        return build_example(row, turns, gold, split, layout, settings)

    return collect(rows, split, settings, intake, build)


def build_example(
    row: Row, turns: tuple[Message, ...], gold: str, split: str, layout: Layout, settings: TaskSettings
) -> Example:
    """One row as an example; own wordings are put around the last user turn, earlier turns stay.

    Raises:
      BadRow: the judge's check cannot be made from the row.
    """
    question = turns[-1]["content"]
    asked = fill_prompt(settings.prompt or PROMPT, "task.prompt", question=question)
    shown = fill_prompt(
        settings.paraphrase_prompt or PARAPHRASE_PROMPT, "task.paraphrase_prompt", question=question, gold=gold
    )
    return Example(
        id=example_id("custom", split, row.index),
        task="custom",
        split=split,
        messages=(*turns[:-1], {"role": "user", "content": asked}),
        gold=gold,
        judge=settings.judge,
        check=make_checks(row.values, gold, layout, settings),
        paraphrase_messages=(*turns[:-1], {"role": "user", "content": shown}) if split == "train" else (),
    )


def make_checks(values: Mapping[str, Any], gold: str, layout: Layout, settings: TaskSettings) -> dict[str, Any]:
    """What the judge needs; of several judges, under the name of each what that one needs.

    Raises:
      BadRow: see ``make_check``.
    """
    checking = [name for name in settings.judges if name in JUDGES or ":" in name]
    if len(settings.judges) == 1:
        return make_check(checking[0], values, gold, layout, settings) if checking else {}
    return {name: make_check(name, values, gold, layout, settings) for name in checking}


def make_check(
    judge: str, values: Mapping[str, Any], gold: str, layout: Layout, settings: TaskSettings
) -> dict[str, Any]:
    """What one judge needs, from gold or the row's other columns (the table at the head of this module).

    Raises:
      BadRow: gold holds no number or no letter, or the tests or remaining columns cannot be used.
    """
    names = layout.names
    if judge not in JUDGES:
        used = {names[name] for name in (*LAYOUTS[layout.kind], "input") if name in names}
        return _plain({key: value for key, value in values.items() if key not in used})
    if judge == "programs":
        return _program_check(values, gold, names)
    if judge == "answers":
        given = values.get(names["check"]) if "check" in names else gold
        texts = given if isinstance(given, list) else [given]
        if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise BadRow(f"column {names.get('check')!r} holds no answer text", "Give a text or a list of texts.")
        return {"answers": list(texts), "unanswerable": False, "min_f1": settings.min_f1}
    if judge == "expressions" and "check" not in names:
        return {}
    answer = read_text(values, names["check"]) if "check" in names else gold
    if judge == "numbers":
        return {"answer": final_number(answer)}
    if judge == "choice":
        return {"answer": chosen_letter(answer)}
    return {"answer": answer.strip()}


def final_number(text: str) -> str:
    """The number a worked answer ends in, as the judge ``numbers`` reads it out of a response.

    ``"2 + 2 = 4. The answer is 4"`` -> ``"4"``; ``"about $1,200.50"`` -> ``"1200.50"``;
    ``"\\boxed{\\frac34}"`` -> ``"3/4"``.

    Raises:
      BadRow: there is none, or several that one cannot choose from, or the judge would not take it for gold.
    """
    found = numbers.read_number(text)
    number = found.text.replace(",", "")
    if found.value is None:
        raise BadRow(_PROBLEMS[found.problem], _OTHER_JUDGE)
    gold = numbers.read_gold(number, "")
    if gold.value is None or numbers.compare(gold, found, percent_asked=False) != "right":
        raise BadRow("the gold answer is wrong by the judge `numbers`", _OTHER_JUDGE)
    return number


def chosen_letter(text: str) -> str:
    """The choice a gold answer names: ``"B"``, ``"(b)"``, ``"B. Paris"`` or ``"The answer is B"`` -> ``"B"``.

    Raises:
      BadRow: it names none.
    """
    match = _CHOICE.match(text.strip())
    if not match:
        raise BadRow(
            "the gold answer names no choice", "Begin it with the letter, or map the column `task.columns.check`."
        )
    return match[1].upper()


def _program_check(values: Mapping[str, Any], gold: str, names: Mapping[str, str]) -> dict[str, Any]:
    if "tests" not in names:
        raise DataError("task.columns.tests: the judge `programs` needs a column of unit tests. Name it there.")
    tests = values.get(names["tests"])
    if isinstance(tests, str):
        tests = _assertions(tests)
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) and test.strip() for test in tests):
        raise BadRow(f"column {names['tests']!r} holds no tests", 'Give assert lines: ["assert f(1) == 2"].')
    name = find_entry(gold, tests)
    setup = values.get("setup") or ""
    return {"entry": name, "tests": list(tests), "setup": setup, "name": name}


def _assertions(text: str) -> list[str]:
    """The statements of one text of tests, each by itself."""
    try:
        body = ast.parse(text).body
    except SyntaxError as error:
        raise BadRow(f"the tests are not Python ({error.msg})", "Write one assert per line.") from None
    return [ast.get_source_segment(text, node) or "" for node in body]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BadRow(
            f"the judge's columns are not plain JSON values ({error})", "Write them as text or numbers."
        ) from None


def _with_layout(rows: Iterator[Row], settings: TaskSettings) -> tuple[Iterator[Row], Layout]:
    """The rows unchanged, and the layout that the first readable row shows."""
    seen: list[Row] = []
    for row in rows:
        seen.append(row)
        if row.values is not None:
            layout = find_layout(row.values, settings.columns, row.where)
            return _chain(seen, rows), layout
    if not seen:
        raise DataError(f"task.data: {settings.data} holds no rows.")
    raise DataError(f"{seen[0].where}: {seen[0].problem}; and no other row of {settings.data} can be read either.")


def _chain(seen: list[Row], rest: Iterator[Row]) -> Iterator[Row]:
    yield from seen
    yield from rest
