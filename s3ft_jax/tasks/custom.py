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
    answers              {"answers": [text], "unanswerable": false,   column ``check`` (a text or a list), else gold;
                          "min_f1": task.min_f1}                      no answers and true where gold refuses, or column
                                                                      ``unanswerable`` says so
    exact                {"answer": text}                             column ``check``, else gold
    choice               {"answer": letter}                           column ``check``, else the letter gold names
    programs             {"entry", "tests", "setup", "name"}          column ``tests``: asserts, a list or one text
    my_module:my_judge   the row's remaining columns                  all columns that are not question or gold
    first(a, b), ...     {"a": {...}, "b": {...}}                     what each of them needs

Splits. A split with a file (or hub split) of its own is that file. One that has none is cut out of train by a hash of
the *prompt* with ``task.split_fracs`` and ``task.seed``: rows with the same prompt stay together, and a row's split
does not depend on the other rows. Files given apart are taken as they are.

Own wordings (``task.prompt``, ``task.system``, ``task.paraphrase_prompt``) may show any column of the rows but gold and
``check``: ``{context}`` is filled in if the first row has such a column, else it stays as it is. What no one reads of a
row is counted (``Intake.unused``).

The paraphrase prompt is SDFT's for plain instructions (Yang et al., arXiv 2402.13669; repository sail-sg/sdft, its
template for alpaca, dolly and lima), the system line and the body in one user turn.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from s3ft_jax.judges import numbers
from s3ft_jax.judges.refusals import refuses
from s3ft_jax.records import Example, Message
from s3ft_jax.tasks.columns import (
    CHATS,
    Layout,
    find_layout,
    read_columns,
    read_flag,
    read_text,
    read_turns,
    unread,
)
from s3ft_jax.tasks.mbpp import find_entry
from s3ft_jax.tasks.rows import find_source, pick_split, read_rows, shares
from s3ft_jax.tasks.task import (
    BadRow,
    DataError,
    Intake,
    Row,
    TaskSettings,
    collect,
    example_id,
    with_system,
)
from s3ft_jax.tasks.turns import is_empty
from s3ft_jax.tasks.wording import fill, shown, shown_anywhere, unfilled

JUDGES = ("numbers", "expressions", "answers", "exact", "choice", "programs")

CHECKED = {
    "check": {"numbers", "expressions", "answers", "exact", "choice"},
    "tests": {"programs"},
    "unanswerable": {"answers"},
}
"""Columns that only judges read, and which of them."""
UNANSWERABLE = "no answer is wanted: the row says so, or gold refuses"
OWN_SYSTEM = "a system turn of their own in place of task.system"
NO_SYSTEM = "no system turn, since a column that task.system shows is empty"

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
    _check_effect(layout, settings)
    if layout.names.get("input") in shown(settings.prompt + settings.system, layout):  # it has a place of its own
        layout = dataclasses.replace(layout, names={k: name for k, name in layout.names.items() if k != "input"})
    literal = unfilled(settings, layout)

    def build(row: Row) -> Example | str:
        row = _with_refusal(row, layout, settings)
        turns, gold = read_turns(row.values, layout)
        prompt = json.dumps([[turn["role"], turn["content"]] for turn in turns], ensure_ascii=False)
        if divided and pick_split(prompt, settings.seed, fracs) != split:
            return "rows of other splits"
        example = build_example(row, turns, gold, split, layout, settings)
        unused = unread(row.values, layout, _used(row.values, layout, settings))
        intake.note(unused, [*literal, *_notes(example, turns, settings)])
        return example

    return collect(rows, split, settings, intake, build)


def build_example(
    row: Row, turns: tuple[Message, ...], gold: str, split: str, layout: Layout, settings: TaskSettings
) -> Example:
    """One row as an example; own wordings are put around the last user turn, earlier turns stay.

    Raises:
      BadRow: the judge's check cannot be made from the row.
    """
    values, question = row.values, turns[-1]["content"]
    asked = fill(settings.prompt or PROMPT, "task.prompt", values, layout, question=question)
    # where our wording shows columns beside the question, the default paraphrase prompt does, too
    whole = bool(shown(settings.prompt, layout)) and not settings.paraphrase_prompt
    fields = {"question": asked if whole else question, "gold": gold}
    wording = settings.paraphrase_prompt or PARAPHRASE_PROMPT
    rephrase = fill(wording, "task.paraphrase_prompt", values, layout, **fields)
    absent = any(is_empty(values.get(name)) for name in shown(settings.system, layout))
    *earlier, _ = with_system(turns, "" if absent else fill(settings.system, "task.system", values, layout))
    return Example(
        id=example_id("custom", split, row.index),
        task="custom",
        split=split,
        messages=(*earlier, {"role": "user", "content": asked}),
        gold=gold,
        judge=settings.judge,
        check=make_checks(values, gold, layout, settings),
        paraphrase_messages=(*earlier, {"role": "user", "content": rephrase}) if split == "train" else (),
    )


