"""Reads the reply to a completion request, whichever engine wrote it.

In: JSON values. Out: a ``Completion``. Where ids, log-probabilities and the end lie:

=========  =============================================  =============================  ============================
engine     ids                                            log-probabilities              end token
=========  =============================================  =============================  ============================
vLLM       ``token_ids`` (asked: ``return_token_ids``);   ``logprobs.token_logprobs``    the last id
           before 0.10.2 ``logprobs.tokens``, each
           "token_id:7" (``return_tokens_as_token_ids``)
SGLang     ``token_ids`` (``return_token_ids``)           ``logprobs.token_logprobs``    last id or ``matched_stop``
llama.cpp  ``logprobs.content[].id``                      ``logprobs.content[].logprob``  the last id
=========  =============================================  =============================  ============================

Sources: vllm/entrypoints/openai/completion/protocol.py and serving.py, sglang/srt/entrypoints/openai/
serving_completions.py, llama.cpp/tools/server/server-task.cpp (``probs_vector_to_json``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

UNLIKELIEST = -9999.0
"""What vLLM writes for minus infinity."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """What a server replied to one request.

    Attributes:
      text: of the answer, without its end token.
      ended: False if the length limit cut it.
      ids: of the tokens sampled, end token included; None if they were not returned, or not all of them.
      logprobs: of the tokens sampled, nats; None if they were not returned.
      likeliest: log-probability of the likeliest first token, nats; None if it was not returned.
      prompt_ids: that the server says it was asked; None if it does not say.
    """

    text: str
    ended: bool
    ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    likeliest: float | None
    prompt_ids: tuple[int, ...] | None


def read_completion(reply: Any) -> Completion:
    """Read a reply.

    Ids are taken as complete if their number is ``usage.completion_tokens``, where that is given: llama.cpp leaves out
    the first tokens of a character that takes several.

    Raises:
      ValueError: it is no completion that ended by itself or at the length limit.
    """
    choice = _first(_dict(reply).get("choices"))
    text, finish = choice.get("text"), choice.get("finish_reason")
    if not isinstance(text, str):
        raise ValueError("the server replied with no completion")
    if finish not in ("stop", "length"):
        raise ValueError(f"the server did not finish the completion (finish_reason {finish!r})")
    logprobs = _dict(choice.get("logprobs"))
    contents = [_dict(one) for one in _list(logprobs.get("content"))]
    ids, end = _ids(choice, logprobs, contents), choice.get("matched_stop")
    if finish == "stop" and ids is not None and _is_count(end) and ids[-1:] != (end,):
        ids += (end,)
    count = _dict(_dict(reply).get("usage")).get("completion_tokens")
    if ids is not None and _is_count(count) and count != len(ids):
        ids = None
    values = [one.get("logprob") for one in contents] or _list(logprobs.get("token_logprobs"))
    known = bool(values) and all(isinstance(value, float | int) and value > UNLIKELIEST for value in values)
    return Completion(
        text=text,
        ended=finish == "stop",
        ids=ids,
        logprobs=tuple(float(value) for value in values) if known else None,
        likeliest=_likeliest(logprobs, contents),
        prompt_ids=_all_ids(choice.get("prompt_token_ids")),
    )


def _ids(
    choice: Mapping[str, Any], logprobs: Mapping[str, Any], contents: list[Mapping[str, Any]]
) -> tuple[int, ...] | None:
    found = _all_ids(choice.get("token_ids"))
    if found is None and contents:
        found = _all_ids([one.get("id") for one in contents])
    if found is None:
        named = [re.fullmatch(r"token_id:(\d+)", str(token)) for token in _list(logprobs.get("tokens"))]
        found = tuple(int(one.group(1)) for one in named) if named and all(named) else None
    return found


def _likeliest(logprobs: Mapping[str, Any], contents: list[Mapping[str, Any]]) -> float | None:
    if contents:
        found = [_dict(one).get("logprob") for one in _list(contents[0].get("top_logprobs"))]
    else:
        found = list(_first(logprobs.get("top_logprobs")).values())
    return max((float(value) for value in found if isinstance(value, float | int)), default=None)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _all_ids(value: Any) -> tuple[int, ...] | None:
    return tuple(value) if isinstance(value, list) and all(map(_is_count, value)) else None


def _first(value: Any) -> Mapping[str, Any]:
    return _dict(next(iter(_list(value)), None))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
