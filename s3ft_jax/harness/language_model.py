"""lm-evaluation-harness's model class over our engine and scorer.

What a text becomes follows its Hugging Face backend (lm_eval/models/huggingface.py of 0.4.13), so that numbers can be
compared: a context and a continuation are encoded together and cut apart where the context alone ends, spaces at the
end of a context go over to the continuation, and what is longer than the model reads loses its beginning. That is
counted.

    context  "The sky is "   continuation "blue"
    encoded  The  sky  is | _blue        the space belongs to the continuation
    scored                   _blue

Of an answer that begins with a thought (thoughts.py) only what stands behind the thought is returned, and a task's stop
texts end nothing inside it; lm-eval's own backend needs to be told the mark that ends thoughts.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from s3ft_jax import thoughts
from s3ft_jax.generation.engine import Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.harness.settings import HarnessError
from s3ft_jax.progress import progress
from s3ft_jax.responder import Model, StopStrings, engine_of, scorer_of
from s3ft_jax.texts import TextEncoder

KNOWN = {"until", "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_gen_toks"}
"""What tasks may say of generation."""


@dataclasses.dataclass(frozen=True)
class Ends:
    """Finds out where an answer says one of a task's stop texts, or writes a special token that is one.

    ``<|im_end|>`` and its like are no part of the decoded text, so that they are looked for among the ids. A thought
    says what it likes.

    Attributes:
      ids: of the stop texts that are special tokens.
      texts: all of them.
    """

    ids: frozenset[int]
    texts: StopStrings

    @classmethod
    def of(cls, texts: Sequence[str], text: TextEncoder, *, begun: bool = False) -> Ends | None:
        """Of a task's stop texts; None if it has none. ``begun``: see ``thoughts.split``."""
        special = frozenset(found for found in map(text.special_id, texts) if found is not None)

        def answer(ids: Sequence[int]) -> str:
            return thoughts.split(text.decode(ids), begun=begun)[1]

        return cls(special, StopStrings(tuple(texts), answer)) if texts else None

    def __call__(self, ids: Sequence[int], before: int) -> int | None:
        """See ``Request.over``."""
        places = (number for number in range(before + 1, len(ids) + 1) if int(ids[number - 1]) in self.ids)
        found = [place for place in (next(places, None), self.texts(ids, before)) if place is not None]
        return min(found, default=None)


