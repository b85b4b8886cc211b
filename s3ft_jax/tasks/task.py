"""The task room's own terms: a task, its settings, and the count of what became of every row.

In: the ``task`` section of the configuration as a plain mapping. Out: ``TaskSettings``, checked; ``Intake``, which says
for each row read whether it became an example, was left for a reason, or was dropped because it cannot be used:
``read == used + left + dropped``, always.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from s3ft_jax.records import Example, Message

SPLITS = ("train", "validation", "test")
GENERAL_SPLIT = "general"
GENERAL_SPLITS = (GENERAL_SPLIT, "train")
"""Of a general task: what is measured, and other questions of the same kinds, to be replayed."""
REFUSAL = "The passage does not say."


class DataError(ValueError):
    """Data or the settings that point to it cannot be used. The message names file, row or key, cause and fix."""


class BadRow(Exception):
    """One row cannot become an example. Caught by ``collect``, which stops or counts it as ``task.bad_rows`` says.

    Attributes:
      cause: what is wrong, in words that can be counted (no row number in them).
      fix: what to do about it.
    """

    def __init__(self, cause: str, fix: str):
        super().__init__(cause)
        self.cause, self.fix = cause, fix


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a data source, before anything is known of its columns.

    Attributes:
      where: ``file:row``, rows counted from 1 as an editor counts lines.
      index: 0-based place in its split's source; becomes the number in the example's id.
      values: the columns; None if the row could not be read.
      problem: why it could not be read; None if it could.
    """

    where: str
    index: int
    values: Mapping[str, Any] | None
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """The ``task`` section, checked. Zero and empty mean *not set*, as in the configuration.

    Attributes:
      name: a key of ``s3ft_jax.tasks.TASKS``.
      data: file, folder, hub id (``owner/name`` or ``owner/name:config``), ``tfds:name/config``; empty: the task's own.
      splits: our split name -> a file, or the split's name at the hub.
      columns: our column name -> the name in the data.
      bad_rows: ``error`` stops at the first row that cannot be used; ``skip`` counts and lists it.
      limit: most examples per split; 0: all.
      num_train, num_test: the same for one split.
      num_validation: examples held out of train where the data has no validation split.
      split_fracs: shares of train, validation and test where one file has to serve for several splits.
      seed: of generated tasks and of that division.
      judge: name of the judge, for the task that leaves it open (custom).
      judges: the single judges in that name: rows are made into what each of these checks.
      gold_style: ``near``, ``mid`` or ``far``; pocket tasks only.
      keep_marks: keep GSM8K's calculator marks ``<<48/2=24>>`` in gold.
      min_f1: token F1, 0 to 1, from which the answers judge accepts a response.
      unanswerable_frac: share of answerable questions that get a passage without the answer (task unanswerable).
      prompt, paraphrase_prompt: own wording of the user turn with ``{question}`` (and ``{gold}``); empty: the task's.
        Custom rows may show any of their columns, ``{column}``, in these and in ``system``.
      system: text of a system turn for all rows that have none; empty: none.
      refusal: gold of questions without an answer, which says so.
    """

    name: str
    data: str = ""
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    bad_rows: str = "error"
    limit: int = 0
    num_train: int = 0
    num_validation: int = 256
    num_test: int = 0
    split_fracs: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    judge: str = ""
    judges: tuple[str, ...] = ()
    gold_style: str = "mid"
    keep_marks: bool = False
    min_f1: float = 0.6
    unanswerable_frac: float = 0.0
    prompt: str = ""
    paraphrase_prompt: str = ""
    system: str = ""
    refusal: str = REFUSAL

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TaskSettings:
        """Check a plain mapping; None counts as not set.

        Raises:
          DataError: an unknown key (with the nearest known one), a wrong type or an impossible value.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = {key: value for key, value in dict(mapping).items() if value is not None}
        for key in values:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, 1)
                hint = f"Did you mean `task.{near[0]}`?" if near else f"Known keys: {', '.join(fields)}."
                raise DataError(f"task.{key}: unknown setting. {hint}")
        for key in ("splits", "columns"):
            if key in values:
                values[key] = {name: value for name, value in dict(values[key]).items() if value}
        if "split_fracs" in values:
            values["split_fracs"] = tuple(values["split_fracs"])
        if "name" not in values:
            raise DataError("task.name: not set. Name a task of s3ft_jax.tasks.TASKS, for example gsm8k.")
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        kinds: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), str(field.type)
            if kind in kinds and (not isinstance(value, kinds[kind]) or isinstance(value, bool) != (kind == "bool")):
                raise DataError(f"task.{field.name}: expected {kind}, found {value!r}.")
        for key in ("limit", "num_train", "num_validation", "num_test"):
            if getattr(self, key) < 0:
                raise DataError(f"task.{key}: {getattr(self, key)} is below 0; use 0 for all.")
        if self.bad_rows not in ("error", "skip"):
            raise DataError(f"task.bad_rows: {self.bad_rows!r} is not `error` or `skip`.")
        for key in self.splits:
            if key not in SPLITS:
                raise DataError(f"task.splits.{key}: unknown split; use one of {', '.join(SPLITS)}.")
        if not 0.0 <= self.unanswerable_frac <= 1.0:
            raise DataError(f"task.unanswerable_frac: {self.unanswerable_frac} is no share from 0 to 1.")
        fracs = self.split_fracs
        if len(fracs) != 3 or min(fracs) < 0 or abs(sum(fracs) - 1) > 1e-6 or not fracs[0]:
            raise DataError(
                f"task.split_fracs: {fracs} must be the shares of train, validation and test; they sum to 1."
            )

    def max_examples(self, split: str) -> int:
        """Most examples of a split; 0: no limit."""
        own = {"train": self.num_train, "test": self.num_test}.get(split, 0)
        limits = [number for number in (self.limit, own) if number]
        return min(limits) if limits else 0


@dataclasses.dataclass
class Intake:
    """What became of every row of one split.

    Attributes:
      task, split: what was loaded.
      source: file, folder, hub id or generator it came from.
      read: rows seen.
      used: rows that became examples.
      left: reason -> number of good rows not used (they belong to another split, or lie beyond the limit).
      dropped: cause -> the ``file:row`` of each row that cannot be used.
      unused: column, or key of its turns -> number of used rows in which it says something that nobody reads.
      notes: what else there is to know of used rows -> their number.
      unread: names of the folder's data files that no split is read from.
      shared: examples whose prompt is one of train, too; of train itself 0.
    """

    task: str
    split: str
    source: str = ""
    read: int = 0
    used: int = 0
    left: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    unused: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: dict[str, int] = dataclasses.field(default_factory=dict)
    unread: list[str] = dataclasses.field(default_factory=list)
    shared: int = 0

    def note(self, unused: Iterable[str] = (), notes: Iterable[str] = ()) -> None:
        """Count what there is to know of one used row."""
        for counts, names in ((self.unused, unused), (self.notes, notes)):
            for name in names:
                counts[name] = counts.get(name, 0) + 1

    def leave(self, reason: str) -> None:
        """Count one row that is not wanted here."""
        self.left[reason] = self.left.get(reason, 0) + 1

    def drop(self, row: Row, bad: BadRow, policy: str) -> None:
        """Count one row that cannot be used, or stop at it.

        Raises:
          DataError: the policy is ``error``.
        """
        if policy == "error":
            told = f"{row.where}: {bad.cause}. {bad.fix} Or set `task.bad_rows=skip` to leave such rows out."
            raise DataError(told) from None
        self.dropped.setdefault(bad.cause, []).append(row.where)

    @property
    def num_dropped(self) -> int:
        """Rows that cannot be used."""
        return sum(len(places) for places in self.dropped.values())

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, for the manifest."""
        return dataclasses.asdict(self)

    def lines(self, max_places: int = 5) -> list[str]:
        """For people: one line of totals, then one for each reason and cause with its first few rows."""
        lines = [f"{self.task} {self.split}: {self.used} used of {self.read} rows of {self.source or self.task}"]
        lines += [f"  {number} left: {reason}" for reason, number in sorted(self.left.items())]
        for cause, places in sorted(self.dropped.items()):
            more = f" and {len(places) - max_places} more" if len(places) > max_places else ""
            lines.append(f"  {len(places)} dropped: {cause} ({', '.join(places[:max_places])}{more})")
        lines += [f"  {number} rows: {note}" for note, number in sorted(self.notes.items())]
        if self.unused:
            lines.append(f"  columns not used: {describe_unused(self.unused)}")
        if self.unread:
            told = "no split is read from them; give one a file with `task.splits.SPLIT=FILE`"
            lines.append(f"  files not used: {', '.join(self.unread)} ({told})")
        if self.shared:
            lines.append(
                f"  WARNING: {self.shared} of {self.used} prompts are training prompts, too: a score on them is no "
                "measure of new ones. Take them out of train; one file that serves for all splits is divided by prompt."
            )
        return lines


