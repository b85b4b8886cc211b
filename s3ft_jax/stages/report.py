"""Stage: all that the other stages left -> report.html, report.md, report.json and a table in the terminal."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from s3ft_jax.batches import hash_order
from s3ft_jax.progress import console, say
from s3ft_jax.records import SAMPLED, Example, ItemScore, Response, Score, Selection, Verdict
from s3ft_jax.report import (
    BrowsedAnswer,
    BrowsedExample,
    Control,
    Evidence,
    ResponseCount,
    build_contents,
    print_result,
    write_report,
)
from s3ft_jax.responder import scorer_of
from s3ft_jax.selection import replays
from s3ft_jax.stages import agree, benchmark, evaluate, judge, sampler, select, train
from s3ft_jax.stages.launch import load_model, plain_settings
from s3ft_jax.workdir import Workdir, WorkdirError, flatten

KEY = "report"
PACKAGES = ("s3ft_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "numpy")

Models = list[tuple[str, int | None]]


def run(config: ConfigDict, workdir: Workdir, *, redo: bool = False) -> None:
    """Gather the evidence and write the report."""
    models: Models = [(evaluate.UNTUNED, None)]
    models += [(method, seed) for method in config.methods for seed in config.train.seeds]
    settings = {"report": plain_settings(config.report), "title": config.title, "methods": config.methods}
    reads = ["import", "prepare"] + [evaluate.key(*model) for model in models]
    reads += [benchmark.key(*model) for model in models if config.benchmark.tasks]
    reads += [f"select-{method}" for method in config.methods]
    reads += [agree.key(origin) for origin in _agreed(config, workdir)]
    files = {}
    if config.report.control:
        files["control"] = Workdir(config.report.control).stage_digest(KEY)
    with workdir.stage(
        KEY, settings=settings, reads=reads, files=files, writes=["report.html", "report.md", "report.json"], redo=redo
    ) as stage:
        if stage.needed:
            evidence = gather(config, workdir, models)
            contents = build_contents(evidence)
            write_report(contents, workdir.path)
            print_result(contents, console)
        else:
            say("report: already done")


def gather(config: ConfigDict, workdir: Workdir, models: Models) -> Evidence:
    """Everything a report is made of, read back from the files."""
    where = {model: f"scores/{evaluate.name(*model)}" for model in models}
    split = config.evaluate.split
    answers: dict[tuple[str, int | None, str], list[Verdict]] = {}
    parts = {part: workdir.read_records(Example, f"examples/{part}.jsonl") for part in (split, "general")}
    task_of = {example.id: example.task for examples in parts.values() for example in examples}
    for model, place in where.items():
        for part in parts:
            if (workdir / f"{place}/{part}-verdicts.jsonl").exists():
                for verdict in workdir.read_records(Verdict, f"{place}/{part}-verdicts.jsonl"):
                    answers.setdefault((*model, task_of[verdict.example_id]), []).append(verdict)
    tests = parts[split]
    origins = [o for o in SAMPLED if workdir.manifest(f"sample-{o}") is not None]
    facts = {origin: _facts(workdir, f"sample-{origin}") for origin in origins}
    chosen = {method: _facts(workdir, select.key(method)) for method in config.methods}
    return Evidence(
        title=config.title or f"{config.task.name} on {config.model.path}",
        task=tests[0].task,
        methods=tuple(config.methods),
        seeds=tuple(config.train.seeds),
        scores=_scores(config, workdir, where),
        config=config.to_dict(),
        intakes=_intakes(config, workdir),
        encoding=_facts(workdir, select.key(config.methods[0]))["encoding"],
        left_out={m: tuple(_facts(workdir, train.key(*m))["dropped"]) for m in models if m[1] is not None},
        outside={origin: told["outside"] for origin, told in facts.items() if "outside" in told},
        unasked={origin: told["left"] for origin, told in facts.items() if "left" in told},
        selections={method: _flow(workdir, method) for method in config.methods},
        responses={o: ResponseCount(f["responses"], f["ended"], f["cut"]) for o, f in facts.items()},
        verdicts={origin: workdir.read_records(Verdict, f"verdicts/{origin}.jsonl") for origin in origins},
        gated=_gated(config, workdir),
        rungs={m: told["rungs"] for m, told in chosen.items() if "rungs" in told},
        pass_rate=next((told["pass_rate"] for told in chosen.values() if "pass_rate" in told), {}),
        rounds=_rounds(workdir, models),
        answers=answers,
        items=_items(config, workdir, models),
        examples=_browse(config, workdir, where, tests),
        logprobs=base_logprobs(config, workdir),
        curves=_curves(config, workdir),
        rounded=_rounded(workdir, models),
        compared={o: workdir.read_records(Verdict, agree.file(o)) for o in _agreed(config, workdir)},
        canaries=_canaries(config, workdir, origins),
        costs=_costs(workdir),
        versions={name: _version(name) for name in PACKAGES} | {"python": platform.python_version()} | _devices(),
        hashes={key: workdir.stage_digest(key) for key in ("import", "prepare")},
        sandbox=_facts(workdir, evaluate.key(*models[0])).get("sandbox", ""),
        notes=tuple(config.report.notes),
        control=_control(config),
        reference=config.report.reference,
    )


def _scores(config: ConfigDict, workdir: Workdir, where: dict) -> list[Score]:
    """Of the task and the general skills, and of benchmarks where some were asked for."""
    folders = [*where.values(), *(benchmark.folder(*model) for model in where if config.benchmark.tasks)]
    return [score for place in folders for score in workdir.read_records(Score, f"{place}/scores.jsonl")]


def _items(config: ConfigDict, workdir: Workdir, models: Models) -> dict[tuple[str, int | None, str], dict[str, float]]:
    items: dict[tuple[str, int | None, str], dict[str, float]] = {}
    for model in models if config.benchmark.tasks else ():
        for one in workdir.read_records(ItemScore, f"{benchmark.folder(*model)}/items.jsonl"):
            items.setdefault((*model, one.task), {})[one.item] = one.value
    return items


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


def _browse(config: ConfigDict, workdir: Workdir, where: dict, tests: list[Example]) -> list[BrowsedExample]:
    """A seeded choice of test examples with every model's answer (first seed only)."""
    split = config.evaluate.split
    shown: dict[tuple[str, int | None], dict[str, tuple[str, Verdict]]] = {}
    for (method, seed), place in where.items():
        if seed in (None, config.train.seeds[0]):
            verdicts = {v.example_id: v for v in workdir.read_records(Verdict, f"{place}/{split}-verdicts.jsonl")}
            responses = workdir.read_shards(Response, f"{place}/{split}-responses")
            shown[method, seed] = {r.example_id: (r.text, verdicts[r.example_id]) for r in responses}
    scored = [e for e in tests if all(e.id in texts for texts in shown.values())]
    chosen = hash_order([e.id for e in scored], "browse")[: config.report.num_browse]
    return [
        BrowsedExample(
            scored[i].id,
            "\n".join(message["content"] for message in scored[i].messages),
            scored[i].gold,
            tuple(
                BrowsedAnswer(method, seed, texts[scored[i].id][0], v.outcome, v.found, v.reason)
                for (method, seed), texts in shown.items()
                for v in [texts[scored[i].id][1]]
            ),
        )
        for i in chosen
    ]