class LanguageModel(LM):
    """One resident model that answers all tasks.

    Args:
      model: parameters and architecture; its encoder is not asked.
      text: the model's tokenizer.
      engine: shape and precision of sampling.
      batch_tokens: tokens per row when continuations are scored.
      max_new_tokens: of an answer whose task sets no limit; never more than half of what the model reads.
      seed: of answers that are sampled.

    Attributes:
      counts: requests whose beginning was cut off (``cut_contexts``), answers that ran into their limit
        (``cut_answers``), answers that are nothing but a thought without an end (``unfinished_thoughts``), of all
        ``scored`` and ``answered``, whose continuations and answers have so many ``tokens``; conversations whose system
        turn went into the user's (``system_folded``), where lm-eval's own backend drops it.
    """

    def __init__(
        self,
        model: Model,
        text: TextEncoder,
        engine: EngineSettings,
        *,
        batch_tokens: int = 2048,
        max_new_tokens: int = 512,
        seed: int = 0,
    ):
        super().__init__()
        self._model, self._text, self._engine = model, text, engine
        self._batch_tokens, self._seed = batch_tokens, seed
        self._max_new_tokens = min(max_new_tokens, self.max_length // 2)
        self.counts: collections.Counter[str] = collections.Counter()

    # ------------------------------------------------------------ what lm-eval asks about the model

    @property
    def max_length(self) -> int:
        """Tokens that the model reads."""
        return self._model.config.max_positions

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's cache of requests."""
        return str(self._text.directory).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The template that is written into the results."""
        return self._text.chat_template if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Turns -> text."""
        before = self._text.num_folded
        text = self._text.render(chat_history, opens_turn=add_generation_prompt)
        self.counts["system_folded"] += self._text.num_folded - before
        return text

    # ------------------------------------------------------------ likelihood

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation after its context, in nats, and whether greedy decoding writes it."""
        pairs = [_with_spaces(*request.args) for request in requests]
        contexts = list(dict.fromkeys(context for context, _ in pairs if context))
        context_ids = dict(zip(contexts, self._text.encode(contexts), strict=True))
        whole_ids = self._text.encode([context + continuation for context, continuation in pairs])
        split = []
        for request, (context, continuation), ids in zip(requests, pairs, whole_ids, strict=True):
            if context:
                known, said = context_ids[context], ids[len(context_ids[context]) :]
            else:
                known, said = self._without_context(continuation)
            if not known or not said:
                raise HarnessError(
                    f"{_name(request)}: after {context[-40:]!r} the continuation {continuation!r} adds no token; it "
                    "cannot be scored with this tokenizer. Leave the task out."
                )
            split.append((known, said))
        return self._score(split, "score")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-probability of whole texts in nats, in windows of what the model reads; each token is scored once."""
        windows, owners = [], []
        for number, (request, ids) in enumerate(
            zip(requests, self._text.encode([request.args[0] for request in requests]), strict=True)
        ):
            if not ids:
                raise HarnessError(f"{_name(request)}: an empty text cannot be scored")
            rolling = utils.get_rolling_token_windows(
                token_list=ids, prefix_token=self._text.prefix_id, max_seq_len=self.max_length, context_len=1
            )
            for window in map(utils.make_disjoint_window, rolling):
                windows.append(window)
                owners.append(number)
        sums = [0.0] * len(requests)
        for owner, (value, _) in zip(owners, self._score(windows, "score texts"), strict=True):
            sums[owner] += value
        return sums

    def _without_context(self, continuation: str) -> tuple[list[int], list[int]]:
        ids = self._text.encode_inside(continuation)
        prefix = self._text.prefix_id
        return (ids[:1], ids[1:]) if ids[:1] == [prefix] else ([prefix], ids)

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]], title: str) -> list[tuple[float, bool]]:
        kept = []
        for known, said in pairs:
            room = self.max_length + 1 - len(said)  # the last token is fed to nobody
            if room < 1:
                raise HarnessError(
                    f"a continuation of {len(said)} tokens is longer than the {self.max_length} that the model reads"
                )
            self.counts["cut_contexts"] += len(known) > room
            kept.append((known[-room:], said))
        self.counts["scored"] += len(kept)
        self.counts["tokens"] += sum(len(said) for _, said in kept)
        with progress(title, len(kept)) as ticker:
            scored = scorer_of(self._model, self._batch_tokens).score(
                self._model.params, [known for known, _ in kept], [said for _, said in kept], ticker.from_here()
            )
        return [(one.total, one.is_greedy) for one in scored]

    # ------------------------------------------------------------ generation

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answers up to the first of their stop texts, which is left out; without the thoughts before them."""
        contexts = self._text.encode([request.args[0] for request in requests])
        asked, stops = [], []
        for number, (request, ids) in enumerate(zip(requests, contexts, strict=True)):
            one, texts = self._request(number, request, ids)
            asked.append(one)
            stops.append(texts)
        with progress("answer", len(asked)) as ticker:
            sampled = engine_of(self._model, self._engine).generate(
                self._model.params, asked, on_progress=ticker.from_here()
            )
        self.counts["answered"] += len(asked)
        self.counts["tokens"] += sum(len(one.response_ids) for one in sampled)
        self.counts["cut_answers"] += sum(not one.ended for one in sampled)
        answers = []
        for one, texts, request in zip(sampled, stops, requests, strict=True):
            begun = thoughts.is_begun(request.args[0])
            thought, answer = thoughts.split(self._text.decode(one.response_ids), begun=begun)
            self.counts["unfinished_thoughts"] += thoughts.is_unfinished(thought)
            answers.append(postprocess_generated_text(answer, list(texts), None))
        return answers

    def _request(self, number: int, request: Instance, ids: list[int]) -> tuple[Request, tuple[str, ...]]:
        """What the engine is asked, and the texts that end the answer."""
        # lm-eval would make a number of a temperature that a task leaves open
        given = {name: value for name, value in request.args[1].items() if (name, value) != ("temperature", None)}
        settings = normalize_gen_kwargs(given, self._max_new_tokens)
        unknown = sorted(set(settings) - KNOWN)
        if unknown:
            raise HarnessError(f"{_name(request)}: generation settings {unknown} are not known; known: {sorted(KNOWN)}")
        limit = settings["max_gen_toks"]
        room = self.max_length - limit
        if room < 1:
            raise HarnessError(
                f"{_name(request)}: {limit} new tokens leave no room for the question in the {self.max_length} that "
                "the model reads. Leave the task out."
            )
        self.counts["cut_contexts"] += len(ids) > room
        texts = tuple(filter(None, handle_stop_sequences(settings["until"], self._text.end_text or None)))
        asked = Request(
            prompt_ids=tuple(ids[-room:]) or (self._text.prefix_id,),
            key=request_key(self._seed, _name(request), "own", number),
            max_new_tokens=limit,
            sampling=_sampling(settings),
            over=Ends.of(texts, self._text, begun=thoughts.is_begun(request.args[0])),
        )
        return asked, texts


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    """A task's generation settings as ours, as transformers takes them: greedy unless it asks for sampling, whose
    temperature is 1 unless it says so; a repetition penalty counts for both."""
    given = {name: value for name, value in settings.items() if value is not None}
    penalty = {name: given[name] for name in ("repetition_penalty",) if name in given}
    if not given["do_sample"]:
        return Sampling(temperature=0.0, **penalty)
    limits = {name: given[name] for name in ("top_k", "top_p", "min_p") if name in given}
    return Sampling(temperature=given.get("temperature", 1.0), **limits, **penalty)


def _with_spaces(context: str, continuation: str) -> tuple[str, str]:
    """Spaces at a context's end go over to the continuation, as tokenizers join them to the word after them."""
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _name(request: Instance) -> str:
    """Which item of which task."""
    return f"{request.task_name}/{request.doc_id}"