def describe_unused(unused: Mapping[str, int]) -> str:
    """``context, system (9 rows), note (2 rows)``: columns with their number of rows, equal numbers together."""
    alike: dict[int, list[str]] = {}
    for name, number in unused.items():
        alike.setdefault(number, []).append(name)
    told = ((", ".join(names), f"{number} row{'' if number == 1 else 's'}") for number, names in alike.items())
    return ", ".join(f"{names} ({rows})" for names, rows in told)


@dataclasses.dataclass(frozen=True)
class Task:
    """One entry of ``TASKS``.

    Attributes:
      name: as in the configuration and in example ids.
      load: (split, settings, intake) -> examples; fills the intake.
      general: True for skills that are measured, under the split ``general``, or replayed (``train``), never tuned on.
      columns: what ``task.columns`` can name; None: the task says so itself, since it depends on the data.
    """

    name: str
    load: Callable[[str, TaskSettings, Intake], list[Example]]
    general: bool = False
    columns: tuple[str, ...] | None = ()


def collect(
    rows: Iterable[Row], split: str, settings: TaskSettings, intake: Intake, build: Callable[[Row], Example | str]
) -> list[Example]:
    """Turn rows into examples, counting every one.

    Args:
      rows: the source's rows.
      build: makes an example; raises BadRow; or returns, as text, the reason why a good row is left (another split).

    Raises:
      DataError: a row cannot be used and ``settings.bad_rows`` is ``error``.
    """
    examples: list[Example] = []
    limit = settings.max_examples(split)
    for row in rows:
        intake.read += 1
        if limit and len(examples) >= limit:
            intake.leave("beyond the limit")
            continue
        try:
            if row.values is None:
                raise BadRow(row.problem or "cannot be read", "Repair the row.")
            built = build(row)
        except BadRow as bad:
            intake.drop(row, bad, settings.bad_rows)
            continue
        if isinstance(built, str):
            intake.leave(built)
        else:
            examples.append(built)
            intake.used += 1
    return examples


