"""TPU chips and slices, GPUs of a machine: what one has and how many a topology's name stands for. No JAX.

In: ``v5e:4x4`` or ``h100:8``. Out: ``Topology``. The figures of ``CHIPS`` are those of Google's public pages, named in
``source``; ``usable_hbm`` is what the TPU compiler (libtpu 0.0.42.1) says it can give to a program when one does not
fit. Those of ``GPUS`` are of NVIDIA's data sheets: H100, H200, A100 (the SXM boards) and L4 of
nvidia.com/en-us/data-center/NAME, GeForce RTX 4090 of "NVIDIA Ada GPU Architecture", appendix A. Operations are dense:
half of what a sheet prints with sparsity. A published GB is taken as 10^9 bytes, a little less than drivers report.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re

GIB = 2**30
FLOAT32_PASSES = 6
"""bfloat16 products that make one float32 product at precision "highest" (jax.lax.DotAlgorithmPreset,
BF16_BF16_F32_X6: docs.jax.dev/en/latest/201/precision.html), which every stage asks for (stages/launch.py)."""
FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""Environment variable: share of a GPU's memory that JAX takes; without it ``JAX_TAKES`` (docs.jax.dev, GPU memory
allocation)."""
JAX_TAKES = 0.75


class PlanError(ValueError):
    """A plan that cannot be made; the message names the argument or config key, the cause and the fix."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """One TPU chip, or one GPU. A v4 or v5p chip has two cores that JAX shows as one device.

    Attributes:
      name: as in a topology's name.
      hbm: bytes of memory, as published.
      usable_hbm: bytes that programs may have: a TPU's compiler gives them, of a GPU JAX takes them.
      flops: bfloat16 operations per second, two per multiply-add.
      hbm_bandwidth: bytes per second.
      ici_bandwidth: bytes per second between chips, in and out together.
      dcn_bandwidth: bytes per second from other slices, over the data center's network.
      axes: of its network: 2 or 3; 1 for the GPUs of a machine.
      max_chips: of one slice or machine.
      source: where the figures stand.
      platform: JAX's name of the kind of device, tpu or gpu.
      float32_flops: float32 operations per second where units of their own compute them; 0 where bfloat16's do.
    """

    name: str
    hbm: int
    usable_hbm: int
    flops: float
    hbm_bandwidth: float
    ici_bandwidth: float
    dcn_bandwidth: float
    axes: int
    max_chips: int
    source: str
    platform: str = "tpu"
    float32_flops: float = 0.0

    def peak_flops(self, activation_dtype: str) -> float:
        """Operations per second of matrix products whose inputs are ``bfloat16`` or ``float32``."""
        return (self.float32_flops or self.flops / FLOAT32_PASSES) if activation_dtype == "float32" else self.flops


def _chip(
    name: str,
    hbm: float,
    usable: float,
    tflops: float,
    hbm_gbps: float,
    ici_gbps: float,
    dcn_gbits: float,
    axes: int,
    max_chips: int,
) -> Chip:
    """GiB, GiB, TFLOP/s, GB/s, GB/s, Gbit/s, axes, chips -> Chip."""
    rates = (tflops * 1e12, hbm_gbps * 1e9, ici_gbps * 1e9, dcn_gbits * 1e9 / 8)
    source = f"https://docs.cloud.google.com/tpu/docs/{name}"
    return Chip(name, round(hbm * GIB), round(usable * GIB), *rates, axes, max_chips, source)


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        # v4's page does not name the speed of its links: 6 of 50 GB/s each way (Jouppi et al., arXiv 2304.01433); nor
        # that of its hosts' network, which is taken to be v5p's. For v5e and v6e that of a pod of 256 chips is given
        _chip("v4", 32, 30.75, 275, 1200, 600, 50, 3, 4096),
        _chip("v5e", 16, 15.75, 197, 819, 400, 6400 / 256, 2, 256),
        _chip("v5p", 95, 95.74, 459, 2765, 1200, 50, 3, 6144),
        _chip("v6e", 32, 31.25, 918, 1638, 800, 25600 / 256, 2, 256),
    )
}


def _gpu(name: str, memory: float, tflops: float, float32: float, gbps: float, link: float, source: str) -> Chip:
    """GB, TFLOP/s in bfloat16 and in float32, GB/s from memory, GB/s from and to other GPUs -> Chip."""
    rates = (tflops * 1e12, gbps * 1e9, link * 1e9)
    # nothing is planned across machines of GPUs: their network is no property of the GPU
    return Chip(
        name, round(memory * 1e9), 0, *rates, math.inf, 1, 8, source, platform="gpu", float32_flops=float32 * 1e12
    )


_DATA_CENTER = "https://www.nvidia.com/en-us/data-center"
GPUS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        _gpu("h100", 80, 989, 67, 3350, 900, f"{_DATA_CENTER}/h100"),
        _gpu("h200", 141, 989, 67, 4800, 900, f"{_DATA_CENTER}/h200"),
        _gpu("a100-80gb", 80, 312, 19.5, 2039, 600, f"{_DATA_CENTER}/a100"),
        _gpu("a100-40gb", 40, 312, 19.5, 1555, 600, f"{_DATA_CENTER}/a100"),
        # no NVLink: PCIe 4.0 x16
        _gpu("l4", 24, 121, 30.3, 300, 64, f"{_DATA_CENTER}/l4"),
        _gpu("rtx4090", 24, 165.2, 82.6, 1008, 64, "NVIDIA Ada GPU Architecture, appendix A"),
    )
}


# what JAX calls a device -> operations per second in bfloat16, dense. The NVIDIA figures are of the SXM boards' data
# sheets (nvidia.com/en-us/data-center/h100, h200, a100), half of what is printed there with sparsity
DEVICE_KINDS: dict[str, float] = {
    "TPU v4": CHIPS["v4"].flops,
    "TPU v5 lite": CHIPS["v5e"].flops,
    "TPU v5": CHIPS["v5p"].flops,
    "TPU v5p": CHIPS["v5p"].flops,
    "TPU v6 lite": CHIPS["v6e"].flops,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}


def peak_flops(device_kind: str, activation_dtype: str) -> float:
    """Operations per second of a device by JAX's name of it; 0 where that is not known.

    Float32 products are asked for in full on TPUs, in ``FLOAT32_PASSES``; on NVIDIA's boards they have their own, far
    slower, units, whose speed is not given here.
    """
    name = max((name for name in DEVICE_KINDS if re.match(rf"{name}(?!\w)", device_kind)), key=len, default="")
    if not name or (activation_dtype == "float32" and name.startswith("NVIDIA")):
        return 0.0
    return DEVICE_KINDS[name] / (FLOAT32_PASSES if activation_dtype == "float32" else 1)


@dataclasses.dataclass(frozen=True)
class Topology:
    """A slice, chips of one kind in a grid; or several of a shape.

    Attributes:
      chip: what each of them is.
      shape: chips along each axis of a slice's network.
      num_slices: how many there are.
    """

    chip: Chip
    shape: tuple[int, ...]
    num_slices: int = 1

    @property
    def slice_name(self) -> str:
        """Of one slice, e.g. ``v5e:4x4``."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def name(self) -> str:
        """E.g. ``v5e:4x4``, or ``2xv5e:16x16`` for two slices."""
        return self.slice_name if self.num_slices == 1 else f"{self.num_slices}x{self.slice_name}"

    @property
    def num_chips(self) -> int:
        """Chips of all slices."""
        return self.num_slices * math.prod(self.shape)


