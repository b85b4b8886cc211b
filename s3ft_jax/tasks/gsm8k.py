"""GSM8K: grade-school mathematics in words (Cobbe et al., arXiv 2110.14168), 7,473 train and 1,319 test questions.

In: rows with ``question`` and ``answer``, from a folder with ``train.jsonl`` and ``test.jsonl``, or from the hub
(``openai/gsm8k``, configuration ``main``; the default). Out: examples for the numbers judge. There is no validation
split: the last ``task.num_validation`` rows of train are held out for it, and never trained on.

A row, and the example it becomes::

    question   Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many
               clips did Natalia sell altogether in April and May?
    answer     Natalia sold 48/2 = <<48/2=24>>24 clips in May.
               Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.
               #### 72

    id         gsm8k/train/00000
    messages   user: PROMPT with the question
    gold       Natalia sold 48/2 = 24 clips in May.
               Natalia sold 48+24 = 72 clips altogether in April and May.
               The answer is 72
    check      {"answer": "72"}

Gold is put into the form that the prompt asks for and the judge reads: it ends with ``The answer is N``, N without
thousands commas. The calculator marks ``<<48/2=24>>`` are taken out (``task.keep_marks`` keeps them): no model writes
them of its own accord, so they would be one more thing for gold alone to teach.

Prompts. S3FT shows its prompts in figures only (2502.08130, figures 3, 5 and 7, known by description: think step by
step, final integer in the form ``The answer is {answer}``; the paraphrase prompt shows the reference as a guide). From
SDFT (Yang et al., arXiv 2402.13669; repository sail-sg/sdft, GSM8K templates) come, word for word, the sentence on the
answer's form and the first two sentences of the paraphrase prompt; the rest is ours in their manner. Also ours: one
user turn instead of system and user, since Mistral's template has no system turn; and the sentence on the form stands
in the paraphrase prompt too, where SDFT begins the assistant's turn with "Great! Let's think step by step."
"""

from __future__ import annotations

import re

from s3ft_jax.records import Example
from s3ft_jax.tasks.columns import read_text
from s3ft_jax.tasks.rows import find_source, read_rows
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

HUB_ID = "openai/gsm8k:main"

PROMPT = (
    "You are an expert in math. Below is a math question. Write a response that appropriately answers the question. "
    "Let's think step by step. Your final answer should be an integer at the end of your response, formatted as: "
    "The answer is {answer}.\n\n{question}"
)
PARAPHRASE_PROMPT = (
    "You are an expert in math. Below are a math question and its reference answer. Refer to the reference answer and "
    "write a response that appropriately answers the question. Your final answer should be an integer at the end of "
    "your response, formatted as: The answer is {answer}.\n\n{question}\n\n{gold}"
)

_MARK = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def load(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    """Examples of one split.

    Raises:
      DataError: the data lacks the split, or a row cannot be used and ``task.bad_rows`` is ``error``.
    """
    data = settings.data or HUB_ID
    source = find_source(data, split, settings.splits)
    held_out = split == "validation" and (source is None or source.shared)
    if held_out:
        source = find_source(data, "train", settings.splits)
    if source is None or (source.shared and split == "test"):
        raise DataError(
            f"task.data: {data} has no {split} rows of its own. Give a folder with train.jsonl and test.jsonl, or set "
            f"`task.splits.{split}=FILE`."
        )
    intake.source = source.name
    rows = list(read_rows(source))
    first_held = len(rows)
    own = find_source(data, "validation", settings.splits)
    if split != "test" and (own is None or own.shared):
        if settings.num_validation >= len(rows):
            raise DataError(
                f"task.num_validation: {settings.num_validation} is not below the {len(rows)} rows of train."
            )
        first_held -= settings.num_validation

    def build(row: Row) -> Example | str:
        if held_out and row.index < first_held:
            return "rows of train"
        if not held_out and row.index >= first_held:
            return "held out for validation"
        return build_example(row, split, settings)

    return collect(rows, split, settings, intake, build)


def build_example(row: Row, split: str, settings: TaskSettings) -> Example:
    """One row as an example.

    Raises:
      BadRow: a column is missing or empty, or the answer does not end with ``#### number``.
    """
    question = read_text(row.values, settings.columns.get("question", "question")).strip()
    steps, number = split_answer(read_text(row.values, settings.columns.get("answer", "answer")))
    if not settings.keep_marks:
        steps = _MARK.sub("", steps)
    gold = f"{steps}\nThe answer is {number}".lstrip()
    prompt = fill_prompt(settings.prompt or PROMPT, "task.prompt", question=question)
    paraphrase = fill_prompt(
        settings.paraphrase_prompt or PARAPHRASE_PROMPT, "task.paraphrase_prompt", question=question, gold=gold
    )
    return Example(
        id=example_id("gsm8k", split, row.index),
        task="gsm8k",
        split=split,
        messages=user_turn(prompt),
        gold=gold,
        judge="numbers",
        check={"answer": number},
        paraphrase_messages=user_turn(paraphrase) if split == "train" else (),
    )


def split_answer(answer: str) -> tuple[str, str]:
    """A GSM8K answer as (worked steps, final number without commas): ``"a\\n#### 1,010"`` -> ``("a", "1010")``.

    Raises:
      BadRow: no ``####``, or no number after it.
    """
    steps, mark, tail = answer.rpartition("####")
    if not mark:
        raise BadRow("the answer has no '####' before its final number", "End it with a line like '#### 72'.")
    number = tail.strip()
    if not _NUMBER.fullmatch(number):
        raise BadRow("no plain number after '####'", "End the answer with a line like '#### 72'.")
    return steps.rstrip(), number.replace(",", "")
