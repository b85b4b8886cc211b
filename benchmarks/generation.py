"""Benchmark: our engine against peers, same weights or shape, same prompts, same lengths, one process, turn about.

    python -m benchmarks.generation torch --shape smollm [--requests 96]   SmolLM-135M's shape, against transformers
    python -m benchmarks.generation torch --shape pocket [--requests 512]  the pocket model's shape
    python -m benchmarks.generation tunix [--requests 256]                 a 5M Qwen3, against google-tunix's sampler
    python -m benchmarks.generation lengths [--requests 256]               short work, 128 or 4,096 tokens allowed

Prompts and responses are as long as GSM8K's questions and answers in SmolLM2's tokens (random ids; S3FT_DATA_DIR),
sampled at temperature 0.8, float32, on the CPU's cores. Counted are useful tokens per second: those a request asked
for. Prints one JSON object with every time measured and what our engine compiled in a second call with other settings.

The peers run static batches sorted by prompt length, each as long as its longest response, at several batch sizes of
which the best counts. transformers gets the batch's own longest response as its limit, which no real job knows before;
tunix, which compiles for every limit, gets it rounded up to 64. ``tunix`` needs google-tunix==0.1.7, which pins other
versions than ours: best in a virtual environment of its own. ``torch`` needs the extra bench.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx

from benchmarks.smollm import CONFIG
from benchmarks.training import TINY, gsm8k, in_turn
from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.generation.settings import SLOTS_ON_CPU
from s3ft_jax.generation.side_by_side import MOST, SideBySide, num_cores
from s3ft_jax.models import families, weights
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.stages.launch import prepare_jax

SHAPES = {
    "smollm": CONFIG,
    "pocket": CONFIG | {
        "vocab_size": 1024, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 5,
        "num_attention_heads": 4, "num_key_value_heads": 4,
    },
}  # fmt: skip
TEMPERATURE = 0.8


def draw_requests(count: int, vocab_size: int) -> list[Request]:
    """Random ids, as many as the first questions have, and their answers' lengths."""
    rng = np.random.default_rng(0)
    return [
        Request(
            tuple(rng.integers(1, vocab_size, len(one.prompt_ids)).tolist()),
            request_key(0, one.example_id, "own", 0),
            len(one.response_ids),
            Sampling(temperature=TEMPERATURE),
        )
        for one in gsm8k(count)
    ]


def static_batches(requests: Sequence[Request], size: int) -> list[list[Request]]:
    """What a user of static batches would run: prompts of similar length together."""
    ordered = sorted(requests, key=lambda request: len(request.prompt_ids))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def second_call(calls: SideBySide, params: nnx.State, requests: Sequence[Request]) -> int:
    """Programs that other settings and a part-filled batch compile, after a first call."""
    before = calls.engine.num_compiles
    other = Sampling(temperature=1.1, top_k=40, top_p=0.9, min_p=0.01)
    calls.generate(params, [dataclasses.replace(one, sampling=other) for one in requests[:-5]])
    return calls.engine.num_compiles - before


