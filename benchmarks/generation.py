"""Benchmark: our engine against transformers generate, same weights, same prompts, same lengths, one process.

    python -m benchmarks.generation --requests 256

In: nothing but options; a random Llama in the shape of the pocket model (about 1.1 million parameters, vocabulary
1,024), prompts of 20 to 110 tokens, responses of 10 to 70 tokens, float32, sampled at temperature 0.8. Out: one JSON
object with useful tokens per second of both (tokens a request asked for; what a static batch decodes beyond a row's
own length is waste), the ratio, and hardware and versions.

transformers runs static batches of left-padded prompts, sorted by response length to its advantage (no real job knows
these beforehand), at each of several batch sizes; its best one counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import flax
import jax
import numpy as np
import torch
import transformers
from flax import nnx

from s3ft_jax.generation.engine import Engine, Request
from s3ft_jax.generation.sampling import Sampling, request_key
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder

CONFIG = DecoderConfig(
    vocab_size=1024, num_layers=5, model_dim=128, mlp_dim=384, num_heads=4, num_kv_heads=4, head_dim=32,
    max_positions=512, tie_embeddings=True,
)  # fmt: skip


def draw_requests(count: int) -> list[Request]:
    """``count`` requests with ragged prompts and lengths from a fixed seed."""
    rng = np.random.default_rng(0)
    return [
        Request(
            tuple(rng.integers(1, CONFIG.vocab_size, rng.integers(20, 111)).tolist()),
            request_key(0, f"example/{number}", "own", 0),
            int(rng.integers(10, 71)),
            Sampling(temperature=0.8),
        )
        for number in range(count)
    ]


def build_llama(params: nnx.State) -> transformers.LlamaForCausalLM:
    """The same weights in transformers: kernels [L, in, out] -> one [out, in] per layer."""
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=CONFIG.vocab_size, hidden_size=CONFIG.model_dim, intermediate_size=CONFIG.mlp_dim,
            num_hidden_layers=CONFIG.num_layers, num_attention_heads=CONFIG.num_heads,
            num_key_value_heads=CONFIG.num_kv_heads, head_dim=CONFIG.head_dim,
            max_position_embeddings=CONFIG.max_positions, rms_norm_eps=CONFIG.norm_eps, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=None, pad_token_id=0,
        )
    )  # fmt: skip
    state = {"model.embed_tokens.weight": params["embedding"][...], "lm_head.weight": params["embedding"][...]}
    state["model.norm.weight"] = params["final_norm"]["scale"][...]
    places = {
        "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
        "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
    }  # fmt: skip
    for layer in range(CONFIG.num_layers):
        for ours, theirs in places.items():
            state[f"model.layers.{layer}.{theirs}.weight"] = params["blocks"][ours]["kernel"][...][layer].T
        for ours, theirs in {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}.items():
            state[f"model.layers.{layer}.{theirs}.weight"] = params["blocks"][ours]["scale"][...][layer]
    llama.load_state_dict({name: torch.tensor(np.array(array)) for name, array in state.items()})
    return llama.eval()


def run_transformers(llama: transformers.LlamaForCausalLM, requests: list[Request], batch: int) -> None:
    """Generate for all requests in static batches, each as long as its longest response."""
    ordered = sorted(requests, key=lambda request: request.max_new_tokens)
    for start in range(0, len(ordered), batch):
        rows = ordered[start : start + batch]
        width = max(len(request.prompt_ids) for request in rows)
        tokens, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
        for row, request in enumerate(rows):
            tokens[row, width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
            mask[row, width - len(request.prompt_ids) :] = 1
        length = rows[-1].max_new_tokens
        with torch.no_grad():
            llama.generate(tokens, attention_mask=mask, do_sample=True, temperature=0.8, top_k=0, max_new_tokens=length)


class Seconds(NamedTuple):
    """What one run took: on the clock, and of all cores together (which other programs on the machine disturb less)."""

    wall: float
    cpu: float


def timed(run: Callable[[], object], repeats: int) -> Seconds:
    """Medians of ``repeats`` runs after one that is not counted (compilation, warm-up)."""
    run()
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Seconds(statistics.median(walls), statistics.median(cpus))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Our engine against transformers generate, tokens per second.")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128], help="batch sizes tried for transformers")
    options = parser.parse_args()
    requests = draw_requests(options.requests)
    tokens = sum(request.max_new_tokens for request in requests)
    graphdef, params = nnx.split(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    engine = Engine(graphdef, CONFIG, stop_ids=(), pad_id=0, num_slots=options.slots)
    ours = timed(lambda: engine.generate(params, requests), options.repeats)
    compiles = engine.num_compiles
    llama = build_llama(params)
    theirs = {
        batch: timed(lambda batch=batch: run_transformers(llama, requests, batch), options.repeats)
        for batch in options.batches
    }
    best = min(theirs.values())
    print(
        json.dumps(
            {
                "requests": len(requests),
                "useful_tokens": tokens,
                "engine_tokens_per_s": round(tokens / ours.wall),
                "transformers_tokens_per_s": {batch: round(tokens / taken.wall) for batch, taken in theirs.items()},
                "ratio_to_best": round(best.wall / ours.wall, 2),
                "ratio_to_best_in_cpu_seconds": round(min(taken.cpu for taken in theirs.values()) / ours.cpu, 2),
                "engine_seconds": ours._asdict(),
                "programs_compiled": compiles,
                "cpus": os.cpu_count(),
                "load_average": os.getloadavg()[0],
                "machine": platform.processor() or platform.machine(),
                "device": jax.devices()[0].device_kind,
                "versions": {
                    "jax": jax.__version__,
                    "flax": flax.__version__,
                    "torch": torch.__version__,
                    "transformers": transformers.__version__,
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