def _notes(example: Example, turns: tuple[Message, ...], settings: TaskSettings) -> list[str]:
    """What was decided for an example that its row does not say in so many words."""
    found = []
    if settings.system and turns[0]["role"] == "system":
        found.append(OWN_SYSTEM)
    elif settings.system and example.messages[0]["role"] != "system":
        found.append(NO_SYSTEM)
    check = example.check if len(settings.judges) == 1 else example.check.get("answers", {})
    return [*found, UNANSWERABLE] if "answers" in settings.judges and check["unanswerable"] else found


def _used(values: Mapping[str, Any], layout: Layout, settings: TaskSettings) -> set[str]:
    """The columns of a row that are read: for the question and gold, by a judge, or for a wording."""
    if any(":" in judge for judge in settings.judges):
        return set(values)
    checked = {layout.names[name] for name in CHECKED if name in layout.names and _is_checked(name, settings)}
    setup = {"setup"} if "programs" in settings.judges else set()
    return read_columns(values, layout) | checked | setup | shown_anywhere(settings, layout)


def _is_checked(name: str, settings: TaskSettings) -> bool:
    return bool(CHECKED[name] & {*settings.judges})


def _check_effect(layout: Layout, settings: TaskSettings) -> None:
    """Refuse a mapping that would change nothing.

    Raises:
      DataError: names the key.
    """
    for name in layout.mapped:
        if name in CHECKED and not _is_checked(name, settings):
            judges = ", ".join(sorted(CHECKED[name]))
            raise DataError(
                f"task.columns.{name}: has no effect with judge.name={settings.judge!r}; it is for {judges}. Leave it "
                "out, or choose one of these judges."
            )
        if name == "input" and layout.kind in CHATS:
            raise DataError(
                f"task.columns.input: has no effect: {layout.names[layout.kind]!r} holds whole turns. Leave it out, or "
                "show the column by `task.prompt`, as {NAME} beside {question}."
            )


def _with_refusal(row: Row, layout: Layout, settings: TaskSettings) -> Row:
    """A row that is marked unanswerable and has no gold gets ``task.refusal`` as gold."""
    if "answers" not in settings.judges or "unanswerable" not in layout.names or not layout.gold:
        return row
    marked = read_flag(row.values, layout.names["unanswerable"])
    if not marked or not is_empty(row.values.get(layout.gold)):
        return row
    return dataclasses.replace(row, values={**row.values, layout.gold: settings.refusal})


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
        asked = read_columns(values, layout)
        return _plain({key: value for key, value in values.items() if key not in asked})
    if judge == "programs":
        return _program_check(values, gold, names)
    if judge == "answers":
        return _answers_check(values, gold, names, settings)
    if judge == "expressions" and "check" not in names:
        return {}
    answer = read_text(values, names["check"]) if "check" in names else gold
    if judge == "numbers":
        return {"answer": final_number(answer)}
    if judge == "choice":
        return {"answer": chosen_letter(answer)}
    return {"answer": answer.strip()}


def _answers_check(
    values: Mapping[str, Any], gold: str, names: Mapping[str, str], settings: TaskSettings
) -> dict[str, Any]:
    marked = read_flag(values, names["unanswerable"]) if "unanswerable" in names else None
    if marked and not refuses(gold):
        raise BadRow(
            f"column {names['unanswerable']!r} says that there is no answer, but gold does not",
            f"Write a refusal as gold, e.g. {settings.refusal!r} (or leave gold empty for it), or correct the mark.",
        )
    given = values.get(names["check"]) if "check" in names and not marked else gold
    texts = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise BadRow(f"column {names.get('check')!r} holds no answer text", "Give a text or a list of texts.")
    if marked or (marked is None and all(map(refuses, texts))):
        return {"answers": [], "unanswerable": True, "min_f1": settings.min_f1}
    return {"answers": list(texts), "unanswerable": False, "min_f1": settings.min_f1}


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
