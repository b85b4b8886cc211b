"""Room: pocket tasks. The pocket model's tokenizer: byte-level BPE, digits one by one, a chat template.

A conversation is written ``<u> question<a> answer<e>``; ``<pad>`` fills rows. The spaces make a word at the beginning
of a turn the same token as the word anywhere else, so that copying it is one skill and not one for every word. In:
texts. Out: a folder that ``transformers.AutoTokenizer`` reads, whose ``decode(encode(text))`` is the text.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable

PAD, USER, ASSISTANT, END = "<pad>", "<u>", "<a>", "<e>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{- '<u> ' + message['content'] -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- '<a> ' + message['content'] + '<e>' -}}"
    "{%- else -%}{{- raise_exception('the pocket model knows only user and assistant turns') -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<a>' -}}{%- endif -%}"
)


def train_tokenizer(texts: Iterable[str], directory: str, vocab_size: int = 1024) -> None:
    """Learn the merges and write ``tokenizer.json`` and ``tokenizer_config.json``; the same texts give the same files.

    Args:
      texts: what to learn from; about 40,000 pretraining texts are enough.
      directory: made if absent.
      vocab_size: tokens in all, with the 4 control tokens and the 256 bytes.

    Raises:
      ValueError: the vocabulary is too small to hold every byte, or the texts cannot fill it.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    controls = [AddedToken(text, special=True, normalized=False) for text in (PAD, USER, ASSISTANT, END)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = len(controls) + len(alphabet)
    if vocab_size < least:
        raise ValueError(f"vocab_size is {vocab_size}; bytes and control tokens alone are {least}. Ask for more.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=controls, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(
            f"the texts give {tokenizer.get_vocab_size()} tokens, {vocab_size} were asked for; give more texts"
        )
    folder = pathlib.Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": END,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