def base_logprobs(config: ConfigDict, workdir: Workdir) -> dict[str, list[tuple[float, int]]]:
    """Log-probability under the base of gold and what the model wrote, for a seeded choice of training questions.

    All are scored as answers to the plain question, which is how they are trained on (S3FT, Figure 2).
    """
    examples = workdir.read_records(Example, "examples/train.jsonl")
    chosen = {examples[i].id for i in hash_order([e.id for e in examples], "logprobs")[: config.report.num_scored]}
    model = load_model(workdir, engine=sampler.engine_settings(config))
    gold = {e.id: select.encode_gold(model.encoder, e) for e in examples if e.id in chosen}
    texts = {"gold": [(g.prompt_ids, g.response_ids) for g in gold.values()]}
    for origin in SAMPLED:
        mine = [r for r in workdir.read_shards(Response, f"responses/{origin}") if r.example_id in chosen and r.ended]
        texts[origin] = [(gold[r.example_id].prompt_ids, r.response_ids) for r in mine if r.index == 0]
    scorer = scorer_of(model, config.evaluate.batch_tokens)
    scored = {}
    for origin, pairs in texts.items():
        if pairs:
            values = scorer.logprobs(model.params, [p for p, _ in pairs], [r for _, r in pairs])
            scored[origin] = [(float(np.sum(v)), len(v)) for v in values]
    return scored


def _curves(config: ConfigDict, workdir: Workdir) -> dict[tuple[str, int], list[tuple[int, float]]]:
    curves = {}
    for method in config.methods:
        for seed in config.train.seeds:
            path = workdir / train.folder(method, seed) / "metrics.jsonl"
            rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
            curves[method, seed] = [(row["step"], row["loss"]) for row in rows]
    return curves


def _rounds(workdir: Workdir, models: Models) -> dict[tuple[str, int], list[dict[str, Any]]]:
    facts = {model: _facts(workdir, train.key(*model)) for model in models if model[1] is not None}
    return {model: told["rounds"] for model, told in facts.items() if "rounds" in told}


def _rounded(workdir: Workdir, models: Models) -> dict[tuple[str, int], tuple[str, float]]:
    facts = {model: _facts(workdir, train.key(*model)) for model in models if model[1] is not None}
    return {model: (told["base_dtype"], told["base_error"]) for model, told in facts.items() if "base_dtype" in told}


def _costs(workdir: Workdir) -> dict[str, dict[str, float | None]]:
    manifests = [(p, json.loads(p.read_text())) for p in (workdir / "manifests").glob("*.json") if p.stem != KEY]
    manifests.sort(key=lambda pair: pair[1]["finished"])
    return {p.stem: {"seconds": m["seconds"], "tokens": m["facts"].get("tokens")} for p, m in manifests}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    import jax

    return {"devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}


def _control(config: ConfigDict) -> Control | None:
    if not config.report.control:
        return None
    path = Workdir(config.report.control) / "report.json"
    if not path.exists():
        raise WorkdirError(f"report.control: {path} is not there; run the control first")
    document = json.loads(path.read_text())
    scores = [Score(**values) for values in document["scores"]]
    return Control(
        document["title"], scores, (f"Control run: {config.report.control}.", *_differences(config, document))
    )


def _differences(config: ConfigDict, document: dict[str, Any]) -> list[str]:
    """What sets the control apart, as a sentence; its own report's settings and methods aside."""
    here, there = flatten(json.loads(config.to_json_best_effort())), flatten(document["settings"])
    names = [
        n for n in sorted(here.keys() | there.keys()) if not n.startswith("report.") and n not in ("title", "methods")
    ]
    told = [
        f"{n} = {there.get(n, 'absent')} (here {here.get(n, 'absent')})" for n in names if here.get(n) != there.get(n)
    ]
    return [f"Settings that differ: {'; '.join(told)}."] if told else []
