"""Reading comprehension: a passage, a question, and an answer that stands in the passage (SQuAD and its like).

In: rows of any layout that ``passages`` knows: SQuAD's own JSON (versions 1.1 and 2.0; Rajpurkar et al., arXiv
1606.05250 and 1806.03822), Natural Questions with their passages, Doc2Dial, MuSiQue; or rows with ``context``,
``question`` and ``answers`` (jsonl, csv, parquet, or the hub: ``rajpurkar/squad``, the default). Out: examples for the
answers judge. Questions marked unanswerable are left out here and counted; the task ``unanswerable`` has them.

A question, and the example it becomes::

    context    The Normans were the people who in the 10th and 11th centuries gave their name to Normandy, ...
    question   When were the Normans in Normandy?
    answers    ["10th and 11th centuries", "in the 10th and 11th centuries", "10th and 11th centuries"]

    messages   user: PROMPT with context and question
    gold       10th and 11th centuries                  (the most frequent answer, the first among equals)
    check      {"answers": ["10th and 11th centuries", "in the 10th and 11th centuries"], "unanswerable": false,
                "min_f1": 0.6}

Splits. A split without rows of its own (SQuAD has no public test split) is cut out of train by a hash of the *passage*
with ``task.split_fracs``, so that no passage lies in two splits. Prompts: S3FT and SSR print none for this task, so the
words are ours; the paraphrase prompt follows SDFT (sail-sg/sdft: "Using the reference answer as a guide, write your own
response."), and repeats the sentence on the answer's length. ``min_f1`` is ours too.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping

from s3ft_jax.records import Example
from s3ft_jax.tasks.columns import read_text
from s3ft_jax.tasks.passages import is_unanswerable, passage_of, questions, structure_of
from s3ft_jax.tasks.rows import find_source, pick_split, read_rows, shares
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

HUB_ID = "rajpurkar/squad"

PROMPT = (
    "Read the passage and answer the question in as few words as possible, with words of the passage.\n\n"
    "Passage: {context}\n\nQuestion: {question}"
)
# The length is asked for here too: of a sentence around a short answer the judge accepts little (``min_f1``).
PARAPHRASE_PROMPT = (
    "Below are a passage, a question and a reference answer. Using the reference answer as a guide, write your own "
    "response to the question, in as few words as possible, with words of the passage.\n\nPassage: {context}\n\n"
    "Question: {question}\n\nReference answer: {gold}"
)


def load(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    """Examples of one split, answerable questions only.

    Raises:
      DataError: the data lacks the split, or a row cannot be used and ``task.bad_rows`` is ``error``.
    """

    def build(row: Row) -> Example | str:
        if is_unanswerable(row.values, settings.columns):
            return "unanswerable questions"
        return build_example(
            row, "reading", split, settings, PROMPT, PARAPHRASE_PROMPT, read_answers(row, settings.columns)
        )

    return load_split(split, settings, intake, settings.data or HUB_ID, build)


def load_split(
    split: str,
    settings: TaskSettings,
    intake: Intake,
    data: str,
    build: Callable[[Row], Example | str],
    change: Callable[[list[Row]], list[Row]] | None = None,
) -> list[Example]:
    """Rows of one split through ``build``; what belongs to another split by its passage is left and counted.

    Args:
      split, settings, intake: as of ``Task.load``.
      data: what ``task.data`` says, or the task's default.
      build: row -> example, or why it is left.
      change: made of the rows of this split before they are built.
    """
    source = find_source(data, split, settings.splits)
    fracs = {"train": 1.0}
    if source is None or source.shared or split == "train":
        source = source or find_source(data, "train", settings.splits)
        fracs = shares(data, settings.splits, settings.split_fracs)
    if source is None:
        raise DataError(f"task.data: {data} has neither {split} nor train rows. Set `task.splits.{split}=FILE`.")
    intake.source = source.name
    divided = fracs["train"] < 1.0
    context = settings.columns.get("context", "context")

    def belongs(row: Row) -> bool:
        passage = passage_of(row.values, read_text(row.values, context))
        return not divided or pick_split(passage, settings.seed, fracs) == split

    def build_of_split(row: Row) -> Example | str:
        if row.values.get("left"):
            return row.values["left"]
        return build(row) if belongs(row) else "passages of other splits"

    rows: Iterable[Row] = questions(read_rows(source))
    if change is not None:
        every = list(rows)
        mine = {row.index for row in every if row.values and row.values.get(context) and belongs(row)}
        changed = {row.index: row for row in change([row for row in every if row.index in mine])}
        rows = [changed.get(row.index, row) for row in every]
    return collect(rows, split, settings, intake, build_of_split)


def read_answers(row: Row, columns: Mapping[str, str]) -> list[str]:
    """Accepted answers, most frequent first. Takes text, a list of texts, ``[{"text": ...}]`` or ``{"text": [...]}``,
    or one of these written out as text, as csv files hold it.

    Raises:
      BadRow: there is none, or one is not text.
    """
    column = columns.get("answers", "answers")
    if column not in row.values:
        near = "answer" if "answer" in row.values else "NAME"
        raise BadRow(
            f"no column {column!r}",
            f"The row has {', '.join(map(str, row.values))}. Name yours, as `task.columns.answers={near}`.",
        )
    value = structure_of(row.values[column], column)
    if isinstance(value, Mapping):
        value = value.get("text")
    if isinstance(value, str):
        value = [value]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in value or ()]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise BadRow(f"column {column!r} holds no answer text", "Give at least one accepted answer.")
    return [text for text, _ in collections.Counter(text.strip() for text in texts).most_common()]


def build_example(
    row: Row,
    task: str,
    split: str,
    settings: TaskSettings,
    prompt: str,
    paraphrase_prompt: str,
    answers: list[str],
    refusal: str = "",
) -> Example:
    """One question as an example; ``refusal`` is gold where ``answers`` is empty.

    Raises:
      BadRow: the question is missing or empty.
    """
    columns = settings.columns
    fields = {
        "context": read_text(row.values, columns.get("context", "context")).strip(),
        "question": read_text(row.values, columns.get("question", "question")).strip(),
    }
    gold = answers[0] if answers else refusal
    asked = fill_prompt(settings.prompt or prompt, "task.prompt", **fields)
    shown = fill_prompt(settings.paraphrase_prompt or paraphrase_prompt, "task.paraphrase_prompt", **fields, gold=gold)
    return Example(
        id=example_id(task, split, row.index),
        task=task,
        split=split,
        messages=user_turn(asked),
        gold=gold,
        judge="answers",
        check={"answers": answers, "unanswerable": not answers, "min_f1": settings.min_f1},
        paraphrase_messages=user_turn(shown) if split == "train" else (),
    )
