"""Stage part: answers to read, of the target's test examples, and of the general skills' and benchmarks' items that a
tuned model lost or won.

Of skills the texts lie in ``scores/MODEL/general-*``, of benchmarks in ``benchmarks/MODEL/TASK-samples.jsonl``, which
are lm-eval's lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.batches import hash_order
from s3ft_jax.records import Example, ItemScore, Response, Verdict
from s3ft_jax.report import BrowsedAnswer, BrowsedExample, ChangedItems, Item, ItemAnswer
from s3ft_jax.report.claims import SUBJECT
from s3ft_jax.shards import read_shards
from s3ft_jax.stages import benchmark, evaluate
from s3ft_jax.workdir import Workdir

Model = tuple[str, int | None]
Places = Mapping[Model, Model]
"""(label, seed), the base first -> the model whose files count."""
Values = dict[str, dict[Model, dict[str, float]]]
"""Skill -> (label, seed) -> item -> what it got."""
Reader = Callable[[str, Collection[str]], tuple[dict[str, Item], str]]
"""Skill, ids -> the items that are still there, and what is to be said of the others."""
LEAST = 0.005
"""A smaller change of an item, where a benchmark gives shares of probability, is none."""
LIKELIEST = "\u25b8"


def target_examples(
    config: ConfigDict, workdir: Workdir, places: Places, tests: Sequence[Example]
) -> list[BrowsedExample]:
    """Examples of the target with every model's answer: a seeded choice of each fate, from the base to the subject.

    Args:
      config, workdir: of the run; of each fate ``report.num_browse`` examples are taken.
      places: the models to show, the base among them.
      tests: the examples that were scored.
    """
    shown: dict[Model, dict[str, tuple[str, Verdict]]] = {}
    for model, place in places.items():
        where = f"scores/{evaluate.name(*place)}/{config.evaluate.split}"
        verdicts = {v.example_id: v for v in workdir.read_records(Verdict, f"{where}-verdicts.jsonl")}
        responses = read_shards(workdir, Response, f"{where}-responses")
        shown[model] = {r.example_id: (r.text, verdicts[r.example_id]) for r in responses}
    common = [e for e in tests if all(e.id in texts for texts in shown.values())]
    first = shown[evaluate.UNTUNED, None]
    last = shown[next((model for model in shown if model[0] == SUBJECT), list(shown)[-1])]
    fates: dict[tuple[bool, bool], list[int]] = {}
    for i in hash_order([e.id for e in common], "browse"):
        fate = tuple(texts[common[i].id][1].outcome == "right" for texts in (first, last))
        fates.setdefault(fate, []).append(i)
    chosen = [i for some in fates.values() for i in some[: config.report.num_browse]]
    return [
        BrowsedExample(
            common[i].id,
            "\n".join(message["content"] for message in common[i].messages),
            common[i].gold,
            tuple(
                BrowsedAnswer(method, seed, texts[common[i].id][0], v.outcome, v.found, v.reason)
                for (method, seed), texts in shown.items()
                for v in [texts[common[i].id][1]]
            ),
        )
        for i in chosen
    ]


def changed_items(config: ConfigDict, workdir: Workdir, places: Places) -> list[ChangedItems]:
    """Of every tuned model: what became of the items of each skill and benchmark from the base to it.

    Args:
      config, workdir: of the run; of each fate ``report.num_browse`` items are read.
      places: the base, then the models to tell of.
    """
    found = []
    for values, read in (_skills(config, workdir, places), _benchmarks(config, workdir, places)):
        for skill, of in values.items():
            found += _changes(config.report.num_browse, skill, of, read)
    order = list(places)
    return sorted(found, key=lambda one: order.index((one.method, one.seed)))


def _changes(count: int, skill: str, of: Mapping[Model, Mapping[str, float]], read: Reader) -> list[ChangedItems]:
    (_, before), *tuned = of.items()
    ids = list(before)
    ids = [ids[place] for place in hash_order(ids, "browse")]
    fates: dict[Model, tuple[list[str], list[str], int]] = {}
    for model, after in tuned:
        change = {item: after[item] - before[item] for item in ids if item in after}
        lost = sorted((item for item in change if change[item] <= -LEAST), key=change.__getitem__)
        won = sorted((item for item in change if change[item] >= LEAST), key=lambda item, of=change: -of[item])
        fates[model] = lost, won, len(change) - len(lost) - len(won)
    items, note = read(
        skill, {item for lost, won, _ in fates.values() for some in (lost, won) for item in some[:count]}
    )
    return [
        ChangedItems(
            method=method,
            seed=seed,
            skill=skill,
            regressed=len(lost),
            fixed=len(won),
            unchanged=same,
            lost=tuple(items[item] for item in lost[:count] if item in items),
            won=tuple(items[item] for item in won[:count] if item in items),
            note=note,
        )
        for (method, seed), (lost, won, same) in fates.items()
    ]


def _skills(config: ConfigDict, workdir: Workdir, places: Places) -> tuple[Values, Reader]:
    """The general skills' items, by verdicts."""
    part = evaluate.GENERAL
    if not config.evaluate.general:
        return {}, lambda skill, ids: ({}, "")
    examples = {example.id: example for example in workdir.read_records(Example, f"examples/{part}.jsonl")}
    names = {model: f"scores/{evaluate.name(*place)}/{part}" for model, place in places.items()}
    there = all(workdir.has(f"{name}-verdicts.jsonl") for name in names.values())  # not of a run without such examples
    verdicts = {
        model: {v.example_id: v for v in workdir.read_records(Verdict, f"{name}-verdicts.jsonl")}
        for model, name in names.items()
        if there
    }
    values: Values = {}
    for model, mine in verdicts.items():
        for one in mine.values():
            of = values.setdefault(examples[one.example_id].task, {})
            of.setdefault(model, {})[one.example_id] = float(one.outcome == "right")
    texts: dict[Model, dict[str, str]] = {}

    def read(skill: str, ids: Collection[str]) -> tuple[dict[str, Item], str]:
        for model, name in names.items() if ids and not texts else ():
            texts[model] = {r.example_id: r.text for r in read_shards(workdir, Response, f"{name}-responses")}
        return {one: _skill_item(examples[one], verdicts, texts) for one in ids}, ""

    return values, read


