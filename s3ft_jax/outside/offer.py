"""Finds out what a server takes and gives, by asking it a few of the questions it will be asked.

In: a server, asks, how to sample. Out: an ``Offer``, whose ``missing`` says in words what cannot be had. Nothing is
taken for granted because of an engine's name.

Log-probabilities are kept if they hold at temperature 1, as our own engine's do. SGLang gives those after the
temperature unless told otherwise (sglang/srt/layers/sampler.py), vLLM does with --logprobs-mode=processed_logprobs.
That is seen by asking for the likeliest first token's at two temperatures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from s3ft_jax.endpoint import EndpointError
from s3ft_jax.generation.sampling import Sampling
from s3ft_jax.outside.completions import Completion
from s3ft_jax.outside.server import REFUSED, Dialect, OutsideError, Server
from s3ft_jax.responder import Ask, ResponseSettings

PROBES, PROBE_TOKENS = 4, 16
"""Questions asked, and the most tokens of an answer."""
COLD, WARM = 0.5, 2.0
"""Temperatures at which the likeliest first token's log-probability is asked for."""
SAME = 0.2
"""Nats by which it may differ, for rounding. Divided by the temperature it differs by far more."""


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a server takes and gives.

    Attributes:
      known_as: see ``Server.known_as``.
      dialect: what it may be sent.
      ids: it returns the ids it sampled.
      logprobs: it returns their log-probabilities at temperature 1.
      missing: what cannot be had, and why: ``"log-probabilities: none are returned"``.
    """

    known_as: str
    dialect: Dialect
    ids: bool
    logprobs: bool
    missing: tuple[str, ...]


def find_offer(server: Server, asks: Sequence[Ask], settings: ResponseSettings) -> Offer:
    """Ask the first of these questions.

    Args:
      server: whom.
      asks: at least one; what was given of a response is left out.
      settings: how the responses will be sampled.

    Raises:
      OutsideError: the server cannot be asked, does not serve the model, changes prompts, or has another tokenizer.
    """
    known_as = server.known_as()
    asks = [dataclasses.replace(ask, given_ids=()) for ask in asks[:PROBES]]
    short = dataclasses.replace(settings, max_new_tokens=min(PROBE_TOKENS, settings.max_new_tokens))
    dialect, made = _find_dialect(server, asks, short)
    _check_tokenizer(server, asks, made)
    ids = any(one.ids is not None for one in made)
    missing = [] if ids else ["token ids: none are returned; texts are encoded by our tokenizer, marked and checked"]
    why = _why_no_logprobs(server, asks, made, short, dialect)
    if why:
        missing.append(f"log-probabilities: {why}")
    return Offer(known_as, dialect, ids, not why, tuple(missing))


def _find_dialect(server: Server, asks: list[Ask], settings: ResponseSettings) -> tuple[Dialect, list[Completion]]:
    """The fullest dialect that is not refused, and what was replied."""
    refused: OutsideError | None = None
    sampling = settings.sampling  # of which these are no parameters of OpenAI's:
    plain = not sampling.top_k and not sampling.min_p and sampling.repetition_penalty == 1.0
    for extended in (True, False) if plain else (True,):
        for logprobs in (True, False):
            dialect = Dialect(extended, logprobs)
            try:
                return dialect, _complete(server, asks, settings, dialect)
            except OutsideError as error:
                cause = error.__cause__
                if not isinstance(cause, EndpointError) or cause.status not in REFUSED:
                    raise
                refused = refused or error
    raise refused


def _complete(server: Server, asks: list[Ask], settings: ResponseSettings, dialect: Dialect) -> list[Completion]:
    return server.complete([(ask, 0) for ask in asks], "own", settings, dialect)


def _check_tokenizer(server: Server, asks: list[Ask], made: list[Completion]) -> None:
    """Raise OutsideError if ids do not mean there what they mean here."""
    for ask, one in zip(asks, made, strict=True):
        if one.prompt_ids not in (None, ask.prompt_ids):
            raise OutsideError(
                f"{server.endpoint.address}: {ask.example_id}: the server was sent a prompt of {len(ask.prompt_ids)} "
                f"ids and read another one, of {len(one.prompt_ids)}. It must take a prompt of token ids as it is."
            )
    texts = [(server.encoder.decode_response(one.ids), one.text) for one in made if one.ids is not None]
    texts = [(ours, theirs) for ours, theirs in texts if _letters(ours)]
    # theirs may go on behind an end token of ours that the server does not know
    if texts and not any(_letters(theirs).startswith(_letters(ours)) for ours, theirs in texts):
        ours, theirs = texts[0]
        raise OutsideError(
            f"{server.endpoint.address}: the ids of the server's answer are {ours!r} with the tokenizer of the model "
            f"imported here, its text is {theirs!r}. Serve the model of model.path."
        )


def _letters(text: str) -> str:
    """Without white space and broken characters, which engines write differently."""
    return "".join(text.replace("\ufffd", "").split())


def _why_no_logprobs(
    server: Server, asks: list[Ask], made: list[Completion], settings: ResponseSettings, dialect: Dialect
) -> str:
    """Why log-probabilities cannot be used; "" if they can."""
    if not any(one.logprobs is not None for one in made):
        return "none are returned"
    if not any(one.ids is not None for one in made):
        return "those returned are of tokens whose ids are not told"
    if settings.sampling.temperature == 0 or settings.sampling == Sampling(temperature=1.0):
        return ""  # nothing divides or filters them
    likeliest = []
    for temperature in (COLD, WARM):
        first = dataclasses.replace(settings, max_new_tokens=1, sampling=Sampling(temperature))
        likeliest.append([one.likeliest for one in _complete(server, asks, first, dialect)])
    if any(value is None for values in likeliest for value in values):
        return "at which temperature they hold cannot be seen, since the likeliest token's is not returned"
    if any(abs(cold - warm) > SAME for cold, warm in zip(*likeliest, strict=True)):
        return (
            f"those returned hold at temperature {settings.sampling.temperature:g}, not at 1 (start SGLang with "
            "SGLANG_RETURN_ORIGINAL_LOGPROB=1, vLLM with --logprobs-mode=raw_logprobs)"
        )
    return ""
