"""The command line: ``s3ft <command> --config FILE.py[:ARG] --workdir DIR [--config.key=value ...]``. Thin.

Exit codes: 0 done, 1 a stage could not do its work, 2 the command line or config is wrong, 75 stopped from outside or
another process of the job is gone (start it again), 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import importlib
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from s3ft_jax import processes
from s3ft_jax.records import SAMPLED
from s3ft_jax.stages import benchmark_arguments

_EXAMPLE = "--config=configs/quickstart.py --workdir=runs/quickstart"
_SETTINGS = """\
Settings:
  --config=FILE.py:A=X,B=Y   arguments of that file; the top of each file in configs/ says which it takes, e.g.
                             configs/custom.py:data=train.jsonl,judge=numbers,model=FOLDER,tune=lora,steps=500
  --config.KEY=VALUE         changes one setting, as often as you like, e.g. --config.train.learning_rate=1e-5
  All keys with their values and units stand in configs/defaults.py; an unknown one is an error."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
      help: one line.
      example: arguments of a call that works in the quickstart's workdir.
      module: below s3ft_jax.stages; its ``run`` is called.
      arguments: names of the command's own arguments, see ``_ARGUMENTS``.
      device: whether the stage computes with JAX.
      config: whether it needs --config (the workdir's own settings are used by default).
    """

    help: str
    example: str
    module: str
    arguments: tuple[str, ...] = ()
    device: bool = True
    config: bool = True


COMMANDS = {
    "run": Command("the whole recipe, from import to report", _EXAMPLE, "recipe"),
    "import": Command("Hugging Face folder or hub id -> base/", _EXAMPLE, "import_model"),
    "prepare": Command(
        "data rows -> examples/ (also the general rows that methods replay)", _EXAMPLE, "prepare", device=False
    ),
    "measure": Command(
        "lengths of all questions and gold answers in the model's tokens: what cannot be asked or trained on",
        _EXAMPLE,
        "measure",
    ),
    "sample": Command("examples -> responses/ORIGIN", f"own {_EXAMPLE}", "sample", ("origin",)),
    "judge": Command(
        "responses -> verdicts/ORIGIN, or how good a judge is against labels",
        f"own {_EXAMPLE}",
        "judge",
        ("judged", "again", "calibrate"),
        device=False,
    ),
    "agree": Command(
        "verdicts of a second judge (judge.second) beside the first one's -> agreement/ORIGIN",
        f"own {_EXAMPLE} --config.judge.second='all(length(1, 60), programs)'",
        "agree",
        ("origin",),
        device=False,
    ),
    "compare": Command(
        "methods against each other, each at its best point of a grid -> comparison.html, .md and .json",
        f"--methods=sft,s3ft --learning_rates=3e-4,1e-3 --seeds=0,1 {_EXAMPLE}",
        "compare",
        ("grid",),
    ),
    "gate": Command(
        "gold and right paraphrases -> likelihoods/: how likely the base finds them (select.paraphrase_gate)",
        f"{_EXAMPLE} --config.select.paraphrase_gate=likelier",
        "gate",
    ),
    "select": Command(
        "responses and verdicts -> selections/METHOD", f"s3ft {_EXAMPLE}", "select", ("method",), device=False
    ),
    "train": Command("selections -> checkpoints/METHOD", f"s3ft --seed=0 {_EXAMPLE}", "train", ("method", "seed")),
    "evaluate": Command(
        "checkpoint -> scores/METHOD and benchmarks/METHOD (method base: the untouched model); or --model: benchmarks "
        "of any model folder",
        f"s3ft --seed=0 {_EXAMPLE}",
        "evaluate",
        ("evaluated", "evaluated_seed", "model", "benchmarks"),
        config=False,
    ),
    "report": Command("scores -> report.html, report.md, report.json", _EXAMPLE, "report"),
    "export": Command(
        "checkpoint -> Hugging Face folder (or the adapter alone: export.form=adapter)",
        f"s3ft --seed=0 {_EXAMPLE}",
        "export_model",
        ("method", "seed"),
    ),
    "show": Command(
        "the whole life of one example, each token with its weight",
        "programs/train/00017 --method=s3ft --workdir=runs/quickstart",
        "show",
        ("id", "only"),
        device=False,
        config=False,
    ),
    "ask": Command(
        "one question to a model, its answer printed while it is written",
        "--model=pocket 'Today is Wednesday. What day is it in 3 days?'",
        "ask",
        ("question", "model", "asked"),
        config=False,
    ),
    "doctor": Command(
        "versions, devices, memory, sandbox, tokenizer, data, judge and disk: is this machine fit?",
        _EXAMPLE,
        "doctor",
        config=False,
    ),
    "plan": Command(
        "will it fit on a TPU slice or GPUs, how fast can it be: answered without them, from a config.json",
        "--config=configs/quickstart.py --topology=v5e:2x2",
        "plan",
        ("topology", "json", "compiles", "questions"),
    ),
    "pretrain": Command(
        "make the pocket model from nothing",
        "--config=configs/pocket_model.py --workdir=runs/pocket_model",
        "pretrain",
    ),
}

WITHOUT_WORKDIR = ("ask", "doctor", "evaluate", "plan")

UNJOINED = ("ask", "doctor", "plan", "show")
"""Stages that look and change nothing: each process is alone."""
IN_ONE = ("pretrain",)
"""Stages that several processes cannot do together."""

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def _add_asked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", default="base", help="whose model of --workdir (default base)")
    parser.add_argument("--seed", type=int, default=0, help="of the tuning, and of what is drawn (default 0)")
    parser.add_argument("--temperature", type=float, default=0.0, help="default 0, greedy")
    parser.add_argument("--max_new_tokens", type=int, default=256, help="default 256")


def _add_grid(parser: argparse.ArgumentParser) -> None:
    for name, (key, shown, what) in _GRID.items():
        parser.add_argument(f"--{name}", default=None, metavar=shown, help=f"{what} (the same as --config.{key})")


_GRID = {
    "methods": ("methods", "A,B", "which methods; sft and what compare.baselines names come on top"),
    "learning_rates": ("compare.learning_rates", "X,Y", "peak rates to try; default: each method's own"),
    "num_steps": ("compare.num_steps", "N,M", "optimizer steps to try; default: each method's own"),
    "seeds": ("train.seeds", "0,1", "seeds of the tuning"),
}
"""Arguments of ``compare`` that stand for settings: name -> key, what is shown, help."""

_ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], Any]] = {
    "origin": lambda p: p.add_argument("origin", choices=SAMPLED, help="which responses"),
    "judged": lambda p: p.add_argument("origin", nargs="?", choices=SAMPLED, help="which responses"),
    "calibrate": lambda p: p.add_argument("--calibrate", default="", metavar="LABELS", help="a file of labels instead"),
    "again": lambda p: p.add_argument(
        "--again", action="store_true", help="judge what was judged before anew, and say which verdicts changed"
    ),
    "evaluated": lambda p: p.add_argument("method", nargs="?", default="", help="e.g. s3ft, or base"),
    "evaluated_seed": lambda p: p.add_argument("--seed", type=int, help="of METHOD: one of train.seeds (default 0)"),
    "benchmarks": benchmark_arguments.add,
    "grid": _add_grid,
    "method": lambda p: p.add_argument("method", help="e.g. s3ft; see `methods` in configs/defaults.py"),
    "seed": lambda p: p.add_argument("--seed", type=int, default=0, help="one of train.seeds (default 0)"),
    "id": lambda p: p.add_argument("example_id", metavar="ID", help="e.g. programs/train/00017"),
    "topology": lambda p: p.add_argument(
        "--topology", required=True, metavar="CHIP:SHAPE", help="v5e:4x4, v5p-512, 2xv5e-256; GPUs: h100:8, l4"
    ),
    "json": lambda p: p.add_argument("--json", default="", metavar="FILE", help="write the same as JSON"),
    "questions": lambda p: p.add_argument(
        "--questions",
        default="",
        metavar="N[,PROMPT,RESPONSE]",
        help="training questions, and the tokens of their prompts and responses in the mean: how long will it take?",
    ),
    "compiles": lambda p: p.add_argument(
        "--compiles", type=int, default=4, help="most compiles of each search for the largest batch (default 4)"
    ),
    "question": lambda p: p.add_argument("question", help="in quotes"),
    "model": lambda p: p.add_argument(
        "--model", default="", metavar="DIR", help="Hugging Face folder, hub id or pocket"
    ),
    "asked": _add_asked,
    "only": lambda p: p.add_argument("--method", default="", help="show this method's target only"),
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each has one example in its help."""
    parser = argparse.ArgumentParser(
        prog="s3ft",
        description="Fine-tune a language model on a task without making it forget everything else.",
        epilog=f"Start with:  s3ft run {_EXAMPLE}\nEach command explains itself:  s3ft sample --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = subparsers.add_parser(
            name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=f"Example:\n  s3ft {name} {command.example}\n\n{_SETTINGS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        for argument in command.arguments:
            _ARGUMENTS[argument](sub)
        sub.add_argument(
            "--config", required=command.config, default="", metavar="FILE.py[:A=X,B=Y]", help="the experiment"
        )
        sub.add_argument(
            "--workdir", required=name not in WITHOUT_WORKDIR, default="", metavar="DIR", help="where all files go"
        )
        sub.add_argument("--redo", action="store_true", help="where settings changed, throw the old output away")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    from s3ft_jax import job

    return job.guarded(lambda: _main(list(sys.argv[1:] if argv is None else argv)))


def _main(arguments: list[str]) -> int:
    overrides = [a.removeprefix("--config.") for a in arguments if a.startswith("--config.")]
    parsed = build_parser().parse_args([a for a in arguments if not a.startswith("--config.")])
    command = COMMANDS[parsed.command]
    if command.module == "compare":
        given = {key: getattr(parsed, name) for name, (key, *_) in _GRID.items()}
        overrides += [f"{key}={value}" for key, value in given.items() if value is not None]
    from s3ft_jax import allocator, stopping
    from s3ft_jax.config import ConfigError

    if command.device:
        allocator.keep_freed_memory()  # before the first thread, which stopping starts
    stopping.install()
    try:
        return _run(command, parsed, overrides)
    except ConfigError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("stopped; the same command goes on where it was", 130)
    except stopping.Stopped:
        return _fail("stopped by SIGTERM; the same command goes on where it was", stopping.EXIT_CODE)
    except processes.Lost as lost:
        return _fail(str(lost), processes.EXIT_CODE)
    except Exception as error:
        # an error class of ours carries a message for people; no room and no right to write are nobody's bug; anything
        # else is a bug and keeps its traceback
        if type(error).__module__.startswith("s3ft_jax."):
            return _fail(str(error), 1)
        if not isinstance(error, OSError) or error.errno not in UNWRITABLE:
            raise
        where = error.filename or parsed.workdir
        return _fail(f"{where}: {error.strerror}. When that is mended, the same command goes on where it was.", 1)


def _run(command: Command, parsed: argparse.Namespace, overrides: list[str]) -> int:
    from s3ft_jax import job
    from s3ft_jax.changes import flatten
    from s3ft_jax.config import load_config

    config = load_config(parsed.config, overrides) if parsed.config else None
    arguments = {name: value for name, value in vars(parsed).items() if name not in ("command", "config")}
    if command.module in UNJOINED or getattr(parsed, "model", ""):
        return _run_stage(command, parsed, overrides, config, processes.Processes())
    settings = flatten(config.to_dict()) if config else {}
    with job.joined(lambda: job.facts(parsed.command, arguments, settings), devices=command.device) as own:
        if own.count > 1 and command.module in IN_ONE:
            raise processes.ProcessError(f"s3ft {parsed.command} runs in one process, and {own.count} were started")
        return _run_stage(command, parsed, overrides, config, own)


def _run_stage(
    command: Command, parsed: argparse.Namespace, overrides: list[str], config: Any, own: processes.Processes
) -> int:
    from s3ft_jax.config import ConfigError
    from s3ft_jax.stages import questions
    from s3ft_jax.workdir import Workdir

    workdir = Workdir(parsed.workdir, own) if parsed.workdir else None
    if workdir is not None:
        workdir.check_shared()
    if command.device:
        from s3ft_jax.stages.launch import prepare_jax

        prepare_jax()
    stage = importlib.import_module(f"s3ft_jax.stages.{command.module}")
    if config is not None and workdir is not None:
        questions.fill_in(config, workdir)
    extra: dict[str, Any] = {}
    if command.module == "show":
        return stage.run(config, workdir, parsed.example_id, method=parsed.method) or 0
    if command.module == "doctor":
        return stage.run(config, workdir)
    if command.module == "ask":
        names = ("method", "seed", "temperature", "max_new_tokens")
        asked = {name: getattr(parsed, name) for name in names}
        return stage.run(workdir, parsed.question, path=parsed.model, **asked) or 0
    if command.module == "evaluate":
        benchmark_arguments.check(parsed, overrides)
        if parsed.model:
            return benchmark_arguments.run(parsed)
        parsed.seed = parsed.seed or 0
    if command.module == "plan":
        options = {"json_file": parsed.json, "compiles": parsed.compiles, "questions": parsed.questions}
        return stage.run(config, parsed.topology, **options) or 0
    if command.module == "judge":
        of_responses = parsed.origin is not None or parsed.again
        if of_responses if parsed.calibrate else parsed.origin is None:
            raise ConfigError(
                "s3ft judge: say which responses, own, paraphrase or repair, or give --calibrate=LABELS alone"
            )
    if command.module == "judge" and parsed.calibrate:
        from s3ft_jax.stages import calibrate

        return calibrate.run(config, workdir, parsed.calibrate) or 0
    for name in ("origin", "again", "method", "seed"):
        if hasattr(parsed, name):
            extra[name] = getattr(parsed, name)
    if extra.get("method") == "base":
        extra["seed"] = None
    stage.run(config, workdir, redo=parsed.redo, **extra)
    if command.module == "evaluate":
        from s3ft_jax.stages import benchmark, drift

        if stage.is_tuned(extra["method"]):
            drift.run(config, workdir, redo=parsed.redo, **extra)
        benchmark.run(config, workdir, redo=parsed.redo, **extra)
    # written last: settings that a stage refused must not stand there
    workdir.write_bytes("config.json", (config.to_json_best_effort(indent=1) + "\n").encode())
    return 0


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    print(textwrap.indent(message, "       ").replace("       ", "error: ", 1), file=sys.stderr)
    return code
