"""The model card: the README.md of an exported model, as text from plain inputs.

In: method, base, where the training targets came from, scores before and after, settings. Out: Markdown with the front
matter the Hugging Face hub reads. No files, no JAX.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from s3ft_jax.records import ORIGINS, Score

_PAPERS = (
    ("2502.08130", "Selective Self-to-Supervised Fine-Tuning for Generalization in Large Language Models (S3FT)"),
    (
        "2409.04787",
        "Selective Self-Rehearsal: A Fine-Tuning Approach to Improve Generalization in Large Language Models (SSR)",
    ),
)
_LICENCE = (
    "This model is derived from its base and follows the base's licence and that of the training data. "
    "The card says `license: other` until you state it: replace that line with the base's licence."
)
_ORIGIN_MEANING = {
    "own": "the model's own answer, accepted by the judge",
    "paraphrase": "the model's paraphrase of the gold answer, accepted by the judge",
    "repair": "the model's continuation of a beginning of gold, or its mended wrong answer, accepted by the judge",
    "gold": "the data set's gold answer",
    "replay": "a row of general data, mixed in",
}
_USUAL = ("own", "paraphrase", "gold")


def model_card(
    *,
    name: str,
    base: str,
    method: str,
    prefer: Sequence[str],
    task: str,
    origin_counts: Mapping[str, int],
    scores: Sequence[Score],
    settings: Mapping[str, Any],
    seed: int,
    library: str = "transformers",
    notes: Sequence[str] = (),
) -> str:
    """Markdown text of the card.

    Args:
      name: of the exported model, the heading.
      base: folder or hub id the model was tuned from.
      method: e.g. ``s3ft``.
      prefer: the method's order of origins, e.g. ("own", "paraphrase", "gold").
      task: the target task.
      origin_counts: origin -> number of training examples whose target came from there.
      scores: of the base (method ``base``) and of any methods and seeds; only base and (method, seed) are shown.
      settings: flat key -> JSON value, e.g. ``train.learning_rate``.
      seed: of the tuning.
      library: that loads the folder: ``transformers``, or ``peft`` for an adapter.
      notes: further paragraphs, e.g. how to load it.

    Raises:
      ValueError: an origin that does not exist.
    """
    unknown = sorted(set(origin_counts) - set(ORIGINS))
    if unknown:
        raise ValueError(f"model_card: origins {unknown} do not exist; they are {list(ORIGINS)}")
    parts = [
        _front_matter(base, method, library),
        f"# {name}",
        f"`{base}`, fine-tuned on {task} with {method} by s3ft_jax, seed {seed}.",
        f"A training target is the first of these that exists: {', '.join(prefer)}.",
        *notes,
        "## Where the training targets came from\n\n" + _origin_table(origin_counts),
        "## Scores before and after\n\n" + _score_table(scores, method, seed),
        "## Settings\n\n" + _settings_table(settings),
        f"## Licence\n\n{_LICENCE}",
        "## Citation\n\n" + "\n".join(f"- {title}. arXiv:{number}" for number, title in _PAPERS),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(base: str, method: str, library: str) -> str:
    # the hub takes base_model only as an id of its own, so a local path is left out there
    is_hub_id = base.count("/") == 1 and not base.startswith((".", "/", "~"))
    lines = ["---", f"library_name: {library}", "pipeline_tag: text-generation", "license: other"]
    if is_hub_id:
        lines.append(f"base_model: {base}")
    return "\n".join([*lines, "tags:", "- s3ft_jax", f"- {method}", "---"])


def _origin_table(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    lines = ["| origin | meaning | examples | share |", "| --- | --- | ---: | ---: |"]
    for origin in ORIGINS:
        count = counts.get(origin, 0)
        if not count and origin not in _USUAL:
            continue
        share = f"{100 * count / total:.1f} %" if total else "-"
        lines.append(f"| {origin} | {_ORIGIN_MEANING[origin]} | {count} | {share} |")
    return "\n".join(lines)


def _score_table(scores: Sequence[Score], method: str, seed: int) -> str:
    def pick(wanted: str, wanted_seed: int | None) -> dict[tuple[str, str, str], Score]:
        return {(s.split, s.task, s.metric): s for s in scores if s.method == wanted and s.seed == wanted_seed}

    before, after = pick("base", None), pick(method, seed)
    if not after:
        return "This model was not evaluated."
    lines = [
        "Percent, with the standard error over examples.",
        "",
        "| task | split | metric | before | after | change | examples |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for key in sorted(set(before) | set(after)):
        split, task, metric = key
        old, new = before.get(key), after.get(key)
        change = f"{100 * (new.value - old.value):+.1f}" if old and new else "-"
        counts = sorted({score.count for score in (old, new) if score})
        lines.append(
            f"| {task} | {split} | {metric} | {_percent(old)} | {_percent(new)} | {change} | "
            f"{' / '.join(map(str, counts))} |"
        )
    return "\n".join(lines)


def _percent(score: Score | None) -> str:
    return "-" if score is None else f"{100 * score.value:.1f} ± {100 * score.stderr:.1f}"


def _settings_table(settings: Mapping[str, Any]) -> str:
    if not settings:
        return "None were recorded."
    lines = ["| key | value |", "| --- | --- |"]
    for key, value in sorted(settings.items()):
        shown = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{key}` | `{shown}` |")
    return "\n".join(lines)
