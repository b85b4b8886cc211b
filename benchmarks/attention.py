"""How far logits move when attention is computed another way: every implementation against xla in float32.

    python -m benchmarks.attention [--model FOLDER] [--rows 2] [--length 512]

Packed rows of random ids through the shipped pocket model (or FOLDER). Prints a Markdown table: largest difference of a
logit as a share of the largest logit, mean divergence KL(reference | other) in nats, share of tokens whose likeliest
next token is the same. splash is run in interpret mode where there is no TPU, cudnn only where there is an NVIDIA GPU.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from s3ft_jax import hf_folder
from s3ft_jax.models import families, weights
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.kernels import IMPLEMENTATIONS, Attention
from s3ft_jax.stages.launch import pocket_model_folder, prepare_jax


def packed_rows(rows: int, length: int, vocab_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random ids, positions and segments [rows, length]: three segments a row, of one half and twice a quarter."""
    tokens = np.random.default_rng(0).integers(0, vocab_size, (rows, length), np.int32)
    lengths = [length // 2, length // 4, length - length // 2 - length // 4]
    positions = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    segments = np.repeat(np.arange(1, 4, dtype=np.int32), lengths)
    return tokens, *(np.broadcast_to(row, tokens.shape) for row in (positions, segments))


def logits_of(folder: str, arrays: tuple[np.ndarray, ...], attention: Attention, dtype: str) -> np.ndarray:
    """[rows, length, V] float32."""
    source = hf_folder.read(folder)
    config, weight_map = families.read_config(source.config, folder)
    params = weights.load(source.path, config, weight_map, dtype=jnp.float32)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))

    @jax.jit
    def run(params: nnx.State) -> jax.Array:
        decoder = nnx.merge(graphdef, params)
        hidden, _ = decoder.hidden(*arrays, activation_dtype=jnp.dtype(dtype), attention=attention)
        return decoder.unembed(hidden).astype(jnp.float32)

    return np.asarray(run(params))


def compare(found: np.ndarray, expected: np.ndarray) -> tuple[float, float, float]:
    """Largest difference as a share of the largest logit; mean KL in nats; share of equal likeliest tokens."""
    ours, theirs = (jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)) for logits in (expected, found))
    divergence = jnp.sum(jnp.exp(ours) * (ours - theirs), axis=-1)
    same = np.mean(np.argmax(found, -1) == np.argmax(expected, -1))
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected)), float(jnp.mean(divergence)), float(same)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(pocket_model_folder()), help="Hugging Face folder")
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    arguments = parser.parse_args()
    prepare_jax()
    platform = jax.devices()[0].platform
    vocab_size = families.read_config(hf_folder.read(arguments.model).config, arguments.model)[0].vocab_size
    arrays = packed_rows(arguments.rows, arguments.length, vocab_size)
    expected = logits_of(arguments.model, arrays, Attention("xla"), "float32")
    print(
        f"{platform}, jax {jax.__version__}\n\n| attention | activations | largest difference | KL, nats | same token |"
    )
    print("| --- | --- | --- | --- | --- |")
    for dtype in ("float32", "bfloat16"):
        for name in IMPLEMENTATIONS[1:]:
            if name == "cudnn" and (platform != "gpu" or dtype == "float32"):
                continue
            attention = Attention(name, interpret=name == "splash" and platform != "tpu")
            largest, divergence, same = compare(logits_of(arguments.model, arrays, attention, dtype), expected)
            print(f"| {name} | {dtype} | {largest:.1e} | {divergence:.1e} | {same:.1%} |")


if __name__ == "__main__":
    main()