def _skill_item(
    example: Example, verdicts: Mapping[Model, Mapping[str, Verdict]], texts: Mapping[Model, Mapping[str, str]]
) -> Item:
    answers = []
    for model, mine in verdicts.items():
        one = mine[example.id]
        why = f"{one.outcome}; " * (one.outcome == "undecided") + f"found {one.found}; " * bool(one.found) + one.reason
        answers.append(ItemAnswer(*model, texts[model][example.id], float(one.outcome == "right"), why))
    prompt = "\n".join(message["content"] for message in example.messages)
    return Item(example.id, prompt, example.gold, tuple(answers))


def _benchmarks(config: ConfigDict, workdir: Workdir, places: Places) -> tuple[Values, Reader]:
    """The benchmarks' items, by the metric that stands for each."""
    values: Values = {}
    if not config.benchmark.tasks:
        return values, lambda skill, ids: ({}, "")
    folders = {model: benchmark.folder(*place) for model, place in places.items()}
    for model, folder in folders.items():
        for one in workdir.read_records(ItemScore, f"{folder}/items.jsonl"):
            values.setdefault(one.task, {}).setdefault(model, {})[one.item] = one.value

    def read(task: str, ids: Collection[str]) -> tuple[dict[str, Item], str]:
        lines: dict[Model, dict[str, dict[str, Any]]] = {}
        for model, folder in folders.items() if ids else ():
            name = f"{folder}/{task}-samples.jsonl"
            if not workdir.has(name):
                return {}, f"{name} is not there any more, so that there is nothing to read of this benchmark."
            chosen = workdir.read_json(f"{folder}/{task}.json")["headline"].partition(",")[2]
            try:
                lines[model] = _samples((workdir / name).read_bytes(), chosen, ids)
            except (ValueError, KeyError, TypeError) as error:
                return {}, f"{name} is damaged ({error}), so that there is nothing to read of this benchmark."
        there = [one for one in ids if all(one in mine for mine in lines.values())]
        missing = f"{len(ids) - len(there)} items have no line in TASK-samples.jsonl." * (len(there) < len(ids))
        of = {one: {model: mine[one] for model, mine in lines.items()} for one in there}
        return {one: _benchmark_item(one, mine, values[task]) for one, mine in of.items()}, missing

    return values, read


