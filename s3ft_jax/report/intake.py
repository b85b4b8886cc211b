"""The intake of the report room: what became of every row, gold answer and training target on the way in.

In: the intakes of prepare, the encoder's counts of select, the targets train left out. Out: a table and cautions, so
that nothing is dropped, cut or changed without being read here.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

from s3ft_jax.report.evidence import Evidence
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import count_of, join, method_name

ENCODED = {
    "gold_by_template": "gold answers encoded inside the conversation",
    "gold_alone": "gold answers encoded alone, since the chat template changes the prompt before an answer",
    "end_token_added": "gold answers that were given the end token the template leaves out",
    "gold_changed": "gold answers that decode to another text",
    "system_folded": "prompts whose system turn went into the first user turn",
    "control_text": "prompts or gold answers that contain a control piece such as <s> as text",
    "unknown_pieces": "unknown tokens in prompts and gold answers",
}
"""``PromptEncoder.counts`` in words."""
_LOSSY = ("gold_changed", "control_text", "unknown_pieces")
_FEW = 5


def intake_table(evidence: Evidence) -> Table:
    """Rows read, used, left and dropped for each split and general skill, with the reasons."""
    body = []
    for part, intake in evidence.intakes.items():
        dropped = {cause: len(places) for cause, places in intake["dropped"].items()}
        reasons = [f"{count:,} {reason}" for reason, count in (intake["left"] | dropped).items()]
        reasons += [f"{count:,} used: {note}" for note, count in intake.get("notes", {}).items()]
        unused = [f"{name} ({count:,})" for name, count in intake.get("unused", {}).items()]
        reasons += [f"not read of rows used: {', '.join(unused)}"] if unused else []
        reasons += [f"files that no split is read from: {', '.join(intake['unread'])}"] if intake.get("unread") else []
        counts = (intake["read"], intake["used"], sum(intake["left"].values()), sum(dropped.values()))
        body.append((label(part), *(Cell(f"{count:,}") for count in counts), label("; ".join(reasons))))
    columns = ("", "rows read", "used", "left", "dropped", "why")
    return Table(
        "Rows of the data. Left: good rows not wanted here. Dropped: rows that cannot be used.", columns, tuple(body)
    )


def encoding_table(evidence: Evidence) -> Table:
    """What the tokenizer and chat template did to prompts and gold answers."""
    body = [(label(ENCODED[name]), Cell(f"{count:,}")) for name, count in evidence.encoding.items()]
    return Table("Encoding of the training examples.", ("", "count"), tuple(body))


def intake_cautions(evidence: Evidence) -> list[str]:
    """A sentence for everything that was dropped or changed; none if nothing was."""
    found = []
    for part, intake in evidence.intakes.items():
        places = [place for rows in intake["dropped"].values() for place in rows]
        if places:
            found.append(f"{count_of(len(places), f'{part} row')} could not be used: {_first(places)}.")
        shared = intake.get("shared", 0)
        if shared:
            found.append(
                f"{shared:,} of {intake['used']:,} {part} prompts are training prompts, too: scores on them say little "
                "of new ones."
            )
    counts = collections.Counter(evidence.encoding)
    found += [f"{counts[name]:,} {ENCODED[name]}." for name in _LOSSY if counts[name]]
    return found + _left_out(evidence.left_out)


def _left_out(left_out: Mapping[tuple[str, int], tuple[str, ...]]) -> list[str]:
    return [
        f"{method_name(method)} seed {seed}: {count_of(len(ids), 'training target')} too long for "
        f"train.max_length left out: {_first(ids)}."
        for (method, seed), ids in left_out.items()
        if ids
    ]


def _first(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - _FEW:,} more" if len(names) > _FEW else ""
    return f"{join(list(names[:_FEW]))}{more}"
