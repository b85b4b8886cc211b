"""Stage: a model -> scores on a split of the task and on every general skill. The base is scored the same way.

Each part (``test``, ``validation``, ``general``) is a stage of its own, so that a model whose settings were chosen on
the validation split is later scored on the test split alone. ``few-shot`` is the base with examples in its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from s3ft_jax import checkpoints
from s3ft_jax.evaluation.answers import score_answers
from s3ft_jax.evaluation.scores import ACCURACY, right_choice, score_choices, score_verdicts
from s3ft_jax.processes import alone
from s3ft_jax.progress import progress, say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Response, Score
from s3ft_jax.responder import Model, answer_shards, asks_of, scorer_of, sharing
from s3ft_jax.rungs import sampled_tokens
from s3ft_jax.shards import Shards, Take
from s3ft_jax.stages import few_shot, tuned_model
from s3ft_jax.stages.judge import describe_sandbox, judge_responses, settings_of, try_judges
from s3ft_jax.stages.launch import BASE, mesh_to_sample, plain_settings
from s3ft_jax.stages.sample import answer_settings
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.workdir import Workdir

UNTUNED = "base"
FEW_SHOT = "few-shot"
GENERAL = "general"
"""The part whose examples are of general skills; every other part is a split of the task."""


def name(method: str, seed: int | None) -> str:
    """``base`` or ``s3ft/seed-0``: folder of a model below scores/."""
    return method if seed is None else f"{method}/seed-{seed}"


def key(method: str, seed: int | None, part: str) -> str:
    """Name of the stage in ``manifests/``."""
    return f"evaluate-{name(method, seed).replace('/', '-')}-{part}"


def file(method: str, seed: int | None, part: str) -> str:
    """Where the scores of a part lie, below the workdir."""
    return f"scores/{name(method, seed)}/{part}-scores.jsonl"


def parts_of(config: ConfigDict) -> tuple[str, ...]:
    """What the config asks to be scored."""
    return (config.evaluate.split, GENERAL) if config.evaluate.general else (config.evaluate.split,)


def is_tuned(method: str) -> bool:
    """Whether it is a model that was trained."""
    return method not in (UNTUNED, FEW_SHOT)


def run(
    config: ConfigDict,
    workdir: Workdir,
    method: str,
    seed: int | None,
    *,
    redo: bool = False,
    parts: Sequence[str] = (),
) -> None:
    """Answer greedily, judge with the same judges as the training data, score, and rank choices by likelihood.

    Args:
      config, workdir: of the run.
      method, seed: ``base`` without a seed; ``few-shot``, whose seed draws the examples shown; or a tuned model.
      redo: see ``Workdir.stage``.
      parts: what to score; empty: ``parts_of(config)``.
    """
    model: Model | None = None
    shown = []
    for part in parts or parts_of(config):
        settings, reads = _settings(config, method, part), ["import", "prepare"]
        reads += [tuned_model.key(method, seed)] if is_tuned(method) else []
        writes = [f"scores/{name(method, seed)}/{part}-*"]
        with workdir.stage(key(method, seed, part), settings=settings, reads=reads, writes=writes, redo=redo) as stage:
            if stage.needed:
                model = model or load(config, workdir, method, seed)
                scores, stage.facts = _score(config, workdir, model, method, seed, part)
                shown.append(_said(scores, part))
    what = ", ".join(filter(None, shown)) if model is not None else "already done"
    say(f"evaluate {name(method, seed)}: {what}")


def _settings(config: ConfigDict, method: str, part: str) -> dict[str, Any]:
    """What the scores of a part follow from."""
    own = plain_settings(config.evaluate)
    left = ("split", "general", "limit", "kl") if part == GENERAL else ("split", "general", "kl")
    settings = {"evaluate": {key: value for key, value in own.items() if key not in left}}
    settings |= {"judge": settings_of(config), "engine": engine_settings(config).decisive}
    return settings | ({"shots": config.compare.shots} if method == FEW_SHOT else {})


def _score(
    config: ConfigDict, workdir: Workdir, model: Model, method: str, seed: int | None, part: str
) -> tuple[list[Score], dict[str, Any]]:
    """Answers, verdicts and scores of a part, written; and facts for the manifest."""
    examples = examples_of(config, workdir, part)
    where, scores, facts = f"scores/{name(method, seed)}/{part}", [], {"sandbox": "", "tokens": 0}
    if examples:
        if workdir.processes.is_first:
            try_judges(config, examples)
        asked = examples
        if method == FEW_SHOT:
            train = workdir.read_records(Example, "examples/train.jsonl")
            asked = few_shot.show(examples, few_shot.draw(train, config.compare.shots, seed))
        responses = _answer(config, workdir, model, asked, where)
        if workdir.processes.is_first:  # the others wait for it at the end of the stage
            with alone():
                verdicts = judge_responses(config, workdir, examples, responses, f"judge {part} answers")
            facts["sandbox"] = describe_sandbox(config, examples)
            workdir.write_records(f"{where}-verdicts.jsonl", verdicts)
            scores = score_verdicts(verdicts, examples, method=method, seed=seed, split=part)
            scores += score_answers(examples, responses, verdicts, method=method, seed=seed, split=part)
        ranked, scored = _score_choices(config, model, asked, method, seed, part)
        scores += ranked
        facts["tokens"] = sampled_tokens(responses) + scored
    workdir.write_records(file(method, seed, part), scores)
    return scores, facts


def examples_of(config: ConfigDict, workdir: Workdir, part: str) -> list[Example]:
    """The examples that are scored of a part."""
    examples = workdir.read_records(Example, f"examples/{part}.jsonl")
    return examples[: config.evaluate.limit] if part != GENERAL and config.evaluate.limit else examples


def _said(scores: Sequence[Score], part: str) -> str:
    found = [score for score in scores if score.metric == ACCURACY]
    if part == GENERAL:
        return f"general {np.mean([score.value for score in found]):.1%}" if found else ""
    return ", ".join(f"{score.task} {score.value:.1%} of {part}" for score in found)


def load(config: ConfigDict, workdir: Workdir, method: str, seed: int | None) -> Model:
    """The base or a tuned model, on the chips that sample."""
    mesh = mesh_to_sample(engine_settings(config), workdir)
    if is_tuned(method):
        decoder = tuned_model.load(workdir, method, seed, mesh=mesh)
    else:
        decoder = checkpoints.load_decoder(workdir / BASE, mesh)
    return Model.of(decoder, PromptEncoder(str(workdir / BASE / "tokenizer")))


def _answer(config: ConfigDict, workdir: Workdir, model: Model, examples: list[Example], where: str) -> list[Response]:
    """Responses of one model, in shards as when sampling training questions."""
    settings = answer_settings(config, config.evaluate.temperature)
    size = max(config.sample.shard_size, 1024)
    asks = sharing(asks_of(examples, "own", model.encoder), examples)
    parts = [asks[i : i + size] for i in range(0, len(asks), size)]
    shards = Shards(workdir, Response, f"{where}-responses", len(parts), together=model.spans_hosts)
    with progress(f"answer {where}", sum(len(parts[shard]) for shard in shards.missing)) as ticker:

        def make(numbers: list[int], take: Take) -> None:
            answer_shards([parts[shard] for shard in numbers], "own", model, settings, take, ticker.from_here())

        return shards.all(make)


def _score_choices(
    config: ConfigDict,
    model: Model,
    examples: Sequence[Example],
    method: str,
    seed: int | None,
    split: str,
) -> tuple[list[Score], int]:
    """How often the right choice is the likeliest, for the examples that have choices of which one is known as right;
    and how many tokens were scored for it.

    Rows of somebody's own data may have choices for a judge of their own; how many cannot be scored is said.
    """
    offered = [example for example in examples if example.check.get("choices")]
    asked = [example for example in offered if right_choice(example) is not None]
    if len(asked) < len(offered):
        say(
            f"evaluate {name(method, seed)}: {len(offered) - len(asked):,} of {len(offered):,} questions with choices "
            f"are not scored by likelihood ({split}), since which choice is right is not known. For that give "
            "`choices` as a list of texts, and the right one as `choice` (its position from 0) or gold (text, letter)."
        )
    if not asked:
        return [], 0
    scorer = scorer_of(model, config.evaluate.batch_tokens)
    prompts, responses = [], []
    for example in asked:
        prompt = model.encoder.encode_prompt(example.messages)
        for choice in example.check["choices"]:
            prompts.append(prompt)
            responses.append(model.encoder.encode_response(example.messages, choice))
    sums = iter(float(np.sum(values)) for values in scorer.logprobs(model.params, prompts, responses))
    logprobs = [[next(sums) for _ in example.check["choices"]] for example in asked]
    scores = score_choices(asked, logprobs, method=method, seed=seed, split=split)
    return scores, sum(len(response) for response in responses)
