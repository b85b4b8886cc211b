"""Examples -> responses: prompts, engine and text put together. For own answers, paraphrases, repairs, test answers.

In: examples and a model's parameters. Out: ``Response`` records with the ids exactly as sampled. The random key of a
token is a function of (seed, example id, origin, index, position), so neither batch nor order nor restart changes it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from s3ft_jax.generation.engine import PREFILL_TOKENS, Engine, Request, Sampled
from s3ft_jax.generation.fitting import FittingEngine
from s3ft_jax.generation.sampling import GenerationError, Sampling, request_key
from s3ft_jax.generation.settings import EngineSettings, fitting_slots, room_beside
from s3ft_jax.generation.side_by_side import MOST, SideBySide, num_cores
from s3ft_jax.models import cached_attention
from s3ft_jax.models.cached_attention import CachedAttention
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Origin, Response
from s3ft_jax.scoring import Scorer
from s3ft_jax.texts import TextEncoder

LEAST_SHARED = 64
"""Ids that prompts must share for a prefill of their own; that of a shorter beginning costs more than it saves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResponseSettings:
    """How responses are sampled.

    Attributes:
      sampling: temperature, top-k, top-p, min-p, repetition penalty.
      max_new_tokens: length limit.
      seed: of every token's key.
      num_responses: per example.
      first_index: of an example's first response.
      engine: shape and precision of the engine.
      stop: texts that end a response, which is cut before the first one that it holds.
    """

    sampling: Sampling
    max_new_tokens: int
    seed: int
    num_responses: int = 1
    first_index: int = 0
    engine: EngineSettings = dataclasses.field(default_factory=EngineSettings)
    stop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class StopStrings:
    """Finds out where a response says one of some texts, which may begin and end inside a token.

    Of "4", "2.", "\n\nQ", ":" and the stop text "\nQ:" the response is all four tokens, and its text "42.\n".

    Attributes:
      texts: none of them empty.
      decode: ids -> text.

    Raises:
      GenerationError: an empty text, or no tuple of texts.
    """

    texts: tuple[str, ...]
    decode: Callable[[Sequence[int]], str]

    def __post_init__(self) -> None:
        if isinstance(self.texts, str) or not all(isinstance(one, str) and one for one in self.texts):
            raise GenerationError(
                f"sample.stop and evaluate.stop take a tuple of texts, none of them empty; found {self.texts!r}"
            )

    def __call__(self, ids: Sequence[int], before: int) -> int | None:
        """``Request.over``: the fewest ids that say one, if ``before`` ids do not; None if none is said."""
        if not self._said(self.decode(ids)):
            return None
        return next(number for number in range(before + 1, len(ids) + 1) if self._said(self.decode(ids[:number])))

    def cut(self, text: str) -> str:
        """What comes before the first of the texts; all of it where there is none."""
        return text[: min((text.find(one) for one in self.texts if one in text), default=len(text))]

    def _said(self, text: str) -> bool:
        return any(one in text for one in self.texts)


@dataclasses.dataclass(frozen=True)
class Ask:
    """One question as ids.

    Attributes:
      example_id: whose question.
      prompt_ids: what the model is asked.
      given_ids: the first ids of its response, handed to it behind the prompt; they count against the length limit.
      shared: how many of the prompt's first ids the others of its stage have, too; see ``Request.shared``.
    """

    example_id: str
    prompt_ids: tuple[int, ...]
    given_ids: tuple[int, ...] = ()
    shared: int = 0


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder taken apart, with its prompts.

    Attributes:
      graphdef, params: of ``nnx.split(decoder)``.
      config: the decoder's.
      encoder: messages <-> token ids; or plain texts, for benchmarks.
    """

    graphdef: nnx.GraphDef
    params: Any
    config: DecoderConfig
    encoder: PromptEncoder | TextEncoder

    @property
    def spans_hosts(self) -> bool:
        """Whether all processes must compute together, since each holds a part of the parameters only."""
        return not all(leaf.is_fully_addressable for leaf in jax.tree.leaves(self.params))

    @property
    def mesh(self) -> Mesh | None:
        """The devices that the parameters lie on; None: one."""
        place = jax.tree.leaves(self.params)[0].sharding
        return place.mesh if isinstance(place, NamedSharding) else None

    @classmethod
    def of(cls, decoder: Decoder, encoder: PromptEncoder) -> Model:
        """From a decoder that is whole."""
        return cls(*nnx.split(decoder), decoder.config, encoder)


def engine_of(model: Model, settings: EngineSettings) -> FittingEngine:
    """The engine of a model in this process, which attends to its cache as suits the model's devices."""
    attention = cached_attention.choose(model.params, settings.attention)
    room = None if settings.num_slots else room_beside(model.params)
    ids = model.encoder.stop_ids, model.encoder.pad_id
    return shared_engine(model.graphdef, model.config, *ids, settings, attention, room, model.mesh, model.spans_hosts)


