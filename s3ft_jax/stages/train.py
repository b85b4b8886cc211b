"""Stage: selections and base -> checkpoints/METHOD/seed-N/. One process, one method, one seed."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from s3ft_jax import batches, checkpoints, rounds, sharding, training, tuning
from s3ft_jax.progress import say
from s3ft_jax.records import Selection
from s3ft_jax.responder import scorer_of
from s3ft_jax.stages import device_memory, overview, refresh, select
from s3ft_jax.stages.launch import BASE, load_model, plain_settings
from s3ft_jax.stages.method_settings import (
    adapters,
    method_settings,
    optimizer,
    schedule,
    settling,
    step_settings,
)
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.stages.tuned_model import folder, key, load_at
from s3ft_jax.stages.validate import Validation, is_due, looked_at
from s3ft_jax.variants import method_of
from s3ft_jax.workdir import Workdir, WorkdirError


def run(config: ConfigDict, workdir: Workdir, method: str, seed: int, *, redo: bool = False) -> None:
    """Fine-tune, resuming from the newest checkpoint."""
    settings = method_settings(config, method)
    where = folder(method, seed)
    with workdir.stage(
        key(method, seed),
        settings=settling(settings) | {"seed": seed, "mesh": plain_settings(config.mesh)} | looked_at(config, settings),
        reads=["import", select.key(method_of(method))] + (["prepare"] if settings["validate"]["every"] else []),
        writes=[where],
        redo=redo,
    ) as stage:
        if not stage.needed:
            return say(f"train {method} seed {seed}: already done")
        meta, stage.facts = _run_rounds(config, workdir, method, seed, settings)
        stage.outputs = {where: meta.params_digest}


def _run_rounds(
    config: ConfigDict, workdir: Workdir, method: str, seed: int, settings: dict[str, Any]
) -> tuple[checkpoints.CheckpointMeta, dict[str, Any]]:
    """All rounds (one, where own answers are never sampled anew), from the newest checkpoint on, and what is told."""
    name = f"selections/{method_of(method)}.jsonl"
    chosen = batches.draw(workdir.read_records(Selection, name), settings["num_examples"], seed)
    plan = plan_round(chosen, settings, seed, rounds.Round(0, 0, settings["num_steps"]))
    every = rounds.split(settings["num_steps"], _steps_per_round(method, settings, chosen, plan))
    newest, unfinished = _newest(workdir, method, seed, settings) if len(every) > 1 else (0, False)
    refresh.forget(workdir, method, seed, newest)
    told, dropped = [], set(plan.dropped)
    for current in every:
        if current.number:
            workdir.wait_seen(f"round {current.number} to begin")  # which lists the checkpoints
            own = settling(settings) | {"seed": seed}
            load = functools.partial(load_at, workdir, method, seed, current.first)
            chosen = refresh.run(config, workdir, method, seed, current, chosen, own, load)
            told.append(workdir.manifest(refresh.key(method, seed, current.number))["facts"] | {"step": current.first})
        if len(every) > 1:
            plan = plan_round(chosen, settings, seed, current, plan.rows_per_step)
            dropped |= set(plan.dropped)
        # a run that ended at a round's last step ends there again, and a look that it owes may end it there
        if current != every[-1] and (current.last < newest or (current.last == newest and not unfinished)):
            continue
        tuning_run = Tuning(config, workdir, method, seed, plan, chosen, current, len(every))
        with device_memory.explained(config, tuning_run.base_meta.config, method, plan.rows_per_step):
            meta, facts = tuning_run.run()
        if meta.ended:
            break
    batched = {"fill": plan.fill, "rows_per_step": plan.rows_per_step}
    facts = {"examples": len(chosen), "dropped": sorted(dropped), **batched, **facts}
    return meta, facts | ({"rounds": told} if told else {})


def _newest(workdir: Workdir, method: str, seed: int, settings: dict[str, Any]) -> tuple[int, bool]:
    """Step of the newest whole checkpoint, 0 without one; and whether the run ended early there, or owes a look."""
    where = workdir / folder(method, seed)
    newest = tuning.newest_whole(where, say, workdir.processes)
    if not newest:
        return 0, False
    meta = checkpoints.read_meta(where / str(newest))
    return newest, bool(meta.ended) or tuning.owes_look(meta, functools.partial(is_due, settings))


def plan_round(
    chosen: list[Selection], settings: dict[str, Any], seed: int, current: rounds.Round, least_rows: int = 0
) -> batches.BatchPlan:
    """The steps of one round, in an order of its own."""
    plan = batches.plan_batches(
        chosen,
        row_length=settings["max_length"],
        num_steps=current.last - current.first,
        seed=f"{seed}/{current.number}" if current.number else seed,
        examples_per_step=0 if settings["batch_rows"] else settings["batch_size"],
        rows_per_step=settings["batch_rows"],
        too_long=settings["too_long"],
    )
    # as many rows as in the round before, so that the step is compiled once
    return batches.with_rows(plan, max(least_rows, plan.rows_per_step))


def _steps_per_round(method: str, settings: dict[str, Any], chosen: list[Selection], plan: batches.BatchPlan) -> int:
    """0 where own answers are never sampled anew."""
    if not rounds.answers_anew(method_of(method)):
        return 0
    members = sum(len(row) for step in plan.steps for row in step.rows)
    return rounds.steps_of(settings["refresh_epochs"], len(chosen), members / len(plan.steps))


def length_of(chosen: Selection) -> int:
    """Tokens of prompt and response together."""
    return len(chosen.prompt_ids) + len(chosen.response_ids)


def check_lengths(selections: list[Selection], max_positions: int) -> None:
    """Refuse an example longer than the model reads.

    Raises:
      WorkdirError: names the longest example, its length and the model's.
    """
    longest = max(selections, key=length_of)
    if length_of(longest) > max_positions:
        raise WorkdirError(
            f"{longest.example_id}: {length_of(longest)} tokens, but the model reads {max_positions}. Leave such "
            f"examples out with train.max_length={max_positions} and train.too_long=drop, or import with a larger "
            "model.max_positions."
        )


class Tuning:
    """One method, one seed: what the rooms are given.

    Args:
      config, workdir, method, seed: of the stage.
      plan: every step of the round.
      selections: what ``plan`` speaks of.
      current, num_rounds: which round of how many.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: Workdir,
        method: str,
        seed: int,
        plan: batches.BatchPlan,
        selections: list[Selection],
        current: rounds.Round,
        num_rounds: int,
    ):
        self.config, self.workdir, self.method, self.seed = config, workdir, method, seed
        self.plan, self.selections, self.round = plan, selections, current
        self.title = f"train {method} seed {seed}"
        if num_rounds > 1:
            self.title += f", round {current.number + 1} of {num_rounds}"
        self.settings = method_settings(config, method)
        self.mesh = sharding.make_mesh(**plain_settings(config.mesh))
        self.folder = folder(method, seed)
        self.base_meta = checkpoints.read_meta(workdir / BASE)
        self.step = step_settings(self.settings, self.base_meta.config, self.mesh)
        self.weighed: list[np.ndarray] = []

    def run(self) -> tuple[checkpoints.CheckpointMeta, dict[str, Any]]:
        """Train to the end of the round. Returns the model's meta and facts for the manifest, the tokens among them."""
        kept = [chosen for chosen in self.selections if length_of(chosen) <= self.plan.row_length]
        check_lengths(kept, self.base_meta.config.max_positions)
        self.weighed, facts = self._weigh()
        parts, more = self._build()
        base = self._base(parts)
        watcher = None
        if self.settings["validate"]["every"]:
            mine = self.settings, parts.graphdef, parts.frozen, base, self.step, self.base_meta.config.max_positions
            watcher = Validation(self.config, self.workdir, *mine)
        # the step needs a base only where its loss does
        for_loss = base if self.step["loss"].kl else None
        told = self.plan, self.selections, self.weighed, parts, self.base_meta.config, self.mesh
        speed = overview.tell(self.title, self.config, self.method, *told)
        run = self._run_settings(speed, None if for_loss is None else for_loss[0])
        _, meta, tokens = tuning.tune(
            parts,
            self.workdir / self.folder,
            self._batches_from,
            run,
            base=None if for_loss is None else for_loss[1],
            watcher=watcher,
        )
        ended = {"ended": meta.ended} if meta.ended else {}
        return meta, facts | more | ended | {"tokens": tokens, "step": meta.step} | dict(meta.numbers)

    def _run_settings(self, speed: overview.Speed, base_graphdef: nnx.GraphDef | None) -> tuning.RunSettings:
        settings = self.settings
        partial = settings["tune"] == "lora" or bool(settings["freeze"])
        saving = tuning.Saving(
            every=settings["save_every"],
            keep=settings["keep"],
            best=settings["validate"]["use_best"],
            provenance={
                "method": self.method,
                "seed": self.seed,
                "settings": settings,
                "base": self.workdir.stage_digest("import"),
            },
            tokenizer=self.workdir / BASE / "tokenizer",
            base_digest=self.base_meta.params_digest if partial else "",
        )
        return tuning.RunSettings(
            title=self.title,
            optimizer=optimizer(settings),
            schedule=schedule(settings),
            saving=saving,
            seed=self.seed,
            num_steps=settings["num_steps"],
            until=self.round.last,
            max_skipped=settings["max_skipped"],
            step=self.step | {"base_graphdef": base_graphdef},
            describe=self._describe,
            trackers=tuple(settings["trackers"]),
            project=settings["wandb_project"],
            step_flops=speed.flops,
            peak_flops=speed.peak,
            processes=self.workdir.processes,
        )

    def _describe(self, number: int) -> str:
        """The examples of a step, for people."""
        members = [i for row in self.plan.steps[number - 1 - self.round.first].rows for i in row]
        return f"Its examples: {', '.join(self.selections[i].example_id for i in members)}."

    def _batches_from(self, first: int) -> Iterator[batches.Batch]:
        for number in range(first - self.round.first, len(self.plan.steps)):
            batch = batches.build_batch(self.plan, number, self.selections, self.weighed)
            rows = training.split_micro(batch, self.settings["accumulation"], sharding.row_parts(self.mesh))
            yield sharding.shard_batch(rows, self.mesh)

    def _weigh(self) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Each token's weight, and how many are masked. The base's losses are kept: a resumed run has the same.

        Only gold is masked, so only the losses of gold that is trained on are asked for.
        """
        wanted = self.settings["loss"]
        if not wanted["mask_above"]:
            return batches.token_weights(self.selections, wanted["average"]), {}
        number = self.round.number
        where = refresh.folder(self.method, self.seed, number) if number else self.folder  # forgotten with its round
        name = f"{where}/gold_losses.npy"
        fitting = [i for i, one in enumerate(self.selections) if length_of(one) <= self.plan.row_length]
        gold = [i for i in fitting if self.selections[i].origin == "gold"]
        missing = not self.workdir.has(name)
        if self.workdir.processes.first(missing, "whether the base's losses are there"):
            losses = gold_losses(self.config, self.workdir, [self.selections[i] for i in gold])
            file = io.BytesIO()
            np.save(file, losses, allow_pickle=False)
            self.workdir.write_bytes(name, file.getvalue())
        self.workdir.processes.wait("the base's losses")
        self.workdir.wait_for(name)
        ends = np.cumsum([len(self.selections[i].response_ids) for i in gold])
        kept = np.split(np.load(io.BytesIO((self.workdir / name).read_bytes()), allow_pickle=False), ends)[:-1]
        losses = [np.zeros(len(one.response_ids), np.float32) for one in self.selections]
        for place, values in zip(gold, kept, strict=True):
            losses[place] = values
        weighed = batches.token_weights(
            self.selections, wanted["average"], losses=losses, mask_above=wanted["mask_above"]
        )
        masked = sum(int(np.sum(weighed[i] == 0)) for i in fitting)
        total = sum(len(weighed[i]) for i in fitting)
        say(f"train: {masked:,} of {total:,} answer tokens masked, {masked / total:.1%}")
        return weighed, {"masked_tokens": masked, "answer_tokens": total}

    def _build(self) -> tuple[training.Parts, dict[str, Any]]:
        """The base, with adapters if asked for, taken apart on the mesh; and facts measured on a batch."""
        settings, facts = self.settings, {}
        dtype = settings["param_dtype"] if settings["tune"] == "full" else None
        decoder = checkpoints.load_decoder(self.workdir / BASE, self.mesh, dtype)
        if settings["tune"] == "lora":
            dtype = settings["lora"]["base_dtype"]
            decoder.add_adapters(adapters(settings["lora"], decoder.config), nnx.Rngs(self.seed))
            if dtype:
                first = batches.build_batch(self.plan, 0, self.selections)
                facts = {"base_dtype": dtype, "base_error": training.shrink_base(decoder, dtype, first)}
                say(
                    f"train: frozen kernels as {dtype}; largest change of a logit {facts['base_error']:.2%} of the "
                    "largest"
                )
        graphdef, *params = training.take_apart(decoder, settings["tune"], settings["freeze"])
        return training.Parts(graphdef, *(sharding.shard_params(part, self.mesh) for part in params)), facts

    def _base(self, parts: training.Parts) -> tuple[nnx.GraphDef, nnx.State] | None:
        """The base's structure and parameters, where something asks for them.

        With adapters these are the frozen parameters themselves; full tuning keeps a second copy.
        """
        if not self.step["loss"].kl and not self.settings["validate"]["every"]:
            return None
        if self.settings["tune"] == "full":
            return nnx.split(checkpoints.load_decoder(self.workdir / BASE, self.mesh))
        decoder = nnx.merge(*parts)
        decoder.drop_adapters()
        return nnx.split(decoder)


def gold_losses(config: ConfigDict, workdir: Workdir, selections: Sequence[Selection]) -> np.ndarray:
    """Loss of every response token of one selection after the other under the base, in nats, float32."""
    if not selections:
        return np.zeros(0, np.float32)
    model = load_model(workdir, engine=engine_settings(config))
    scorer = scorer_of(model, config.evaluate.batch_tokens)
    prompts, responses = ([getattr(one, name) for one in selections] for name in ("prompt_ids", "response_ids"))
    return -np.concatenate(scorer.logprobs(model.params, prompts, responses)).astype(np.float32)