# chips -> shape, and accelerator types' names: https://docs.cloud.google.com/tpu/docs/v6e, /v5p and /v5e
FLAT = {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)}
CUBES = {
    **{4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4), 64: (4, 4, 4), 128: (4, 4, 8), 256: (4, 8, 8)},
    **{512: (8, 8, 8), 1024: (8, 8, 16), 2048: (8, 16, 16)},
}
CORES = {"v4": 2, "v5p": 2}
"""Cores of a chip where accelerator types count these: a v5p-512 has 256 chips."""


def _of_accelerator(text: str, name: str, count: int) -> tuple[int, ...]:
    """``v5p``, 512 -> (4, 8, 8)."""
    shapes = FLAT if CHIPS[name].axes == 2 else CUBES
    cores = CORES.get(name, 1)
    if count % cores or count // cores not in shapes:
        known = ", ".join(f"{name}-{cores * chips}" for chips in shapes)
        raise PlanError(f"--topology={text}: no such accelerator type; known: {known}; or give the shape")
    return shapes[count // cores]


def parse_topology(text: str) -> Topology:
    """``v5e:4x4``, ``v5p:2x2x1`` or an accelerator type, v5litepod-16; ``2xv5e:16x16`` for two slices -> Topology.

    Of GPUs ``h100``, ``h100:8`` or ``h100x8``: so many of one machine.

    Raises:
      PlanError: an unknown chip, or a shape that this chip's network cannot have.
    """
    gpus = re.fullmatch(rf"(\d+x)?({'|'.join(GPUS)})(?:[:x](\w+))?", text.strip().lower())
    if gpus:
        return _gpus(text, *gpus.groups())
    number, rest = re.fullmatch(r"(?:([1-9]\d*)x(?=[a-z]))?(.*)", text.strip().lower()).groups()
    accelerator = re.fullmatch(r"(\w+)-(\d+)", rest)
    name, _, shape = rest.partition(":")
    name = (accelerator[1] if accelerator else name).replace("v5litepod", "v5e")
    if name not in CHIPS:
        known = CHIPS | GPUS
        close = [one for one in known if name and one.startswith(name)] or difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise PlanError(f"--topology={text}: no chip {name!r}; {hint}known: {', '.join(map(_example, known.values()))}")
    chip = CHIPS[name]
    if accelerator:
        return Topology(chip, _of_accelerator(text, name, int(accelerator[2])), int(number or 1))
    sizes = tuple(int(size) for size in shape.split("x")) if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape) else ()
    if len(sizes) != chip.axes:
        raise PlanError(
            f"--topology={text}: a slice of {name} has {chip.axes} axes, for example {_example(chip)} ({chip.source})"
        )
    if math.prod(sizes) > chip.max_chips:
        raise PlanError(f"--topology={text}: a slice of {name} has at most {chip.max_chips} chips; see {chip.source}")
    return Topology(chip, sizes, int(number or 1))


