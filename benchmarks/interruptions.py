"""Training interrupted at random moments, again and again, against the same training left alone.

    python -m benchmarks.interruptions [--count 50] [--signals KILL,TERM] [--tune full] [--seed 0] [--folder FOLDER]

Prepares a shrunk quickstart (arithmetic, s3ft) up to its selections and trains it once undisturbed, with validation,
checkpoints every 3 of 30 steps. Then ``s3ft train`` is started, sent one of the signals at a random moment of its life
(imports, compiling, steps, saving, validation), and started again, until --count signals have been sent; each run that
comes to its end must have the parameters of the undisturbed one, bit for bit, and the next begins anew. Prints one JSON
object: signals by phase and exit code, runs that ended, how many of them equal. Exit code 1 if one did not.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
METHOD = "s3ft"
SETTINGS = (
    "task.num_train=24", "task.num_validation=8", "task.num_test=8", "general.limit=1", "sample.max_new_tokens=64",
    "sample.num_slots=16", "sample.shard_size=8", "evaluate.max_new_tokens=64", "mesh.data=1", "train.num_examples=16",
    "train.num_steps=30", "train.batch_size=4", "train.save_every=3", "train.seeds=0", "train.validate.every=10",
    "train.validate.count=4", f"methods={METHOD},",
)  # fmt: skip


def command(stage: list[str], workdir: pathlib.Path, tune: str) -> list[str]:
    """``s3ft STAGE ...`` on the shrunk quickstart."""
    settings = [f"--config.{setting}" for setting in (*SETTINGS, f"train.tune={tune}")]
    config = f"--config={ROOT / 'configs' / 'quickstart.py'}:task=arithmetic"
    return [sys.executable, "-m", "s3ft_jax", *stage, config, f"--workdir={workdir}", *settings]


def prepare(workdir: pathlib.Path, tune: str) -> None:
    """Everything before training."""
    stages = (
        ["import"], ["prepare"], ["sample", "own"], ["judge", "own"], ["sample", "paraphrase"], ["judge", "paraphrase"],
        ["select", METHOD],
    )  # fmt: skip
    for stage in stages:
        subprocess.run(command(stage, workdir, tune), check=True, stdout=subprocess.DEVNULL)


def train(workdir: pathlib.Path, tune: str) -> subprocess.Popen:
    """``s3ft train``, started."""
    return subprocess.Popen(
        command(["train", METHOD], workdir, tune), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def digest(workdir: pathlib.Path) -> str:
    """Of the tuned parameters."""
    manifest = json.loads((workdir / "manifests" / f"train-{METHOD}-seed-0.json").read_text())
    return next(iter(manifest["outputs"].values()))


def main() -> None:
    """Interrupt, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--signals", default="KILL,TERM")
    parser.add_argument("--tune", choices=("full", "lora"), default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", default="", help="where to work; empty: a folder that is removed")
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.folder or tempfile.mkdtemp())
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    fresh, straight, workdir = folder / "fresh", folder / "straight", folder / "interrupted"
    prepare(fresh, arguments.tune)
    shutil.copytree(fresh, straight)
    assert train(straight, arguments.tune).wait() == 0
    expected = digest(straight)
    shutil.rmtree(straight)
    shutil.copytree(fresh, straight)
    begin = time.monotonic()  # once the programs have been compiled
    assert train(straight, arguments.tune).wait() == 0 and digest(straight) == expected
    alone = time.monotonic() - begin
    draw = random.Random(arguments.seed)
    shutil.copytree(fresh, workdir)
    sent: collections.Counter[str] = collections.Counter()
    ended = equal = 0
    tracebacks: list[str] = []
    while sum(sent.values()) < arguments.count or not ended:
        process, name = train(workdir, arguments.tune), draw.choice(arguments.signals.split(","))
        try:
            # the last run is left alone, so that there is an end to compare
            process.wait(draw.uniform(0, 1.1 * alone) if sum(sent.values()) < arguments.count else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.Signals[f"SIG{name}"])
        errors = process.communicate()[1]
        tracebacks += [errors] if "Traceback" in errors else []
        if process.returncode:
            sent[f"{name}: exit code {process.returncode}"] += 1
            continue
        ended, equal = ended + 1, equal + (digest(workdir) == expected)
        shutil.rmtree(workdir)
        shutil.copytree(fresh, workdir)
    facts = {"undisturbed_s": round(alone, 1), "signals": dict(sent), "ended": ended, "equal": equal}
    print(json.dumps(facts | {"tracebacks": tracebacks, "settings": vars(arguments)}, indent=1))
    if not arguments.folder:
        shutil.rmtree(folder)
    sys.exit(0 if ended == equal and not tracebacks else 1)


if __name__ == "__main__":
    main()
