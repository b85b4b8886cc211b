"""Shards: the records of a stage in files of which each survives a kill, made by several processes.

In: a workdir, how many files, a function that makes records. Out: all records, in the order of the files.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from s3ft_jax.processes import is_alone
from s3ft_jax.records import Record
from s3ft_jax.workdir import Workdir

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
        """What is there as soon as somebody asks; seen by all processes before the first file is written."""
        self.workdir.expect_shards(self.names)
        found = {shard: self.workdir.whole_shard(self.kind, name) for shard, name in enumerate(self.names)}
        self.workdir.processes.wait(f"shards of {self.folder} to be made")
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
                self.workdir.write_shard(self.names[shard], found[shard])

        make(missing, take)
        self.workdir.processes.wait(f"shards of {self.folder}")
        for shard, name in enumerate(self.names):
            if found[shard] is None:
                found[shard] = self.workdir.read_records(self.kind, name)
        return [record for records in found.values() for record in records or ()]
