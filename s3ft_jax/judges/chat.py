"""Judges room: asks a model behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, hosted ones).

In: prompts. Out: the replies, in order, greedy. The request is that of chat completions (OpenAI API reference, POST
/v1/chat/completions) with temperature 0 and seed 0; requests at once and tries again are ``endpoint.py``'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from s3ft_jax.endpoint import Endpoint, EndpointError
from s3ft_jax.judges.verdicts import JudgeError


@dataclasses.dataclass(frozen=True)
class Chat:
    """A judging model.

    Attributes:
      endpoint: where it is served.
      model: its name there.
      max_tokens: of a reply.
    """

    endpoint: Endpoint
    model: str
    max_tokens: int = 256

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """The reply to each prompt.

        Args:
          prompts: one user turn each.

        Raises:
          JudgeError: the endpoint refuses, replies with something else, or cannot be reached after all tries.
        """
        bodies = [
            {
                "model": self.model,
                "messages": [{"role": "user", "content": prompt}],
                "temperature": 0,
                "seed": 0,
                "max_tokens": self.max_tokens,
            }
            for prompt in prompts
        ]
        try:
            return [self._text_of(reply) for reply in self.endpoint.post_all("chat/completions", bodies)]
        except EndpointError as error:
            raise JudgeError(
                f"judge.model.endpoint: {error}. Check the address, judge.model.name = {self.model!r} and the key in "
                f"${self.endpoint.key_variable}; verdicts found so far are kept."
            ) from error

    def _text_of(self, reply: Any) -> str:
        try:
            text = reply["choices"][0]["message"]["content"] or ""  # a model that declines may say null
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise JudgeError(
                f"judge.model.endpoint: {self.endpoint.address} replied with no chat completion: {str(reply)[:200]}. "
                "Is it OpenAI-compatible, and does the address end in /v1?"
            )
        return text