def scorer_of(model: Model, batch_tokens: int) -> Scorer:
    """The scorer of a model in this process; replicas share out the rows."""
    return shared_scorer(model.graphdef, model.config, model.encoder.pad_id, batch_tokens, model.mesh)


@functools.lru_cache(maxsize=4)
def shared_engine(
    graphdef: nnx.GraphDef,
    config: DecoderConfig,
    stop_ids: tuple[int, ...],
    pad_id: int,
    settings: EngineSettings,
    attention: CachedAttention,
    room: int | None,
    mesh: Mesh | None,
    together: bool,
) -> FittingEngine:
    """One engine per model structure and shape in this process, so that tuned models reuse its compiled programs.

    Args:
      graphdef, config, stop_ids, pad_id, attention, mesh: see ``Engine``.
      settings: its shape and precision.
      room: see ``fitting_slots``.
      together: see ``FittingEngine``.
    """
    options = {"stop_ids": stop_ids, "pad_id": pad_id, "chunk_steps": settings.chunk_steps, "attention": attention}
    options |= settings.dtypes | {"mesh": mesh, "exact": settings.exact}
    slots = settings.num_slots
    if not slots:
        tensor = 1 if mesh is None else mesh.shape["tensor"]
        slots = fitting_slots(settings, config, attention, room, PREFILL_TOKENS, tensor)
        why = "what suits a CPU" if room is None else f"{room / 2**30:.1f} GiB beside the parameters"
        say(f"sampling with {slots} slots ({why}; sample.num_slots)")
    is_cpu = mesh is None and attention.implementation == "layered"

    def build(slots: int) -> Engine | SideBySide:
        engine = Engine(graphdef, config, num_slots=slots, **options)
        return SideBySide(engine, min(MOST, num_cores())) if is_cpu else engine

    return FittingEngine(build, slots, say, together)


@functools.lru_cache(maxsize=4)
def shared_scorer(
    graphdef: nnx.GraphDef, config: DecoderConfig, pad_id: int, batch_tokens: int, mesh: Mesh | None
) -> Scorer:
    """One scorer per model structure in this process, for the same reason."""
    return Scorer(graphdef, config, pad_id=pad_id, batch_tokens=batch_tokens, mesh=mesh)


def asks_of(examples: Sequence[Example], origin: Origin, encoder: PromptEncoder) -> list[Ask]:
    """What is asked about examples: ``paraphrase_messages`` for origin paraphrase, else ``messages``."""
    shown = [e.paraphrase_messages if origin == "paraphrase" else e.messages for e in examples]
    return [Ask(e.id, encoder.encode_prompt(messages, e.id)) for e, messages in zip(examples, shown, strict=True)]


def sharing(asks: Sequence[Ask], examples: Sequence[Example]) -> list[Ask]:
    """The same asks, which know how many ids all those of their task begin with, where these are worth a prefill.

    Args:
      asks: all that a stage will ask. What it shares must not depend on which of them a resumed run still has to ask.
      examples: with those that are asked about.
    """
    tasks, prompts = {example.id: example.task for example in examples}, defaultdict(set)
    for ask in asks:
        prompts[tasks[ask.example_id]].add(ask.prompt_ids)
    shared = {task: _num_shared(min(of_task), max(of_task)) for task, of_task in prompts.items()}
    return [dataclasses.replace(ask, shared=shared[tasks[ask.example_id]]) for ask in asks]