def _samples(data: bytes, chosen: str, ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Item -> lm-eval's line of it, after the filter ``chosen``."""
    found = {}
    for line in data.split(b"\n"):  # a text may hold characters at which splitlines would cut
        if line.strip():
            sample = json.loads(line)
            item = f"{sample['task']}/{sample['doc_id']}"
            if item in ids and sample["filter"] == chosen:
                found[item] = sample
    return found


def _benchmark_item(
    item: str, lines: Mapping[Model, dict[str, Any]], values: Mapping[Model, Mapping[str, float]]
) -> Item:
    first = next(iter(lines.values()))
    prompt, choices = prompt_and_choices(first["arguments"])
    answers = tuple(_answer(model, line, choices, values[model][item]) for model, line in lines.items())
    return Item(item, prompt, _gold(first, choices), answers)


def prompt_and_choices(arguments: Sequence[Sequence[Any]]) -> tuple[str, list[str]]:
    """What is asked, and the choices that are ranked; none where the model writes its answer.

    Where contexts differ from choice to choice (WinoGrande), the prompt is what all begin with, up to a space.
    """
    contexts = [str(pair[0]) for pair in arguments]
    if len(arguments[0]) < 2 or not isinstance(arguments[0][1], str):
        return contexts[0], []
    low, high = min(contexts), max(contexts)
    same = next((place for place, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))
    start = low if low == high else low[: max(low.rfind(mark, 0, same) for mark in " \n") + 1]
    return start, [f"{context[len(start) :]}{pair[1]}" for context, pair in zip(contexts, arguments, strict=True)]


def _answer(model: Model, line: Mapping[str, Any], choices: Sequence[str], value: float) -> ItemAnswer:
    """A written answer with what was read out of it, or the choices with their log-probabilities."""
    said = [one[0] for one in line["resps"]]
    if not choices:
        read = line["filtered_resps"][0] if line["filtered_resps"] else ""
        return ItemAnswer(*model, str(said[0]), value, f"read: {read}" if str(read) != str(said[0]) else "")
    sums = [float(one[0]) for one in said]
    rows = [
        f"{LIKELIEST if one == max(sums) else ' '} {one:8.2f}  {choice.strip()}"
        for one, choice in zip(sums, choices, strict=True)
    ]
    return ItemAnswer(*model, "\n".join(rows), value, f"{LIKELIEST} the likeliest; log-probability in nats")


def _gold(line: Mapping[str, Any], choices: Sequence[str]) -> str:
    """The right choices or the answer, as far as lm-eval's line says."""
    target, doc = line["target"], line["doc"] if isinstance(line["doc"], dict) else {}
    labels = doc.get("mc2_targets", {}).get("labels", ())  # TruthfulQA: several are true
    if choices and len(labels) == len(choices):
        return "\n".join(choice.strip() for choice, right in zip(choices, labels, strict=True) if right)
    if isinstance(target, int) and target < len(choices):
        return choices[target].strip()
    if choices and all(choice.endswith(str(target)) for choice in choices) and "answer" in doc:
        return f"{str(target).strip()} (answer: {doc['answer']})"  # WinoGrande: the choices differ before it
    return str(target)
