"""What a run measures of itself: a line per step in ``metrics.jsonl``, always, and trackers that follow it by option.

In: numbers by step. Out: the file; TensorBoard's event files; a run of Weights & Biases.
"""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from etils import epath

from s3ft_jax import storage
from s3ft_jax.processes import Processes
from s3ft_jax.progress import say

TRACKERS = ("tensorboard", "wandb")
_ANEW_S = 30.0  # a bucket takes an object about once a second at most; this is for the person who looks on


class TrackerError(ValueError):
    """A tracker that is not known, or whose package is missing. The message names the config key and the fix."""


class Tracker(Protocol):
    """Follows a run: gets every step's numbers, in order, a step never twice in one process."""

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """One step's numbers."""

    def close(self) -> None:
        """Hand over what is left."""


class MetricsLog:
    """``metrics.jsonl`` of one run, a line per step; on resume, the lines after the checkpoint are dropped.

    In a bucket a file cannot grow: it is written anew by ``flush``, and now and then.

    Args:
      path: the file.
      first: step of the checkpoint resumed from; 0 for a new run.
      trackers: told of every new line too.
      processes: of the run; all read what is there, and the first one writes.
      looked: the last step whose lines of a watcher are kept; None: ``first``.

    Attributes:
      tokens: trained so far.
      measured: the lines of a watcher, which are no step's.
    """

    def __init__(
        self,
        path: epath.Path,
        first: int,
        trackers: Sequence[Tracker] = (),
        processes: Processes = Processes(),  # noqa: B008 (frozen)
        *,
        looked: int | None = None,
    ):
        self.written = processes.is_first
        self.path, self.tokens, self.trackers = path, 0, tuple(trackers)
        rows = read_rows(path)[0]
        looked = first if looked is None else looked
        kept = [row for row in rows if row["step"] <= (first if "tokens" in row else looked)]
        missing = sorted(set(range(1, first + 1)) - {row["step"] for row in kept})
        if missing:
            say(f"warning: {path}: was damaged: step {missing[0]}{' and others' if missing[1:] else ''} cannot be read")
        self._kept, self._written_at = kept if storage.is_remote(path) else None, time.monotonic()
        processes.wait("the metrics of steps done before to be read")  # before the first writes them anew
        if self.written:
            storage.publish(path, _lines(kept))
        self.tokens = sum(int(row.get("tokens", 0)) for row in kept)
        self.measured = [row for row in kept if "tokens" not in row]

    def add(self, row: Mapping[str, float]) -> None:
        """Append one line, e.g. {"step": 3, "loss": ..., "tokens": ...}; a step may have several."""
        self.tokens += int(row.get("tokens", 0))
        self.measured += [] if "tokens" in row else [dict(row)]
        if self._kept is not None:
            self._kept.append(dict(row))
            if time.monotonic() - self._written_at > _ANEW_S:
                self.flush()
        elif self.written:
            with self.path.open("ab") as file:
                file.write(_lines([dict(row)]))
        for tracker in self.trackers:
            tracker.add(int(row["step"]), {name: value for name, value in row.items() if name != "step"})

    def flush(self) -> None:
        """Have every line in the file."""
        if self._kept is not None and self.written:
            storage.publish(self.path, _lines(self._kept))
            self._written_at = time.monotonic()

    def close(self) -> None:
        """Have every line in the file, and close the trackers."""
        self.flush()
        for tracker in self.trackers:
            tracker.close()


def read_rows(path: epath.Path) -> tuple[list[dict[str, float]], int]:
    """The lines of a ``metrics.jsonl``, of steps and of looks, in order, and how many could not be read.

    Nothing where there is no such file. A kill may cut the last line off; a run that goes on writes it anew.
    """
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = [row for line in lines if (row := _row(line)) is not None]
    return rows, len(lines) - len(rows)


def _row(line: bytes) -> dict[str, float] | None:
    """None where a line was cut off or damaged."""
    try:
        row = json.loads(line)
        return row if isinstance(row["step"], int) else None
    except (ValueError, TypeError, KeyError):
        return None


def _lines(rows: Sequence[Mapping[str, float]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


class TensorBoard:
    """Event files below a folder, by tensorboardX. On resume, what was shown of later steps is purged."""

    def __init__(self, folder: epath.Path, first: int):
        module = _needed("tensorboardX", "tensorboard")
        self.writer = module.SummaryWriter(str(folder), purge_step=first + 1)

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """See ``Tracker``."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See ``Tracker``."""
        self.writer.close()


class Wandb:
    """A run of Weights & Biases, whose identity follows from the folder, so that a resumed run goes on in it."""

    def __init__(self, folder: epath.Path, title: str, project: str, settings: Mapping[str, Any]):
        module = _needed("wandb", "wandb")
        folder.mkdir(parents=True, exist_ok=True)
        known = folder / "wandb_id"
        identity = known.read_text() if known.exists() else module.util.generate_id()
        known.write_text(identity)
        place = tempfile.gettempdir() if storage.is_remote(folder) else str(folder)  # its own files are local ones
        self.run = module.init(
            project=project, name=title, id=identity, resume="allow", dir=place, config=dict(settings)
        )
        self.run.define_metric("*", step_metric="step")

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """See ``Tracker``."""
        self.run.log({"step": step, **numbers})

    def close(self) -> None:
        """See ``Tracker``."""
        self.run.finish()


def open_trackers(
    names: Sequence[str], folder: epath.Path, first: int, title: str, project: str, settings: Mapping[str, Any]
) -> list[Tracker]:
    """Trackers by name.

    Args:
      names: some of ``TRACKERS``.
      folder: of the run.
      first: step of the checkpoint resumed from; 0 for a new run.
      title, project, settings: shown by Weights & Biases.

    Raises:
      TrackerError: a name is not known, or its package is not installed.
    """
    check_trackers(names)
    made: list[Tracker] = []
    for name in names:
        if name == "tensorboard":
            made.append(TensorBoard(folder / "tensorboard", first))
        else:
            made.append(Wandb(folder, title, project, settings))
    return made


def check_trackers(names: Sequence[str]) -> None:
    """Find out before hours of work that a tracker cannot be had.

    Raises:
      TrackerError: see ``open_trackers``.
    """
    unknown = sorted(set(names) - set(TRACKERS))
    if unknown:
        raise TrackerError(f"train.trackers: {unknown} not known; choose from {', '.join(TRACKERS)}")
    for name in names:
        _needed("tensorboardX" if name == "tensorboard" else name, name)


def _needed(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise TrackerError(
            f"train.trackers: {extra} needs the package {module}: pip install 's3ft_jax[{extra}]'"
        ) from None
