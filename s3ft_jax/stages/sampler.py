"""Stage part: who writes the responses to training questions: our own engine, or an outside one (``sample.outside``).

In: the section ``sample`` of the config. Out: a ``Sampler``. With an outside engine no parameters are loaded and no
device is opened, for the server may have it. Only the base is ever asked there: what a tuned model answers
(``evaluate``, the looks of ``train.validate``, the rounds of ``train.refresh_epochs``) is sampled by our own engine,
which has that model.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.endpoint import Endpoint, EndpointError
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Origin, Response
from s3ft_jax.responder import Ask, ResponseSettings, answer_shards
from s3ft_jax.selection import weighs
from s3ft_jax.stages.launch import BASE, load_model, plain_settings
from s3ft_jax.workdir import Workdir, WorkdirError

OWN = ("num_slots", "chunk_steps", "activation_dtype", "cache_dtype", "attention", "exact", "tensor")
"""Settings of ``sample`` that only our own engine's responses follow from."""
LINE_EVERY_S = 10.0
"""Seconds between two lines about requests that are tried again."""

OnShard = Callable[[int, list[Response]], object]
Answer = Callable[[Sequence[Sequence[Ask]], Origin, ResponseSettings, OnShard, Callable[..., None]], None]


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Who writes.

    Attributes:
      answer: of shards of asks, origin, settings, what takes each shard, progress; see ``responder.answer_shards``.
      encoder: messages <-> token ids.
      max_positions: longest sequence of the model, tokens.
      facts: the responses of all shards -> what the manifest says of an outside engine; nothing of our own.
      together: see ``Workdir.sharded``.
    """

    answer: Answer
    encoder: PromptEncoder
    max_positions: int
    facts: Callable[[Sequence[Response]], dict[str, Any]]
    together: bool = False


def settings_of(config: ConfigDict) -> dict[str, Any]:
    """The settings of ``sample`` without those that no response follows from.

    Of an outside engine that is the model's name: a server may move, or be asked more at once.

    Raises:
      WorkdirError: settings of the outside engine that cannot be.
      GenerationError: settings of our own that cannot be.
    """
    engine_settings(config)  # stops at values that cannot be
    settings = plain_settings(config.sample)
    outside = settings.pop("outside")
    if outside["endpoint"]:
        _endpoint(config)
        settings = {name: value for name, value in settings.items() if name not in OWN}
        settings["outside"] = {"name": outside["name"]}
    return {name: value for name, value in settings.items() if name != "num_replicas"}


def engine_settings(config: ConfigDict) -> EngineSettings:
    """Shape and precision of the engine, for sampling, evaluation and judging alike.

    Raises:
      GenerationError: a value that cannot be, by config key.
    """
    sample = config.sample
    return EngineSettings(
        num_slots=sample.num_slots,
        chunk_steps=sample.chunk_steps,
        activation_dtype=sample.activation_dtype or config.model.dtype,
        cache_dtype=sample.cache_dtype,
        attention=sample.attention,
        exact=sample.exact,
        length=config.train.max_length,
        tensor=sample.tensor,
        num_replicas=sample.num_replicas,
    )


def open_sampler(config: ConfigDict, workdir: Workdir) -> Sampler:
    """The engine of this config; an outside one is asked what it can when it is first used.

    Raises:
      WorkdirError: settings of the outside engine that cannot be.
    """
    if config.sample.outside.endpoint:
        return _outside(config, workdir)
    model = load_model(workdir, engine=engine_settings(config))

    def own(shards: Sequence[Sequence[Ask]], origin: Origin, *rest: Any) -> None:
        answer_shards(shards, origin, model, *rest)

    return Sampler(own, model.encoder, model.config.max_positions, lambda _: {}, model.spans_hosts)


def _endpoint(config: ConfigDict) -> Endpoint:
    outside = config.sample.outside
    if not outside.name:
        raise WorkdirError("sample.outside.name is empty: the endpoint needs the name under which it serves the base")
    if config.sample.stop:
        raise WorkdirError(
            f"sample.stop = {tuple(config.sample.stop)!r}: outside engines differ in whether ids and text hold a stop "
            "text, so it cannot be had of one. Leave it empty, or sample by our own engine (no endpoint)."
        )
    try:
        return Endpoint(outside.endpoint, outside.key_variable, outside.num_parallel, outside.retries, outside.seconds)
    except EndpointError as error:
        raise WorkdirError(f"sample.outside: {error}") from error


def _outside(config: ConfigDict, workdir: Workdir) -> Sampler:
    from s3ft_jax import checkpoints
    from s3ft_jax.outside import OutsideEngine, Server

    retries = _Retries()
    encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
    endpoint = dataclasses.replace(_endpoint(config), on_retry=retries.count)
    engine = OutsideEngine(Server(endpoint, config.sample.outside.name, encoder))

    def ask(asks: Sequence[Ask], origin: Origin, settings: ResponseSettings, tell: Callable) -> list[Response]:
        if asks and engine.offer is None:
            offer = engine.open(asks, settings)
            say(f"sample {origin}: {engine.server.model} ({offer.known_as}) at {endpoint.address}")
            for what in offer.missing:
                say(f"sample {origin}: what could not be had: {what}")
            weighing = [] if offer.logprobs else weighs(config.methods, origin, config.select.pick)
            if weighing and settings.num_responses > 1:
                raise WorkdirError(
                    f"methods {', '.join(weighing)} choose the likeliest of {settings.num_responses} {origin} "
                    f"responses, but {endpoint.address} gives no log-probabilities ({'; '.join(offer.missing)}). Set "
                    "select.pick to first or diverse, sample one response, or sample by our own engine."
                )
        return engine.answer(asks, origin, settings, tell)

    def ask_shards(
        shards: Sequence[Sequence[Ask]],
        origin: Origin,
        settings: ResponseSettings,
        on_shard: OnShard,
        on_progress: Callable[..., None],
    ) -> None:
        done, total = 0, settings.num_responses * sum(map(len, shards))
        for number, asks in enumerate(shards):

            def tell(finished: int, _: int, before: int = done) -> None:
                on_progress(before + finished, total)

            on_shard(number, ask(asks, origin, settings, tell))
            done += settings.num_responses * len(asks)

    def facts(responses: Sequence[Response]) -> dict[str, Any]:
        return {"outside": engine.facts() | {"retries": retries.number} | count_sources(responses)}

    return Sampler(ask_shards, encoder, checkpoints.read_meta(workdir / BASE).config.max_positions, facts)


def count_sources(responses: Iterable[Response]) -> dict[str, int]:
    """How many responses have the ids that were sampled, ids encoded from text, ids of another text, no logprob."""
    found = Counter(response.encoded or "returned" for response in responses)
    unknown = sum(response.logprob is None for response in responses)
    return {name: found[name] for name in ("returned", "same", "changed")} | {"without_logprob": unknown}


class _Retries:
    """Counts requests that were tried again and says so now and then; called by any thread."""

    def __init__(self) -> None:
        self.number, self._spoken, self._lock = 0, 0.0, threading.Lock()

    def count(self, why: str) -> None:
        with self._lock:
            self.number += 1
            now = time.monotonic()
            speaks = not self._spoken or now - self._spoken > LINE_EVERY_S
            self._spoken = now if speaks else self._spoken
        if speaks:
            say(f"  {why}")
