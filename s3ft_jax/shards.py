"""Shards: the records of a stage in files of which each survives a kill, made by several processes.

In: a workdir, how many files, a function that makes records. Out: all records, in the order of the files.

On a disk a seal stands beside each, ``.own-00003-of-00008.jsonl.sha256``, until the stage's manifest takes its place; a
bucket finds damage by itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from s3ft_jax.processes import is_alone
from s3ft_jax.records import Record, RecordError, to_line
from s3ft_jax.storage import is_remote
from s3ft_jax.workdir import Workdir, WorkdirError, digest

Take = Callable[[int, Sequence[Record]], None]
"""Takes a shard's place among those that are to be made, and its records."""


class Shards:
    """``responses/own-00003-of-00008.jsonl`` and its like.

    Several processes share the files out; the share follows from a file's number, so that a run may go on with another
    number of processes.

    Args:
      workdir: where they are, in a stage that is being run.
      kind: the records' class.
      folder: e.g. ``responses/own``.
      number: of files.
      together: all processes make every one together, and the first writes it.
    """

    def __init__(self, workdir: Workdir, kind: type[Record], folder: str, number: int, *, together: bool = False):
        self.workdir, self.kind, self.folder, self.together = workdir, kind, folder, together
        self.names = [f"{folder}-{shard:05d}-of-{number:05d}.jsonl" for shard in range(number)]

    @property
    def own(self) -> list[int]:
        """Those that this process makes; all where it works alone."""
        processes, number = self.workdir.processes, len(self.names)
        whole = self.together or is_alone()
        return list(range(number) if whole else range(processes.index, number, processes.count))

    @property
    def missing(self) -> list[int]:
        """Those of ``own`` that are not there yet."""
        return [shard for shard in self.own if self._found[shard] is None]

    @functools.cached_property
    def _found(self) -> dict[int, list[Record] | None]:
        """What is there as soon as somebody asks; seen by all processes before the first file is written.

        Of those that all make together the first one says which are missing.
        """
        if not is_remote(self.workdir.path):
            self.workdir.drop_when_done(map(_seal, self.names))
        found = {shard: self._whole(name) for shard, name in enumerate(self.names)}
        missing = [shard for shard, records in found.items() if records is None]
        told = self.workdir.processes.first(missing, f"shards of {self.folder} to be made")
        if self.together:
            there = [shard for shard in missing if shard not in told]
            found |= dict.fromkeys(told) | {shard: self._written(self.names[shard]) for shard in there}
        return found

    def all(self, make: Callable[[list[int], Take], object]) -> list[Record]:
        """Make what is missing, and read the rest.

        Args:
          make: is given the numbers of shards, and what takes each one's records as soon as they are there, in any
            order; it must make the same records whenever it is called.
        """
        found, missing = self._found, self.missing

        def take(place: int, records: Sequence[Record]) -> None:
            shard = missing[place]
            found[shard] = list(records)
            if self.workdir.processes.is_first or not self.together:
                self.write(self.names[shard], found[shard])

        make(missing, take)
        self.workdir.processes.wait(f"shards of {self.folder}")
        for shard, name in enumerate(self.names):
            found[shard] = self._written(name) if found[shard] is None else found[shard]
        return [record for records in found.values() for record in records or ()]

    def _written(self, name: str) -> list[Record]:
        """The records of one that another process has written."""
        self.workdir.wait_for(name)
        return self.workdir.read_records(self.kind, name)

    def write(self, name: str, records: Sequence[Record]) -> None:
        """One file, by whichever process makes it, and before it its seal."""
        data = "".join(to_line(record) + "\n" for record in records).encode()
        if not is_remote(self.workdir.path):
            self.workdir.write_own(_seal(name), digest(data).encode())
        self.workdir.write_own(name, data)

    def _whole(self, name: str) -> list[Record] | None:
        """Its records; None where it is not there, or was damaged by a dying disk."""
        if not self.workdir.has(name):
            return None
        seal = self.workdir / _seal(name)
        is_sealed = not is_remote(self.workdir.path) and seal.exists()
        if is_sealed and seal.read_bytes() != self.workdir.output_digest(name).encode():
            return None
        try:
            return self.workdir.read_records(self.kind, name)
        except RecordError:
            return None


def read_shards(workdir: Workdir, kind: type[Record], folder: str) -> list[Record]:
    """All records of ``folder-*-of-*.jsonl``, in the order of shards; none if there are no such files.

    One name tells how many there are: those of another process may not be listed yet.

    Raises:
      MissingStage: one of them is gone.
      WorkdirError: they are of two runs, and do not belong together.
    """
    names = workdir.matching([f"{folder}-*-of-*.jsonl"])
    numbers = {re.search(r"-of-(\d+)\.jsonl$", name)[1] for name in names}
    if len(numbers) > 1:
        raise WorkdirError(
            f"{workdir / folder}: shards of two runs, {names[0]} and {names[-1]}. Remove all of them and the manifest "
            "of their stage; the same command makes them anew."
        )
    whole = [f"{folder}-{shard:05d}-of-{number}.jsonl" for number in numbers for shard in range(int(number))]
    return [record for name in whole for record in workdir.read_records(kind, name)]


def _seal(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}.{last}.sha256"
