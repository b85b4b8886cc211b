"""MultiDoc2Dial as it is handed round (Feng et al., arXiv 2109.12595): dialogues in one file, their pages in another.

    multidoc2dial_dial_train.json, multidoc2dial_dial_validation.json, multidoc2dial_dial_test.json
        {"dial_data": {DOMAIN: [{"dial_id", "turns": [{"turn_id", "role", "da", "utterance",
                                                       "references": [{"label", "id_sp", "doc_id"}]}]}]}}
    multidoc2dial_doc.json, beside them
        {"doc_data": {DOMAIN: {DOC_ID: {"doc_text", ...}}}}

In: the path of a file of dialogues. Out: a row per turn of the agent, in the columns of ``passages`` and as it reads
Doc2Dial: the question is the dialogue up to the user's last turn, the context the whole page (of several, one behind
the other) that the agent's turn refers to, the answer what the agent says. Turns in which the agent asks back are
answers, too, as in the data set's own task. A turn marked ``respond_no_solution`` says that there is no answer: its
passage is the page that it or the user's turn refers to, else the last one before.

What is no question with an answer is a row with ``left``, so that it is counted: ``NOT_ASKED``, ``NO_PAGE``,
``NO_REPLY``. The test file of version 1.0 is said to hold dummies; copies differ.

Tried on rows written by hand. The names of fields and acts are those of the data set's README and of the loader on the
hub (IBM/multidoc2dial); the files themselves were not at hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from s3ft_jax.tasks.formats import Unreadable, kind_of
from s3ft_jax.tasks.task import DataError

DIALOGUES = "multidoc2dial_dial_"
"""What the names of the files of dialogues begin with; the split follows."""
PAGES = "multidoc2dial_doc.json"
NO_SOLUTION = "respond_no_solution"
"""The act (``da``) of an agent's turn that says there is no answer."""
NOT_ASKED = "turns of the agent that follow no turn of the user"
NO_PAGE = "turns of the agent that refer to no page"
NO_REPLY = "turns of the user that get no reply"
ROLES = {"user": "User", "agent": "Agent"}


def documents_of(path: Any) -> Any:
    """Where the pages of a file of dialogues lie."""
    return path.parent / PAGES


def read(path: Any) -> Iterator[tuple[str, Any]]:
    """(``file:DOMAIN dialogue N turn M``, columns or ``Unreadable``) of every turn that is a row; N and M from 1.

    Args:
      path: of the dialogues, local or in a bucket.

    Raises:
      DataError: a file is not there or is not laid out as above.
    """
    dialogues, pages = _part(path, "dial_data"), _part(documents_of(path), "doc_data")
    for domain, some in dialogues.items():
        if not isinstance(some, list):
            raise DataError(f"{path}: dial_data[{domain!r}] holds {kind_of(some)}, not a list. {_AGAIN}")
        texts = pages.get(domain)
        for number, dialogue in enumerate(some, 1):
            where = f"{path}:{domain} dialogue {number}"
            problem = _problem(dialogue)
            if problem:
                yield where, Unreadable(problem)
                continue
            known = texts if isinstance(texts, Mapping) else {}
            yield from ((f"{where} turn {place}", row) for place, row in _rows(dialogue["turns"], known))


_AGAIN = "Unpack multidoc2dial.zip again."
_HALF = re.compile("[\ud800-\udfff]")


def _part(path: Any, name: str) -> Mapping[str, Any]:
    """One of the two files' only key."""
    if not path.exists():
        raise DataError(f"{path}: no such file; MultiDoc2Dial's dialogues need their pages beside them. {_AGAIN}")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}). {_AGAIN}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON that can be read: {error}. {_AGAIN}") from None
    part = content.get(name) if isinstance(content, Mapping) else None
    if not isinstance(part, Mapping):
        raise DataError(f"{path}: holds no object {name!r} of domains. {_AGAIN}")
    return part


def _is_text(value: Any) -> bool:
    """Whether it is a text that says something and can be written to a file, as half of a character cannot."""
    return isinstance(value, str) and bool(value.strip()) and not _HALF.search(value)


def _problem(dialogue: Any) -> str:
    """Why a dialogue cannot be read; empty if it can. One bad turn spoils those behind it, which show it."""
    turns = dialogue.get("turns") if isinstance(dialogue, Mapping) else None
    if not isinstance(turns, list):
        return "a dialogue without a list `turns`"
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, Mapping) or turn.get("role") not in tuple(ROLES):
            return f"turn {number} has no `role` user or agent"
        if not _is_text(turn.get("utterance")):
            return f"turn {number} has no text in `utterance`"
        references = turn.get("references") or []
        whole = isinstance(references, list) and all(isinstance(one, Mapping) for one in references)
        if not whole or not all(isinstance(one.get("doc_id"), str) for one in references):
            return f"turn {number}: `references` is not a list of objects with a `doc_id`"
    return ""


def _rows(turns: Sequence[Mapping[str, Any]], pages: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """(number of the turn, columns or ``Unreadable``) of a dialogue that can be read."""
    said: list[str] = []
    last: list[str] = []
    for number, turn in enumerate(turns, 1):
        own = list(dict.fromkeys(one["doc_id"] for one in turn.get("references") or []))
        asked = number > 1 and turns[number - 2]["role"] == "user"
        if turn["role"] == "agent":
            unanswered = turn.get("da") == NO_SOLUTION
            yield number, _row(turn, said, asked, own or (last if unanswered else []), pages)
        elif number == len(turns) or turns[number]["role"] == "user":
            yield number, {"left": NO_REPLY}
        said.append(f"{ROLES[turn['role']]}: {turn['utterance'].strip()}")
        last = own or last


def _row(
    turn: Mapping[str, Any], said: Sequence[str], asked: bool, names: Sequence[str], pages: Mapping[str, Any]
) -> Any:
    """The columns of one turn of the agent, or why it is none."""
    if not asked or not names:
        return {"left": NO_PAGE if asked else NOT_ASKED}
    texts = [page.get("doc_text") if isinstance(page := pages.get(name), Mapping) else None for name in names]
    for name, text in zip(names, texts, strict=True):
        if not _is_text(text):
            return Unreadable(f"{PAGES} has no `doc_text` of the page {name!r}")
    unanswered = turn.get("da") == NO_SOLUTION
    return {
        "context": "\n\n".join(text.strip() for text in texts),
        "question": "\n".join(said),
        "answers": [] if unanswered else [turn["utterance"].strip()],
        "is_impossible": unanswered,
        "passage": names[0].split("#")[0],
    }
