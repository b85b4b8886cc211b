"""Responses sampled by a server, as our own engine would give them.

In: asks. Out: ``Response`` records. Ids are those the server sampled; where it returned none, or not all, they are its
text encoded by our tokenizer, which the response says (``Response.encoded``). What is not known is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from s3ft_jax.outside.completions import Completion
from s3ft_jax.outside.offer import Offer, find_offer
from s3ft_jax.outside.server import Server
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Encoded, Origin, Response
from s3ft_jax.responder import Ask, ResponseSettings


class OutsideEngine:
    """Samples by asking a server.

    Attributes:
      server: whom.
      offer: what it gives; None before it was first asked.
    """

    def __init__(self, server: Server):
        self.server = server
        self.offer: Offer | None = None

    def open(self, asks: Sequence[Ask], settings: ResponseSettings) -> Offer:
        """Find out what the server gives, once; see ``find_offer``."""
        if self.offer is None:
            self.offer = find_offer(self.server, asks, settings)
        return self.offer

    def answer(
        self,
        asks: Sequence[Ask],
        origin: Origin,
        settings: ResponseSettings,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Response]:
        """Sample ``settings.num_responses`` responses to each ask, in their order; see ``responder.answer``.

        Raises:
          OutsideError: see ``find_offer`` and ``Server.complete``.
        """
        if not asks:
            return []
        offer = self.open(asks, settings)
        numbers = range(settings.first_index, settings.first_index + settings.num_responses)
        asked = [(ask, index) for ask in asks for index in numbers]
        made = self.server.complete(asked, origin, settings, offer.dialect, on_progress)
        return [
            _respond(self.server.encoder, ask, origin, index, completion, offer.logprobs)
            for (ask, index), completion in zip(asked, made, strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """What the manifest says of the server; what it gives only if it was asked."""
        told = {"server": self.server.endpoint.address, "model": self.server.model}
        if self.offer is None:
            return told
        return told | {"known_as": self.offer.known_as, "missing": list(self.offer.missing)}


def _respond(
    encoder: PromptEncoder, ask: Ask, origin: Origin, index: int, made: Completion, with_logprob: bool
) -> Response:
    ids = _up_to_end(made.ids, encoder.stop_ids)
    ended = bool(ids) and ids[-1] in encoder.stop_ids
    logprob, encoded, text = None, "", ""
    if ids is None or (made.ended and not ended):
        ids, encoded = encode_behind(encoder, ask.prompt_ids + ask.given_ids, made.text)
        ids, ended = ids + encoder.stop_ids[:1] * made.ended, made.ended
        text = encoder.decode_response(ask.given_ids) + made.text
    elif with_logprob and made.logprobs is not None and len(made.logprobs) == len(made.ids):
        logprob = float(sum(made.logprobs[: len(ids)]))
    ids = ask.given_ids + ids
    thought, text = encoder.split_thought(text if encoded == "changed" else encoder.decode_response(ids))
    return Response(
        example_id=ask.example_id,
        origin=origin,
        index=index,
        text=text,
        prompt_ids=ask.prompt_ids,
        response_ids=ids,
        ended=ended,
        logprob=logprob,
        given=len(ask.given_ids),
        encoded=encoded,
        thought=thought,
    )


def _up_to_end(ids: tuple[int, ...] | None, stop_ids: tuple[int, ...]) -> tuple[int, ...] | None:
    """Ids up to the first end token of ours, which a server may not take for one."""
    ends = [place for place, token in enumerate(ids or ()) if token in stop_ids]
    return ids[: ends[0] + 1] if ends else ids


def encode_behind(encoder: PromptEncoder, before: tuple[int, ...], text: str) -> tuple[tuple[int, ...], Encoded]:
    """Ids of a text that stands behind other ids, and whether they decode to it again.

    A tokenizer may write the first word otherwise when it stands alone. So the whole is encoded and the ids before are
    taken off; where it does not begin with them, the text is encoded alone.
    """
    start = encoder.decode_text(before)
    whole = encoder.encode_text(start + text)
    ids = whole[len(before) :] if whole[: len(before)] == before else encoder.encode_text(text)
    same = encoder.decode_text(ids) == text or encoder.decode_text(before + ids) == start + text
    return ids, "same" if same and not set(ids) & set(encoder.stop_ids) else "changed"
