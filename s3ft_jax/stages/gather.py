"""Stage part: everything a report is made of, read back from the files that the other stages left."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from s3ft_jax.batches import hash_order
from s3ft_jax.evaluation.answers import answer_values, has_answers
from s3ft_jax.records import SAMPLED, Example, ItemScore, Response, Score, Selection, Verdict
from s3ft_jax.report import Control, Evidence, ResponseCount
from s3ft_jax.report.claims import RIVAL, SUBJECT
from s3ft_jax.report.wording import count_of
from s3ft_jax.responder import scorer_of
from s3ft_jax.selection import replays
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import agree, benchmark, drift, evaluate, judge, looks, sampler, select, tuned_model
from s3ft_jax.stages.browse import changed_items, target_examples
from s3ft_jax.stages.launch import load_model
from s3ft_jax.stages.method_settings import method_settings
from s3ft_jax.workdir import Workdir

PACKAGES = ("s3ft_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")
NOT_INSTALLED = "not installed"
REPORTS = ("report", "compare")
"""Stages that only write down what others did."""
MOST_COSTS = 60
"""Rows of the table of costs, beyond which models are counted together."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the report's tables.

    Attributes:
      label: its name there.
      model: whose files are read: a method or variant, ``base`` or ``few-shot``.
      method: whose selections it was trained on; empty where it was not trained.
    """

    label: str
    model: str
    method: str = ""

    def place(self, part: str, seed: int | None) -> tuple[str, int | None]:
        """The model whose answers to a part count for it: examples before a question change the task's alone."""
        base = self.model == evaluate.FEW_SHOT and part == evaluate.GENERAL
        return (evaluate.UNTUNED, None) if base else (self.model, seed)


Models = dict[tuple[str, int | None], Entry]
"""(label, seed) -> the entry; the base has no seed."""


def models_of(entries: Sequence[Entry], seeds: Sequence[int]) -> Models:
    """The base and each entry with each seed."""
    found: Models = {(evaluate.UNTUNED, None): Entry(evaluate.UNTUNED, evaluate.UNTUNED)}
    return found | {(entry.label, seed): entry for entry in entries for seed in seeds}


def scored(config: ConfigDict, models: Models) -> list[tuple[tuple[str, int | None], str, tuple[str, int | None]]]:
    """(label, seed), part, and the model whose answers to it count."""
    parts = evaluate.parts_of(config)
    return [(model, part, entry.place(part, model[1])) for model, entry in models.items() for part in parts]


def _target_builders(tuned: Models) -> dict[str, str]:
    """Label -> method, one label for each method: lines that share their targets are counted once."""
    labels: dict[str, str] = {}
    for entry in tuned.values():
        if entry.method not in labels or entry.label == entry.method:
            labels[entry.method] = entry.label
    return {label: method for method, label in labels.items()}


def benchmarked(config: ConfigDict, models: Models) -> list[tuple[tuple[str, int | None], tuple[str, int | None]]]:
    """(label, seed), and the model whose benchmarks count; none where none are asked for."""
    if not config.benchmark.tasks:
        return []
    return [(model, entry.place(evaluate.GENERAL, model[1])) for model, entry in models.items()]


def reads_of(config: ConfigDict, workdir: Workdir, models: Models) -> list[str]:
    """The stages that a report of these models reads."""
    split, tuned = config.evaluate.split, trained(models)
    reads = ["import", "prepare"] + [evaluate.key(*place, part) for _, part, place in scored(config, models)]
    if config.evaluate.kl:
        reads += [drift.key(entry.model, seed, split) for (_, seed), entry in tuned.items()]
    reads += [benchmark.key(*place) for _, place in benchmarked(config, models)]
    reads += [select.key(entry.method) for entry in tuned.values()]
    reads += [agree.key(origin) for origin in _agreed(config, workdir)]
    return sorted(set(reads))


def trained(models: Models) -> Models:
    """Those that were."""
    return {model: entry for model, entry in models.items() if entry.method}


