"""Benchmark: training steps against peers, and what our own loop and checkpoints cost beside the bare step.

    python -m benchmarks.training ragged [--rows 8]  [--repeat 5]   GSM8K rows, SmolLM-135M's shape, against torch
    python -m benchmarks.training tunix  [--repeat 5]               a 5M Qwen3, against google-tunix's trainer
    python -m benchmarks.training loop   [--repeat 5]               the loop, over the bare jitted step
    python -m benchmarks.training saving [--repeat 5]               a checkpoint begun, in steps of SmolLM-135M's shape

Whole optimizer steps (forward, backward, clipping, AdamW), float32, on the CPU's cores, one process, turn about; prints
one JSON object with every time measured. ``ragged`` needs torch and transformers (the extra bench) and GSM8K and a
tokenizer below S3FT_DATA_DIR: both train on the same examples, ours packed into rows, theirs as batches usually are,
padded to the longest; trained tokens are the answers'. ``tunix`` needs google-tunix==0.1.7, which pins other versions
than ours: best in a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx

from benchmarks.smollm import CONFIG
from s3ft_jax import batches, training, tuning
from s3ft_jax.models import families
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.records import Selection
from s3ft_jax.stages import method_settings
from s3ft_jax.stages.launch import prepare_jax

DATA = pathlib.Path(os.environ.get("S3FT_DATA_DIR", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))
SMOLLM = CONFIG | {"model_type": "llama", "hidden_act": "silu", "head_dim": 64}
# the Qwen3 of ../research: 4 layers, width 256, 4 heads over 2, 4,096 tokens
TINY = {"num_layers": 4, "vocab_size": 4096, "embed_dim": 256, "hidden_dim": 768, "num_heads": 4, "head_dim": 64}
RATE = np.float32(1e-5)


def in_turn(runs: dict[str, Callable[[], None]], repeat: int) -> dict[str, list[float]]:
    """Seconds of each, turn about, after one run of each that is not counted."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


class Ours:
    """A model of ours from nothing, with its step."""

    def __init__(self, config: DecoderConfig):
        self.decoder = Decoder(config, rngs=nnx.Rngs(0))
        self.parts, self.optimizer = training.take_apart(self.decoder, "full"), training.Optimizer()
        self.state = training.start(self.parts, self.optimizer)
        options = {  # as the stage sets them on a CPU
            "chunk_tokens": method_settings.LOGITS // config.vocab_size,
            "unroll": config.num_layers <= method_settings.UNROLLED_LAYERS,
        }
        self.step = training.make_step(self.parts.graphdef, self.optimizer, **options)

    def __call__(self, batch: batches.Batch) -> None:
        """One step, to its end."""
        self.state, metrics = self.step(self.state, self.parts.frozen, batch, 0, RATE)
        metrics["loss"].block_until_ready()


def dense(rows: int, length: int, vocab: int) -> batches.Batch:
    """[1, rows, length] of random tokens, none padded, all trained but the first of a row."""
    tokens = np.random.default_rng(0).integers(1, vocab, (1, rows, length)).astype(np.int32)
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape)
    weights = np.ones(tokens.shape, np.float32)
    weights[..., 0] = 0
    return batches.Batch(tokens, positions, np.ones_like(tokens), weights)


