"""Stage: methods against each other, each at its best setting -> grid.jsonl, comparison.html, comparison.md, .json.

    s3ft compare --config=FILE.py --workdir=DIR --methods=sft,ssr,sdft,rft,s3ft --learning_rates=3e-4,1e-3 --seeds=0,1,2

All up to selections is shared. Every contender is tuned at every point of one grid and scored on the validation split
and the general skills; its point is chosen by the validation score alone, and only there it meets the test split. Runs
with the same settings are made once, under whatever name they come; killed and started again, it goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from s3ft_jax import checkpoints
from s3ft_jax.changes import flatten
from s3ft_jax.evaluation.scores import ACCURACY
from s3ft_jax.grid import Cell, Contender, GridError, check_rule, choose, points
from s3ft_jax.progress import console, say
from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example, Score
from s3ft_jax.report import Evidence, GridPoint, build_contents, print_result, write_report
from s3ft_jax.report.wording import count_of, duration
from s3ft_jax.selection import METHODS
from s3ft_jax.stages import (
    benchmark,
    device_memory,
    drift,
    evaluate,
    few_shot,
    import_model,
    measure,
    prepare,
    questions,
    recipe,
    train,
    tuned_model,
)
from s3ft_jax.stages.gather import Entry, gather, models_of, reads_of
from s3ft_jax.stages.launch import BASE, plain_settings, spans_hosts
from s3ft_jax.stages.method_settings import check_settings, method_settings, variant_name
from s3ft_jax.stages.report import control_of
from s3ft_jax.stages.sampler import engine_settings
from s3ft_jax.variants import method_of, settings_of
from s3ft_jax.workdir import Workdir

KEY = "compare"
GRID = "grid.jsonl"
SEARCHED = "validation"
RIVAL = "sft"
LOW_RATE = "sft-low-rate"
REPLAY = "sft-replay"
BASELINES = (evaluate.FEW_SHOT, LOW_RATE, REPLAY)
KEPT = ("chosen", "all")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What will be compared.

    Attributes:
      contenders: each is searched over the grid, in the order of the tables.
      baselines: of ``BASELINES``, those that can be had.
      notes: what was left out and why; goes to the report.
    """

    contenders: tuple[Contender, ...]
    baselines: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Those whose selections are trained on."""
        return tuple(dict.fromkeys(contender.method for contender in self.contenders))


def plan(config: ConfigDict) -> Plan:
    """Contenders and baselines of a config.

    Raises:
      GridError: a setting of ``compare`` that cannot be.
      VariantError: a variant's.
    """
    own = config.compare
    _check(config)
    contenders = [Contender(method, method) for method in config.methods]
    baselines, notes = tuple(own.baselines), []
    if REPLAY in baselines and not config.replay.task:
        baselines = tuple(name for name in baselines if name != REPLAY)
        notes.append("The baseline sft-replay was left out: no general rows are configured (replay.task, replay.data).")
    for method, wanted in ((RIVAL, LOW_RATE in baselines), (REPLAY, REPLAY in baselines)):
        if wanted and method not in config.methods:
            contenders.insert(0 if method == RIVAL else 1, Contender(method, method))
    for label, text in own.variants.items():
        stated = settings_of(text, flatten(method_settings(config, method_of(text))))
        contenders.append(Contender(label, method_of(text), stated))
    return Plan(tuple(contenders), baselines, tuple(notes))


def _check(config: ConfigDict) -> None:
    own = config.compare
    check_rule(own.rule)
    unknown = sorted(set(own.baselines) - set(BASELINES))
    if unknown:
        raise GridError(f"compare.baselines: {unknown}; choose from {', '.join(BASELINES)}")
    if own.keep not in KEPT:
        raise GridError(f"compare.keep = {own.keep!r}; choose from {', '.join(KEPT)}")
    if not 0 < own.low_rate < 1:
        raise GridError(f"compare.low_rate = {own.low_rate}; a share of sft's rate, above 0 and below 1")
    if config.evaluate.split != "test":
        raise GridError(
            f"evaluate.split = {config.evaluate.split!r}: a comparison chooses on validation and reports on test"
        )
    if own.search_seeds < 0 or own.search_seeds > len(config.train.seeds):
        raise GridError(f"compare.search_seeds = {own.search_seeds}; 0 to the number of train.seeds")
    taken = sorted(set(own.variants) & {*METHODS, evaluate.UNTUNED, *BASELINES})
    if taken:
        raise GridError(f"compare.variants: {taken} are names of methods or baselines; take others")


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Search, choose, score the chosen, report.

    Raises:
      GridError, VariantError: settings that cannot be, before anything is read; or no validation examples.
    """
    wanted = plan(config)
    config = ConfigDict(config.to_dict())
    config.methods = wanted.methods
    recipe.check(config)
    for contender in wanted.contenders:
        for settings in _points(config, contender):
            method_settings(config, variant_name(config, contender.method, settings))
    import_model.run(config, workdir, redo=redo)
    prepare.run(config, workdir, redo=redo)
    questions.fill_in(config, workdir)
    if not workdir.read_records(Example, f"examples/{SEARCHED}.jsonl"):
        raise GridError("a comparison chooses settings by validation examples, and there are none: task.num_validation")
    names = [variant_name(config, one.method, point) for one in wanted.contenders for point in _points(config, one)]
    check_settings(config, workdir, names)
    measure.run(config, workdir, [SEARCHED, "test", *([evaluate.GENERAL] if config.evaluate.general else [])])
    device_memory.check(config, workdir, names)
    wanted = _fit_shots(config, workdir, wanted)
    recipe.build_targets(config, workdir, redo=redo)
    Comparison(config, workdir, wanted, redo).run()


