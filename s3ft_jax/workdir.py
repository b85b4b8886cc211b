"""The workdir: where each file lies, shards that survive a kill, and manifests that say what a stage was made from.

Every stage has a key, e.g. ``sample-own`` or ``train-s3ft-seed-0``. When it starts it writes ``manifests/KEY.begun``;
when it is done it writes ``manifests/KEY.json`` last, with its settings, the digests of the stages it read and the
digests of what it wrote. A stage whose manifest matches skips itself. A stage that was begun or done with other
settings or inputs stops and says what changed, with both values. No JAX.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from s3ft_jax import storage
from s3ft_jax.activity import moved
from s3ft_jax.changes import describe_changes, plain
from s3ft_jax.processes import Processes, alone
from s3ft_jax.records import Record, RecordError, from_line, to_line
from s3ft_jax.seals import Damaged, opened, sealed
from s3ft_jax.stopwatch import Spent, Stopwatches

MEETING = "manifests/.meeting"
SHARED_S = 30
"""Seconds until what one process has written must be seen by the others."""


class WorkdirError(RuntimeError):
    """The workdir does not hold what a stage needs; the message names the file, the cause and the fix."""


class SettingsChanged(WorkdirError):
    """A stage was begun or done with other settings or inputs than it is now asked to run with."""


class MissingStage(WorkdirError):
    """A stage was asked to run before the one it reads from."""


def digest(data: bytes) -> str:
    """sha256 in hex."""
    return hashlib.sha256(data).hexdigest()


class Workdir:
    """Paths and manifests below one folder (local or ``gs://``), which all processes of a job see.

    Args:
      path: of the folder.
      processes: of the job; the first alone writes, but for shards, which are shared out.

    Raises:
      StorageError: the folder is in a bucket that cannot be reached from here.
      WorkdirError: there is a file of that name, or in the place of a folder above it.
    """

    def __init__(self, path: str, processes: Processes = Processes()):  # noqa: B008 (frozen)
        self.processes = processes
        # Orbax takes absolute paths only
        storage.check(path, "--workdir")
        self.path = epath.Path(path if storage.is_remote(path) else os.path.abspath(path))
        above = () if storage.is_remote(path) else (self.path, *self.path.parents)
        if in_the_way := next((one for one in above if one.exists() and not one.is_dir()), None):
            raise WorkdirError(
                f"--workdir={path}: {in_the_way} is a file, not a folder. Give a folder; it is made if it is not there."
            )
        self._passing: set[str] = set()  # files that go when their stage is done
        self._checked: set[tuple[str, str]] = set()  # stages whose files were found to be what they wrote
        self._stopwatches = Stopwatches()

    def __truediv__(self, name: str) -> epath.Path:
        return self.path / name

    def check_shared(self) -> None:
        """Several processes: find out before any work that all see the same folder; raises as ``wait_for``."""
        if self.processes.count == 1:
            return
        # not that of another command, which removes its own
        name = self.processes.first(f"{MEETING}-{uuid.uuid4().hex[:8]}", "where the workdir is to be written to")
        self.write_bytes(name, b"all processes of a job must see this file\n")
        self.processes.wait("the workdir to be written to")
        self.wait_for(name)
        self.processes.wait("the workdir to be seen")
        if self.processes.is_first:
            (self.path / name).unlink()

    def wait_seen(self, name: str) -> None:
        """Go on when all processes have come here, and listings show to each what the others wrote and removed."""
        if self.processes.count > 1:
            storage.settle()
        self.processes.wait(name)

    # ------------------------------------------------------------------ records

    def write_records(self, name: str, records: Sequence[Record]) -> epath.Path:
        """Write a JSONL file whole: see ``write_bytes``."""
        return self.write_bytes(name, "".join(to_line(record) + "\n" for record in records).encode())

    def write_bytes(self, name: str, data: bytes) -> epath.Path:
        """Write one file whole, or not at all; by the first process only.

        Raises:
          WorkdirError: the disk is full, or the folder cannot be written; names the file, the cause and the fix.
        """
        return self.write_own(name, data) if self.processes.is_first else self.path / name

    def write_own(self, name: str, data: bytes) -> epath.Path:
        """``write_bytes``, by whichever process."""
        target = self.path / name
        try:
            storage.publish(target, data)
        except storage.StorageError:  # says all there is to say
            raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            fix = "Make room" if full else "Make it writable, or take another --workdir"
            raise WorkdirError(
                f"{target}: cannot be written: {error.strerror or error}. {fix}; the same command goes on where it was."
            ) from error
        return target

    def read_records(self, kind: type[Record], name: str) -> list[Record]:
        """Read a JSONL file of records.

        Raises:
          MissingStage: there is no such file.
          RecordError: a line is not a ``kind``; names file and line.
        """
        source, lines = self.path / name, self._text(name).splitlines()
        return [from_line(kind, line, f"{source}:{number}") for number, line in enumerate(lines, start=1)]

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON object.

        Raises:
          MissingStage, Damaged: there is no such file, or something else is in it.
        """
        return opened(self._text(name).encode(), self.path / name)

    def _text(self, name: str) -> str:
        source = self.path / name
        if not source.exists():
            raise MissingStage(
                f"{source} is not there: run the stage that writes it first (see `s3ft --help`). If that says it is "
                f"already done, the file was removed since: remove the stage's file in {self.path / 'manifests'}, too."
            )
        try:
            return source.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise RecordError(
                f"{source}: damaged: byte {error.start} is no text. Delete it and run the stage that writes it again."
            ) from None

    def drop_when_done(self, names: Iterable[str]) -> None:
        """Say which files are of no use any more when the stage under way is done."""
        self._passing |= set(names)

    # ---------------------------------------------------------------- manifests

    def manifest(self, key: str) -> dict[str, Any] | None:
        """The manifest of a finished stage, or None."""
        return self._kept_facts(f"manifests/{key}.json")

    def _kept_facts(self, name: str) -> dict[str, Any] | None:
        storage.look_again(self.path, name)
        try:
            return self._facts(self.path / name)
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        """Whether there is such a file now, whichever machine wrote it."""
        storage.look_again(self.path, name)
        return (self.path / name).exists()

    def _facts(self, path: epath.Path) -> dict[str, Any]:
        try:
            return opened(path.read_bytes(), path)
        except Damaged as error:
            raise WorkdirError(f"{error}. Remove it and the same command makes its stage anew.") from None

    def stage_digest(self, key: str) -> str:
        """One digest for all that a finished stage was made from and wrote.

        Raises:
          MissingStage: the stage has not finished.
        """
        manifest = self.manifest(key)
        if manifest is None:
            raise MissingStage(f"{self.path}: stage {key} has not been run; run `s3ft {key.split('-')[0]}` first")
        facts = {name: manifest[name] for name in ("settings", "inputs", "outputs")}
        return digest(json.dumps(facts, sort_keys=True).encode())

    @contextlib.contextmanager
    def stage(
        self,
        key: str,
        *,
        settings: Mapping[str, Any],
        reads: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
        redo: bool = False,
        writes: Sequence[str] = (),
        first_only: bool = False,
    ) -> Iterator[StageRun]:
        """Run a stage once.

        Usage: ``with workdir.stage("judge-own", settings=..., reads=["sample-own"]) as run: if run.needed: ...``

        Args:
          key: the stage's name in ``manifests/``.
          settings: every setting its output depends on.
          reads: keys of the finished stages it reads.
          files: outside inputs, name -> digest.
          redo: when settings or inputs changed, throw the old output away instead of stopping.
          writes: files and folders (may hold ``*``) this stage owns; removed by ``redo``.
          first_only: of several processes the first one runs it, and the others wait for its end.

        Raises:
          SettingsChanged: settings or inputs differ from those it was begun or done with.
          MissingStage: a stage it reads has not finished.
          WorkdirError: another command is running it in this workdir, or a file it reads is damaged, which is not
            found out in a bucket.
        """
        inputs = {name: self.stage_digest(name) for name in reads} | dict(files or {})
        facts = plain({"settings": settings, "inputs": inputs})
        done = self._done(key, facts, redo, writes)
        if self.processes.is_first:
            for name in [key] if done else reads:
                self._check_outputs(name, ".jsonl" if done else "")
        self.processes.wait(f"{key} to begin")
        mine = self.processes.is_first or not first_only
        known = done.get("facts", {}) if done else {}
        run = StageRun(key, needed=mine and not done, writes=writes, facts=known)
        if done:
            yield run
            return
        moved(f"{key}: begun")
        with self._claimed(key, facts) as spent:
            with self._stopwatches.run(spent, lambda note: self.write_bytes(_note(key), sealed(note))) as watch:
                with alone() if first_only else contextlib.nullcontext():
                    yield run
                self.wait_seen(f"{key} to end")  # the first one lists what the others wrote
                self._write_manifest(run, facts | watch.values() | {"finished": time.time()})
            if self.processes.is_first and watch.noted:
                (self.path / _note(key)).unlink(missing_ok=True)
        storage.settle()  # another command lists what this one wrote
        self.processes.wait(f"{key} to be written down")
        self.wait_for(f"manifests/{key}.json")

    def wait_for(self, name: str) -> None:
        """Until this process sees another one's file: what a network's folder said before, it says for a while.

        Raises:
          WorkdirError: it does not see it in ``SHARED_S``.
        """
        until = time.monotonic() + SHARED_S
        while not self.has(name):
            if time.monotonic() > until:
                raise WorkdirError(
                    f"{self.path / name}: process {self.processes.index} does not see there what another one wrote "
                    f"{SHARED_S} s ago. --workdir must be a folder that all machines share: gs://BUCKET/..., or NFS."
                )
            time.sleep(0.2)

    @contextlib.contextmanager
    def _claimed(self, key: str, facts: Mapping[str, Any]) -> Iterator[Spent]:
        """Write ``KEY.begun`` and hold its lock or, in a bucket, its lease, to the stage's end; gives what it took.

        Raises:
          WorkdirError: another command is running the stage, or was and has just finished it.
        """
        if not self.processes.is_first:
            yield Spent()
            return
        by, starts = {"host": socket.gethostname(), "process": os.getpid()}, []

        def begin() -> None:
            if (self.path / "manifests" / f"{key}.json").exists():
                raise WorkdirError(
                    f"{self.path}: another command has just finished stage {key}. The same command goes on behind it."
                )
            starts.append(Spent.of(self._kept_facts(f"manifests/{key}.begun"), self.path / _note(key)))
            self.write_bytes(f"manifests/{key}.begun", sealed(dict(facts) | {"by": by} | starts[0].values()))

        with self._kept(key, begin):
            yield starts[0]

    @contextlib.contextmanager
    def _kept(self, key: str, begin: Callable[[], object] | None = None) -> Iterator[None]:
        """Keep other commands away from a stage (``storage.claim``); WorkdirError where one is running it."""
        begun = self.path / "manifests" / f"{key}.begun"
        try:
            with storage.claim(begun, begin):
                yield
        except storage.Locked:
            by = (self._kept_facts(f"manifests/{key}.begun") or {}).get("by", {})
            raise WorkdirError(
                f"{self.path}: stage {key} is being run by process {by.get('process')} on {by.get('host')}. Wait for "
                "its end, stop it, or take another --workdir."
            ) from None

    def _done(self, key: str, facts: Mapping[str, Any], redo: bool, writes: Sequence[str]) -> dict[str, Any] | None:
        """The manifest of a stage done with these settings and inputs, or None; see ``stage`` for what it raises."""
        done = self.manifest(key)
        before = done or self._kept_facts(f"manifests/{key}.begun")
        changes = describe_changes(before, facts) if before is not None else []
        if changes and not redo and (done or self._has_begun(key, writes)):
            raise SettingsChanged(
                f"{self.path}: stage {key} was {'done' if done else 'begun'} with other settings or inputs:\n  "
                + "\n  ".join(changes)
                + "\nTake a new --workdir, set the old values, or add --redo to throw away "
                + f"{', '.join(writes) or 'its output'} and what follows from it."
            )
        if changes:
            self.remove(key, writes)
        return None if changes else done

    def _has_begun(self, key: str, writes: Sequence[str]) -> bool:
        """Whether a stage that did not end wrote anything; if not, it may well have stopped at the very setting that is
        another one now. What others wrote a bucket may not list yet."""
        found = storage.is_remote(self.path) or bool(self.matching(writes))
        return self.processes.first(found, f"{key}: what was begun")

    def _write_manifest(self, run: StageRun, facts: Mapping[str, Any]) -> None:
        if not self.processes.is_first:
            return
        outputs = run.outputs or {name: self.output_digest(name) for name in self.matching(run.writes)}
        for name in self._passing:
            (self.path / name).unlink(missing_ok=True)
        self._passing.clear()
        manifest = dict(facts) | {"outputs": outputs, "facts": run.facts}
        self.write_bytes(f"manifests/{run.key}.json", sealed(manifest))
        (self.path / "manifests" / f"{run.key}.begun").unlink(missing_ok=True)

    def _check_outputs(self, key: str, ending: str) -> None:
        """Once a command: files of a finished stage, of this ending, are what it wrote. A bucket sees to that itself.

        Folders whose names have no slash at the end are left out: the digest of a checkpoint is over its parameters,
        and ``checkpoints`` checks its files.
        """
        if (key, ending) in self._checked or storage.is_remote(self.path):
            return
        for name, written in self.manifest(key)["outputs"].items():
            path = self.path / name
            known = path.is_file() or (path.is_dir() and name.endswith("/"))
            if known and name.endswith(ending) and self.output_digest(name) != written:
                raise WorkdirError(
                    f"{path}: is not what stage {key} wrote: damaged, or edited. Put the old file back; or remove it "
                    f"and {self.path / 'manifests' / key}.json, and the same command makes it anew."
                )
        self._checked.add((key, ending))

    def remove(self, key: str, writes: Sequence[str]) -> None:
        """Forget a stage: its manifests and what it wrote. The first process does it when all are here.

        Raises:
          WorkdirError: another command is running it.
        """
        self.processes.wait(f"{key}: all have read what stands there")
        if self.processes.is_first:
            with self._kept(key):
                for name in self.matching(writes):
                    path = self.path / name
                    path.rmtree() if path.is_dir() else path.unlink()
                for name in (f"manifests/{key}.json", f"manifests/{key}.begun", _note(key)):
                    (self.path / name).unlink(missing_ok=True)
        self.wait_seen(f"{key} to be forgotten")

    def matching(self, patterns: Sequence[str]) -> list[str]:
        """Names below the workdir that match one of the patterns, sorted."""
        return storage.matching(self.path, patterns)

    def output_digest(self, name: str) -> str:
        """Digest of one file, or of all files below a folder with their names."""
        return storage.digest_of(self.path / name)


def _note(key: str) -> str:
    """Where a stage notes how long it has run; hidden, since it is no manifest."""
    return f"manifests/.{key}.spent"


class StageRun:
    """What a stage tells its manifest: ``needed`` says whether to run, ``facts`` are kept for the report."""

    def __init__(self, key: str, *, needed: bool, writes: Sequence[str], facts: dict[str, Any]):
        self.key, self.needed, self.writes, self.facts = key, needed, writes, facts
        self.outputs: dict[str, str] = {}
