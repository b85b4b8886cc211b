"""Looks at a model while it is tuned: held-out loss, distance from the base, answers to held-out questions, judged.

Part of the stage ``train``; what is measured goes to metrics.jsonl, beside the steps.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from s3ft_jax import batches, sharding, training, transfer
from s3ft_jax.processes import alone
from s3ft_jax.progress import say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Response, Selection, from_line, to_line
from s3ft_jax.responder import Model, respond
from s3ft_jax.stages.judge import judge_responses, settings_of
from s3ft_jax.stages.launch import BASE, mesh_to_sample, plain_settings
from s3ft_jax.stages.sample import answer_settings
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.tuning.saving import is_cost
from s3ft_jax.workdir import Workdir, WorkdirError


def is_due(settings: Mapping[str, Any], number: int) -> bool:
    """Whether a run with these settings is looked at after step ``number``."""
    every = settings["validate"]["every"]
    return bool(every) and (number % every == 0 or number == settings["num_steps"])


def looked_at(config: ConfigDict, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the scores of looks follow from beside the settings of the method, where they decide which state is taken or
    when the run ends."""
    own = settings["validate"]
    if not (own["every"] and own["score"] and (own["use_best"] or own["patience"])):
        return {}
    evaluated = {name: plain_settings(config.evaluate)[name] for name in ("max_new_tokens", "stop")}
    return {"looks": {"evaluate": evaluated, "judge": settings_of(config), "engine": engine_settings(config).decisive}}


