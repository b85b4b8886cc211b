"""Judges room: verdicts that need not be found again, and the many that are judged beside them.

In: pairs of example and response, and what was kept before. Out: one verdict for each; what was judged before is looked
up. A verdict's key is the digest of (prompt, response, gold, judge, what the judge checks, its version), so that a
cached verdict is the one that judging again would give. The version is a digest of the source text of all judges here,
or of the module that holds a judge of your own, and for programs of their limits and protection, for a model of what it
is and how it is asked.

    cache/verdicts/00000.jsonl   {"key": "9f2c...", "judge": "programs", "outcome": "right", "found": ..., "reason": ..}

Every few seconds what is new is written, so that a kill loses no more than that. Not kept: verdicts of judges that
take microseconds, and those of a judge that failed, hung or died, or whose program ran out of time.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from s3ft_jax.judges import pool
from s3ft_jax.records import OUTCOMES, Example, Response, Verdict
from s3ft_jax.seals import seal_of

WRITE_SECONDS = 5.0
"""New verdicts wait at most so long to be written, as long as others follow."""
UNSTEADY = ("judge_error", "judge_timeout", "judge_died", "sandbox_error", "timeout", "limit")
"""Classes of reasons that another try may not give again."""


class CacheError(ValueError):
    """A file of the cache cannot be read. The message names file, row and the fix."""


class VerdictCache:
    """Verdicts by key, in memory and, where there is a place to write to, in files.

    Args:
      versions: judge -> what else its verdicts follow from, beside its source text: limits, a model, a wording.
      files: name -> text of the files written before.
      write: writes a new file whole or not at all, given its name and bytes; None keeps nothing beyond this object.

    Raises:
      CacheError: a file holds something else.
    """

    def __init__(
        self,
        versions: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        write: Callable[[str, bytes], object] | None = None,
    ):
        self._versions, self._write = dict(versions or {}), write
        self._known: dict[str, dict[str, str]] = {}
        self._new: list[str] = []
        self._written = time.monotonic()
        self._files = 0
        for name, text in (files or {}).items():
            self._files = max(self._files, int(pathlib.PurePath(name).stem) + 1)
            self._read(name, text)

    def key(self, example: Example, response: Response) -> str | None:
        """The digest a verdict is kept under; None if it is not kept: a cheap judge, or one without a source file."""
        version = None if pool.is_cheap(example.judge) else source_version(example.judge)
        if version is None:
            return None
        messages = [dict(message) for message in example.messages]
        check, also = dict(example.check), self._versions.get(example.judge, "")
        about = [messages, response.text, example.gold, example.judge, check, version, also]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def find(self, key: str | None, response: Response) -> Verdict | None:
        """The kept verdict, made out to this response; None if there is none."""
        known = self._known.get(key) if key else None
        place = {"example_id": response.example_id, "origin": response.origin, "index": response.index}
        return Verdict(**place, **known) if known else None

    def add(self, key: str | None, verdict: Verdict) -> None:
        """Keep a verdict, unless another try might give another one."""
        if key is None or verdict.reason.partition(":")[0] in UNSTEADY:
            return
        self._known[key] = {name: getattr(verdict, name) for name in ("judge", "outcome", "found", "reason")}
        row = {"key": key} | self._known[key]
        self._new.append(json.dumps(row | {"seal": seal_of(row)}))
        if time.monotonic() - self._written > WRITE_SECONDS:
            self.write()

    def forget(self) -> None:
        """Look nothing up that was kept before; new verdicts take its place, later files counting."""
        self._known = {}

    def write(self) -> None:
        """Write what is new into a file of its own."""
        self._written = time.monotonic()
        if self._write is not None and self._new:
            self._write(f"{self._files:05d}.jsonl", "".join(line + "\n" for line in self._new).encode())
            self._files, self._new = self._files + 1, []

    def _read(self, name: str, text: str) -> None:
        for number, line in enumerate(text.splitlines(), 1):
            try:
                row = json.loads(line)
                seal = row.pop("seal", None)  # None: of before there were seals
                if seal not in (None, seal_of(row)):
                    raise ValueError("its seal is broken")
                kept = {name: row[name] for name in ("judge", "outcome", "found", "reason")}
                if kept["outcome"] not in OUTCOMES:
                    raise ValueError(f"outcome {kept['outcome']!r}")
                self._known[row["key"]] = kept
            except (ValueError, KeyError, TypeError) as error:
                raise CacheError(
                    f"{name} line {number} is no cached verdict ({type(error).__name__}: {error}). Delete this file; "
                    "its verdicts will be found again."
                ) from None


@functools.cache
def source_version(judge: str) -> str | None:
    """Digest of the source text that decides: of all judges here, or of the module of a judge of your own.

    What such a module imports is not looked at. None if it has no source file.
    """
    if ":" not in judge:
        files = sorted(pathlib.Path(__file__).parent.glob("*.py"))
    else:
        sys.path.insert(0, os.getcwd())  # as a worker finds it, whichever way this process was started
        try:
            spec = importlib.util.find_spec(judge.partition(":")[0])
        except (ImportError, ValueError):
            return None
        finally:
            sys.path.pop(0)
        if spec is None or not spec.has_location or spec.origin is None:
            return None
        files = [pathlib.Path(spec.origin)]
    source = hashlib.sha256()
    for file in files:
        source.update(file.read_bytes())
    return source.hexdigest()


def judge_cached(
    pairs: Sequence[pool.Pair],
    cache: VerdictCache,
    judge_all: Callable[..., list[Verdict]],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Verdict], int]:
    """Judge what is not in the cache; the same text asked for twice is judged once.

    Args:
      pairs: examples and responses.
      cache: looked into and added to.
      judge_all: ``pool.judge_all`` or ``model.judge_all``, taking pairs, ``on_progress`` and ``on_verdict``.
      on_progress: called with (pairs done, pairs in all); what the cache holds is done at once.

    Returns:
      verdicts in the order of ``pairs``, and how many of them were not judged now.

    Raises:
      what ``judge_all`` raises, after writing what was found before.
    """
    keys = [cache.key(example, response) for example, response in pairs]
    first: dict[str, int] = {}
    asked = []
    for place, (key, (_, response)) in enumerate(zip(keys, pairs, strict=True)):
        if key is None or (cache.find(key, response) is None and first.setdefault(key, place) == place):
            asked.append(place)
    saved = len(pairs) - len(asked)
    if on_progress is not None and saved:
        on_progress(saved, len(pairs))

    def report(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(saved + done, saved + total)

    def keep(place: int, verdict: Verdict) -> None:
        cache.add(keys[asked[place]], verdict)

    try:
        judged = judge_all([pairs[place] for place in asked], on_progress=report, on_verdict=keep)
    finally:
        cache.write()
    now = dict(zip(asked, judged, strict=True))
    verdicts = []
    for place, (key, (_, response)) in enumerate(zip(keys, pairs, strict=True)):
        verdict = now.get(place) or cache.find(key, response)
        if verdict is None:  # the same text as another whose verdict is not kept
            there = now[first[key]]
            verdict = dataclasses.replace(
                there, example_id=response.example_id, origin=response.origin, index=response.index
            )
        verdicts.append(verdict)
    return verdicts, saved
