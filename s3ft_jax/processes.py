"""Processes of one job: which one this is, and how they wait for each other, by name and with a time limit.

In: environment variables that say who belongs together. Out: ``Processes``. Host-side stages have one of their own, so
JAX is imported only where several are joined.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping

COORDINATOR, NUM_PROCESSES, PROCESS = "S3FT_COORDINATOR", "S3FT_NUM_PROCESSES", "S3FT_PROCESS"
"""Environment variables: host:port of process 0, which the others can reach; how many there are; which this is."""
JOIN_SECONDS = 300
"""Seconds that processes wait for the last one to start."""
HEARTBEAT_SECONDS = 30
"""Seconds after which a process that no longer answers counts as dead; the others then end, too."""
WAIT_SECONDS = 6 * 3600
"""Seconds that one waits for the others at the end of a stage. One that died is noticed much sooner, by JAX."""

AGAIN = "Start all of them again with the same command; what is finished is kept."

_number = itertools.count()


class ProcessError(RuntimeError):
    """Processes that do not find each other, or one that does not come. The message says which, and what to do."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """Those of a job.

    Attributes:
      index: of this one; the first writes manifests and talks.
      count: how many there are.
    """

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes what only one may write."""
        return self.index == 0

    def wait(self, name: str) -> None:
        """Go on when all have come here, each for the same time in its life.

        Raises:
          ProcessError: one has not come in ``WAIT_SECONDS``, or has died.
        """
        if self.count == 1:
            return
        from orbax.checkpoint import multihost

        try:
            multihost.get_barrier_sync_fn()(key=f"{name}/{next(_number)}", timeout_ms=WAIT_SECONDS * 1000)
        except Exception as error:
            raise ProcessError(
                f"process {self.index} of {self.count} waited for the others at {name!r} in vain: {error}. {AGAIN}"
            ) from error


def join(environment: Mapping[str, str] | None = None) -> Processes:
    """Join the processes that the environment names; one alone where it names none.

    Args:
      environment: None: this process's own.

    Raises:
      ProcessError: the variables are not whole, or the others do not come in ``JOIN_SECONDS``.
    """
    values = os.environ if environment is None else environment
    given = {name: values.get(name, "") for name in (COORDINATOR, NUM_PROCESSES, PROCESS)}
    if not any(given.values()):
        return Processes()
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ProcessError(f"{', '.join(missing)} is not set; several processes need {', '.join(given)}")
    try:
        count, index = int(given[NUM_PROCESSES]), int(given[PROCESS])
    except ValueError:
        raise ProcessError(
            f"{NUM_PROCESSES}={given[NUM_PROCESSES]!r}, {PROCESS}={given[PROCESS]!r}: both must be whole numbers"
        ) from None
    if not 0 <= index < count:
        raise ProcessError(f"{PROCESS}={index} must be from 0 to {count - 1}, one less than {NUM_PROCESSES}")
    _initialize(given[COORDINATOR], count, index)
    return Processes(index, count)


def _initialize(coordinator: str, count: int, index: int) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except Exception as error:
        raise ProcessError(
            f"process {index} of {count} could not join the others at {coordinator}: {error}. Is process 0 running, "
            f"can its port be reached, and are all {count} started with the same {COORDINATOR}?"
        ) from error