def _num_shared(first: Sequence[int], last: Sequence[int]) -> int:
    """How many ids the first and the last of sorted prompts begin with; 0: too few for a prefill, or one prompt."""
    differ = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first) - 1)
    return differ if first != last and differ >= LEAST_SHARED else 0


def respond(
    examples: Sequence[Example],
    origin: Origin,
    model: Model,
    settings: ResponseSettings,
    on_progress: Callable[..., None] | None = None,
) -> list[Response]:
    """``answer`` about examples, see ``asks_of``."""
    return answer(asks_of(examples, origin, model.encoder), origin, model, settings, on_progress)


def answer(
    asks: Sequence[Ask],
    origin: Origin,
    model: Model,
    settings: ResponseSettings,
    on_progress: Callable[..., None] | None = None,
) -> list[Response]:
    """``answer_shards`` of a single shard: ``settings.num_responses`` responses to each ask, in their order."""
    found: list[Response] = []
    answer_shards([asks], origin, model, settings, lambda _, responses: found.extend(responses), on_progress)
    return found


def answer_shards(
    shards: Sequence[Sequence[Ask]],
    origin: Origin,
    model: Model,
    settings: ResponseSettings,
    on_shard: Callable[[int, list[Response]], object],
    on_progress: Callable[..., None] | None = None,
) -> None:
    """Sample ``settings.num_responses`` responses to each ask of each shard.

    The shards are begun one after the other but not waited for: a slot that one has no use for any more is the next
    one's. With a call a shard, each would end with its longest response alone.

    Args:
      shards: what to ask; ``settings.max_new_tokens`` limits a response with its given ids, which must be shorter.
      origin: of the responses; a part of every token's key.
      model: who answers.
      settings: how.
      on_shard: called with a shard's place and its responses, in the order of its asks, as soon as it is whole; by any
        thread, but never twice at once.
      on_progress: see ``Engine.generate``.
    """
    encoder, engine = model.encoder, engine_of(model, settings.engine)
    first, stops = settings.first_index, StopStrings(settings.stop, encoder.decode_response)
    numbers = range(first, first + settings.num_responses)
    asked = [(shard, ask, index) for shard, asks in enumerate(shards) for ask in asks for index in numbers]
    requests = [
        Request(
            prompt_ids=ask.prompt_ids + ask.given_ids,
            key=request_key(settings.seed, ask.example_id, origin, index),
            max_new_tokens=settings.max_new_tokens - len(ask.given_ids),
            sampling=settings.sampling,
            shared=ask.shared,
            turn=shard,
            over=stops if settings.stop else None,
        )
        for shard, ask, index in asked
    ]
    made: list[dict[int, Response]] = [{} for _ in shards]

    def finish(number: int, sampled: Sampled) -> None:
        shard, ask, index = asked[number]
        made[shard][number] = _response(ask, origin, index, sampled, encoder, stops)
        if len(made[shard]) == len(shards[shard]) * settings.num_responses:
            on_shard(shard, [made[shard][place] for place in sorted(made[shard])])
            made[shard] = {}

    for shard, asks in enumerate(shards):
        if not asks:
            on_shard(shard, [])
    engine.generate(model.params, requests, on_progress, finish)


def _response(
    ask: Ask, origin: Origin, index: int, sampled: Sampled, encoder: PromptEncoder | TextEncoder, stops: StopStrings
) -> Response:
    ids = ask.given_ids + tuple(int(token) for token in sampled.response_ids)
    thought, text = encoder.split_thought(stops.cut(encoder.decode_response(ids)))
    return Response(
        example_id=ask.example_id,
        origin=origin,
        index=index,
        text=text,
        prompt_ids=ask.prompt_ids,
        response_ids=ids,
        ended=bool(sampled.ended),
        logprob=float(np.sum(sampled.logprobs, dtype=np.float64)),
        given=len(ask.given_ids),
        thought=thought,
    )