def gsm8k(count: int) -> list[Selection]:
    """The first questions and answers, tokenised as SmolLM2 does, with an end token."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(DATA / "tokenizers" / "smollm2" / "tokenizer.json"))
    lines = (DATA / "datasets" / "gsm8k" / "train.jsonl").read_text().splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    ids = [[tokenizer.encode(row[name]).ids for name in ("question", "answer")] for row in rows]
    return [
        Selection(f"gsm8k/{number}", "sft", "gold", None, "", tuple(prompt), (*answer, 0), "")
        for number, (prompt, answer) in enumerate(ids)
    ]


def torch_step() -> Callable[[np.ndarray, np.ndarray], None]:
    """(ids, labels) [B, T], padded -> one step of transformers' Llama, as its Trainer takes it."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(RATE), fused=True)

    def step(ids: np.ndarray, labels: np.ndarray) -> None:
        tokens = torch.tensor(ids, dtype=torch.long)
        mask = torch.tensor(labels != PADDING, dtype=torch.long)
        targets = torch.tensor(np.where(labels >= 0, labels, -100), dtype=torch.long)
        optimizer.zero_grad(set_to_none=True)
        model(tokens, attention_mask=mask, labels=targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


PROMPT, PADDING = -1, -2
"""Labels of ``padded`` that are not trained; transformers is told -100 for both."""


def padded(selections: list[Selection]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and labels [B, longest]."""
    longest = max(len(one.prompt_ids) + len(one.response_ids) for one in selections)
    ids, labels = np.zeros((len(selections), longest), int), np.full((len(selections), longest), PADDING)
    for row, one in enumerate(selections):
        middle, end = len(one.prompt_ids), len(one.prompt_ids) + len(one.response_ids)
        ids[row, :end] = one.prompt_ids + one.response_ids
        labels[row, :middle], labels[row, middle:end] = PROMPT, one.response_ids
    return ids, labels


def ragged(arguments: argparse.Namespace) -> dict[str, Any]:
    """GSM8K's rows, and equal dense tokens, against torch."""
    selections = gsm8k(arguments.rows * (arguments.repeat + 1))
    steps = [selections[i : i + arguments.rows] for i in range(0, len(selections), arguments.rows)]
    length = max(len(one.prompt_ids) + len(one.response_ids) for one in selections)
    size = {"row_length": -(-length // 64) * 64, "num_steps": 1, "seed": 0, "examples_per_step": arguments.rows}
    plans = [batches.plan_batches(step, **size) for step in steps]
    most = max(plan.rows_per_step for plan in plans)
    packed = [
        training.split_micro(batches.build_batch(plan, 0, step), 1, most)
        for plan, step in zip(plans, steps, strict=True)
    ]
    ours, theirs = Ours(families.read_config(SMOLLM)[0]), torch_step()
    even = dense(2, 512, CONFIG["vocab_size"])
    one, other = itertools.cycle(packed), itertools.cycle([padded(step) for step in steps])
    times = in_turn(
        {
            "ours, dense": lambda: ours(even),
            "theirs, dense": lambda: theirs(even.tokens[0], even.tokens[0]),
            "ours, packed": lambda: ours(next(one)),
            "theirs, padded": lambda: theirs(*next(other)),
        },
        arguments.repeat,
    )
    trained = [sum(len(one.response_ids) for one in step) for step in steps[1 : arguments.repeat + 1]]
    real = sum(len(one.prompt_ids) + len(one.response_ids) for step in steps[1 : arguments.repeat + 1] for one in step)
    speed = {
        name: statistics.median(count / taken for count, taken in zip(trained, times[name], strict=True))
        for name in ("ours, packed", "theirs, padded")
    }
    return {
        "trained_tokens_per_second": {name: round(value, 1) for name, value in speed.items()},
        "ratio on ragged rows": round(speed["ours, packed"] / speed["theirs, padded"], 3),
        "ratio on equal dense tokens": round(middle(times, "theirs, dense") / middle(times, "ours, dense"), 3),
        "filled": {
            "ours, packed": round(real / (arguments.repeat * packed[0].tokens.size), 3),
            "theirs, padded": round(real / sum(padded(step)[0].size for step in steps[1 : arguments.repeat + 1]), 3),
        },
        "seconds": times,
    }


def middle(times: dict[str, list[float]], name: str) -> float:
    """Median seconds."""
    return statistics.median(times[name])


def tunix(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps of 8 x 256 tokens, ``PER_TURN`` a turn, against google-tunix's trainer; both by their own loops."""
    import optax
    from tunix.models.qwen3 import model as qwen3
    from tunix.sft import peft_trainer

    shape = qwen3.ModelConfig(**TINY, num_kv_heads=2, norm_eps=1e-6, rope_theta=10000, use_tied_embedding=True)
    batch = dense(8, 256, TINY["vocab_size"])
    tokens, positions = batch.tokens[0], batch.positions[0]
    causal = np.broadcast_to(np.tril(np.ones((256, 256), bool)), (8, 256, 256))

    def inputs(given: Any) -> dict[str, Any]:
        shown = {"input_tokens": given.input_tokens, "input_mask": given.input_mask}
        return shown | {"positions": positions, "attention_mask": causal}

    config = peft_trainer.TrainingConfig(eval_every_n_steps=10**9, max_steps=10**9, pbar_description=None)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(float(RATE)))
    trainer = peft_trainer.PeftTrainer(qwen3.Qwen3(shape, rngs=nnx.Rngs(0)), optimizer, config).with_gen_model_input_fn(
        inputs
    )
    turn = itertools.count(1)
    given = peft_trainer.TrainingInput(input_tokens=tokens, input_mask=batch.weights[0])
    ours = Ours(
        DecoderConfig(
            vocab_size=TINY["vocab_size"], num_layers=4, model_dim=256, mlp_dim=768, num_heads=4, num_kv_heads=2,
            head_dim=64, max_positions=256, norm_eps=1e-6, qk_norm="head", tie_embeddings=True,
        )
    )  # fmt: skip
    times = in_turn(
        {
            "ours": lambda: loop_over(ours, itertools.repeat(batch, PER_TURN)),
            # a trainer that has taken steps passes over as many batches before it goes on
            "theirs": lambda: trainer.train([given] * (PER_TURN * next(turn))),
        },
        arguments.repeat,
    )
    count = PER_TURN * tokens.size
    return {
        "tokens_per_second": {name: round(count / middle(times, name), 1) for name in times},
        "ratio": round(middle(times, "theirs") / middle(times, "ours"), 3),
        "seconds": times,
    }


PER_TURN = 10
"""Steps of one turn of ``tunix`` and ``loop``."""


def loop_over(ours: Ours, given: Iterator[batches.Batch]) -> None:
    """``training.fit``, metrics read and handed over."""
    ours.state = training.fit(
        ours.state, ours.parts.frozen, ours.step, given, training.Schedule(float(RATE), 10**6), seed=0,
        on_steps=lambda rows: None,
    )  # fmt: skip
    jax.block_until_ready(ours.state)


def loop(arguments: argparse.Namespace) -> dict[str, Any]:
    """The loop with batches built from selections, against the bare step on a batch that is there."""
    config = DecoderConfig(4096, 4, 256, 768, 4, 2, 64, 256, tie_embeddings=True)
    rng = np.random.default_rng(0)
    selections = [
        Selection(
            f"t/{n}", "sft", "gold", None, "", tuple(rng.integers(1, 4096, 60)), tuple(rng.integers(1, 4096, 68)), ""
        )
        for n in range(256)
    ]
    plan = batches.plan_batches(selections, row_length=256, num_steps=PER_TURN, seed=0, examples_per_step=16)
    ours, whole = Ours(config), training.split_micro(batches.build_batch(plan, 0, selections), 1)

    def made() -> Iterator[batches.Batch]:
        for number in range(PER_TURN):
            yield jax.device_put(training.split_micro(batches.build_batch(plan, number, selections), 1))

    def bare() -> None:
        for _ in range(PER_TURN):
            ours.state, _ = ours.step(ours.state, ours.parts.frozen, whole, 0, RATE)
        jax.block_until_ready(ours.state)

    times = in_turn({"loop": lambda: loop_over(ours, made()), "bare": bare}, arguments.repeat)
    return {"overhead": round(middle(times, "loop") / middle(times, "bare") - 1, 4), "seconds": times}


def saving(arguments: argparse.Namespace) -> dict[str, Any]:
    """How long a checkpoint keeps the loop from its next step, and what the steps beside its writing lose."""
    ours, even = Ours(families.read_config(SMOLLM)[0]), dense(2, 512, CONFIG["vocab_size"])
    ours(even)
    times: dict[str, list[float]] = {"step": [], "save": [], "step beside the writing": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        tuning.Saver(epath.Path(folder), ours.decoder, tuning.Saving(1, keep=1)) as saver,
    ):
        for number in range(arguments.repeat):
            for name, run in (
                ("step", lambda: ours(even)),
                ("save", lambda number=number: saver.save(number, ours.state)),
                ("step beside the writing", lambda: ours(even)),
            ):
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
            saver.wait()
    step = middle(times, "step")
    return {
        "stall in steps": round(middle(times, "save") / step, 3),
        "lost beside the writing, in steps": round(middle(times, "step beside the writing") / step - 1, 3),
        "seconds": times,
    }


def main() -> None:
    """Measure one thing and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measured = {"ragged": ragged, "tunix": tunix, "loop": loop, "saving": saving}
    parser.add_argument("what", choices=measured)
    parser.add_argument("--rows", type=int, default=8, help="examples of a step")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    prepare_jax()
    found = measured[arguments.what](arguments)
    found["seconds"] = {name: [round(one, 3) for one in taken] for name, taken in found["seconds"].items()}
    print(json.dumps(found | {"settings": vars(arguments), "cores": os.cpu_count(), "jax": jax.__version__}, indent=1))


if __name__ == "__main__":
    main()
