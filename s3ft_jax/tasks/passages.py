"""Questions on passages, whatever layout they come in: one row per question, with the same columns for all.

In: rows of SQuAD (1.1 and 2.0), MRQA (in which Natural Questions are handed round with their passages), simplified
Natural Questions, Doc2Dial, MuSiQue; or rows that have these columns already, as those of ``multidoc2dial``. Out:
rows with

    context     the passage
    question    the question; of a conversation all its turns, the last one last
    answers     accepted answers
    is_impossible   (where the data say so) whether the passage does not answer it
    passage     what must not lie in two splits; where absent, the context
    without     (where it can be made) the context without what answers the question
    left        why a good row is not wanted

A layout is known by its keys (``LAYOUTS``); a column that a layout has no room for stays where it was.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from s3ft_jax.tasks.columns import read_flag
from s3ft_jax.tasks.task import BadRow, DataError, Row

Values = Mapping[str, Any]
_TURN = re.compile(r"^\s*(user|agent):\s*", re.IGNORECASE)
_MRQA_MARKS = re.compile(r"(?:\s*\[(?:TLE|PAR|SEP|DOC)\]\s*)+")
_TAG = re.compile(r"</?\w+[^>]*>")
NO_SHORT_ANSWER = "questions with a long answer but no short one"
NO_OTHER = "questions whose answer stands in every other passage that was tried"
TRIES = 64
"""Passages of others that are looked at for one that does not hold the answer."""


def questions(rows: Iterable[Row]) -> Iterator[Row]:
    """One row per question, numbered anew; rows of no known layout pass through."""
    index = 0
    for row in rows:
        reader = next((read for known, read in LAYOUTS if known(row.values)), None) if row.values is not None else None
        found = [("", row.values)] if reader is None else reader(row.values)
        for place, values in found:
            yield Row(f"{row.where}{place}", index, values, row.problem)
            index += 1


def passage_of(values: Values, context: str) -> str:
    """What keeps questions together when a file is divided."""
    return str(values.get("passage") or context)


def is_unanswerable(values: Values, columns: Mapping[str, str]) -> bool:
    """SQuAD 2.0 marks it with ``is_impossible``; other rows have the column of answers, with none in it.

    Raises:
      BadRow: the mark is neither true nor false, or the answers are a list or a mapping that cannot be read.
    """
    marked = read_flag(values, "is_impossible")
    if marked is not None:
        return marked
    column = columns.get("answers", "answers")
    answers = structure_of(values.get(column, ...), column)
    return answers in (None, "", []) or (isinstance(answers, Mapping) and not answers.get("text"))


def structure_of(value: Any, column: str) -> Any:
    """Answers as they are; a list or a mapping that a csv file holds as text, read as JSON or as Python writes it.

    Text that only begins like one (``[sic] and so on``) is a bad row, not an answer: whether it is one that was cut off
    cannot be told.

    Raises:
      BadRow: the text begins with a brace or a square bracket and is neither.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("{", "[")):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        if isinstance(found, list | Mapping):
            return found
    raise BadRow(
        f"column {column!r} begins with a bracket and is neither a list nor a mapping",
        'Write ["a", "b"] or {"text": ["a"]}; an answer that begins so goes into such a list.',
    )


def make_unanswerable(
    rows: Sequence[Row], frac: float, seed: int, columns: Mapping[str, str], answers_of: Callable[[Row], list[str]]
) -> list[Row]:
    """Give a seeded share of the answerable questions a passage that does not answer them.

    That is the context ``without`` what answers it, where the layout knows (MuSiQue, as its own unanswerable questions
    were made: Trivedi et al., arXiv 2108.00573, section 4); else the passage of another question, which holds none of
    the answers (ours; how SSR made Natural Questions unanswerable is not known to us).

    Args:
      rows: of one split.
      frac: share of the answerable ones, 0 to 1.
      seed: of the draw.
      columns: our column name -> the data's.
      answers_of: row -> accepted answers; raises BadRow, which leaves the row as it is.

    Raises:
      DataError: other passages are wanted, and there is no other.
    """
    name = columns.get("context", "context")
    known = [row.values for row in rows if row.values and row.values.get(name)]
    contexts = sorted({(str(values[name]), passage_of(values, str(values[name]))) for values in known})
    made = []
    for row in rows:
        values = row.values
        try:
            wanted = values and values.get(name) and not values.get("left") and not is_unanswerable(values, columns)
            answers = answers_of(row) if wanted else []
        except BadRow:  # which whoever builds it names
            answers = []
        if not answers:
            made.append(row)
            continue
        key = f"{seed}/{values.get(columns.get('question', 'question'))}/{values[name]}"
        if _draw(key, "drawn") < frac:
            other = _other(values, name, contexts, key, answers)
            own = {"passage": passage_of(values, str(values[name])), "is_impossible": True, name: other}
            row = Row(row.where, row.index, {**values, **(own if other is not None else {"left": NO_OTHER})})
        made.append(row)
    return made


