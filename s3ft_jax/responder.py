"""Examples -> responses: prompts, engine and text put together. For own answers, paraphrases, repairs, test answers.

In: examples and a model's parameters. Out: ``Response`` records with the ids exactly as sampled. The random key of a
token is a function of (seed, example id, origin, index, position), so neither batch nor order nor restart changes it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flax import nnx

from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.models import cached_attention
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Origin, Response
from s3ft_jax.scoring import Scorer


@dataclasses.dataclass(frozen=True)
class ResponseSettings:
    """How responses are sampled.

    Attributes:
      sampling: temperature, top-k, top-p, min-p.
      max_new_tokens: length limit.
      seed: of every token's key.
      num_responses: per example.
      first_index: of an example's first response.
      num_slots, chunk_steps: shape of the engine.
    """

    sampling: Sampling
    max_new_tokens: int
    seed: int
    num_responses: int = 1
    first_index: int = 0
    num_slots: int = 64
    chunk_steps: int = 16


@dataclasses.dataclass(frozen=True)
class Ask:
    """One question as ids.

    Attributes:
      example_id: whose question.
      prompt_ids: what the model is asked.
      given_ids: the first ids of its response, handed to it behind the prompt; they count against the length limit.
    """

    example_id: str
    prompt_ids: tuple[int, ...]
    given_ids: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder taken apart, with its prompts.

    Attributes:
      graphdef, params: of ``nnx.split(decoder)``.
      config: the decoder's.
      encoder: messages <-> token ids.
    """

    graphdef: nnx.GraphDef
    params: Any
    config: DecoderConfig
    encoder: PromptEncoder

    @classmethod
    def of(cls, decoder: Decoder, encoder: PromptEncoder) -> Model:
        """From a decoder that is whole."""
        return cls(*nnx.split(decoder), decoder.config, encoder)


@functools.lru_cache(maxsize=4)
def shared_engine(
    graphdef: nnx.GraphDef,
    config: DecoderConfig,
    stop_ids: tuple[int, ...],
    pad_id: int,
    num_slots: int,
    chunk_steps: int,
    attention: CachedAttention,
) -> Engine:
    """One engine per model structure and shape in this process, so that tuned models reuse its compiled programs."""
    sizes = {"num_slots": num_slots, "chunk_steps": chunk_steps}
    return Engine(graphdef, config, stop_ids=stop_ids, pad_id=pad_id, attention=attention, **sizes)


@functools.lru_cache(maxsize=4)
def shared_scorer(graphdef: nnx.GraphDef, config: DecoderConfig, pad_id: int, batch_tokens: int) -> Scorer:
    """One scorer per model structure in this process, for the same reason."""
    return Scorer(graphdef, config, pad_id=pad_id, batch_tokens=batch_tokens)


def respond(
    examples: Sequence[Example],
    origin: Origin,
    model: Model,
    settings: ResponseSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Response]:
    """``answer`` about examples: ``paraphrase_messages`` are asked for origin paraphrase, else ``messages``."""
    asks = [e.paraphrase_messages if origin == "paraphrase" else e.messages for e in examples]
    prompts = [model.encoder.encode_prompt(messages, e.id) for messages, e in zip(asks, examples, strict=True)]
    asked = [Ask(example.id, prompt) for example, prompt in zip(examples, prompts, strict=True)]
    return answer(asked, origin, model, settings, on_progress)


def answer(
    asks: Sequence[Ask],
    origin: Origin,
    model: Model,
    settings: ResponseSettings,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Response]:
    """Sample ``settings.num_responses`` responses to each ask, in their order.

    Args:
      asks: what to ask; ``settings.max_new_tokens`` limits a response with its given ids, which must be shorter.
      origin: of the responses; a part of every token's key.
      model: who answers.
      settings: how.
      on_progress: called with (responses finished, all).
    """
    encoder, sizes = model.encoder, (settings.num_slots, settings.chunk_steps)
    attention = cached_attention.choose(model.params)
    engine = shared_engine(model.graphdef, model.config, encoder.stop_ids, encoder.pad_id, *sizes, attention)
    first = settings.first_index
    asked = [(ask, index) for ask in asks for index in range(first, first + settings.num_responses)]
    requests = [
        Request(
            prompt_ids=ask.prompt_ids + ask.given_ids,
            key=request_key(settings.seed, ask.example_id, origin, index),
            max_new_tokens=settings.max_new_tokens - len(ask.given_ids),
            sampling=settings.sampling,
        )
        for ask, index in asked
    ]
    sampled = engine.generate(model.params, requests, on_progress=on_progress)
    responses = []
    for (ask, index), made in zip(asked, sampled, strict=True):
        ids = ask.given_ids + tuple(int(token) for token in made.response_ids)
        responses.append(
            Response(
                example_id=ask.example_id,
                origin=origin,
                index=index,
                text=encoder.decode_response(ids),
                prompt_ids=ask.prompt_ids,
                response_ids=ids,
                ended=bool(made.ended),
                logprob=float(np.sum(made.logprobs, dtype=np.float64)),
                given=len(ask.given_ids),
            )
        )
    return responses