def _points(config: ConfigDict, contender: Contender) -> list[dict[str, Any]]:
    own = config.compare
    return points(contender.settings, tuple(own.learning_rates), tuple(own.num_steps))


def _fit_shots(config: ConfigDict, workdir: Workdir, wanted: Plan) -> Plan:
    """As many shots as every question has room for; the baseline is left out where there is none."""
    if evaluate.FEW_SHOT not in wanted.baselines:
        return wanted
    own, asked = config.compare, config.compare.shots
    examples = evaluate.examples_of(config, workdir, config.evaluate.split)
    train_examples = workdir.read_records(Example, "examples/train.jsonl")
    encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
    room = checkpoints.read_meta(workdir / BASE).config.max_positions - config.evaluate.max_new_tokens
    own.shots = few_shot.most_fitting(
        examples, train_examples, config.train.seeds, encoder, most=asked, max_prompt=room
    )
    if own.shots == asked and asked:
        return wanted
    note = f"The baseline few-shot shows {own.shots} examples, not {asked}: more do not fit."
    if not own.shots:
        note = f"The baseline few-shot was left out: not one example fits beside a question ({asked} were asked for)."
    kept = tuple(name for name in wanted.baselines if own.shots or name != evaluate.FEW_SHOT)
    return dataclasses.replace(wanted, baselines=kept, notes=(*wanted.notes, note))


