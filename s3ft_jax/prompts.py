"""The prompt room: chat turns to token ids and sampled ids back to text. The only file that touches a tokenizer.

In: an example's messages (and, for gold only, its answer as text). Out: tuples of token ids. A prompt is rendered by
the model's own chat template exactly once, to text and then to ids; the ids that are sampled from are the ids that are
trained on. Only gold is ever encoded as an answer; what the model itself wrote keeps the ids it sampled.

With a ChatML template (a *piece* is one token), for the question ``2+2?`` and the gold answer ``It is 4``::

    text      <|im_start|> user  \\n  2+2?  <|im_end|>  \\n  <|im_start|> assistant  \\n  It   is   4    <|im_end|>  \\n
    prompt    <|im_start|> user  \\n  2+2?  <|im_end|>  \\n  <|im_start|> assistant  \\n
    response                                                                         It   is   4    <|im_end|>
    weights   0            0     0   0     0           0   0            0          0   1    1    1    1

The prompt ends where the assistant's answer begins. The response is the answer *and its end token*, both trained; what
the template writes after the end token (here a line break) is left out, for the model never has to produce it. Gold is
cut out of the rendered whole conversation, because a tokenizer may join pieces differently when the answer stands
alone. Where the whole does not begin with the prompt's ids, the answer is encoded alone and the end token is added;
``PromptEncoder.counts`` says how often each way was taken.

Where a template has the model think first (``<think>``), ``model.template_args`` turns that off; see chat_templates.py,
which also fixes the date that templates write.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from s3ft_jax import chat_templates, storage, thoughts
from s3ft_jax.chat_templates import PromptError
from s3ft_jax.records import Message

ROLES = ("system", "user", "assistant")

# What AutoTokenizer reads, and the two files that may name end tokens.
_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
    *("vocab.json", "merges.txt", "spiece.model", "chat_template.jinja", "generation_config.json", "config.json"),
)
_QUESTION, _ANSWER, _SYSTEM = "Qprobe one", "Aprobe two", "Sprobe three"
_PROBE = "Two words, 3 lines:\n  x = 10\n\ncaf\u00e9"
# Pieces that only ever stand for one token: <|im_end|>, <start_of_turn>, </s>. (Mistral v0.2's [INST] is plain text.)
_CONTROL_SHAPE = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?(?:start_of_turn|end_of_turn|bos|eos|s|pad)>")
# Line breaks before the first word, or indents: the layout of a template file that was meant to be joined up.
_LAYOUT = re.compile(r"\A\s*\n\s*\S{0,20}|\n {4,}\S{0,20}")


class PromptEncoder:
    """Renders and encodes prompts and gold answers, and decodes responses, with one model's tokenizer.

    Attributes:
      stop_ids: every id that ends a response, the chat template's end of turn first.
      pad_id: id that fills empty places; may equal a stop id, since padding has segment 0 and no weight.
      vocab_size: one more than the largest id the tokenizer can give. A model's embedding may have more rows.
      template: Jinja, its variables given their values.
      begins_thought: the prompt ends inside a thought, which the model only has to end.
    """

    stop_ids: tuple[int, ...]
    pad_id: int
    vocab_size: int
    template: str
    begins_thought: bool

    def __init__(
        self,
        directory: str | pathlib.Path,
        chat_template: str | None = None,
        template_args: Mapping[str, Any] | None = None,
    ):
        """Read the tokenizer of a local model folder; nothing is ever downloaded.

        Args:
          directory: here or in a bucket, with ``tokenizer.json`` (or what transformers can convert to it), and as a
            rule ``tokenizer_config.json``, ``chat_template.jinja`` and ``generation_config.json``.
          chat_template: Jinja text, or the path of a file that holds it; takes the place of the folder's own.
          template_args: see ``chat_templates.with_args``; None: as the template is.

        Raises:
          PromptError: no tokenizer; no chat template; args that cannot be; the template drops turns, writes two BOS
            tokens, uses control pieces the tokenizer does not know, does not open the assistant's turn, or ends none.
        """
        self._directory = storage.fetch(directory)
        self._tokenizer = load_tokenizer(self._directory)
        before = chat_templates.template_of(self._tokenizer)
        if chat_template is not None:
            self._tokenizer.chat_template = chat_templates.read_template(chat_template)
        self._template_source = "folder" if chat_template is None else "argument"
        if not self._tokenizer.chat_template:
            raise PromptError(
                f"{directory}: this tokenizer has no chat template, so it is unknown how a question is put to "
                "the model. Set `model.chat_template` to a Jinja file, or use an instruction-tuned model."
            )
        chat_templates.give_args(self._tokenizer, template_args or {})
        self.template = chat_templates.template_of(self._tokenizer)
        self._is_other_template = self.template != before
        vocabulary = self._tokenizer.get_vocab()
        self.vocab_size = max(vocabulary.values()) + 1
        added = self._tokenizer.added_tokens_decoder
        self._special = {index: token.content for index, token in added.items() if token.special and token.content}
        self._control = _any_of(self._special.values())
        self._counts: collections.Counter[str] = collections.Counter()
        self._fold_system = False
        self._end_id, self._lead = self._probe_template(vocabulary)
        self._fold_system = not self._shows_system_turn()
        self.stop_ids = tuple(dict.fromkeys((self._end_id, *end_ids(self._directory, self._tokenizer))))
        self._stop_text = _any_of(self._special[index] for index in self.stop_ids if index in self._special)
        pad = self._tokenizer.pad_token_id
        self.pad_id = int(self._end_id if pad is None else pad)

    @property
    def counts(self) -> Mapping[str, int]:
        """What happened so far, for reports. Keys, each present once it has happened:

        ``gold_by_template``: gold answers cut out of the rendered conversation. ``gold_alone``: encoded alone, because
        the conversation's ids did not begin with the prompt's. ``end_token_added``: cut out of the conversation, but
        the template wrote no end token. ``gold_changed``: gold answers that decode to another text, because the
        tokenizer loses spaces or characters. ``system_folded``: prompts whose system turn went into the first user
        turn. ``control_text``: prompts or gold answers whose own text holds a control piece such as ``<s>``.
        ``unknown_pieces``: unknown tokens in either.
        """
        return dict(self._counts)

    def encode_prompt(self, messages: Sequence[Message], where: str = "prompt") -> tuple[int, ...]:
        """Ids of the conversation up to the place where the assistant's answer begins.

        Args:
          messages: the turns, the last one the user's.
          where: an example's id or a file and row, for error messages.

        Raises:
          PromptError: no turns, an unknown role, an empty turn, the last turn not the user's, a turn order the template
            refuses, or two BOS tokens.
        """
        _check_messages(messages, where)
        turns = self._fold(messages)
        if self._fold_system and any(message["role"] == "system" for message in messages):
            self._counts["system_folded"] += 1
        if self._control.search("\n".join(turn["content"] for turn in turns)):
            self._counts["control_text"] += 1
        ids = self._prompt_ids(turns, where)
        self._count_unknown(ids)
        return ids

    def encode_response(self, messages: Sequence[Message], text: str, where: str = "response") -> tuple[int, ...]:
        """Ids of a gold answer and its end token, as the template writes them after ``encode_prompt(messages)``.

        Raises:
          PromptError: the text is empty or holds an end token of its own, or the messages are not a prompt.
        """
        _check_messages(messages, where)
        if not text.strip():
            raise PromptError(f"{where}: the gold answer is empty, so nothing could be trained; drop the row.")
        inner = self._stop_text.search(text)
        if inner:
            raise PromptError(
                f"{where}: the gold answer contains {inner.group()!r}, which ends the model's turn, so the rest "
                "would be cut off. Remove it from the data."
            )
        if self._control.search(text):
            self._counts["control_text"] += 1
        turns = self._fold(messages)
        prompt = self._prompt_ids(turns, where)
        whole = self.encode_text(self._render([*turns, {"role": "assistant", "content": text}], False, where))
        if whole[: len(prompt)] == prompt:
            ids = whole[len(prompt) :]
            self._counts["gold_by_template"] += 1
            if self._end_id not in ids:
                self._counts["end_token_added"] += 1
        else:
            # behind a prompt that began a thought, gold has to end it
            ids = self.encode_text(thoughts.CLOSED + text if self.begins_thought else text)
            self._counts["gold_alone"] += 1
        if self._end_id in ids:
            ids = ids[: ids.index(self._end_id) + 1]
        else:
            ids = (*ids, self._end_id)
        self._count_unknown(ids)
        answer = self.split_thought(self.decode_response(ids))[1].strip()
        if answer.removeprefix(self._lead.strip()).strip() != thoughts.split(text)[1].strip():
            self._counts["gold_changed"] += 1
        return ids

    def decode_response(self, ids: Iterable[int]) -> str:
        """Text of a response up to its first end token, padding left out. Other control pieces stay visible."""
        kept: list[int] = []
        for index in ids:
            if index in self.stop_ids:
                break
            if index != self.pad_id:
                kept.append(int(index))
        return self.decode_text(kept)

    def split_thought(self, text: str) -> tuple[str, str]:
        """The thought and the answer of a decoded response; see ``thoughts.split``."""
        return thoughts.split(text, begun=self.begins_thought)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Ids of a text as it stands. The template writes BOS where the model wants one; none is added here."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode_text(self, ids: Iterable[int]) -> str:
        """Text of ids as they stand, control pieces by their names; a part of a character as ``\ufffd``."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def describe(self) -> dict[str, Any]:
        """Where the ids come from, for manifests and reports: hashes (sha256, hex), sizes and the template's habits."""
        file = self._directory / "tokenizer.json"
        vocabulary = json.dumps(self._tokenizer.get_vocab(), sort_keys=True).encode()
        return {
            "tokenizer_class": type(self._tokenizer).__name__,
            "tokenizer_sha256": hashlib.sha256(file.read_bytes() if file.exists() else vocabulary).hexdigest(),
            "chat_template_sha256": hashlib.sha256(self.template.encode()).hexdigest(),
            "chat_template_from": self._template_source,
            "vocab_size": self.vocab_size,
            "stop_ids": list(self.stop_ids),
            "stop_pieces": self._tokenizer.convert_ids_to_tokens(list(self.stop_ids)),
            "pad_id": self.pad_id,
            "system_turn": "folded into the first user turn" if self._fold_system else "kept",
            "answer_lead": self._lead,
            "keeps_text": self.decode_response(self.encode_text(_PROBE)).strip() == _PROBE,
        }

    def token_text(self, index: int) -> str:
        """One token as text, for showing; see ``decode_text``."""
        return self.decode_text([index])

    def save(self, directory: str | pathlib.Path) -> None:
        """Write a folder that gives an encoder of the same ids: the tokenizer's files as they are, and the template."""
        target = pathlib.Path(directory)
        target.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            if (self._directory / name).exists():
                shutil.copyfile(self._directory / name, target / name)
        self.keep_template(target)

    def keep_template(self, directory: str | pathlib.Path) -> None:
        """Write the template into a folder of the tokenizer's files, if it is not the one that these files hold."""
        if self._is_other_template:
            # A file of this name goes before the template in tokenizer_config.json.
            (pathlib.Path(directory) / "chat_template.jinja").write_text(self.template, encoding="utf-8")

    def _render(self, turns: Sequence[Message], open_answer: bool, where: str) -> str:
        import jinja2

        args = chat_templates.describe_args(self.template)
        try:
            return chat_templates.render(self._tokenizer, turns, add_generation_prompt=open_answer)
        except jinja2.UndefinedError as error:
            raise PromptError(
                f"{where}: the chat template needs something this tokenizer does not name: {error}{args}. "
                "Name it in tokenizer_config.json, or give another template in `model.chat_template`."
            ) from None
        except jinja2.TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise PromptError(
                f"{where}: the chat template refuses the turns ({roles}): {error}{args}. Change the order of the "
                "turns in the data, or give another template in `model.chat_template`."
            ) from None

    def _prompt_ids(self, turns: Sequence[Message], where: str) -> tuple[int, ...]:
        ids = self.encode_text(self._render(turns, True, where))
        bos = self._tokenizer.bos_token_id
        if bos is not None and ids[:2] == (bos, bos):
            raise PromptError(
                f"{where}: the prompt begins with two BOS tokens (id {bos}). The chat template or the text writes one "
                "too many; remove it there (`model.chat_template`)."
            )
        return ids

    def _fold(self, messages: Sequence[Message]) -> list[Message]:
        """For a template without system turns: put the system text before the first user turn, a blank line between."""
        turns = [dict(message) for message in messages]
        if not self._fold_system or turns[0]["role"] != "system":
            return turns
        system, first, *rest = turns
        return [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    def _count_unknown(self, ids: Iterable[int]) -> None:
        unknown = self._tokenizer.unk_token_id
        # Some tokenizers name the end token as the unknown one (GPT-2); that is no unknown piece.
        if unknown is not None and unknown not in self.stop_ids:
            number = sum(1 for index in ids if index == unknown)
            if number:
                self._counts["unknown_pieces"] += number

    def _probe_template(self, vocabulary: Mapping[str, int]) -> tuple[int, str]:
        """Put a made-up conversation through the template; returns the end token and what stands before an answer."""
        where = f"{self._directory}: chat template"
        question = [{"role": "user", "content": _QUESTION}]
        prompt = self._render(question, True, where)
        whole = self._render([*question, {"role": "assistant", "content": _ANSWER}], False, where)
        if _QUESTION not in prompt or _ANSWER not in whole:
            raise PromptError(f"{where}: it leaves out a turn's text. Give another template in `model.chat_template`.")
        layout = _LAYOUT.search(prompt.replace(_QUESTION, ""))
        if layout:
            raise PromptError(
                f"{where}: its own layout gets into the prompt: it writes {layout.group()!r}. Take line breaks and "
                "indents out of the Jinja file, or trim them with `{%-` and `-%}`."
            )
        for piece in sorted(set(_CONTROL_SHAPE.findall(prompt + whole))):
            if piece not in vocabulary:
                raise PromptError(
                    f"{where}: it writes {piece!r}, which this tokenizer does not know as one token (it makes "
                    f"{len(self.encode_text(piece))} of it). Template and tokenizer belong to different models; give "
                    "the right template in `model.chat_template`."
                )
        self._prompt_ids(question, where)
        self.begins_thought = thoughts.is_begun(prompt)
        before, after = whole.split(_ANSWER, 1)
        lead = before[len(prompt) :] if before.startswith(prompt) else ""
        if set(self._control.findall(lead)) - {"<think>", "</think>"}:
            raise PromptError(
                f"{where}: it does not open the assistant's turn: it ignores `add_generation_prompt`, so the model "
                f"would be asked without {lead!r}. Give a template that uses it in `model.chat_template`."
            )
        special = chat_templates.first_special(self._tokenizer, after)
        end = self._tokenizer.eos_token_id if special is None else special
        if end is None:
            raise PromptError(
                f"{where}: it writes no end token after an answer and the tokenizer names no eos_token, so a trained "
                "model would never stop. Set eos_token in tokenizer_config.json, or `model.chat_template`."
            )
        return int(end), lead

    def _shows_system_turn(self) -> bool:
        """False if the template refuses a system turn or, worse, leaves it out without a word."""
        turns = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _QUESTION}]
        try:
            return _SYSTEM in self._render(turns, True, "system turn")
        except PromptError:
            return False


