"""Compiling for a TPU that is not there: libtpu describes a slice and compiles for it on any Linux machine.

In: a topology, a lowered program. Out: what the compiler says it needs of each chip's memory, and how long it took.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache

from s3ft_jax.planning.chips import GIB, PlanError, Topology

ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",  # ask no metadata server, which only a TPU machine has
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # libtpu warns without these two; the topology's name counts, not they
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_LOG_DIR": "disabled",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else one process at a time; no device is opened here
}
"""Settings of libtpu, read when it is loaded; what the user has set stays."""
HOW_TO_GET_LIBTPU = (
    "libtpu is not installed, so nothing is compiled and temporaries are an estimate. It needs no TPU and is a "
    "download of some 700 MB for Linux on x86-64: pip install 'jax[tpu]', best into a virtual environment of its own"
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
_USED = (
    re.compile(r"Used (?P<used>[\d.]+[KMGT]?) of (?P<limit>[\d.]+[KMGT]?) hbm"),
    re.compile(r"temporaries \((?P<used>[\d.]+[KMGT]?)\) exceeds available HBM \((?P<limit>[\d.]+[KMGT]?)\)"),
)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of one program; bytes of one chip.

    Attributes:
      fits: whether there is a program.
      peak: the bytes it is given: arguments, temporaries, code, and outputs that do not take an argument's place; of a
        program that does not fit, what it would have needed.
      limit: bytes the compiler can give; 0 where it was not said.
      arguments, temporaries: parts of ``peak``; 0 of a program that does not fit.
      seconds, cpu_seconds: of compiling alone; on a busy machine the second says more.
    """

    fits: bool
    peak: int
    limit: int
    arguments: int
    temporaries: int
    seconds: float
    cpu_seconds: float


def has_libtpu() -> bool:
    """Whether programs can be compiled for TPUs here."""
    return bool(os.environ.get("TPU_LIBRARY_PATH")) or importlib.util.find_spec("libtpu") is not None


def topology_devices(topology: Topology) -> list[jax.Device]:
    """The chips of a slice as devices that can only be compiled for.

    Raises:
      PlanError: libtpu refuses the shape; its reason is given.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {}
    if topology.chip.name == "v4":
        options["chip_config_name"] = "megacore"  # one device per chip, as JAX shows it on a v4 machine
    if topology.num_slices > 1:
        options["num_slices"] = topology.num_slices
    if any(size % 2 for size in topology.shape[:2]):  # libtpu takes a host to have 2 x 2 chips
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        return topologies.get_topology_desc(topology.slice_name, "tpu", **options).devices
    except jax.errors.JaxRuntimeError as error:
        raise PlanError(f"--topology={topology.name}: libtpu refuses it: {_first_line(error)}") from None


def compile_program(lower: Callable[[], jax.stages.Lowered]) -> Compiled:
    """Lower a program and compile it; that it does not fit is an answer.

    Raises:
      PlanError: the compiler cannot compile the program at all; its reason is given.
    """
    started = time.monotonic(), time.process_time()
    try:
        lowered = lower()
        started = time.monotonic(), time.process_time()
        with _no_cache():
            program = lowered.compile()
    except Exception as error:
        # what a Pallas kernel is refused for has a class of its own, which names the compiler's error as its cause
        if not isinstance(error, jax.errors.JaxRuntimeError) and not isinstance(
            error.__cause__, jax.errors.JaxRuntimeError
        ):
            raise
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise PlanError(f"the TPU compiler cannot compile this program: {_first_line(error)}") from None
        used, limit = _overflow(str(error))
        return Compiled(False, used, limit, 0, 0, *_since(*started))
    taken = _since(*started)
    memory = program.memory_analysis()
    arguments, temporaries = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = arguments + temporaries + outputs + memory.generated_code_size_in_bytes
    return Compiled(True, peak, 0, arguments, temporaries, *taken)


def _since(wall: float, cpu: float) -> tuple[float, float]:
    return time.monotonic() - wall, time.process_time() - cpu


@contextlib.contextmanager
def _no_cache() -> Iterator[None]:
    """Compile for real, so that the seconds are those of compiling."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _overflow(message: str) -> tuple[int, int]:
    """Bytes needed and bytes there, of the compiler's message; 0 where it does not say."""
    for pattern in _USED:
        if found := pattern.search(message):
            return _bytes(found["used"]), _bytes(found["limit"])
    return 0, 0


def _bytes(text: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)([KMGT]?)", text).groups()
    return round(float(number) * _UNITS[unit])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
