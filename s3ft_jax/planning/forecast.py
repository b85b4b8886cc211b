"""Forecast: each program of an experiment on a slice, compiled where libtpu is there, estimated where it is not.

In: an ``Experiment`` and a ``Slice``. Out: a ``Forecast`` for train step, prefill and decode chunk, each with the
largest batch that fits, and notes on what was chosen on the way (the mesh, how many chips sample together).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from s3ft_jax import sharding
from s3ft_jax.generation.settings import fewest_chips
from s3ft_jax.planning import costs
from s3ft_jax.planning.chips import GIB, PlanError, Topology
from s3ft_jax.planning.compiled import Compiled, compile_program
from s3ft_jax.planning.experiment import Decode, Experiment, Prefill, Program, TrainStep
from s3ft_jax.planning.search import Largest, largest

MARGIN = 0.9
"""Share of a chip's memory that an estimate may fill when a mesh is chosen by it."""
FASTER = 1.25
"""How many times as fast another mesh must be to be told of, ..."""
NOTICED_S = 1e-3
"""... and by how many seconds a step."""
LARGEST_BATCH = 2**16
"""No larger one is searched for."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """Where to plan for.

    Attributes:
      topology: the slice.
      devices: of ``compiled.topology_devices``; None: nothing is compiled.
      compiles: how many the search for one program's largest batch may take.
      tell: called before each compile, which may take minutes, with what it is of.
    """

    topology: Topology
    devices: Sequence[jax.Device] | None
    compiles: int
    tell: Callable[[str], None] = lambda text: None

    @property
    def capacity(self) -> int:
        """Bytes of one chip that a program may use."""
        return self.topology.chip.usable_hbm


@dataclasses.dataclass(frozen=True)
class Forecast:
    """One program on a slice; bytes and operations of one chip.

    Attributes:
      program, shape, split: which, what it computes, and the mesh of the chips that compute together.
      size, counted: its batch, and what that counts.
      compiled: whether ``answer`` is the compiler's; else it is an estimate.
      fits: whether the program and what is kept beside it fit.
      answer: the program's memory; of one that does not fit by itself, ``arguments`` and ``temporaries`` are estimates.
      beside, capacity: bytes kept beside the program, and bytes there.
      work, bound: of one run.
      largest: the largest batch that fits.
    """

    program: str
    shape: str
    split: costs.Split
    size: int
    counted: str
    compiled: bool
    fits: bool
    answer: Compiled
    beside: int
    capacity: int
    work: costs.Work
    bound: costs.Bound
    largest: Largest


def forecasts(experiment: Experiment, place: Slice) -> tuple[list[Forecast], list[str]]:
    """All programs, and notes for people.

    Raises:
      PlanError, ShardingError: the mesh or a program cannot be had on this slice.
    """
    split, notes = choose_split(experiment, place.topology)
    sampling, more = choose_sampling_split(experiment, place.topology)
    step = TrainStep(experiment, split, place.topology.num_slices)
    sized = Decode(experiment, sampling).sized(place.capacity)
    copies = place.topology.num_chips // sampling.chips
    programs = [step, Prefill(sized, sampling, copies), Decode(sized, sampling, copies)]
    return [forecast(program, place) for program in programs], [f"train: {step.settings}", *notes, *more]


def forecast(program: Program, place: Slice) -> Forecast:
    """One program: its memory at the experiment's own size, its roofline, the largest size that fits."""
    own = _answer(program, place, program.size)

    def need(size: int, answer: Compiled) -> int:
        used = answer.peak + program.beside(size)
        return used if answer.fits else max(used, place.capacity + 1)

    more = program.size + program.unit
    slope = (sum(program.estimate(more)) - sum(program.estimate(program.size))) / program.unit
    found = largest(
        lambda size: need(size, _answer(program, place, size)),
        place.capacity,
        unit=program.unit,
        known={program.size: need(program.size, own)},
        questions=64 if place.devices is None else place.compiles,  # an estimate costs nothing
        most=LARGEST_BATCH // program.unit * program.unit,
        slope=slope,
    )
    work = program.work(program.size)
    return Forecast(
        program=program.name,
        shape=program.shape(program.size),
        split=program.split,
        size=program.size,
        counted=program.counted,
        compiled=place.devices is not None,
        fits=need(program.size, own) <= place.capacity,
        answer=own,
        beside=program.beside(program.size),
        capacity=place.capacity,
        work=work,
        bound=costs.bound(work, place.topology.chip, program.split.chips, program.dtype),
        largest=found,
    )


def _answer(program: Program, place: Slice, size: int) -> Compiled:
    """The compiler's answer, or one made of the estimates."""
    arguments, temporaries = program.estimate(size)
    peak = arguments + temporaries
    if place.devices is None:
        return Compiled(peak <= place.capacity, peak, place.capacity, arguments, temporaries, 0.0, 0.0)
    mesh = sharding.make_mesh(program.copies * program.split.data, *program.split[1:], devices=place.devices)
    place.tell(f"compiling {program.name}, {program.shape(size)}")
    try:
        answer = compile_program(lambda: program.lower(size, mesh))
    except PlanError as error:
        raise PlanError(f"{program.name}, {program.shape(size)}: {error}") from None
    if answer.fits:
        return answer
    return dataclasses.replace(answer, peak=answer.peak or peak, arguments=arguments, temporaries=temporaries)


