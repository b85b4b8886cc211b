"""Benchmark: choices scored by likelihood, ours against transformers (torch) as lm-eval's Hugging Face backend runs it.

    python -m benchmarks.scoring [--questions 40] [--shared 0] [--repeat 3] [--batches 8 32]

Random weights in the shape of SmolLM-135M, float32, the same in both. Questions as long as HellaSwag's: the validation
set has prompts of 49 tokens and choices of 29 on the average under SmolLM2's tokenizer (every tenth question counted),
and questions with longer prompts have longer choices; ids are random. Four choices each. ``--shared`` tokens stand in
front of every question, as a page of examples does.

The peer (lm_eval/models/huggingface.py, ``_loglikelihood_tokens``): every pair on its own, longest first, in batches
padded on the right to their longest, log-softmax over the logits of all positions. The batch size that suits it best
counts. One process, turn about. Prints one JSON object: seconds on the clock and of all cores, both ratios, tokens fed,
the largest difference of a choice's log-probability, hardware and versions.
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
from s3ft_jax.models import families, weights
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.scoring import Scorer
from s3ft_jax.stages.launch import prepare_jax

Pairs = list[tuple[list[int], list[int]]]


def draw_pairs(num_questions: int, num_shared: int) -> Pairs:
    """Prompt and choice of every pair, the four of a question one after the other, from a fixed seed."""
    rng = np.random.default_rng(0)
    shared = rng.integers(1, CONFIG["vocab_size"], num_shared).tolist()
    pairs = []
    for _ in range(num_questions):
        prompt_length = int(np.clip(rng.normal(49, 18), 13, 92))
        prompt = shared + rng.integers(1, CONFIG["vocab_size"], prompt_length).tolist()
        usual = 29 + 0.55 * (prompt_length - 49)
        for length in np.clip(rng.normal(usual, 7, 4), 3, 75).astype(int):
            pairs.append((prompt, rng.integers(1, CONFIG["vocab_size"], length).tolist()))
    return pairs


def run_peer(model: transformers.LlamaForCausalLM, pairs: Pairs, batch: int) -> list[tuple[float, bool]]:
    """Sum of log-probabilities and whether greedy, per pair in the order given."""
    order = sorted(range(len(pairs)), key=lambda number: -len(pairs[number][0]) - len(pairs[number][1]))
    found: dict[int, tuple[float, bool]] = {}
    for start in range(0, len(order), batch):
        numbers = order[start : start + batch]
        fed = [torch.tensor((pairs[number][0] + pairs[number][1])[:-1]) for number in numbers]
        with torch.no_grad():
            logits = model(torch.nn.utils.rnn.pad_sequence(fed, batch_first=True)).logits
            logprobs = torch.nn.functional.log_softmax(logits, dim=-1)
        for number, row, tokens in zip(numbers, logprobs, fed, strict=True):
            wanted = torch.tensor(pairs[number][1])
            own = row[len(tokens) - len(wanted) : len(tokens)]
            is_greedy = bool((own.argmax(dim=-1) == wanted).all())
            found[number] = float(own.gather(-1, wanted[:, None]).sum()), is_greedy
    return [found[number] for number in range(len(pairs))]


def make_ours(folder: str, batch_tokens: int) -> tuple[Scorer, nnx.State]:
    """A scorer for the weights in a Hugging Face folder, and they."""
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        config, weight_map = families.read_config(json.load(file))
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))
    return Scorer(graphdef, config, pad_id=0, batch_tokens=batch_tokens), weights.load(folder, config, weight_map)


def turn_about(runs: dict[str, Callable[[], object]], repeat: int) -> tuple[dict, dict]:
    """Medians of seconds on the clock and of all cores, after one turn that is not counted."""
    walls, cpus = ({name: [] for name in runs} for _ in range(2))
    for turn in range(repeat + 1):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if turn:
                walls[name].append(time.perf_counter() - wall)
                cpus[name].append(time.process_time() - cpu)
    return tuple({name: statistics.median(taken) for name, taken in each.items()} for each in (walls, cpus))


def main() -> None:
    """Measure turn about and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("questions", 40), ("shared", 0), ("repeat", 3), ("layers", 30), ("batch_tokens", 2048)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32], help="batch sizes tried for transformers")
    arguments = parser.parse_args()
    prepare_jax()
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**CONFIG | {"num_hidden_layers": arguments.layers})
    ).eval()
    pairs = draw_pairs(arguments.questions, arguments.shared)
    prompts, responses = ([pair[part] for pair in pairs] for part in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        scorer, params = make_ours(folder, arguments.batch_tokens)
    found = scorer.score(params, prompts, responses)
    tokens = {"alone": sum(len(prompt) + len(response) - 1 for prompt, response in pairs), "ours": scorer.num_tokens}
    expected = run_peer(model, pairs, arguments.batches[0])
    runs = {"ours": lambda: scorer.score(params, prompts, responses)}
    runs |= {f"theirs, {n} a batch": lambda n=n: run_peer(model, pairs, n) for n in arguments.batches}
    walls, cpus = turn_about(runs, arguments.repeat)
    facts = {
        "tokens_fed": tokens,
        "seconds": {name: round(taken, 2) for name, taken in walls.items()},
        "cpu_seconds": {name: round(taken, 2) for name, taken in cpus.items()},
        "ratio_to_best": round(min(list(walls.values())[1:]) / walls["ours"], 2),
        "ratio_to_best_in_cpu_seconds": round(min(list(cpus.values())[1:]) / cpus["ours"], 2),
        "largest_difference_nats": max(abs(one.total - total) for one, (total, _) in zip(found, expected, strict=True)),
        "same_greedy": all(one.is_greedy == greedy for one, (_, greedy) in zip(found, expected, strict=True)),
        "programs_compiled": scorer.num_compiles,
        "settings": vars(arguments),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "machine": platform.processor() or platform.machine(),
        "versions": {"jax": jax.__version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