def gather(config: ConfigDict, workdir: Workdir, models: Models, control: Control | None = None) -> Evidence:
    """Everything a report is made of, read back from the files."""
    tests, tuned = workdir.read_records(Example, f"examples/{config.evaluate.split}.jsonl"), trained(models)
    methods = _target_builders(tuned)
    origins = [o for o in SAMPLED if workdir.manifest(f"sample-{o}") is not None]
    facts = {origin: _facts(workdir, f"sample-{origin}") for origin in origins}
    chosen = {label: _facts(workdir, select.key(method)) for label, method in methods.items()}
    keys = {one: tuned_model.key(entry.model, one[1]) for one, entry in tuned.items()}
    trainings = {one: _facts(workdir, key) for one, key in keys.items()}
    logprobs, unread = base_logprobs(config, workdir)
    scores = _scores(config, workdir, models)
    measured, unlike = measured_of(config, workdir, models, scores)
    courses = {model: looks.read(workdir, entry.model, model[1]) for model, entry in tuned.items()}
    return Evidence(
        title=config.title or f"{config.task.name} on {config.model.path}",
        task=tests[0].task,
        methods=tuple(dict.fromkeys(label for label, seed in models if seed is not None)),
        seeds=tuple(config.train.seeds),
        scores=scores,
        config=config.to_dict(),
        intakes=_intakes(config, workdir),
        encoding=next(iter(chosen.values()), {}).get("encoding", {}),
        left_out={model: tuple(told["dropped"]) for model, told in trainings.items()},
        seen=_seen(config, tuned, trainings),
        outside={origin: told["outside"] for origin, told in facts.items() if "outside" in told},
        unasked={origin: told["left"] for origin, told in facts.items() if "left" in told},
        selections={label: _flow(workdir, method) for label, method in methods.items()},
        responses={o: ResponseCount(f["responses"], f["ended"], f["cut"]) for o, f in facts.items()},
        verdicts={origin: workdir.read_records(Verdict, f"verdicts/{origin}.jsonl") for origin in origins},
        gated=_gated(config, workdir),
        rungs={m: told["rungs"] for m, told in chosen.items() if "rungs" in told},
        pass_rate=next((told["pass_rate"] for told in chosen.values() if "pass_rate" in told), {}),
        rounds={model: told["rounds"] for model, told in trainings.items() if "rounds" in told},
        answers=answers_of(config, workdir, models),
        items=items_of(config, workdir, models),
        benchmarks={model: benchmark.results(workdir, *place) for model, place in benchmarked(config, models)},
        measured=measured,
        examples=target_examples(config, workdir, _browsed_of(config, models), tests),
        changed=changed_items(config, workdir, _told_of(config, models)),
        logprobs=logprobs,
        curves={model: course.curve for model, course in courses.items()},
        looks={model: course.looks for model, course in courses.items() if course.looks},
        rounded={m: (told["base_dtype"], told["base_error"]) for m, told in trainings.items() if "base_dtype" in told},
        kl=_kl(config, workdir, tuned),
        compared={o: workdir.read_records(Verdict, agree.file(o)) for o in _agreed(config, workdir)},
        canaries=_canaries(config, workdir, origins),
        costs=_costs(workdir),
        versions=_versions(config),
        hashes={key: workdir.stage_digest(key) for key in ("import", "prepare")},
        sandbox=_facts(workdir, evaluate.key(evaluate.UNTUNED, None, config.evaluate.split)).get("sandbox", ""),
        notes=(*config.report.notes, *unread, *unlike, *(one.note for one in courses.values() if one.note)),
        control=control,
        reference=config.report.reference,
    )


def _seen(
    config: ConfigDict, tuned: Models, trainings: Mapping[tuple[str, int | None], Mapping[str, Any]]
) -> dict[tuple[str, int | None], tuple[int, int]]:
    """Targets that each model was trained on, and how many there were; not of steps that are counted in rows."""
    found = {}
    for model, told in trainings.items():
        settings = method_settings(config, tuned[model].model)
        there = told["examples"] - len(told["dropped"])
        if not settings["batch_rows"]:
            found[model] = (min(there, told["step"] * settings["batch_size"]), there)
    return found


def _scores(config: ConfigDict, workdir: Workdir, models: Models) -> list[Score]:
    """Of the task and the general skills, and of benchmarks where some were asked for, by label."""
    files = [(model, evaluate.file(*place, part)) for model, part, place in scored(config, models)]
    files += [(model, f"{benchmark.folder(*place)}/scores.jsonl") for model, place in benchmarked(config, models)]
    return [
        dataclasses.replace(score, method=label, seed=seed)
        for (label, seed), name in files
        for score in workdir.read_records(Score, name)
    ]


def answers_of(
    config: ConfigDict, workdir: Workdir, models: Models
) -> dict[tuple[str, int | None, str], list[Verdict]]:
    """(label, seed, task) -> the verdicts on a model's answers to the task's and the general examples."""
    parts = [workdir.read_records(Example, f"examples/{part}.jsonl") for part in evaluate.parts_of(config)]
    task_of = {example.id: example.task for examples in parts for example in examples}
    answers: dict[tuple[str, int | None, str], list[Verdict]] = {}
    for model, part, place in scored(config, models):
        name = f"scores/{evaluate.name(*place)}/{part}-verdicts.jsonl"
        for verdict in workdir.read_records(Verdict, name) if (workdir / name).exists() else ():
            answers.setdefault((*model, task_of[verdict.example_id]), []).append(verdict)
    return answers