def choose_split(experiment: Experiment, topology: Topology) -> tuple[costs.Split, list[str]]:
    """The config's mesh on this slice, and notes.

    Where the config leaves it at its default (all chips to data) and no chip can hold that, the mesh whose step is
    soonest done, by the roofline, of those with which the estimate of the smallest step fits; if none does, the one
    that needs least. Where it fits and another mesh is far faster, as with more chips than rows, that is told.

    Raises:
      ShardingError: the config's sizes do not suit the number of chips or slices.
    """
    split = costs.Split(**sharding.mesh_sizes(**experiment.mesh, num_devices=topology.num_chips))
    sharding.across_slices(*split, topology.num_slices)
    idle = topology.num_chips - split.chips
    notes = [f"mesh {shown(split)}: {idle} of {topology.num_chips} chips stay idle"] if idle else []
    if experiment.mesh != {"data": -1, "fsdp": 1, "tensor": 1} or topology.num_chips == 1:
        return split, notes
    limit = MARGIN * topology.chip.usable_hbm
    own, best = Choice.of(experiment, split, topology), best_choice(experiment, topology)
    flags = " ".join(f"--config.mesh.{axis}={size}" for axis, size in best.split._asdict().items())
    if own.need > limit:
        return best.split, [
            f"mesh {shown(best.split)}, chosen by plan: with the config's {shown(split)} a chip would need some "
            f"{own.need / GIB:,.1f} GiB. To run so: {flags}"
        ]
    if own.seconds > max(FASTER * best.seconds, best.seconds + NOTICED_S):
        return split, [
            f"mesh {shown(split)} takes at least {own.seconds:.3g} s a step, of {own.rows} rows; {shown(best.split)} "
            f"could be done in {best.seconds:.3g} s: {flags}"
        ]
    return split, notes


def best_choice(experiment: Experiment, topology: Topology) -> Choice:
    """The mesh of all chips that is soonest done with a step, of those with which all its rows fit, or else with which
    one row in each part does (the others as micro-batches); if neither, the one that needs least."""
    limit = MARGIN * topology.chip.usable_hbm
    tried = [Choice.of(experiment, split, topology) for split in splits(experiment, topology)]
    for fitting in ([one for one in tried if one.whole <= limit], [one for one in tried if one.need <= limit]):
        if fitting:
            return min(fitting, key=lambda one: one.rank)
    return min(tried, key=lambda one: one.need)


class Choice(NamedTuple):
    """A mesh for the train step.

    Attributes:
      split: the mesh.
      need: estimated bytes per chip of a step with one row in each part; ``whole``: with all its rows.
      rows: of the experiment's step, filled up to the parts of this mesh.
      seconds: that the step takes at least.
      rank: parts of fsdp on slices of their own, between which all parameters would travel; seconds; all sides
        of the roofline together.
    """

    split: costs.Split
    need: int
    whole: int
    rows: int
    seconds: float
    rank: tuple[int, float, float]

    @classmethod
    def of(cls, experiment: Experiment, split: costs.Split, topology: Topology) -> Choice:
        """The experiment on this mesh."""
        step = TrainStep(experiment, split, topology.num_slices)
        need, whole = (sum(step.estimate(size)) + step.beside(size) for size in (step.unit, step.size))
        sides = costs.sides(step.work(step.size), topology.chip, step.dtype).values()
        _, far = sharding.across_slices(*split, topology.num_slices)
        return cls(split, need, whole, step.size, max(sides), (far, max(sides), sum(sides)))


def splits(experiment: Experiment, topology: Topology) -> list[costs.Split]:
    """Meshes of all chips. Tensor divides the key-value heads: more parts than those only cost."""
    found = []
    for tensor in _divisors(math.gcd(experiment.config.num_kv_heads, topology.num_chips // topology.num_slices)):
        for fsdp in _divisors(topology.num_chips // tensor):
            split = costs.Split(topology.num_chips // tensor // fsdp, fsdp, tensor)
            with contextlib.suppress(sharding.ShardingError):
                sharding.across_slices(*split, topology.num_slices)
                found.append(split)
    return found


def choose_sampling_split(experiment: Experiment, topology: Topology) -> tuple[costs.Split, list[str]]:
    """The chips that share a copy of the model, as ``s3ft sample`` chooses them, and how many copies there are."""
    engine, heads = experiment.engine, experiment.config.num_heads
    size = Decode(experiment, costs.Split()).param_bytes
    in_slice = topology.num_chips // topology.num_slices
    number = engine.tensor or fewest_chips(topology.chip.usable_hbm, heads, size, in_slice)
    copies = topology.num_chips // number
    if topology.num_chips == 1:
        return costs.Split(), []
    together = "a chip holds" if number == 1 else f"{number} chips together hold"
    return costs.Split(tensor=number), [f"prefill and decode: {together} a copy of the model; {copies} copies"]


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


def shown(split: costs.Split) -> str:
    """E.g. ``data 1 x fsdp 4 x tensor 1``."""
    return " x ".join(f"{axis} {size}" for axis, size in split._asdict().items())
