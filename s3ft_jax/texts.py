"""Plain text <-> token ids, for benchmarks that write their own prompts: no turns are added unless asked for.

In: texts. Out: ids as the tokenizer gives them, with the BOS that it adds of itself. Training and sampling put their
questions through prompts.py instead, which knows the chat template.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from s3ft_jax import chat_templates
from s3ft_jax.chat_templates import PromptError
from s3ft_jax.prompts import end_ids, load_tokenizer
from s3ft_jax.storage import fetch


class TextEncoder:
    """Encodes and decodes texts with one model's tokenizer, a chat template or not.

    Attributes:
      directory: the tokenizer's folder.
      stop_ids: every id that the tokenizer or the folder's configs name as an end; once a conversation was rendered,
        the chat template's end of turn, too.
      pad_id: fills empty places.
      prefix_id: what a text without context is conditioned on: BOS, or the end of text where there is none.
      end_text: the end of text as text; empty if there is none.
      chat_template: Jinja; empty: none.
      num_folded: conversations so far whose system turn went into the first user turn, since the template has none.
    """

    def __init__(self, directory: str | pathlib.Path, template_args: Mapping[str, Any] | None = None):
        """Read the tokenizer of a local model folder.

        Args:
          directory: the folder, here or in a bucket.
          template_args: see ``chat_templates.with_args``; None: as the template is.

        Raises:
          PromptError: no tokenizer, or one that knows neither a beginning nor an end of text; or args that cannot be.
        """
        self.directory = fetch(directory)
        self._tokenizer = load_tokenizer(self.directory)
        ends = end_ids(self.directory, self._tokenizer)
        begins = [index for index in (self._tokenizer.bos_token_id,) if index is not None]
        if not begins + ends:
            raise PromptError(f"{directory}: this tokenizer names neither a BOS nor an EOS token; benchmarks need one.")
        self.stop_ids = tuple(dict.fromkeys(ends))
        self.prefix_id = int((begins + ends)[0])
        pad = self._tokenizer.pad_token_id
        self.pad_id = int(self.prefix_id if pad is None else pad)
        self.end_text = self._tokenizer.eos_token or ""
        if template_args and chat_templates.template_of(self._tokenizer):
            chat_templates.give_args(self._tokenizer, template_args)
        self.chat_template = chat_templates.template_of(self._tokenizer)
        self._knows_turn_end = False
        added = self._tokenizer.added_tokens_decoder
        self._special = {token.content: int(index) for index, token in added.items() if token.special}
        self.num_folded = 0
        self._prefix_text = self._tokenizer.decode([self.prefix_id])

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of whole inputs: with what the tokenizer puts before a text, unless the text brings it along."""
        marked = [bool(self._prefix_text) and text.startswith(self._prefix_text) for text in texts]
        encoded: list[list[int]] = [[] for _ in texts]
        for is_marked in (False, True):
            places = [place for place, mark in enumerate(marked) if mark == is_marked]
            if places:
                some = self._tokenizer(
                    [texts[place] for place in places], add_special_tokens=not is_marked, verbose=False
                )
                for place, ids in zip(places, some["input_ids"], strict=True):
                    encoded[place] = ids
        return encoded

    def encode_inside(self, text: str) -> list[int]:
        """Ids of a text that something stands before."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Iterable[int]) -> str:
        """Text without control pieces."""
        return self._tokenizer.decode([int(index) for index in ids], skip_special_tokens=True)

    def render(self, messages: Sequence[Mapping[str, str]], *, opens_turn: bool) -> str:
        """A conversation as text, by the chat template, on the same date as ``PromptEncoder``.

        Templates that write the date are told 26 July 2024 (``chat_templates.TEMPLATE_DATE``), so that a benchmark asks
        as training did, and the same tomorrow; lm-eval's Hugging Face backend writes today's.

        Args:
          messages: turns with role and content.
          opens_turn: the assistant's turn is opened at the end; else the last turn is one of its own, to be gone on
            with.

        Raises:
          PromptError: there is no chat template, or it refuses these turns.
        """
        if not self.chat_template:
            raise PromptError(f"{self.directory}: no chat template, but benchmark.chat asks for one. Set it to False.")
        import jinja2

        self._add_turn_end()
        options = {"add_generation_prompt": opens_turn, "continue_final_message": not opens_turn}
        turns = list(messages)
        while True:
            try:
                return chat_templates.render(self._tokenizer, turns, **options)
            except jinja2.exceptions.TemplateError as error:
                if len(turns) < 2 or (turns[0]["role"], turns[1]["role"]) != ("system", "user"):
                    raise PromptError(
                        f"{self.directory}: the chat template refuses these turns: {error}"
                        f"{chat_templates.describe_args(self.chat_template)}"
                    ) from None
            joined = "\n\n".join(turn["content"].strip() for turn in turns[:2])
            turns = [{"role": "user", "content": joined}, *turns[2:]]
            self.num_folded += 1

    def special_id(self, text: str) -> int | None:
        """The id of a text that is one special token, which ``decode`` leaves out; None for any other text."""
        return self._special.get(text)

    def _add_turn_end(self) -> None:
        """Once: put the chat template's end of turn into ``stop_ids``, first; some models name another end of text."""
        if not self._knows_turn_end:
            self._knows_turn_end = True
            end = chat_templates.turn_end(self._tokenizer)
            self.stop_ids = tuple(dict.fromkeys((*([] if end is None else [end]), *self.stop_ids)))
