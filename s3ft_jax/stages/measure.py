"""Stage: examples -> their lengths in the model's own tokens, before anything is sampled. It writes nothing but counts.

What the model cannot be asked, and what training would refuse, is found out here, minutes in, and not after hours of
sampling and judging: a text that the chat template or the tokenizer refuses, a question with no room for an answer, a
gold answer longer than a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax import checkpoints
from s3ft_jax.progress import Ticker, progress, say
from s3ft_jax.prompts import PromptEncoder, PromptError
from s3ft_jax.records import Example
from s3ft_jax.selection import METHODS
from s3ft_jax.stages import evaluate
from s3ft_jax.stages.launch import BASE
from s3ft_jax.stages.method_settings import looks, method_settings
from s3ft_jax.workdir import Workdir, WorkdirError

KEY = "measure"
TRAIN, VALIDATION = "train", "validation"
_SHOWN = 5
"""Examples that a message names."""


@dataclasses.dataclass(frozen=True)
class Length:
    """Tokens of one example: of its prompt, and of prompt and gold together; 0 where gold is not trained on."""

    example_id: str
    prompt: int
    whole: int = 0


def run(config: ConfigDict, workdir: Workdir, parts: Sequence[str] = (), *, redo: bool = True) -> None:
    """Encode every question that will be asked, and gold of the training questions.

    Args:
      config, workdir: of the run; import and prepare are done.
      parts: whose questions will be answered to be scored, e.g. test and general; empty: those that ``recipe`` scores.
      redo: has no meaning here: there is nothing to throw away, and other settings are measured again.

    Raises:
      WorkdirError: texts that cannot be encoded; questions that cannot be asked; gold answers that a method trains on
        and that do not fit ``train.max_length``, where ``train.too_long`` is ``error``.
    """
    parts = tuple(parts) or _scored(config)
    limits = {method: _limits(config, method) for method in config.methods}
    settings = {"parts": list(parts), "limits": limits, "limit": config.evaluate.limit}
    settings |= {"sample": config.sample.max_new_tokens, "evaluate": config.evaluate.max_new_tokens}
    with workdir.stage(
        KEY, settings=settings, reads=["import", "prepare"], writes=[], redo=True, first_only=True
    ) as stage:
        if not stage.needed:
            return say("measure: already done")
        found = _measure(workdir, parts, config.evaluate.limit)
        longest = checkpoints.read_meta(workdir / BASE).config.max_positions
        for part in parts:
            _check_answerable(part, found[part], longest, config.evaluate.max_new_tokens)
        unasked = [one for one in found[TRAIN] if one.prompt + config.sample.max_new_tokens > longest]
        if unasked:
            say(
                f"measure: {len(unasked):,} of {len(found[TRAIN]):,} training questions leave no room for "
                f"sample.max_new_tokens = {config.sample.max_new_tokens} in the {longest:,} tokens that the model "
                f"reads: no response to them is sampled, e.g. {_named(unasked)}"
            )
        stage.facts = {"unasked": len(unasked)} | _check_trainable(found[TRAIN], limits, longest)
        stage.facts["longest"] = {part: max((one.prompt for one in some), default=0) for part, some in found.items()}
        stage.facts["longest_whole"] = max((one.whole for one in found[TRAIN]), default=0)
        told = ", ".join(f"{part} {count:,}" for part, count in stage.facts["longest"].items())
        say(f"measure: longest prompts {told}; with gold {stage.facts['longest_whole']:,} tokens")


def _scored(config: ConfigDict) -> tuple[str, ...]:
    """The parts whose questions are answered: those that are scored, and those of looks while models are tuned."""
    parts = evaluate.parts_of(config)
    return parts if VALIDATION in parts or not looks(config) else (*parts, VALIDATION)


def _limits(config: ConfigDict, method: str) -> dict[str, Any]:
    settings = method_settings(config, method)
    return {name: settings[name] for name in ("max_length", "too_long", "num_examples")}


def _measure(workdir: Workdir, parts: Sequence[str], limit: int) -> dict[str, list[Length]]:
    """Lengths by part, the training questions' first."""
    examples = {part: workdir.read_records(Example, f"examples/{part}.jsonl") for part in (TRAIN, *parts)}
    if limit:
        examples |= {part: examples[part][:limit] for part in parts if part != evaluate.GENERAL}
    encoder, problems = PromptEncoder(str(workdir / BASE / "tokenizer")), []
    with progress("measure", sum(map(len, examples.values()))) as ticker:
        found = {part: _lengths(some, encoder, part == TRAIN, problems, ticker) for part, some in examples.items()}
    if problems:
        more = f"\nand {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise WorkdirError(
            f"{len(problems):,} of {sum(map(len, examples.values())):,} examples cannot be put to this model:\n"
            + "\n".join(problems[:_SHOWN])
            + f"{more}\nRemove these rows from the data, or mend them, and give the same command with --redo."
        )
    return found


def _lengths(
    examples: Sequence[Example], encoder: PromptEncoder, with_gold: bool, problems: list[str], ticker: Ticker
) -> list[Length]:
    found = []
    for example in examples:
        try:
            prompt = encoder.encode_prompt(example.messages, example.id)
            gold = encoder.encode_response(example.messages, example.gold, example.id) if with_gold else ()
            found.append(Length(example.id, len(prompt), len(prompt) + len(gold) if with_gold else 0))
        except PromptError as error:
            problems.append(str(error))
        ticker.advance(1)
    return found


def _check_answerable(part: str, lengths: Sequence[Length], longest: int, max_new_tokens: int) -> None:
    """Every question that is scored must have room for an answer: leaving one out would change the score."""
    long = [one for one in lengths if one.prompt + max_new_tokens > longest]
    if long:
        raise WorkdirError(
            f"{len(long):,} of {len(lengths):,} {part} questions leave no room for evaluate.max_new_tokens = "
            f"{max_new_tokens} in the {longest:,} tokens that the model reads, e.g. {_named(long)}. Lower "
            "evaluate.max_new_tokens, import with a larger model.max_positions where the model allows it, or remove "
            "them from the data."
        )


def _check_trainable(lengths: Sequence[Length], limits: dict[str, dict[str, Any]], longest: int) -> dict[str, Any]:
    """What does not fit the rows of training, by method: refused where it is sure that training would refuse it."""
    facts: dict[str, Any] = {"too_long": {}}
    for method, limit in limits.items():
        room = min(limit["max_length"], longest)
        long = [one for one in lengths if one.whole > room]
        facts["too_long"][method] = len(long)
        if not long or limit["too_long"] == "drop":
            continue
        # a method that trains on own answers may do without these gold answers, a subset without the examples
        sure = METHODS[method].prefer[0] == "gold" or any(one.prompt >= room for one in long)
        message = (
            f"method {method}: {len(long):,} of {len(lengths):,} training examples are longer with gold than a row of "
            f"{room:,} tokens, e.g. {_named(long, whole=True)}. Raise train.max_length"
            f"{'' if room < longest else f' (the model reads {longest:,})'}, or set train.too_long=drop to leave them "
            "out, counted."
        )
        if sure and not limit["num_examples"]:
            raise WorkdirError(message)
        say(f"warning: measure: {message} Training stops where gold is chosen for one of them.")
    return facts


def _named(lengths: Sequence[Length], *, whole: bool = False) -> str:
    """The longest ones with their lengths."""
    size = {one.example_id: one.whole if whole else one.prompt for one in lengths}
    longest = sorted(size, key=lambda name: (-size[name], name))[:3]
    return ", ".join(f"{name} ({size[name]:,} tokens)" for name in longest)
