"""Real trained weights for tests: llama2.c checkpoints from S3FT_DATA_DIR -> Hugging Face folders with a tokenizer.

A pytest plugin, named in conftest.py's ``pytest_plugins``, with two session fixtures, ``stories260k_folder`` and
``babyllama105_folder``, each a path that s3ft_jax and transformers load like any other model folder. Both models were
trained on TinyStories, in which <s> (id 1) begins every story and so also marks the end of the one before it.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

# base models have no chat format: the turns are joined by spaces, as the stories' own sentences are
CHAT_TEMPLATE = "{{ bos_token }}{{ messages | map(attribute='content') | join(' ') }}"


def need(data_dir: Path, relative: str) -> Path:
    """A folder under the data directory; skips the test when it is not there."""
    folder = data_dir / relative
    if not folder.exists():
        pytest.skip(f"needs {relative} under S3FT_DATA_DIR, which is not on this machine")
    return folder


@pytest.fixture(scope="session")
def stories260k_folder(data_dir, tmp_path_factory) -> Path:
    """260,032 parameters, vocabulary of 512 with bytes for what it lacks."""
    source = need(data_dir, "weights/stories260K")
    return convert(
        source / "stories260K.bin",
        read_tokenizer_bin(source / "tok512.bin", 512),
        tmp_path_factory.mktemp("stories260K"),
    )


@pytest.fixture(scope="session")
def babyllama105_folder(data_dir, tmp_path_factory) -> Path:
    """936,448 parameters, one token per character; what the vocabulary lacks (the line break too) is <unk>."""
    source = need(data_dir, "weights/babyllama105")
    return convert(
        source / "model5000.bin", read_vocab(source / "tok105.vocab"), tmp_path_factory.mktemp("babyllama105")
    )


def read_tokenizer_bin(path: Path, vocab_size: int) -> list[tuple[str, float]]:
    """llama2.c tokenizer.bin -> (piece, score) by id. int32 longest; then float32 score, int32 length, bytes each."""
    data, place, pieces = path.read_bytes(), 4, []
    for _ in range(vocab_size):
        score, length = struct.unpack_from("<fi", data, place)
        place += 8
        pieces.append((data[place : place + length].decode().replace(" ", "▁"), score))
        place += length
    pieces[1:3] = [("<s>", 0.0), ("</s>", 0.0)]  # written with line breaks around them there
    return pieces


def read_vocab(path: Path) -> list[tuple[str, float]]:
    """The text form of a sentencepiece vocabulary: piece, tab, score on each line."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [(piece, float(score)) for piece, score in rows]


def convert(checkpoint: Path, pieces: list[tuple[str, float]], folder: Path) -> Path:
    """llama2.c checkpoint (layout in the data directory's README) and vocabulary -> a Hugging Face folder."""
    data = checkpoint.read_bytes()
    sizes = struct.unpack_from("<7i", data)
    dim, hidden, layers, heads, kv_heads, vocab, length = sizes
    save_file(read_tensors(data, sizes), folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": dim,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": length,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": [1, 2],
        "torch_dtype": "float32",
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": length,
        "chat_template": CHAT_TEMPLATE,
    }
    for name, values in {
        "config.json": config,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": [1, 2], "pad_token_id": 0},
        "tokenizer.json": tokenizer_json(pieces),
        "tokenizer_config.json": tokenizer_config,
    }.items():
        (folder / name).write_text(json.dumps(values, ensure_ascii=False, indent=1), encoding="utf-8")
    return folder


def read_tensors(data: bytes, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The tensors of a llama2.c checkpoint under their Hugging Face names, in the Hugging Face rotary order."""
    dim, hidden, layers, heads, kv_heads, vocab, length = sizes
    head_dim = dim // heads
    numbers, place = np.frombuffer(data, "<f4", offset=28), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal place
        place += int(np.prod(shape))
        return numbers[place - int(np.prod(shape)) : place].reshape(shape)

    def halves(matrix: np.ndarray, num_heads: int) -> np.ndarray:
        """[L, heads * H, in] with rotary pairs side by side -> with pairs i, i + H/2."""
        pairs = matrix.reshape(layers, num_heads, head_dim // 2, 2, dim)
        return pairs.swapaxes(2, 3).reshape(matrix.shape)

    tensors = {"model.embed_tokens.weight": take(vocab, dim)}
    stacked = {
        "input_layernorm": take(layers, dim),
        "self_attn.q_proj": halves(take(layers, dim, dim), heads),
        "self_attn.k_proj": halves(take(layers, kv_heads * head_dim, dim), kv_heads),
        "self_attn.v_proj": take(layers, kv_heads * head_dim, dim),
        "self_attn.o_proj": take(layers, dim, dim),
        "post_attention_layernorm": take(layers, dim),
        "mlp.gate_proj": take(layers, hidden, dim),
        "mlp.down_proj": take(layers, dim, hidden),
        "mlp.up_proj": take(layers, hidden, dim),
    }
    for name, values in stacked.items():
        for layer in range(layers):
            tensors[f"model.layers.{layer}.{name}.weight"] = values[layer]
    tensors["model.norm.weight"] = take(dim)
    # two tables of rotary cosines and sines, [length, H/2] each, end the file
    assert place + length * head_dim == numbers.size, "the file is longer or shorter than its header says"
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def tokenizer_json(pieces: list[tuple[str, float]]) -> dict:
    """A sentencepiece byte-pair vocabulary in the format of the tokenizers library.

    Sentencepiece joins the neighbours whose joint piece has the best score; the library joins the pair that comes first
    in a list. So every way to cut a piece in two known ones is listed, best score first.
    """
    vocab = {piece: number for number, (piece, _) in enumerate(pieces)}
    best_first = sorted((p for p in pieces[3:] if not p[0].startswith("<0x")), key=lambda piece: -piece[1])
    merges = [
        [piece[:cut], piece[cut:]]
        for piece, _ in best_first
        for cut in range(1, len(piece))
        if piece[:cut] in vocab and piece[cut:] in vocab
    ]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": k, "content": pieces[k][0], **special} for k in range(3)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": "<0x00>" in vocab,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }
