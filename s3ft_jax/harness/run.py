"""Running benchmarks: one task after the other on one resident model, each kept when it is finished.

In: a ``LanguageModel`` and settings. Out: an ``Outcome`` per task that was asked for, and a line per item with all that
lm-eval knows of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import logging
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lm_eval
import numpy as np
from datasets.exceptions import DatasetsError
from lm_eval.tasks import TaskManager

from s3ft_jax.harness.language_model import LanguageModel
from s3ft_jax.harness.local_data import write_tasks
from s3ft_jax.harness.settings import HarnessError, HarnessSettings

SENTENCE_ENDS = "tokenizers/punkt_tab"
NO_SENTENCE_ENDS = (
    "it splits answers by nltk's list of sentence ends, which nltk fetches when it first needs it, and could not. On a "
    "machine with network: python -m nltk.downloader -d FOLDER punkt_tab. Then here: NLTK_DATA=FOLDER."
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a benchmark said of a model.

    Attributes:
      task: the name that was asked for, a task or a group.
      metrics: lm-eval's results: (sub)task or group -> ``metric,filter`` -> value.
      headline: the metric that stands for the task: the first one its file lists, e.g. ``acc,none``. The same for all
        tasks of a group.
      items: (sub)task/number of item -> the headline metric of that item, usually 0 or 1.
      value: the headline's value.
      samples: (sub)task -> lm-eval's lines, one per item.
      facts: versions, shots, counts of what was cut, where the data came from.
    """

    task: str
    metrics: Mapping[str, Mapping[str, Any]]
    headline: str
    items: Mapping[str, float]
    value: float
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    facts: Mapping[str, Any]

    @property
    def stderr(self) -> float:
        """Standard error of the mean over items: s / sqrt(n), s with n - 1."""
        values = list(self.items.values())
        return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


class Harness:
    """The tasks that settings name.

    Args:
      settings: which, and how.
      folder: where rows of local data are written to.

    Raises:
      HarnessError: a task that is not known, or that runs code of the model unguarded.
    """

    def __init__(self, settings: HarnessSettings, folder: pathlib.Path):
        self.settings = settings
        self.local = write_tasks(settings.data, folder) if settings.data else {}
        only_local = set(settings.tasks) <= set(self.local)
        with _quiet():
            self._manager = TaskManager(
                include_path=str(folder) if self.local else None, include_defaults=not only_local
            )
        unknown = [task for task in settings.tasks if task not in self._manager.all_tasks]
        if unknown:
            raise HarnessError(f"benchmark.tasks: lm_eval knows no {unknown}; `lm-eval ls tasks` lists all")

    def run(self, task: str, model: LanguageModel) -> Outcome:
        """One task or group.

        Raises:
          HarnessError: its data cannot be had, it runs code of the model, or it does not fit the model.
        """
        settings = self.settings
        if "ifeval" in task:
            _check_sentence_ends(task)
        model.counts.clear()
        try:
            with _quiet():
                results = lm_eval.simple_evaluate(
                    model=model,
                    tasks=[task],
                    num_fewshot=settings.shots if settings.shots >= 0 else None,
                    limit=settings.limit or None,
                    apply_chat_template=settings.chat,
                    fewshot_as_multiturn=settings.chat,
                    system_instruction=settings.system or None,
                    bootstrap_iters=0,
                    task_manager=self._manager,
                    random_seed=0,
                    numpy_random_seed=settings.seed,
                    torch_random_seed=None,
                    fewshot_random_seed=settings.seed,
                )
        except (OSError, ValueError, LookupError, ImportError, DatasetsError) as error:
            if type(error).__module__.startswith("s3ft_jax."):
                raise
            raise HarnessError(f"benchmark {task}: {_why(task, error)}") from error
        return self._outcome(task, results, model)

    def _outcome(self, task: str, results: Mapping[str, Any], model: LanguageModel) -> Outcome:
        samples = results["samples"]
        headline = _headline(task, results)
        metric, _, chosen = headline.partition(",")
        items = {
            f"{name}/{sample['doc_id']}": float(sample[metric])
            for name, rows in samples.items()
            for sample in rows
            if sample["filter"] == chosen and isinstance(sample.get(metric), (bool, int, float))
        }  # a perplexity has no value of a single item
        found = results["results"].get(task, {}).get(headline)
        if found is None and not items:
            raise HarnessError(f"benchmark {task}: lm_eval gives neither a {headline} nor values of single items")
        value = float(np.mean(list(items.values()))) if found is None else float(found)
        leaves = sorted(samples)
        facts = {
            "lm_eval": lm_eval.__version__,
            "versions": {name: results["versions"].get(name) for name in leaves},
            "shots": {name: results["n-shot"].get(name) for name in leaves},
            "items": len(items),
            "data": {name: self.local.get(name, "hub") or "local" for name in leaves},
            "counts": dict(model.counts),
        }
        metrics = {name: _numbers(row) for name, row in (results["results"] | results.get("groups", {})).items()}
        return Outcome(task, metrics, headline, items, value, samples, facts)