def items_of(
    config: ConfigDict, workdir: Workdir, models: Models
) -> dict[tuple[str, int | None, str], dict[str, float]]:
    """(label, seed, benchmark) -> item -> what the model got on it."""
    items: dict[tuple[str, int | None, str], dict[str, float]] = {}
    for model, place in benchmarked(config, models):
        for one in workdir.read_records(ItemScore, f"{benchmark.folder(*place)}/items.jsonl"):
            items.setdefault((*model, one.task), {})[one.item] = one.value
    return items


def measured_of(
    config: ConfigDict, workdir: Workdir, models: Models, scores: Sequence[Score]
) -> tuple[dict[tuple[str, int | None, str], dict[str, float]], list[str]]:
    """(label, seed, metric) -> example -> value of the task's answers, computed from the stored responses.

    Returns:
      The values, none where the task has no passages; and what the report has to say where they are none because the
      stored scores are not those of the stored responses: older code may have made them, or responses are gone.
    """
    split = config.evaluate.split
    examples = evaluate.examples_of(config, workdir, split)
    task, asked = examples[0].task, [example for example in examples if has_answers(example)]
    told = {(s.method, s.seed, s.metric): s.value for s in scores if (s.task, s.split) == (task, split)}
    found, odd = {}, []
    for model, part, place in scored(config, models) if asked else ():
        if part == split:
            where = f"scores/{evaluate.name(*place)}/{part}"
            responses = read_shards(workdir, Response, f"{where}-responses")
            there = {response.example_id for response in responses}
            mine = [example for example in asked if example.task == task and example.id in there]
            values = answer_values(mine, responses, workdir.read_records(Verdict, f"{where}-verdicts.jsonl"))
            means = {metric: sum(some.values()) / len(some) for (_, metric), some in values.items()}
            unlike = any(abs(told.get((*model, name), math.inf) - mean) > 1e-6 for name, mean in means.items())
            if unlike or len(mine) < len(asked):
                odd.append(f"manifests/{evaluate.key(*place, part)}.json")
            found |= {(*model, metric): some for (_, metric), some in values.items()}
    if not odd:
        return found, []
    note = (
        f"Token F1 and its like are not compared by pairs: of {count_of(len(odd), 'model')} the stored scores are not "
        "those of the stored responses (other code scored them, or responses are gone). To have them scored anew, "
        f"remove {', '.join(odd[:3])}{' and so on' if len(odd) > 3 else ''} and run the command again."
    )
    return {}, [note]


def _facts(workdir: Workdir, key: str) -> dict[str, Any]:
    return workdir.manifest(key)["facts"]


def _intakes(config: ConfigDict, workdir: Workdir) -> dict[str, Any]:
    """What became of the rows of each split, and of general rows where they are replayed."""
    intakes = _facts(workdir, "prepare")["intake"]
    return intakes | ({"replay": _facts(workdir, select.REPLAY)["intake"]} if replays(config.methods) else {})


def _gated(config: ConfigDict, workdir: Workdir) -> dict[str, dict[tuple[str, int], str]]:
    """The right responses that the gate refused, with its reason."""
    if workdir.manifest(select.GATE) is None:
        return {}
    refused = select.read_refusals(config, workdir)
    return {select.GATED: {(i, index): why for i, mine in refused.items() for (_, index), why in mine.items()}}


def _agreed(config: ConfigDict, workdir: Workdir) -> list[str]:
    """The origins whose responses a second judge has judged too."""
    if not config.judge.second:
        return []
    return [origin for origin in SAMPLED if workdir.manifest(agree.key(origin)) is not None]


def _canaries(config: ConfigDict, workdir: Workdir, origins: list[str]) -> dict[str, tuple[int, int]]:
    """What a judging model passed, the first judge's or else the second's."""
    keys = [judge.key(o) for o in origins] + [agree.key(o) for o in _agreed(config, workdir)]
    found = next(filter(None, (_facts(workdir, key).get("canaries") for key in keys)), {})
    return {kind: (passed, asked) for kind, (passed, asked) in found.items()}


def _flow(workdir: Workdir, method: str) -> list[tuple[str, str, str]]:
    selections = workdir.read_records(Selection, f"selections/{method}.jsonl")
    return [(selection.example_id, selection.origin, selection.reason) for selection in selections]


def _browsed_of(config: ConfigDict, models: Models) -> dict[tuple[str, int | None], tuple[str, int | None]]:
    """(label, seed) -> the model whose answers to the target's examples are shown: all, first seed only."""
    first = (None, config.train.seeds[0])
    return {(label, seed): (entry.model, seed) for (label, seed), entry in models.items() if seed in first}