def _gpus(text: str, machines: str | None, name: str, count: str | None) -> Topology:
    """GPUs of one machine, with as much memory as JAX takes of each."""
    chip = GPUS[name]
    if machines:
        raise PlanError(f"--topology={text}: GPUs are planned for one machine, for example {_example(chip)}")
    if not re.fullmatch(r"[1-9]\d*", count or "1") or int(count or 1) > chip.max_chips:
        raise PlanError(f"--topology={text}: give 1 to {chip.max_chips} GPUs of one machine, as {_example(chip)}")
    usable = round(gpu_fraction() * chip.hbm)
    return Topology(dataclasses.replace(chip, usable_hbm=usable), (int(count or 1),))


def gpu_fraction() -> float:
    """Share of a GPU's memory that JAX takes.

    Raises:
      PlanError: the environment variable is no share.
    """
    text = os.environ.get(FRACTION, "") or str(JAX_TAKES)
    if not re.fullmatch(r"0?\.\d+|1(\.0*)?", text) or not float(text):
        raise PlanError(f"{FRACTION}={text}: must be a share of the memory, above 0 and at most 1, e.g. 0.9")
    return float(text)


def _example(chip: Chip) -> str:
    shape = {1: "8", 2: "4x4", 3: "2x2x1"}[chip.axes]
    return f"{chip.name}:{shape}"
