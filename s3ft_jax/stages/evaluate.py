"""Stage: a model -> scores on the task's test split and on every general skill. The base is scored the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from s3ft_jax import checkpoints
from s3ft_jax.evaluation.scores import score_choices, score_verdicts
from s3ft_jax.progress import progress, say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Response, Score
from s3ft_jax.responder import Model, answer, asks_of, scorer_of, sharing
from s3ft_jax.stages.judge import describe_sandbox, judge_responses, settings_of
from s3ft_jax.stages.launch import BASE, mesh_to_sample, plain_settings
from s3ft_jax.stages.sample import answer_settings
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.stages.train import load_tuned
from s3ft_jax.workdir import Workdir

UNTUNED = "base"


def name(method: str, seed: int | None) -> str:
    """``base`` or ``s3ft/seed-0``: folder of a model below scores/."""
    return method if seed is None else f"{method}/seed-{seed}"


def key(method: str, seed: int | None) -> str:
    """Name of the stage in ``manifests/``."""
    return f"evaluate-{name(method, seed).replace('/', '-')}"


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int | None, *, redo: bool = False) -> None:
    """Answer greedily, judge with the same judges as the training data, score, and rank choices by likelihood."""
    settings = {"evaluate": plain_settings(config.evaluate), "judge": settings_of(config)}
    settings["engine"] = engine_settings(config).decisive
    reads = ["import", "prepare"] + ([f"train-{name(method, seed).replace('/', '-')}"] if seed is not None else [])
    where = f"scores/{name(method, seed)}"
    with workdir.stage(key(method, seed), settings=settings, reads=reads, writes=[where], redo=redo) as stage:
        if not stage.needed:
            return say(f"evaluate {name(method, seed)}: already done")
        model = load(config, workdir, method, seed)
        split = config.evaluate.split
        scores: list[Score] = []
        stage.facts["sandbox"] = ""
        for part in (split, "general") if config.evaluate.general else (split,):
            examples = workdir.read_records(Example, f"examples/{part}.jsonl")
            if part == split and config.evaluate.limit:
                examples = examples[: config.evaluate.limit]
            if not examples:
                continue
            responses = _answer(config, workdir, model, examples, f"{where}/{part}")
            verdicts = judge_responses(config, workdir, examples, responses, f"judge {part} answers")
            stage.facts["sandbox"] = stage.facts["sandbox"] or describe_sandbox(config, examples)
            workdir.write_records(f"{where}/{part}-verdicts.jsonl", verdicts)
            scores += score_verdicts(verdicts, examples, method=method, seed=seed, split=part)
            scores += _score_choices(config, model, examples, method, seed, part)
        workdir.write_records(f"{where}/scores.jsonl", scores)
        shown = ", ".join(f"{s.task} {s.value:.1%}" for s in scores if s.split == split)
        general = [s.value for s in scores if s.split == "general" and s.metric == "accuracy"]
        say(f"evaluate {name(method, seed)}: {shown}" + (f", general {np.mean(general):.1%}" if general else ""))


def load(config: ConfigDict, workdir: Workdir, method: str, seed: int | None) -> Model:
    """The base or a tuned model, on the chips that sample."""
    mesh = mesh_to_sample(engine_settings(config), workdir)
    if seed is None:
        decoder = checkpoints.load_decoder(workdir / BASE, mesh)
    else:
        decoder = load_tuned(workdir, method, seed, mesh=mesh)
    return Model.of(decoder, PromptEncoder(str(workdir / BASE / "tokenizer")))


def _answer(config: ConfigDict, workdir: Workdir, model: Model, examples: list[Example], where: str) -> list[Response]:
    """Responses of one model, in shards as when sampling training questions."""
    settings = answer_settings(config, config.evaluate.temperature)
    size = max(config.sample.shard_size, 1024)
    asks = sharing(asks_of(examples, "own", model.encoder), examples)
    shards = [asks[i : i + size] for i in range(0, len(asks), size)]
    together = model.spans_hosts
    mine = sum(len(shards[shard]) for shard in workdir.own_shards(len(shards), together))
    with progress(f"answer {where}", mine) as ticker:

        def make(shard: int) -> list[Response]:
            return answer(shards[shard], "own", model, settings, ticker.from_here())

        return workdir.sharded(Response, f"{where}-responses", len(shards), make, together=together)


def _score_choices(
    config: ConfigDict,
    model: Model,
    examples: Sequence[Example],
    method: str,
    seed: int | None,
    split: str,
) -> list[Score]:
    """How often the right choice is the likeliest, for the examples that have choices."""
    asked = [example for example in examples if example.check.get("choices")]
    if not asked:
        return []
    scorer = scorer_of(model, config.evaluate.batch_tokens)
    prompts, responses = [], []
    for example in asked:
        prompt = model.encoder.encode_prompt(example.messages)
        for choice in example.check["choices"]:
            prompts.append(prompt)
            responses.append(model.encoder.encode_response(example.messages, choice))
    sums = iter(float(np.sum(values)) for values in scorer.logprobs(model.params, prompts, responses))
    logprobs = [[next(sums) for _ in example.check["choices"]] for example in asked]
    right = [example.check["choice"] for example in asked]
    return score_choices(asked, logprobs, method=method, seed=seed, split=split, right=right)
