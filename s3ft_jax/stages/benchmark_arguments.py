"""The arguments of ``s3ft evaluate --model=DIR``, which has no config: what they are, and what goes with what."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

OF_A_MODEL = {
    "tasks": "benchmark.tasks=A,B",
    "data": "benchmark.data=DIR",
    "shots": "benchmark.shots=N",
    "chat": "benchmark.chat=True",
    "system": "benchmark.system=TEXT",
    "limit": "benchmark.limit=N",
    "max_new_tokens": "benchmark.max_new_tokens=N",
    "dtype": "sample.activation_dtype=TYPE",
    "out": "",
}
"""Arguments of ``evaluate`` that go with --model alone -> the setting that does the same for a run's models; none: all
that a run's models say is kept. Not given they are None, False or an empty text."""
OF_A_RUN = {
    "seed": "it says which tuning of a METHOD; shots are drawn with one seed for all models",
    "redo": "nothing of an earlier call is gone on with: every call measures anew",
}
"""Arguments of ``evaluate`` that go without --model alone -> why."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``OF_A_MODEL`` to the command's."""
    parser.add_argument("--tasks", default="", metavar="A,B", help="with --model: lm-eval tasks, e.g. mmlu,hellaswag")
    parser.add_argument("--data", default="", metavar="DIR", help="with --model: local copies instead of the hub's")
    parser.add_argument("--shots", type=int, help="with --model: examples shown (default: the task's)")
    parser.add_argument("--chat", action="store_true", help="with --model: put questions through the chat template")
    parser.add_argument("--system", default="", help="with --model: text of the system turn")
    parser.add_argument("--limit", type=int, help="with --model: items of each task (default: all)")
    parser.add_argument("--max_new_tokens", type=int, help="with --model: where a task sets no limit (default 512)")
    parser.add_argument("--dtype", default="", choices=("float32", "bfloat16"), help="with --model: of the stream")
    parser.add_argument("--out", default="", metavar="DIR", help="with --model: where metrics and samples are kept")


def check(parsed: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Refuse arguments of ``evaluate`` that would be ignored: those of a run beside --model, or the other way round.

    Raises:
      ConfigError: names one, and the right way.
    """
    from s3ft_jax.config import ConfigError

    wrong = ""
    for name, setting in {} if parsed.model else OF_A_MODEL.items():
        if _is_given(getattr(parsed, name)):
            instead = f"for a run's models give --config.{setting}" if setting else "a run keeps all in its workdir"
            wrong = wrong or f"; --{name} goes with --model, {instead}"
    for name, why in OF_A_RUN.items() if parsed.model else ():
        if _is_given(getattr(parsed, name)):
            wrong = wrong or f"; --{name} goes with METHOD: {why}"
    if parsed.method == "base" and parsed.seed is not None:
        raise ConfigError(
            "s3ft evaluate base: --seed says which tuning of a method, and the base has none; leave it out"
        )
    of_a_run = [parsed.method, parsed.config, parsed.workdir, overrides]
    if wrong or (any(of_a_run) if parsed.model else not all(of_a_run[:3])):
        raise ConfigError(
            "s3ft evaluate: give METHOD, --config and --workdir (benchmarks: --config.benchmark.tasks=A,B), or "
            f"--model=DIR and --tasks=A,B alone{wrong}"
        )


def _is_given(value: Any) -> bool:
    """Whether an argument was given; 0 is a value as any other."""
    return value is not None and value is not False and value != ""


def run(parsed: argparse.Namespace) -> int:
    """Benchmarks of the model folder; returns the exit code."""
    from s3ft_jax.harness.settings import HarnessSettings
    from s3ft_jax.progress import say
    from s3ft_jax.stages import benchmark

    names = ("data", "shots", "chat", "system", "limit", "max_new_tokens")
    tasks = tuple(filter(None, parsed.tasks.split(",")))
    given = {name: getattr(parsed, name) for name in names if getattr(parsed, name) is not None}
    benchmark.run_alone(parsed.model, HarnessSettings(tasks=tasks, **given), parsed.out, dtype=parsed.dtype)
    if not parsed.out:
        say("metrics and a line per item were not kept; --out=DIR keeps them")
    return 0