def _told_of(config: ConfigDict, models: Models) -> dict[tuple[str, int | None], tuple[str, int | None]]:
    """The base, the subject and its rival, first seed: (label, seed) -> the model whose general answers count."""
    base, seed, labels = (evaluate.UNTUNED, None), config.train.seeds[0], [label for label, _ in models]
    wanted = [SUBJECT if SUBJECT in labels else labels[-1], RIVAL]
    tuned = {(one, seed): models[one, seed].place(evaluate.GENERAL, seed) for one in wanted if (one, seed) in models}
    return {base: base} | {model: place for model, place in tuned.items() if place != base}


def base_logprobs(config: ConfigDict, workdir: Workdir) -> tuple[dict[str, list[tuple[float, int]]], list[str]]:
    """Log-probability under the base of gold and what the model wrote, for a seeded choice of training questions.

    All are scored as answers to the plain question, which is how they are trained on (S3FT, Figure 2).

    Returns:
      (origin -> (sum in nats, tokens) of each text, what the report has to say of texts that were left out).
    """
    examples = workdir.read_records(Example, "examples/train.jsonl")
    chosen = {examples[i].id for i in hash_order([e.id for e in examples], "logprobs")[: config.report.num_scored]}
    model = load_model(workdir, engine=sampler.engine_settings(config))
    gold = {e.id: select.encode_gold(model.encoder, e) for e in examples if e.id in chosen}
    texts = {"gold": [(g.prompt_ids, g.response_ids) for g in gold.values()]}
    for origin in SAMPLED:
        mine = [r for r in read_shards(workdir, Response, f"responses/{origin}") if r.example_id in chosen and r.ended]
        texts[origin] = [(gold[r.example_id].prompt_ids, r.response_ids) for r in mine if r.index == 0]
    scorer = scorer_of(model, config.evaluate.batch_tokens)
    logprobs, notes, longest = {}, [], model.config.max_positions
    for origin, pairs in texts.items():
        fitting = [(prompt, response) for prompt, response in pairs if len(prompt) + len(response) <= longest]
        if len(fitting) < len(pairs):
            number = count_of(len(pairs) - len(fitting), f"{origin} text")
            notes.append(f"{number} longer than the model reads ({longest:,} tokens): no log-probability.")
        if fitting:
            values = scorer.logprobs(model.params, [p for p, _ in fitting], [r for _, r in fitting])
            logprobs[origin] = [(float(np.sum(v)), len(v)) for v in values]
    return logprobs, notes


def _kl(config: ConfigDict, workdir: Workdir, tuned: Models) -> dict[tuple[str, int], float]:
    """KL(base || model) on the task's questions, nats per token."""
    names = {model: drift.file(entry.model, model[1], config.evaluate.split) for model, entry in tuned.items()}
    return {model: workdir.read_json(n)["kl"] for model, n in names.items() if config.evaluate.kl}


def _costs(workdir: Workdir) -> dict[str, dict[str, float | None]]:
    """Seconds and tokens by stage, in the order in which they ended; of many models, by what is done with them."""
    manifests = [(p.stem, json.loads(p.read_text())) for p in (workdir / "manifests").glob("*.json")]
    manifests = [(key, told) for key, told in manifests if key not in REPORTS]
    manifests.sort(key=lambda pair: pair[1]["finished"])
    if len(manifests) <= MOST_COSTS:
        return {key: _cost([told]) for key, told in manifests}
    kinds: dict[str, list[dict[str, Any]]] = {}
    for key, told in manifests:
        kinds.setdefault(key.split("-")[0], []).append(told)
    return {f"{kind} ({len(some)})" if len(some) > 1 else kind: _cost(some) for kind, some in kinds.items()}


def _cost(manifests: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What these stages took; tokens and stops are None where one of them does not say."""
    starts, tokens = ([told.get("starts") for told in manifests], [told["facts"].get("tokens") for told in manifests])
    return {
        "seconds": sum(told["seconds"] for told in manifests),
        "tokens": None if None in tokens else sum(tokens),
        "stops": None if None in starts else sum(starts) - len(starts),
        "unseen": sum(told.get("unseen", 0) for told in manifests),
    }


def _versions(config: ConfigDict) -> dict[str, str]:
    """Of what is installed now; of what computes benchmarks only where some are asked for."""
    found = {name: _version(name) for name in (*PACKAGES, *(["lm_eval"] if config.benchmark.tasks else []))}
    theirs = {name: _version(name) for name in (benchmark.PACKAGES if config.benchmark.tasks else ())}
    found |= {name: version for name, version in theirs.items() if version != NOT_INSTALLED}
    return found | {"python": platform.python_version()} | _devices()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return NOT_INSTALLED


def _devices() -> dict[str, str]:
    import jax

    return {"devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}