def _other(
    values: Values, name: str, contexts: Sequence[tuple[str, str]], key: str, answers: Sequence[str]
) -> str | None:
    """A passage of another page, without the answer; None where none was found."""
    if values.get("without"):
        return str(values["without"])
    if len(contexts) < 2:
        raise DataError("task.unanswerable_frac: there is only one passage, so no other can take its place")
    for number in range(TRIES):
        other, page = contexts[int(_draw(key, str(number)) * len(contexts))]
        folded = other.casefold()
        if page != passage_of(values, str(values[name])) and not any(answer.casefold() in folded for answer in answers):
            return other
    return None


def _draw(key: str, salt: str) -> float:
    """Uniform in [0, 1), the same everywhere and for ever."""
    return int.from_bytes(hashlib.sha256(f"{salt}/{key}".encode()).digest()[:6], "big") / 256**6


def _squad(values: Values) -> Iterator[tuple[str, Values]]:
    for number, paragraph in enumerate(values["paragraphs"], 1):
        for place, question in enumerate(paragraph.get("qas") or (), 1):
            yield f" paragraph {number} question {place}", {**question, "context": paragraph.get("context")}


def _mrqa(values: Values) -> Iterator[tuple[str, Values]]:
    """The first line of a file only says what the file is."""
    context = _MRQA_MARKS.sub("\n", str(values.get("context", ""))).strip()
    for place, question in enumerate(values.get("qas") or (), 1):
        yield f" question {place}", {**question, "context": context}


def _natural(values: Values) -> Iterator[tuple[str, Values]]:
    """Simplified Natural Questions: spans of tokens, HTML tags among them; the passage is the long answer's.

    Where no long answer was found the question is unanswerable, and its passage the first long candidate of the page.
    """
    tokens = str(values["document_text"]).split(" ")

    def text(span: Mapping[str, int]) -> str:
        words = [token for token in tokens[span["start_token"] : span["end_token"]] if not _TAG.fullmatch(token)]
        return " ".join(words)

    marks = values["annotations"][0] if values.get("annotations") else {}
    long, short = marks.get("long_answer") or {"start_token": -1}, marks.get("short_answers") or []
    question = {"question": values["question_text"], "passage": str(values.get("document_url") or "")}
    if long["start_token"] < 0:
        candidates = [span for span in values.get("long_answer_candidates") or () if span.get("top_level")]
        context = next((text(span) for span in candidates if span["end_token"] - span["start_token"] > 30), "")
        left = {} if context else {"left": "questions on pages without a passage"}
        yield "", {**question, "context": context, "answers": [], "is_impossible": True, **left}
        return
    answers = [text(span) for span in short]
    if not answers and marks.get("yes_no_answer") in ("YES", "NO"):
        answers = [marks["yes_no_answer"].lower()]
    left = {} if answers else {"left": NO_SHORT_ANSWER}
    yield "", {**question, "context": text(long), "answers": answers, "is_impossible": False, **left}


def _doc2dial(values: Values) -> Iterator[tuple[str, Values]]:
    """A conversation about a page, newest turn first."""
    turns = [turn for turn in str(values["question"]).split("\t") if turn.strip()]
    said = [_TURN.sub(lambda match: f"{match[1].capitalize()}: ", turn).strip() for turn in reversed(turns)]
    page = str(values.get("title", "")).split("#")[0]
    yield "", {**values, "question": "\n".join(said), "passage": page}


def _musique(values: Values) -> Iterator[tuple[str, Values]]:
    """Paragraphs of several pages, some of which answer the question together."""

    def text(paragraphs: Iterable[Values]) -> str:
        return "\n\n".join(f"{one.get('title', '')}\n{one['paragraph_text']}".strip() for one in paragraphs)

    answers = [values.get("answer"), *(values.get("answer_aliases") or ())]
    yield (
        "",
        {
            "question": values.get("question"),
            "context": text(values["paragraphs"]),
            "without": text(one for one in values["paragraphs"] if not one.get("is_supporting")),
            "answers": [answer for answer in answers if answer],
            "is_impossible": values.get("answerable") is False,
            "passage": str(values.get("id", "")),
        },
    )


def _has_paragraphs(values: Values, key: str) -> bool:
    paragraphs = values.get("paragraphs")
    return isinstance(paragraphs, list) and all(isinstance(one, Mapping) and key in one for one in paragraphs)


LAYOUTS: tuple[tuple[Callable[[Values], bool], Callable[[Values], Iterator[tuple[str, Values]]]], ...] = (
    (lambda values: bool(values.get("paragraphs")) and _has_paragraphs(values, "paragraph_text"), _musique),
    (lambda values: isinstance(values.get("paragraphs"), list), _squad),
    (lambda values: isinstance(values.get("qas"), list) or set(values) == {"header"}, _mrqa),
    (lambda values: "document_text" in values and "question_text" in values, _natural),
    (lambda values: "domain" in values and bool(_TURN.match(str(values.get("question", "")))), _doc2dial),
)
"""(how a row of the layout is known, how it is read), the first that fits."""
