"""Plain text <-> token ids, for benchmarks that write their own prompts: no turns are added unless asked for.

In: texts. Out: ids as the tokenizer gives them, with the BOS that it adds of itself. Training and sampling put their
questions through prompts.py instead, which knows the chat template.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence

from s3ft_jax.prompts import PromptError, end_ids, load_tokenizer
from s3ft_jax.storage import fetch


class TextEncoder:
    """Encodes and decodes texts with one model's tokenizer, a chat template or not.

    Attributes:
      directory: the tokenizer's folder.
      stop_ids: every id that the tokenizer or the folder's configs name as an end.
      pad_id: fills empty places.
      prefix_id: what a text without context is conditioned on: BOS, or the end of text where there is none.
      end_text: the end of text as text; empty if there is none.
      chat_template: Jinja; empty: none.
      num_folded: conversations so far whose system turn went into the first user turn, since the template has none.
    """

    def __init__(self, directory: str | pathlib.Path):
        """Read the tokenizer of a local model folder.

        Raises:
          PromptError: no tokenizer, or one that knows neither a beginning nor an end of text.
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
        self.chat_template = self._tokenizer.chat_template or ""
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
        """A conversation as text, by the chat template.

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

        options = {"tokenize": False, "add_generation_prompt": opens_turn, "continue_final_message": not opens_turn}
        turns = list(messages)
        while True:
            try:
                return self._tokenizer.apply_chat_template(turns, **options)
            except jinja2.exceptions.TemplateError as error:
                if len(turns) < 2 or (turns[0]["role"], turns[1]["role"]) != ("system", "user"):
                    raise PromptError(f"{self.directory}: the chat template refuses these turns: {error}") from None
            joined = "\n\n".join(turn["content"].strip() for turn in turns[:2])
            turns = [{"role": "user", "content": joined}, *turns[2:]]
            self.num_folded += 1
