"""Asks a server for completions of token ids.

In: asks and how to sample. Out: ``Completion`` records, in order. The prompt is sent as ids (OpenAI API reference, POST
/v1/completions: ``prompt`` may be an array of tokens), so that the server reads what will be trained on; chat
completions would put the question by the server's own template, and are not used.

Parameters whose default differs between engines are all sent: vLLM would take a repetition penalty and others from the
model's generation_config.json, llama.cpp has a top_k of 40 and a min_p of 0.05. A top_k of -1 is "off" for all three.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from s3ft_jax.endpoint import Endpoint, EndpointError
from s3ft_jax.generation.sampling import request_key
from s3ft_jax.outside.completions import Completion, read_completion
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Origin
from s3ft_jax.responder import Ask, ResponseSettings

REFUSED = (400, 422)
"""HTTP states of a request whose parameters are not taken."""


class OutsideError(RuntimeError):
    """An outside engine cannot be used, or failed. The message names the address, the cause and the fix."""


@dataclasses.dataclass(frozen=True)
class Dialect:
    """What a server may be sent.

    Attributes:
      extended: parameters beyond OpenAI's: filters, end tokens, and that ids be returned.
      logprobs: that log-probabilities be returned.
    """

    extended: bool = True
    logprobs: bool = True


@dataclasses.dataclass(frozen=True)
class Server:
    """A model at an endpoint.

    Attributes:
      endpoint: where.
      model: its name there.
      encoder: messages <-> token ids, of the model that is tuned.
    """

    endpoint: Endpoint
    model: str
    encoder: PromptEncoder

    def known_as(self) -> str:
        """What ``/models`` tells of the model: the weights behind the name where it does, else the name again.

        Raises:
          OutsideError: it does not serve this name (names those it does), or cannot be asked.
        """
        try:
            reply = self.endpoint.get("models")
        except EndpointError as error:
            if error.status in (404, 405):
                return self.model  # it has no such list
            raise self.failed(error) from error
        listed = reply.get("data") if isinstance(reply, dict) else None
        served = {str(one.get("id")): one for one in listed or () if isinstance(one, dict)}
        if self.model not in served:
            there = ", ".join(served) or "no model"
            raise OutsideError(f"sample.outside.name = {self.model!r}: {self.endpoint.address} serves {there}")
        return str(served[self.model].get("root") or self.model)

    def complete(
        self,
        asked: Sequence[tuple[Ask, int]],
        origin: Origin,
        settings: ResponseSettings,
        dialect: Dialect,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Completion]:
        """The completion of each (ask, index), in order.

        Raises:
          OutsideError: a request is refused, the reply is no completion, or there is none after all tries. Its cause is
            the ``EndpointError``, if there was one.
        """
        bodies = [self._body(ask, origin, index, settings, dialect) for ask, index in asked]
        try:
            replies = self.endpoint.post_all("completions", bodies, on_progress)
        except EndpointError as error:
            raise self.failed(error, asked[error.place][0].example_id) from error
        completions = []
        for (ask, _), reply in zip(asked, replies, strict=True):
            try:
                completions.append(read_completion(reply))
            except ValueError as error:
                text = f"{self.endpoint.address}: {ask.example_id}: {error}: {str(reply)[:200]}"
                raise OutsideError(f"{text}. Is it OpenAI-compatible?") from None
        return completions

    def failed(self, error: EndpointError, example_id: str = "") -> OutsideError:
        """The error for people: which question, what the server said, what to look at."""
        fix = "Check sample.outside and what the server prints." if error.status else "Is the server there?"
        if error.status in (404, 405):
            fix = "Does the address end in /v1, and has the server completions? Chat completions alone are of no use."
        if error.status in (401, 403):
            fix = f"Is the key in ${self.endpoint.key_variable} right (sample.outside.key_variable)?"
        where = f"{example_id}: " if example_id else ""
        return OutsideError(
            f"sample.outside.endpoint: {where}{error}. {fix} What was sampled is kept; the same command goes on."
        )

    def _body(
        self, ask: Ask, origin: Origin, index: int, settings: ResponseSettings, dialect: Dialect
    ) -> dict[str, Any]:
        sampling = settings.sampling
        body = {
            "model": self.model,
            "prompt": [*ask.prompt_ids, *ask.given_ids],
            "max_tokens": settings.max_new_tokens - len(ask.given_ids),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request_seed(settings.seed, ask.example_id, origin, index),
            "presence_penalty": 0,
            "frequency_penalty": 0,
        }
        if dialect.logprobs:
            body["logprobs"] = 1
        if dialect.extended:
            body |= {
                "top_k": sampling.top_k or -1,
                "min_p": sampling.min_p,
                "repetition_penalty": sampling.repetition_penalty,
                "stop_token_ids": list(self.encoder.stop_ids),
                "skip_special_tokens": False,
                "return_token_ids": True,
                "return_tokens_as_token_ids": True,
            }
            if sampling.repetition_penalty != 1.0:
                body["repeat_penalty"] = sampling.repetition_penalty  # what llama.cpp calls it
        return body


def request_seed(seed: int, example_id: str, origin: Origin, index: int) -> int:
    """The seed of one response, in [0, 2^31), which every engine takes; from the key our own engine would use.

    A second run asks the same. No engine promises the same answer in other company.
    """
    return int(request_key(seed, example_id, origin, index)[0]) >> 1