def user_turn(text: str) -> tuple[Message, ...]:
    """A prompt of one user turn."""
    return ({"role": "user", "content": text},)


def with_system(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    """The turns behind a system turn; unchanged where there is no text, no turn, or they begin with their own."""
    if not text or not messages or messages[0]["role"] == "system":
        return messages
    return ({"role": "system", "content": text}, *messages)


def fill_prompt(template: str, key: str, /, **fields: str) -> str:
    """Put fields into a prompt's ``{name}`` places; other braces stay as they are (``{answer}`` may be meant).

    Args:
      template: the wording.
      key: its configuration key, for messages.
      fields: every one must have a place in the template.

    Raises:
      DataError: a field has no place, so its text would be missing from the prompt.
    """
    for name in fields:
        if "{" + name + "}" not in template:
            raise DataError(f"{key}: the wording has no place for {{{name}}}. Write {{{name}}} where it belongs.")
    if not fields:
        return template
    places = re.compile("|".join(re.escape("{" + name + "}") for name in fields))
    return places.sub(lambda match: fields[match.group()[1:-1]], template)


def example_id(task: str, split: str, index: int) -> str:
    """``gsm8k/train/00017``: the number is the row's place in its source, so it never shifts when rows are dropped."""
    return f"{task}/{split}/{index:05d}"