class Comparison:
    """One comparison under way.

    Args:
      config: with the methods of the plan.
      workdir: whose selections are made.
      plan: who competes.
      redo: see ``Workdir.stage``.
    """

    def __init__(self, config: ConfigDict, workdir: Workdir, plan: Plan, redo: bool):
        self.config, self.workdir, self.plan, self.redo = config, workdir, plan, redo
        self.seeds = tuple(config.train.seeds)
        self.searched = self.seeds[: config.compare.search_seeds or None]
        self.parts = (SEARCHED, *(part for part in evaluate.parts_of(config) if part == evaluate.GENERAL))
        self.clock = _Clock(self._num_models())

    def run(self) -> None:
        """Search, choose and score each contender, and report."""
        for note in self.plan.notes:
            say(f"compare: {note}")
        self._untuned()
        cells: list[Cell] = []
        chosen: dict[str, Cell] = {}
        for contender in self.plan.contenders:
            found = list(self._search(contender, _points(self.config, contender)))
            chosen[contender.label] = choose(found, self.config.compare.rule)
            if contender.label == RIVAL and LOW_RATE in self.plan.baselines:
                found += self._search(*self._low_rate(chosen[RIVAL]))
                chosen = {LOW_RATE: found[-1]} | chosen
            cells += found
            taken = [chosen[label] for label in dict.fromkeys(cell.label for cell in found)]
            self._finish(taken)
            self._drop(found, list(chosen.values()))
        self._write(cells, chosen)

    def _untuned(self) -> None:
        evaluate.run(self.config, self.workdir, evaluate.UNTUNED, None, parts=(*self.parts, "test"), redo=self.redo)
        benchmark.run(self.config, self.workdir, evaluate.UNTUNED, None, redo=self.redo)
        for seed in self.seeds if evaluate.FEW_SHOT in self.plan.baselines else ():
            evaluate.run(self.config, self.workdir, evaluate.FEW_SHOT, seed, parts=("test",), redo=self.redo)

    def _num_models(self) -> int:
        """Models that will be tuned at most: of what is chosen, those of the seeds that are not searched with."""
        points_each = [len(_points(self.config, contender)) for contender in self.plan.contenders]
        low = LOW_RATE in self.plan.baselines
        finals = (len(points_each) + low) * (len(self.seeds) - len(self.searched))
        return (sum(points_each) + low) * len(self.searched) + finals

    def _low_rate(self, chosen: Cell) -> tuple[Contender, list[dict[str, Any]]]:
        """sft at a share of its chosen rate, with the same steps."""
        rate = float(f"{self.config.compare.low_rate * chosen.learning_rate:.3g}")
        return Contender(LOW_RATE, RIVAL), [{"learning_rate": rate, "num_steps": chosen.num_steps}]

    def _search(self, contender: Contender, grid: Sequence[dict[str, Any]]) -> Iterator[Cell]:
        """Tune and score a contender at each of these points."""
        for settings in grid:
            variant = variant_name(self.config, contender.method, settings)
            for seed in self.searched:
                self._make(variant, seed)
            yield self._cell(contender.label, variant, self.searched)

    def _make(self, variant: str, seed: int, *, final: bool = False) -> None:
        """One tuned model with its scores; what is done is skipped."""
        common = {"redo": self.redo}
        keys = self._keys(variant, seed, final)
        tuned = tuned_model.key(variant, seed)
        is_kept = tuned_model.is_kept(self.workdir, variant, seed)
        again = not is_kept and any(self.workdir.manifest(key) is None for key in keys)
        if self.workdir.processes.first(again, f"whether {tuned} is to be made again"):
            self.workdir.remove(tuned, [])  # tuned before, but not kept: again, with the same bits
        is_new = self.workdir.manifest(tuned) is None
        self.clock.begin(variant, seed, self.workdir.processes.first(is_new, f"whether {tuned} is to be made"))
        train.run(self.config, self.workdir, variant, seed, **common)
        parts = (*self.parts, "test") if final else self.parts
        evaluate.run(self.config, self.workdir, variant, seed, parts=parts, **common)
        for split in (SEARCHED, "test") if final else (SEARCHED,):
            drift.run(self.config, self.workdir, variant, seed, split=split, **common)
        if final or self.config.compare.benchmark_all:
            benchmark.run(self.config, self.workdir, variant, seed, **common)
        self.clock.end()

    def _keys(self, variant: str, seed: int, final: bool) -> list[str]:
        """The stages that need the tuned model."""
        splits = (SEARCHED, "test") if final else (SEARCHED,)
        keys = [evaluate.key(variant, seed, part) for part in (*self.parts, *splits[1:])]
        keys += [drift.key(variant, seed, split) for split in splits if self.config.evaluate.kl]
        benched = self.config.benchmark.tasks and (final or self.config.compare.benchmark_all)
        return keys + ([benchmark.key(variant, seed)] if benched else [])

    def _cell(self, label: str, variant: str, seeds: Sequence[int]) -> Cell:
        settings = method_settings(self.config, variant)
        scores = {seed: self._read(variant, seed, SEARCHED) for seed in seeds}
        count = next(iter(scores.values()))[0].count
        general = {seed: self._general(variant, seed) for seed in seeds}
        kl = {}
        if self.config.evaluate.kl:
            names = {seed: drift.file(variant, seed, SEARCHED) for seed in seeds}
            kl = {seed: self.workdir.read_json(name)["kl"] for seed, name in names.items()}
        return Cell(
            label,
            variant,
            settings["learning_rate"],
            settings["num_steps"],
            {seed: found[0].value for seed, found in scores.items()},
            count,
            {seed: value for seed, value in general.items() if value is not None},
            kl,
        )

    def _read(self, method: str, seed: int | None, part: str) -> list[Score]:
        found = self.workdir.read_records(Score, evaluate.file(method, seed, part))
        return [score for score in found if score.metric == ACCURACY]

    def _general(self, method: str, seed: int | None) -> float | None:
        """Mean over what general skills and benchmarks every point is put through; None where that is nothing."""
        scores = self._read(method, seed, evaluate.GENERAL) if evaluate.GENERAL in self.parts else []
        name = f"{benchmark.folder(method, seed)}/scores.jsonl"
        if self.config.benchmark.tasks and self.config.compare.benchmark_all:
            scores += self.workdir.read_records(Score, name)
        return float(np.mean([score.value for score in scores])) if scores else None

    def _finish(self, chosen: Sequence[Cell]) -> None:
        """The chosen points with all seeds, and on the test split."""
        for cell in chosen:
            stated = f"peak rate {cell.learning_rate:g}, {cell.num_steps:,} steps"
            say(f"compare: {cell.label} takes {stated} ({cell.variant}): {cell.score:.1%} of {SEARCHED}")
            for seed in self.seeds:
                self._make(cell.variant, seed, final=True)

    def _drop(self, found: Sequence[Cell], chosen: Sequence[Cell]) -> None:
        """Remove the models that were not chosen; their scores stay."""
        taken = {cell.variant for cell in chosen}
        for cell in found if self.config.compare.keep == "chosen" else ():
            for seed in self.seeds if cell.variant not in taken else ():
                tuned_model.drop(self.workdir, cell.variant, seed)

    def _write(self, cells: Sequence[Cell], chosen: dict[str, Cell]) -> None:
        entries = [Entry(evaluate.FEW_SHOT, evaluate.FEW_SHOT)] if evaluate.FEW_SHOT in self.plan.baselines else []
        entries += [Entry(label, cell.variant, method_of(cell.variant)) for label, cell in chosen.items()]
        models = models_of(entries, self.seeds)
        config, writes = self.config, [GRID, "comparison.html", "comparison.md", "comparison.json", "comparison-csv"]
        settings = {"compare": plain_settings(config.compare), "report": plain_settings(config.report)}
        settings |= {"title": config.title, "methods": config.methods, "seeds": self.seeds}
        reads = reads_of(config, self.workdir, models)
        reads += [evaluate.key(c.variant, seed, part) for c in cells for seed in c.scores for part in self.parts]
        told = {"settings": settings, "reads": sorted(set(reads)), "writes": writes}
        alone = not spans_hosts(engine_settings(config), self.workdir)
        with self.workdir.stage(KEY, **told, redo=True, first_only=alone) as stage:
            if not stage.needed:
                return say("compare: already done")
            evidence = gather(config, self.workdir, models, control_of(config))
            if self.workdir.processes.is_first:
                self._report(evidence, self._grid(cells, chosen))

    def _report(self, evidence: Evidence, grid: tuple[GridPoint, ...]) -> None:
        lines = "".join(json.dumps(dataclasses.asdict(point)) + "\n" for point in grid)
        self.workdir.write_bytes(GRID, lines.encode())
        notes = (*self.plan.notes, *evidence.notes)
        contents = build_contents(dataclasses.replace(evidence, grid=grid, notes=notes))
        write_report(contents, self.workdir.path, "comparison")
        print_result(contents, console)

    def _grid(self, cells: Sequence[Cell], chosen: dict[str, Cell]) -> tuple[GridPoint, ...]:
        """The base, then every model of the grid."""
        base = self._read(evaluate.UNTUNED, None, SEARCHED)[0].value
        found = [GridPoint("base", "base", None, None, None, base, self._general(evaluate.UNTUNED, None), 0.0, True)]
        for cell in cells:
            where = cell.learning_rate, cell.num_steps
            for seed, score in cell.scores.items():
                general, kl = cell.general.get(seed), cell.kl.get(seed)
                taken = chosen[cell.label].variant == cell.variant
                found.append(GridPoint(cell.label, cell.variant, seed, *where, score, general, kl, taken, cell.count))
        return tuple(found)


class _Clock:
    """How many models are made, and how long the rest will take."""

    def __init__(self, total: int):
        self.left, self.made, self.seconds = total, 0, 0.0
        self.started, self.new = 0.0, False
        self.seen: set[tuple[str, int]] = set()

    def begin(self, variant: str, seed: int, new: bool) -> None:
        """Of a model; ``new``: it has not been tuned."""
        self.left -= (variant, seed) not in self.seen
        self.seen.add((variant, seed))
        self.started, self.new = time.time(), new

    def end(self) -> None:
        """Of a model with its scores."""
        if self.new:
            self.made, self.seconds = self.made + 1, self.seconds + time.time() - self.started
            rest = max(0, self.left)
            left = duration(rest * self.seconds / self.made)
            say(f"compare: {count_of(self.made, 'model')} made, {rest} left or fewer, {left}")