def _check_sentence_ends(task: str) -> None:
    """Before hours of sampling, of whose answers some are split into sentences.

    Raises:
      HarnessError: nltk has no list of sentence ends and cannot fetch it.
    """
    if importlib.util.find_spec("nltk") is None:
        return  # lm_eval names all that is not installed
    import nltk

    with contextlib.suppress(LookupError):
        nltk.data.find(SENTENCE_ENDS)
        return
    nltk.download("punkt_tab", quiet=True)
    try:
        nltk.data.find(SENTENCE_ENDS)
    except LookupError as error:
        raise HarnessError(f"benchmark {task}: {NO_SENTENCE_ENDS}") from error


def _headline(task: str, results: Mapping[str, Any]) -> str:
    """The headline metric that all tasks below share.

    Raises:
      HarnessError: they have several, of which no mean can be taken.
    """
    headlines = {leaf: _headline_of(task, leaf, results) for leaf in results["samples"]}
    if len(set(headlines.values())) > 1:
        shown = "; ".join(f"{leaf}: {headline}" for leaf, headline in headlines.items())
        raise HarnessError(
            f"benchmark {task}: its tasks have different metrics, of which there is no mean ({shown}). Name them one "
            f"by one in benchmark.tasks: {','.join(headlines)}"
        )
    return next(iter(headlines.values()))


def _headline_of(task: str, leaf: str, results: Mapping[str, Any]) -> str:
    """The first metric of a single task, in the filter that comes first."""
    metric = results["configs"][leaf]["metric_list"][0]["metric"]
    names = [name for name in results["results"][leaf] if name.startswith(f"{metric},")]
    if not names:
        raise HarnessError(f"benchmark {task}: lm_eval gives no {metric} for {leaf}, which its file lists first")
    return names[0]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if "," in name and "_stderr" not in name and isinstance(value, (int, float))
    }


def _why(task: str, error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "unsafe" in text.lower() or "code_eval" in text:
        return f"it runs programs that the model writes, outside of our sandbox ({text}). For MBPP use configs/mbpp.py."
    if "punkt_tab" in str(error):
        return NO_SENTENCE_ENDS
    if isinstance(error, ImportError):
        return f"{text}. Install what it needs (s3ft_jax[eval] brings what IFEval needs), or leave the task out."
    return f"{text}. Its data come from the hub unless benchmark.data holds them; or leave the task out."


def sample_lines(outcome: Outcome) -> Iterator[str]:
    """One line of JSON per item and filter."""
    for name, rows in outcome.samples.items():
        for row in rows:
            yield json.dumps({"task": name} | dict(row), ensure_ascii=False, default=str)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval's own lines and bars kept away, warnings aside: progress is told by ours."""
    import datasets
    from lm_eval.api import task

    logger, level = logging.getLogger("lm_eval"), logging.getLogger("lm_eval").level
    showed, bar = datasets.is_progress_bar_enabled(), task.tqdm
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    task.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        logger.setLevel(level)
        task.tqdm = bar
        if showed:
            datasets.enable_progress_bars()