def against_torch(arguments: argparse.Namespace) -> dict[str, Any]:
    """transformers' Llama of one shape, random weights, and ours with the same."""
    import torch
    import transformers

    torch.manual_seed(0)
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPES[arguments.shape])).eval()
    llama.generation_config.eos_token_id = None
    with tempfile.TemporaryDirectory() as folder:
        llama.save_pretrained(folder)
        config, weight_map = families.read_config(llama.config.to_dict(), "config.json")
        params = weights.load(epath.Path(folder), config, weight_map)
    requests = draw_requests(arguments.requests, config.vocab_size)

    def run(size: int) -> None:
        for rows in static_batches(requests, size):
            width = max(len(request.prompt_ids) for request in rows)
            tokens = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros(len(rows), width, dtype=torch.long)
            for row, request in enumerate(rows):
                tokens[row, width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
                mask[row, width - len(request.prompt_ids) :] = 1
            limit = max(request.max_new_tokens for request in rows)
            with torch.no_grad():
                llama.generate(
                    tokens, attention_mask=mask, do_sample=True, temperature=TEMPERATURE, top_k=0,
                    max_new_tokens=limit, pad_token_id=0,
                )  # fmt: skip

    return compare(arguments, config, params, requests, run)


def against_tunix(arguments: argparse.Namespace) -> dict[str, Any]:
    """tunix's own Qwen3 with its sampler, and ours of the same shape."""
    from tunix.generate import sampler
    from tunix.models.qwen3 import model as qwen3

    shape = qwen3.ModelConfig(**TINY, num_kv_heads=2, norm_eps=1e-6, rope_theta=10000, use_tied_embedding=True)
    config = DecoderConfig(
        vocab_size=TINY["vocab_size"], num_layers=4, model_dim=256, mlp_dim=768, num_heads=4, num_kv_heads=2,
        head_dim=64, max_positions=2048, norm_eps=1e-6, qk_norm="head", tie_embeddings=True,
    )  # fmt: skip
    requests = draw_requests(arguments.requests, config.vocab_size)
    prompt = 64 * -(-max(len(request.prompt_ids) for request in requests) // 64)
    longest = 64 * -(-max(request.max_new_tokens for request in requests) // 64)
    theirs = sampler.Sampler(
        qwen3.Qwen3(shape, rngs=nnx.Rngs(0)), Ids(), sampler.CacheConfig(prompt + longest, 4, 2, TINY["head_dim"])
    )

    def run(size: int) -> None:
        for rows in static_batches(requests, size):
            texts = [" ".join(map(str, request.prompt_ids)) for request in rows]
            texts += texts[:1] * (size - len(texts))  # a part-filled batch would be compiled anew
            limit = 64 * -(-max(request.max_new_tokens for request in rows) // 64)
            theirs(texts, limit, max_prompt_length=prompt, temperature=TEMPERATURE, top_p=1.0, eos_tokens=[Ids.NEVER])

    params = nnx.split(Decoder(config, rngs=nnx.Rngs(0)))[1]
    return compare(arguments, config, params, requests, run)


class Ids:
    """A tokenizer whose text is the ids."""

    NEVER = TINY["vocab_size"] - 1

    def encode(self, text: str) -> list[int]:
        """ids of "17 4 9"."""
        return list(map(int, text.split()))

    def decode(self, ids: Sequence[int]) -> str:
        """ "17 4 9" of ids."""
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        """None is put in front."""
        return 0

    def eos_id(self) -> int:
        """Hardly ever drawn."""
        return self.NEVER

    def pad_id(self) -> int:
        """Never in a prompt."""
        return 0


def compare(
    arguments: argparse.Namespace,
    config: DecoderConfig,
    params: nnx.State,
    requests: Sequence[Request],
    run: Callable[[int], None],
) -> dict[str, Any]:
    """Both, turn about; ``run`` is the peer at a batch size."""
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    engine = Engine(graphdef, config, stop_ids=(), pad_id=0, num_slots=arguments.slots)
    calls = SideBySide(engine, min(MOST, num_cores()))  # as responder.answer calls it on a CPU
    runs: dict[str, Callable[[], object]] = {"ours": lambda: calls.generate(params, requests)}
    runs |= {f"theirs, batch {size}": lambda size=size: run(size) for size in arguments.batches}
    times = in_turn(runs, arguments.repeat)
    useful = sum(request.max_new_tokens for request in requests)
    middles = {name: statistics.median(taken) for name, taken in times.items()}
    best = min(value for name, value in middles.items() if name != "ours")
    return {
        "useful_tokens": useful,
        "prompt_tokens": sum(len(request.prompt_ids) for request in requests),
        "tokens_per_second": {name: round(useful / value, 1) for name, value in middles.items()},
        "ratio to the best": round(best / middles["ours"], 2),
        "programs compiled": engine.num_compiles,
        "compiled by a second call with other settings": second_call(calls, params, requests),
        "seconds": times,
    }


def lengths(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same short responses where 128 and where 4,096 tokens are allowed: one token in 40 ends a response."""
    config = DecoderConfig(1024, 5, 128, 384, 4, 4, 32, 8192, tie_embeddings=True)
    graphdef, params = nnx.split(Decoder(config, rngs=nnx.Rngs(0)))
    drawn = draw_requests(arguments.requests, config.vocab_size)
    stops = tuple(range(0, config.vocab_size, 40))
    runs, counted = {}, {}
    for allowed in (128, 4096):
        engine = Engine(graphdef, config, stop_ids=stops, pad_id=0, num_slots=arguments.slots)
        requests = [dataclasses.replace(one, max_new_tokens=allowed) for one in drawn]
        calls = SideBySide(engine, min(MOST, num_cores()))
        made = calls.generate(params, requests)
        counted[f"tokens, {allowed} allowed"] = sum(len(one.response_ids) for one in made)
        runs[f"{allowed} allowed"] = lambda calls=calls, requests=requests: calls.generate(params, requests)
    times = in_turn(runs, arguments.repeat)
    speed = {n: counted[f"tokens, {n}"] / statistics.median(taken) for n, taken in times.items()}
    return counted | {
        "tokens_per_second": {name: round(value) for name, value in speed.items()},
        "slower by": round(speed["128 allowed"] / speed["4096 allowed"] - 1, 3),
        "seconds": times,
    }


def main() -> None:
    """Measure one thing and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured = {"torch": against_torch, "tunix": against_tunix, "lengths": lengths}
    parser.add_argument("what", choices=measured)
    parser.add_argument("--shape", choices=SHAPES, default="pocket")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--slots", type=int, default=SLOTS_ON_CPU)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128], help="batch sizes tried for the peer")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    prepare_jax()
    found = measured[arguments.what](arguments)
    found["seconds"] = {name: [round(one, 3) for one in taken] for name, taken in found["seconds"].items()}
    print(json.dumps(found | {"settings": vars(arguments), "cores": os.cpu_count(), "jax": jax.__version__}, indent=1))


if __name__ == "__main__":
    main()
