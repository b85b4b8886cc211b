"""The benchmarks of the report room: every metric that lm-eval gave of every model, and how each was asked for.

In: ``Evidence.benchmarks``. Out: tables, values for report.json and rows for csv files. Values are lm-eval's own, as it
prints them: mostly shares from 0 to 1, but also perplexities and others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from s3ft_jax.report.evidence import BASE, BenchmarkResult, Evidence
from s3ft_jax.report.tables import Cell, Table, label
from s3ft_jax.report.wording import count_of, method_name

COUNTS = {
    "scored": "texts scored",
    "answered": "answers sampled",
    "cut_contexts": "contexts cut",
    "cut_answers": "answers cut",
    "unfinished_thoughts": "unfinished thoughts",
    "system_folded": "system turns folded",
}
"""``facts["counts"]`` in words; others stand under their own names."""
NO_SHARE = "in no mean of the report: no share of items"
_ABSENT = "\u2013"


@dataclasses.dataclass(frozen=True)
class _Line:
    """A metric of a (sub)task with its values by method, one for each seed; ``first`` is one of its results."""

    name: str
    metric: str
    first: BenchmarkResult
    values: Mapping[str, Sequence[float]]

    @property
    def is_whole(self) -> bool:
        """Whether it is of the whole benchmark."""
        return self.name == self.first.task


def benchmark_tables(evidence: Evidence) -> list[tuple[str, Table]]:
    """(heading, table): metrics, each benchmark's parts, how they were asked, what was cut; none without benchmarks.

    A table without a heading is the one to show first.
    """
    if not evidence.benchmarks:
        return []
    lines, methods = _lines(evidence), [BASE, *evidence.methods]
    parts = [line for line in lines if not line.is_whole]
    found = [("", _metrics_table([line for line in lines if line.is_whole], methods, "Benchmarks"))]
    found += [("Part by part", _metrics_table(parts, methods, "The parts of these benchmarks"))] if parts else []
    return [*found, ("How they were asked", _asked_table(evidence)), ("What was cut", _counts_table(evidence))]


def _lines(evidence: Evidence) -> list[_Line]:
    """Every metric, in the order in which lm-eval gave them."""
    found: dict[tuple[str, str, str], _Line] = {}
    for (method, _), one in _results(evidence):
        for name, metrics in _metrics(one).items():
            for metric, value in metrics.items():
                line = found.setdefault((one.task, name, metric), _Line(name, metric, one, {}))
                line.values.setdefault(method, []).append(value)
    return list(found.values())


def _metrics(one: BenchmarkResult) -> dict[str, Mapping[str, float]]:
    """(Sub)task -> its metrics; a benchmark without a metric of its own gets its mean."""
    own = {} if one.task in one.metrics else {one.task: {one.headline: one.value}}
    return own | dict(one.metrics)


def _results(evidence: Evidence) -> Iterator[tuple[tuple[str, int | None], BenchmarkResult]]:
    for model, results in evidence.benchmarks.items():
        for one in results:
            yield model, one


def _size(one: BenchmarkResult, name: str) -> int | None:
    """Items of a (sub)task; None of a group below the benchmark, which lm-eval does not say."""
    return sum(one.sizes.values()) if name == one.task else one.sizes.get(name)


def _metrics_table(lines: Sequence[_Line], methods: Sequence[str], what: str) -> Table:
    body = []
    for line in lines:
        metric, _, chosen = line.metric.partition(",")
        is_headline = line.metric == line.first.headline
        detail = "" if not is_headline else "(headline)" if line.first.in_means else f"(headline, {NO_SHARE})"
        size = _size(line.first, line.name)
        cells = [Cell(metric, detail, number=False), label(chosen), Cell(_ABSENT if size is None else f"{size:,}")]
        cells += [_value_cell(line.values.get(method, ())) for method in methods]
        body.append((label(line.name), *cells))
    caption = (
        f"{what}: every metric and filter that lm-eval gives, as it writes them; mean over seeds (s.d.: spread between "
        "seeds). The headline is the metric that the task's file lists first; where it is a share of items it is in "
        "the report's scores, means and tests."
    )
    names = (method_name(method) for method in methods)
    return Table(caption, ("benchmark", "metric", "filter", "items", *names), tuple(body))


def _value_cell(values: Sequence[float]) -> Cell:
    if not values:
        return Cell(_ABSENT)
    mean = float(np.mean(values))
    text = f"{mean:.4f}" if abs(mean) < 100 else f"{mean:,.2f}"
    return Cell(text.replace("-", "\u2212"), f"s.d. {np.std(values, ddof=1):.4f}" if len(values) > 1 else "")


def _asked_table(evidence: Evidence) -> Table:
    """One line per benchmark; where models differ, all that was found stands there."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for _, one in _results(evidence):
        found.setdefault(one.task, []).append(_told(one))
    body = []
    for task, told in found.items():
        cells = [" / ".join(dict.fromkeys(texts)) for texts in zip(*told, strict=True)]
        body.append((label(task), Cell(cells[0]), *(label(text) for text in cells[1:])))
    caption = (
        "How each benchmark was put to the models; where models differ, all that was found. Shots: examples before "
        "each question; a task that asks for none keeps none, and a context that was cut may have lost some. Data: "
        "from the hub, or a local copy and how it differs."
    )
    return Table(caption, ("benchmark", "items", "shots", "prompt", "data", "version", "lm_eval"), tuple(body))


