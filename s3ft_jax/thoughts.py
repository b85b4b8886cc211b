"""Thoughts: what a model writes in a leading ``<think>`` block, taken apart from its answer.

In: the text of a response. Out: its thought, with its marks, and its answer; put together again they are the text. Only
the answer is judged, scored and read; the ids that are trained on hold both, as they were sampled.

    "<think>\\nNorway.\\n</think>\\n\\nOslo"  ->  thought "<think>\\nNorway.\\n</think>\\n\\n"   answer "Oslo"
    "<think>\\nNorway. Its"                  ->  thought, all of it, unfinished               answer ""
"""

from __future__ import annotations

import re

OPEN, CLOSE = "<think>", "</think>"
CLOSED = f"\n{CLOSE}\n\n"
"""Ends an empty thought that a prompt began."""
_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")


def split(text: str, *, begun: bool = False) -> tuple[str, str]:
    """Thought and answer of a response.

    Args:
      text: the whole response.
      begun: the prompt ends inside a thought, so that the response holds only its end.

    Returns:
      The thought with its marks and the blank lines behind it, "" if there is none; and the answer, "" if the thought
      does not end.
    """
    if not begun and not text.lstrip().startswith(OPEN):
        return "", text
    place = text.find(CLOSE)
    if place < 0:
        return text, ""
    end = _BLANK_LINES.match(text, place + len(CLOSE)).end()
    return text[:end], text[end:]


def is_unfinished(thought: str) -> bool:
    """Whether a response's thought never ends, so that it gives no answer."""
    return bool(thought) and CLOSE not in thought


def is_begun(prompt: str) -> bool:
    """Whether a prompt, as text, ends inside a thought, as those of models that always think do."""
    return prompt.rfind(OPEN) > prompt.rfind(CLOSE)
