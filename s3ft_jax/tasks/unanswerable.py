"""Reading comprehension where some questions have no answer in the passage (SQuAD 2.0; SSR's kind of task).

In: rows of any layout that ``passages`` knows, SQuAD 2.0's JSON among them, or rows as in ``reading`` with an empty
list of answers, null, an empty text or ``is_impossible`` (hub: ``rajpurkar/squad_v2``, the default). Out: examples for
the answers judge. For a question without an answer gold is ``task.refusal``, and a response is right when it declines
to answer. Data without such questions (Doc2Dial, much of MuSiQue, Natural Questions in MRQA's layout) get them by
``task.unanswerable_frac``.

SSR (arXiv 2409.04787) tunes on such data (MultiDoc2Dial, Natural Questions) so that a model keeps to the passage; its
wording of the prompt and of the refusal, and the share of unanswerable questions, are not known to us: all are ours.

    question   What is France a region of?              (the passage does not say)
    answers    []
    gold       The passage does not say.
    check      {"answers": [], "unanswerable": true, "min_f1": 0.6}

Splits as in ``reading``: by passage.
"""

from __future__ import annotations

import dataclasses

from s3ft_jax.judges.composition import single_names
from s3ft_jax.judges.refusals import refuses
from s3ft_jax.records import Example
from s3ft_jax.tasks.passages import is_unanswerable, make_unanswerable
from s3ft_jax.tasks.reading import PARAPHRASE_PROMPT, build_example, load_split, read_answers
from s3ft_jax.tasks.task import DataError, Intake, Row, TaskSettings

HUB_ID = "rajpurkar/squad_v2"

PROMPT = (
    "Read the passage and answer the question in as few words as possible, with words of the passage. If the passage "
    "does not hold the answer, write: {refusal}\n\nPassage: {context}\n\nQuestion: {question}"
)
# In the place of reading's where gold is the refusal.
REFUSAL_PARAPHRASE_PROMPT = (
    "Below are a passage, a question and a reference answer. Using the reference answer as a guide, write your own "
    "response to the question, in as few words as possible. If the passage does not hold the answer, write: "
    "{refusal}\n\nPassage: {context}\n\nQuestion: {question}\n\nReference answer: {gold}"
)


def load(split: str, settings: TaskSettings, intake: Intake) -> list[Example]:
    """Examples of one split, answerable and unanswerable questions.

    Raises:
      DataError: the data lacks the split, a row cannot be used and ``task.bad_rows`` is ``error``, or the judge would
        not take ``task.refusal`` for a refusal.
    """
    if "answers" in single_names(settings.judge or "answers") and not refuses(settings.refusal):
        raise DataError(
            f"task.refusal: {settings.refusal!r}: the judge `answers` does not see a refusal in it, so that gold would "
            "be wrong. Say it as in 'The passage does not say.', or choose a model as judge (`judge.name=model`)."
        )
    prompt = (settings.prompt or PROMPT).replace("{refusal}", settings.refusal)
    settings = dataclasses.replace(settings, prompt=prompt)

    def build(row: Row) -> Example:
        unanswerable = is_unanswerable(row.values, settings.columns)
        answers = [] if unanswerable else read_answers(row, settings.columns)
        shown = PARAPHRASE_PROMPT if answers else REFUSAL_PARAPHRASE_PROMPT.replace("{refusal}", settings.refusal)
        return build_example(row, "unanswerable", split, settings, PROMPT, shown, answers, settings.refusal)

    def change(rows: list[Row]) -> list[Row]:
        return make_unanswerable(
            rows,
            settings.unanswerable_frac,
            settings.seed,
            settings.columns,
            lambda row: read_answers(row, settings.columns),
        )

    changed = change if settings.unanswerable_frac else None
    return load_split(split, settings, intake, settings.data or HUB_ID, build, changed)