class Validation:
    """A ``tuning.Watcher`` over the first examples of the validation split.

    Args:
      config, workdir: of the stage.
      settings: of the method.
      graphdef, frozen: of the decoder taken apart.
      base: structure and parameters of the base.
      step: arguments of ``training.make_step``, of which the probe takes those of the forward pass.
      max_positions: longest sequence of the model, tokens.

    Raises:
      WorkdirError: a setting that cannot be, or there is no validation example.
      ShardingError: see ``transfer.check_movable``.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: Workdir,
        settings: Mapping[str, Any],
        graphdef: nnx.GraphDef,
        frozen: nnx.State,
        base: tuple[nnx.GraphDef, nnx.State],
        step: Mapping[str, Any],
        max_positions: int,
    ):
        self.config, self.workdir, self.settings = config, workdir, settings["validate"]
        self.due = functools.partial(is_due, settings)
        """See ``tuning.Watcher``."""
        self.average = bool(settings["ema_decay"])
        self.graphdef, self.frozen, self.base = graphdef, frozen, base
        self.encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
        self.examples = workdir.read_records(Example, "examples/validation.jsonl")[: self.settings["count"]]
        if not self.examples:
            raise WorkdirError("train.validate.every is set, but there are no validation examples: task.num_validation")
        mesh = sharding.make_mesh(**plain_settings(config.mesh))
        if self.settings["score"]:
            transfer.check_movable(mesh)
        self.batches = self._gold(settings, mesh, max_positions)
        options = {name: step[name] for name in ("chunk_tokens", "activation_dtype", "attention", "unroll")}
        self.probe = training.make_probe(graphdef, base[0], **options)

    def look(
        self, number: int, state: training.TrainState, before: Sequence[Mapping[str, float]]
    ) -> tuple[dict[str, float], str]:
        """See ``tuning.Watcher``."""
        params = state.average if self.average else state.trainable
        sums = [self.probe(params, self.frozen, batch, self.base[1]) for batch in self.batches]
        weight = sum(float(one.weight) for one in sums)
        numbers = {
            "validation_loss": sum(float(one.cross_entropy) for one in sums) / weight,
            "validation_kl": sum(float(one.kl) for one in sums) / weight,
        }
        if self.settings["score"]:
            numbers["validation_score"] = self._score(params)
        shown = ", ".join(f"{name.removeprefix('validation_')} {value:.4g}" for name, value in numbers.items())
        say(f"step {number}, {len(self.examples)} validation examples: {shown}")
        return numbers, self._reason(numbers, before)

    def _reason(self, numbers: Mapping[str, float], before: Sequence[Mapping[str, float]]) -> str:
        """Why the run should end; "" if it should not."""
        most = self.settings["max_kl"]
        if most and numbers["validation_kl"] > most:
            return f"KL to the base {numbers['validation_kl']:.3g} above train.validate.max_kl = {most:g}"
        patience, name = self.settings["patience"], self.settings["use_best"] or "validation_loss"
        sign = -1.0 if is_cost(name) else 1.0
        series = [sign * row[name] for row in before if name in row] + [sign * numbers[name]]
        since = len(series) - 1 - int(np.argmax(series))
        if patience and since >= patience:
            return f"no better {name} for {since} looks (train.validate.patience)"
        return ""

    def _score(self, params: nnx.State) -> float:
        """Share of the examples answered right, greedily; prints a few answers.

        Of several processes each answers its share, or all together where they share a copy; the first one judges.
        """
        settings, processes = answer_settings(self.config, temperature=0.0), self.workdir.processes
        model = Model.of(nnx.merge(self.graphdef, params, self.frozen), self.encoder)
        mesh = mesh_to_sample(settings.engine, self.workdir)
        model = dataclasses.replace(model, params=transfer.moved(model.params, mesh))
        share = slice(None) if model.spans_hosts else slice(processes.index, None, processes.count)
        mine = respond(self.examples[share], "own", model, settings)
        brought = [to_line(response) for response in mine if processes.is_first or not model.spans_hosts]
        lines = itertools.chain(*processes.gather(brought, "answers to validation questions"))
        score = None
        if processes.is_first:
            with alone():
                score = self._judge([from_line(Response, line, "an answer") for line in lines])
        return processes.first(score, "the score of validation questions")

    def _judge(self, found: Sequence[Response]) -> float:
        by_id = {response.example_id: response for response in found}
        responses = [by_id[example.id] for example in self.examples]
        verdicts = judge_responses(self.config, self.workdir, self.examples, responses, "judge validation answers")
        for response, verdict in list(zip(responses, verdicts, strict=True))[: self.settings["samples"]]:
            text = " ".join(response.text.split())
            say(f"  {response.example_id}: {verdict.outcome}: {text[:160]}{'...' if len(text) > 160 else ''}")
        return float(np.mean([verdict.outcome == "right" for verdict in verdicts]))

    def _gold(self, settings: Mapping[str, Any], mesh: Mesh, max_positions: int) -> list[batches.Batch]:
        """Prompts and gold answers, packed once into batches as large as a micro-batch of training."""
        rows = [
            Selection(
                example.id,
                "validation",
                "gold",
                None,
                example.gold,
                self.encoder.encode_prompt(example.messages, example.id),
                self.encoder.encode_response(example.messages, example.gold, example.id),
                "held out",
            )
            for example in self.examples
        ]
        longest = min(settings["max_length"], max_positions)
        fitting = [row for row in rows if len(row.prompt_ids) + len(row.response_ids) <= longest]
        bound = "train.max_length" if longest == settings["max_length"] else "what the model reads"
        if len(fitting) < len(rows):
            say(f"validation: {len(rows) - len(fitting)} gold answers exceed {bound}: not in the loss")
        if not fitting:
            raise WorkdirError(f"train.validate: no validation example fits {bound}, {longest} tokens")
        return probe_batches(fitting, longest, max(1, settings["batch_size"] // settings["accumulation"]), mesh)


def probe_batches(rows: Sequence[Selection], row_length: int, size: int, mesh: Mesh) -> list[batches.Batch]:
    """Rows packed once into batches of ``size`` rows of ``row_length`` tokens, on the devices, for ``make_probe``."""
    plan = batches.plan_batches(
        rows, row_length=row_length, num_steps=1, seed=0, examples_per_step=len(rows), too_long="error"
    )
    whole, parts = batches.build_batch(plan, 0, rows), sharding.row_parts(mesh)
    split = training.split_micro(whole, -(-len(whole.tokens) // size), parts)
    return [
        sharding.shard_batch(batches.Batch(*(part[number] for part in split)), mesh)
        for number in range(split.tokens.shape[0])
    ]
