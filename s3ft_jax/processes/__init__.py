"""Processes of one job: which one this is, how they find each other, wait for each other, and end together.

``cluster.py`` finds out who belongs together; ``roll_call.py`` has all meet and compares what they run; ``link.py``
holds their connections while they run; ``lines.py`` is what goes over these; ``tunnel.py`` keeps JAX's own open.
Host-side stages have one process, so JAX is imported only where several are to compute together.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from s3ft_jax.processes import roll_call
from s3ft_jax.processes.cluster import COORDINATOR, NUM_PROCESSES, PROCESS, Cluster, ProcessError, find
from s3ft_jax.processes.link import AGAIN, EXIT_CODE, Link, Lost
from s3ft_jax.processes.tunnel import Tunnel

__all__ = [
    "AGAIN",
    "COORDINATOR",
    "EXIT_CODE",
    "NUM_PROCESSES",
    "PROCESS",
    "Lost",
    "ProcessError",
    "Processes",
    "alone",
    "is_alone",
    "join",
]

JOIN = "S3FT_JOIN_S"
"""Environment variable: seconds to wait for the last process to start; default ``JOIN_SECONDS``."""
JOIN_SECONDS = 600
WAIT_SECONDS = 6 * 3600
"""Seconds that one waits for the others at the end of a stage. One that died is noticed much sooner."""
JAX_SECONDS = 120
"""Seconds for JAX to connect processes that have all answered the roll call."""
HEARTBEAT_SECONDS = 100
"""After which JAX ends a process by itself; later than the link, whose message says who is gone."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """Those of a job.

    Attributes:
      index: of this one; the first writes manifests and talks.
      count: how many there are.
      link: to the others; None where there are none.
    """

    index: int = 0
    count: int = 1
    link: Link | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this one writes what only one may write."""
        return self.index == 0

    @property
    def _meets(self) -> bool:
        return self.link is not None and not is_alone()

    def wait(self, name: str) -> None:
        """Go on when all have come here, each for the same time in its life; at once inside of ``alone``.

        Raises:
          Lost: another one is gone; says which.
          ProcessError: one has not come in ``WAIT_SECONDS``.
        """
        if self._meets:
            self.link.wait(name, WAIT_SECONDS)

    def any(self, value: bool, name: str) -> bool:
        """Whether it is so for one of them; all get the same answer, and wait for each other for it.

        Raises:
          Lost, ProcessError: see ``wait``.
        """
        return self.link.any(value, name, WAIT_SECONDS) if self._meets else value

    def first(self, value: Any, name: str) -> Any:
        """The first process's value, a JSON one; all wait for each other for it.

        Raises:
          Lost, ProcessError: see ``wait``.
        """
        return self.link.first(value, name, WAIT_SECONDS) if self._meets else value

    def gather(self, value: Any, name: str) -> list[Any]:
        """At the first process the values of all in their order, JSON ones; elsewhere nothing. All wait for each other.

        Raises:
          Lost, ProcessError: see ``wait``.
        """
        return self.link.gather(value, name, WAIT_SECONDS) if self._meets else [value]

    def standings(self) -> list[str]:
        """Where each process stands, a line each; nothing where there is one."""
        return [] if self.link is None else self.link.standings()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Until the end of this block the processes live and die together.

        Raises:
          Lost: another one is gone, in place of what followed from that here.
        """
        if self.link is None:
            yield
            return
        with _telling(self.link):
            yield
            self.link.wait("the end of the command", WAIT_SECONDS)
            _leave_jax()  # while the link still sees who dies; at Python's end nobody would say so
        self.link.leave()


@contextlib.contextmanager
def _telling(link: Link) -> Iterator[None]:
    """A failure within this block is told to the others; ``Lost`` where it is another one's doing."""
    try:
        yield
    except BaseException as error:
        lost = "" if isinstance(error, SystemExit) else link.find_out()
        if lost:
            raise Lost(lost) from error
        link.fail(f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": "))
        raise


_is_known_to_jax = False
_alone = contextvars.ContextVar("alone", default=False)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within this block the first process works while the others wait: what is written or read is its own affair."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_alone() -> bool:
    """Whether this is inside of ``alone``."""
    return _alone.get()


def join(
    environment: Mapping[str, str] | None = None,
    facts: Callable[[], Mapping[str, Any]] = dict,
    *,
    describe: Callable[[], str] = str,
    tell: Callable[[str], None] = print,
    devices: bool = True,
) -> Processes:
    """Join the processes that the environment names; one alone where it names none.

    Args:
      environment: None: this process's own.
      facts: what all must have in common, name -> JSON value.
      describe: where this process stands, in a line.
      tell: takes lines for people.
      devices: they compute together, so that JAX must know of all.

    Raises:
      ProcessError: the variables are not whole; the others do not come in time, or run something else.
      Lost: another one is gone.
    """
    values = os.environ if environment is None else environment
    cluster = find(values)
    if cluster is None:
        return Processes()
    text = values.get(JOIN, "") or str(JOIN_SECONDS)
    if not text.isdigit():
        raise ProcessError(f"{JOIN}={text!r}: must be a whole number of seconds")
    lines, names = roll_call.call(cluster, facts(), seconds=float(text), tell=tell)
    link = Link(cluster.index, names, lines, describe=describe, tell=tell)
    if devices:
        with _telling(link):
            _initialize(cluster)
    return Processes(cluster.index, cluster.count, link)


def is_known_to_jax() -> bool:
    """Whether JAX was told of other processes: from then on it would wait for them at Python's end."""
    return _is_known_to_jax


def _leave_jax() -> None:
    global _is_known_to_jax
    if "jax" in sys.modules:
        import jax

        if jax.distributed.is_initialized():
            jax.distributed.shutdown()
    _is_known_to_jax = False


def _initialize(cluster: Cluster) -> None:
    global _is_known_to_jax
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # its handler of SIGTERM would take the place of ours, and swallow the signal
    jax.config.update("jax_enable_preemption_service", False)
    host = f"[{cluster.host}]" if ":" in cluster.host else cluster.host
    where = f"{host}:{cluster.port}"
    if cluster.index:
        where = Tunnel(cluster.host, cluster.port, JAX_SECONDS).address
    _is_known_to_jax = True
    try:
        jax.distributed.initialize(
            where,
            cluster.count,
            cluster.index,
            local_device_ids=cluster.devices,
            initialization_timeout=JAX_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=30,
        )
        jax.devices()  # here, since all must open them at the same time: who comes later would hang
    except Exception as error:
        raise ProcessError(
            f"process {cluster.index} of {cluster.count} answered the roll call, but JAX could not connect it at "
            f"{host}:{cluster.port}: {error}. {AGAIN}"
        ) from error