def end_ids(directory: pathlib.Path, tokenizer: Any) -> list[int]:
    """Ids that the tokenizer and the folder's two config files name as ends of a text."""
    found = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    for name in ("generation_config.json", "config.json"):
        path = directory / name
        value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.exists() else None
        found.extend(value if isinstance(value, list) else [] if value is None else [value])
    return [int(index) for index in found]


def load_tokenizer(directory: pathlib.Path) -> Any:
    """AutoTokenizer, unless it loses text that the folder's own ``tokenizer.json`` keeps."""
    if not directory.is_dir():
        raise PromptError(f"{directory}: no such folder. It should hold the model's tokenizer; run `s3ft import`.")
    import tokenizers

    # transformers advises at import to install torch, which is not needed here
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        cause = str(error).strip().splitlines()[0]
        raise PromptError(
            f"{directory}: transformers finds no tokenizer it can read here ({cause}). Put the model's tokenizer.json "
            "and tokenizer_config.json into the folder."
        ) from None
    file = directory / "tokenizer.json"
    if file.exists():
        # transformers 5 rebuilds some classes (LlamaTokenizer) with rules of its own. Where both keep the text it is
        # followed, so that ids equal those of other tools; a byte-level vocabulary would lose its spaces there.
        raw = tokenizers.Tokenizer.from_file(str(file))
        kept = raw.decode(raw.encode(_PROBE, add_special_tokens=False).ids, skip_special_tokens=False)
        ids = tokenizer.encode(_PROBE, add_special_tokens=False)
        if kept.strip() == _PROBE and tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() != _PROBE:
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(str(directory), local_files_only=True)
    return tokenizer


def _any_of(pieces: Iterable[str]) -> re.Pattern[str]:
    """Pattern that finds any of the pieces; finds nothing if there are none."""
    longest_first = sorted(set(pieces), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) if longest_first else r"(?!)")


def _check_messages(messages: Sequence[Message], where: str) -> None:
    if not messages:
        raise PromptError(f"{where}: no chat turns. A prompt needs at least one user turn.")
    for number, message in enumerate(messages, 1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            raise PromptError(f"{where}: turn {number} has role {role!r}; it must be one of {', '.join(ROLES)}.")
        if not isinstance(content, str) or not content.strip():
            raise PromptError(f"{where}: turn {number} ({role}) has no text. Give it one or drop the row.")
        if role == "system" and number > 1:
            raise PromptError(f"{where}: turn {number} is a system turn; only the first turn may be one.")
    if messages[-1]["role"] != "user":
        raise PromptError(f"{where}: the last turn is {messages[-1]['role']}'s; a prompt ends with the user's turn.")
