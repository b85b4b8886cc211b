"""Benchmark: forward and backward of a Llama shaped like SmolLM-135M, ours against transformers (torch), on the CPU.

    python -m benchmarks.train_speed [--rows 2] [--length 512] [--repeat 5] [--remat none]

Same random weights, same dense tokens (no padding), float32, loss over every token but the first, gradients of every
parameter, one process, turn about. Prints one JSON object: tokens per second of both (median of --repeat), the ratio,
both losses, the largest difference of the gradients of the embedding, hardware and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
import torch
import transformers
from flax import nnx

from benchmarks.smollm import CONFIG
from s3ft_jax.losses import next_token_loss
from s3ft_jax.models import families, weights
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.kernels import Attention
from s3ft_jax.stages.launch import prepare_jax


def make_ours(folder: str, tokens: np.ndarray, remat: str, attention: str, chunk_tokens: int) -> Callable:
    """() -> (loss, gradient of the embedding), after it has all been computed."""
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        config, weight_map = families.read_config(json.load(file))
    params = weights.load(folder, config, weight_map)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape).astype(np.int32)
    ones = np.ones(tokens.shape, np.int32)

    @jax.jit
    def run(params: nnx.State) -> tuple[jax.Array, nnx.State]:
        def loss(params: nnx.State) -> jax.Array:
            decoder = nnx.merge(graphdef, params)
            hidden, _ = decoder.hidden(tokens, positions, ones, remat=remat, attention=Attention(attention))
            sums = next_token_loss(decoder.unembed, hidden, tokens, ones.astype(np.float32), chunk_tokens=chunk_tokens)
            return sums.objective / sums.weight

        return jax.value_and_grad(loss)(params)

    def measured() -> tuple[float, np.ndarray]:
        loss, gradient = jax.block_until_ready(run(params))
        return float(loss), np.asarray(gradient["embedding"].get_value())

    return measured


def make_theirs(model: transformers.LlamaForCausalLM, tokens: np.ndarray) -> Callable:
    """The same with torch."""
    ids = torch.tensor(tokens, dtype=torch.long)

    def measured() -> tuple[float, np.ndarray]:
        model.zero_grad(set_to_none=True)
        loss = model(ids, labels=ids).loss
        loss.backward()
        return loss.item(), model.get_input_embeddings().weight.grad.numpy()

    return measured


def main() -> None:
    """Measure turn about and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 2), ("length", 512), ("repeat", 5), ("layers", 30), ("chunk_tokens", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--remat", default="none")
    parser.add_argument("--attention", default="xla")
    arguments = parser.parse_args()
    prepare_jax()
    torch.manual_seed(0)
    sizes = CONFIG | {"num_hidden_layers": arguments.layers}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)).train()
    tokens = np.random.default_rng(0).integers(0, CONFIG["vocab_size"], (arguments.rows, arguments.length), np.int32)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        ours = make_ours(folder, tokens, arguments.remat, arguments.attention, arguments.chunk_tokens)
    theirs = make_theirs(model, tokens)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    results = {"ours": ours(), "theirs": theirs()}  # compiled and warm
    for _ in range(arguments.repeat):
        for name, run in (("ours", ours), ("theirs", theirs)):
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    speed = {name: tokens.size / statistics.median(taken) for name, taken in seconds.items()}
    gradients = [results[name][1] for name in ("ours", "theirs")]
    facts = {
        "tokens_per_second": {name: round(value, 1) for name, value in speed.items()},
        "ratio": round(speed["ours"] / speed["theirs"], 3),
        "loss": {name: result[0] for name, result in results.items()},
        "gradient_difference": float(np.max(np.abs(gradients[0] - gradients[1])) / np.max(np.abs(gradients[1]))),
        "settings": vars(arguments),
        "seconds": {name: [round(one, 3) for one in taken] for name, taken in seconds.items()},
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "versions": {"jax": jax.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
