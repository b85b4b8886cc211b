"""Judges room: asks a model behind an OpenAI-compatible endpoint (vLLM, sglang, llama.cpp, hosted ones).

In: an address and prompts. Out: the replies, in order, greedy. Standard library only. What goes wrong for a moment
(time limit, 429, 5xx) is tried again with growing pauses; what will not get better is an error with address and cause.

The request is that of chat completions (OpenAI API reference, POST /v1/chat/completions) with temperature 0 and seed 0.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from s3ft_jax.judges.verdicts import JudgeError

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A model that replies to HTTP requests.

    Attributes:
      address: up to and including the version, e.g. ``http://localhost:8000/v1``.
      model: its name there.
      key_variable: environment variable that holds the key; empty or unset: none is sent. The key itself stands in no
        config and no file.
      max_tokens: of a reply.
      num_parallel: requests under way at once.
      seconds: time limit of one try.
    """

    address: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    max_tokens: int = 256
    num_parallel: int = 16
    seconds: float = 120.0

    def __call__(self, prompts: Sequence[str]) -> list[str]:
        """The reply to each prompt.

        Args:
          prompts: one user turn each.

        Raises:
          JudgeError: the endpoint refuses, replies with something else, or cannot be reached after all tries.
        """

        with concurrent.futures.ThreadPoolExecutor(self.num_parallel) as threads:
            waiting = [threads.submit(self._ask, prompt) for prompt in prompts]
            try:
                return [reply.result() for reply in waiting]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _ask(self, prompt: str) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "seed": 0,
            "max_tokens": self.max_tokens,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable or "", ""):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.address.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        for pause in (*PAUSES, None):
            try:
                with urllib.request.urlopen(request, timeout=self.seconds) as answer:
                    return _text_of(answer.read(), url)
            except urllib.error.HTTPError as error:
                said = error.read(500).decode("utf-8", "replace")
                cause, final = f"HTTP {error.code} {error.reason}: {said}", error.code < 500 and error.code != 429
            except (OSError, TimeoutError) as error:
                cause, final = f"{type(error).__name__}: {getattr(error, 'reason', error)}", False
            if final or pause is None:
                break
            time.sleep(pause)
        raise JudgeError(
            f"judge.model.endpoint: {url} does not reply ({cause}). Check the address, judge.model.name = "
            f"{self.model!r} and the key in ${self.key_variable}; verdicts found so far are kept."
        )


def _text_of(data: bytes, url: str) -> str:
    try:
        text = json.loads(data)["choices"][0]["message"]["content"] or ""  # a model that declines may say null
    except (ValueError, KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise JudgeError(
            f"judge.model.endpoint: {url} replied with no chat completion: {data[:200]!r}. Is it OpenAI-compatible, "
            "and does the address end in /v1?"
        )
    return text