def _told(one: BenchmarkResult) -> tuple[str, ...]:
    """The cells of the table above, of one model."""
    facts, asked = one.facts, one.asked
    shots = _by_value(facts.get("shots", {}))
    wanted = asked.get("shots", -1)
    if wanted >= 0 and shots != str(wanted):
        shots += f" (asked for: {wanted})"
    prompt = ["chat template, shots as turns" if asked.get("chat") else "plain text"]
    prompt += [f"system text {asked['system']!r}"] if asked.get("system") else []
    prompt += [f"the first {count_of(asked['limit'], 'item')} of each task"] if asked.get("limit") else []
    prompt += [f"at most {asked['max_new_tokens']:,} new tokens where it sets no limit"] * bool(
        facts.get("counts", {}).get("answered") and asked.get("max_new_tokens")
    )
    data = {
        name: {"local": "local copy", "hub": "hub"}.get(text, f"local copy: {text}")
        for name, text in facts.get("data", {}).items()
    }
    told = (shots, "; ".join(prompt), _by_value(data), _by_value(facts.get("versions", {})))
    return (f"{sum(one.sizes.values()):,}", *told, str(facts.get("lm_eval", _ABSENT)))


def _by_value(values: Mapping[str, Any]) -> str:
    """``5`` where all are 5; else ``5 (12 tasks); 0 (anatomy)``."""
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        names.setdefault(str(value), []).append(name)
    if len(names) < 2:
        return next(iter(names), _ABSENT)
    return "; ".join(f"{v} ({some[0] if len(some) == 1 else f'{len(some)} tasks'})" for v, some in names.items())


def _counts_table(evidence: Evidence) -> Table:
    """Sums over seeds, one line per benchmark and method; a dash where a kind was not counted."""
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for (method, _), one in _results(evidence):
        mine = sums.setdefault((one.task, method), {})
        for name, count in one.facts.get("counts", {}).items():
            mine[name] = mine.get(name, 0) + count
    names = list(dict.fromkeys([*COUNTS, *(name for mine in sums.values() for name in mine)]))
    order = {task: place for place, task in enumerate(dict.fromkeys(task for task, _ in sums))}
    body = [
        (label(task), label(method_name(method), method), *(_count_cell(mine.get(name)) for name in names))
        for (task, method), mine in sorted(sums.items(), key=lambda pair: order[pair[0][0]])
    ]
    caption = (
        "What was cut, sums over seeds. Contexts cut: texts longer than the model reads, which lost their beginning. "
        "Answers cut: by their limit. Unfinished thoughts: answers of these that were still thinking, of which nothing "
        "counts. System turns folded: into the user's turn, as the chat template has none."
    )
    return Table(caption, ("benchmark", "", *(COUNTS.get(name, name.replace("_", " ")) for name in names)), tuple(body))


def _count_cell(count: int | None) -> Cell:
    return Cell(_ABSENT if count is None else f"{count:,}")


def benchmark_values(evidence: Evidence) -> list[dict[str, Any]]:
    """For report.json: one value per benchmark; what is the same for several models is told once."""
    found: dict[str, dict[str, Any]] = {}
    for (method, seed), one in _results(evidence):
        own = {"headline": one.headline, "in_means": one.in_means, "asked": [], "models": []}
        entry = found.setdefault(one.task, {"task": one.task} | own)
        facts = {name: value for name, value in one.facts.items() if name not in ("counts", "items")}
        asked = {"items": dict(one.sizes), **facts, "settings": dict(one.asked)}
        same = next((known for known in entry["asked"] if {**known, "models": None} == {**asked, "models": None}), None)
        if same is None:
            entry["asked"].append(same := {**asked, "models": []})
        same["models"].append([method, seed])
        numbers = {"value": one.value, "stderr": one.stderr, "counts": dict(one.facts.get("counts", {}))}
        metrics = {name: dict(values) for name, values in one.metrics.items()}
        entry["models"].append({"method": method, "seed": seed, **numbers, "metrics": metrics})
    return list(found.values())


def benchmark_sheets(evidence: Evidence) -> dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]:
    """Name -> header and rows of a csv file: metrics, how they were asked, counts."""
    metrics, asked, counts = [], [], []
    for (method, seed), one in _results(evidence):
        for name, values in _metrics(one).items():
            for metric, value in values.items():
                place = (method, seed, one.task, name, *metric.partition(",")[::2], value)
                headline = metric == one.headline
                metrics.append((*place, _size(one, name), headline, headline and one.in_means))
        settings = [one.asked.get(name) for name in _ASKED]
        for name, size in one.sizes.items():
            facts = [one.facts.get(kind, {}).get(name) for kind in ("shots", "data", "versions")]
            asked.append((method, seed, one.task, name, size, *facts, one.facts.get("lm_eval"), *settings))
        counts += [(method, seed, one.task, *pair) for pair in one.facts.get("counts", {}).items()]
    where = ("method", "seed", "benchmark")
    told = ("metric", "filter", "value", "items", "headline", "in_means")
    return {
        "benchmarks": ((*where, "task", *told), metrics),
        "benchmarks_asked": (
            (*where, "task", "items", "shots", "data", "version", "lm_eval", *(f"asked_{name}" for name in _ASKED)),
            asked,
        ),
        "benchmarks_cut": ((*where, "what", "count"), counts),
    }


_ASKED = ("shots", "chat", "system", "limit", "max_new_tokens", "seed")
