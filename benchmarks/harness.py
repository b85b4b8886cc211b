"""Benchmark: benchmarks through lm-eval, our model class against lm-eval's Hugging Face backend, same weights and CPU.

    python -m benchmarks.harness [--task hellaswag] [--items 1000] [--model pocket] [--batches 16 64] [--repeat 3]

Data from S3FT_DATA_DIR. Times lm-eval's whole evaluation of the task: requests built, encoded, scored, metrics. Ours is
warmed up by a first call, which is reported too; theirs needs none. Prints one JSON object; metrics must agree.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import statistics
import tempfile
import time

from s3ft_jax.generation.settings import EngineSettings
from s3ft_jax.harness.language_model import LanguageModel
from s3ft_jax.harness.run import Harness, Outcome
from s3ft_jax.harness.settings import HarnessSettings
from s3ft_jax.stages.launch import load_texts, pocket_model_folder, prepare_jax

DATA = pathlib.Path(os.environ.get("S3FT_DATA_DIR", "../shared/data")) / "datasets"


def timed(harness: Harness, task: str, model: object) -> tuple[float, Outcome]:
    """Seconds and result of one evaluation."""
    started = time.perf_counter()
    outcome = harness.run(task, model)
    return time.perf_counter() - started, outcome


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="hellaswag")
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--model", default="pocket", help="Hugging Face folder, or pocket")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64], help="theirs: the best counts")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    from lm_eval.models.huggingface import HFLM

    prepare_jax()
    folder = str(pocket_model_folder()) if arguments.model == "pocket" else arguments.model
    settings = HarnessSettings(tasks=(arguments.task,), data=str(DATA), limit=arguments.items)
    harness = Harness(settings, pathlib.Path(tempfile.mkdtemp()))
    engine = EngineSettings(num_slots=0)
    ours = LanguageModel(*load_texts(folder, engine), engine, max_new_tokens=256)
    first, mine = timed(harness, arguments.task, ours)
    seconds = {"ours": [timed(harness, arguments.task, ours)[0] for _ in range(arguments.repeat)]}
    for batch in arguments.batches:
        theirs = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=batch)
        theirs.counts = collections.Counter()
        runs = [timed(harness, arguments.task, theirs) for _ in range(arguments.repeat)]
        seconds[f"theirs, batch {batch}"] = [one for one, _ in runs]
        worst = max(
            abs(value - runs[0][1].metrics[arguments.task][name])
            for name, value in mine.metrics[arguments.task].items()
        )
        if worst > 1e-4:
            raise SystemExit(f"metrics differ by {worst}: {mine.metrics} and {runs[0][1].metrics}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(value for name, value in medians.items() if name != "ours")
    print(
        json.dumps(
            {
                "ratio": round(best / medians["ours"], 2),
                "items_per_s": {name: round(arguments.items / value, 1) for name, value in medians.items()},
                "seconds": {name: [round(one, 2) for one in values] for name, values in seconds.items()},
                "first_call_s": round(first, 2),
                "metrics": mine.metrics[arguments.task],
                "settings": vars(arguments),
                "cores": os.cpu_count(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
