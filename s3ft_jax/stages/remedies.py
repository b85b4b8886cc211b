"""What would make training need less of a device's memory: settings that the run does not have yet, and their figures.

In: a config, and what it would need with other settings. Out: settings as they stand on the command line, each laid on
those before it. No device is asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from s3ft_jax.planning.chips import GIB
from s3ft_jax.sharding import mesh_sizes
from s3ft_jax.stages.launch import plain_settings
from s3ft_jax.stages.method_settings import method_settings

NOTICED = 0.98
"""A remedy leaves at most this share of what was needed before it."""


class Devices(NamedTuple):
    """How many there are, and of how many TPU slices."""

    count: int
    num_slices: int = 1


class Remedy(NamedTuple):
    """Settings, and the bytes of a device that are needed with them and all before them."""

    settings: dict[str, Any]
    need: int


def remedies(
    config: ConfigDict, method: str, devices: Devices, rows: int, need: Callable[[ConfigDict], int], limit: int
) -> list[Remedy]:
    """What helps, in the order in which it costs little, up to the first with which training fits.

    Args:
      config, method: of the run; a method without a name has the settings shared by all.
      devices: that it runs on.
      rows: of a step.
      need: a config -> bytes of a device.
      limit: bytes of a device; 0: all that helps is wanted.

    Returns:
      Remedies that each make it less; none where nothing of this kind helps.
    """
    found: list[Remedy] = []
    before = need(config)
    for way in (_split, _narrow, _recompute, _in_parts, _adapters, _narrow_base):
        best = None
        for settings in way(config, method, devices, rows):
            tried = _with(config, settings)
            least = need(tried)
            if least <= NOTICED * (best[1].need if best else before):
                best = tried, Remedy(settings, least)
            if least <= limit:
                break
        if best is None:
            continue
        config, before = best[0], best[1].need
        found.append(best[1])
        if before <= limit:
            break
    return found


def listed(found: list[Remedy]) -> str:
    """``--config.mesh.data=1 --config.mesh.fsdp=8 (33.7 GiB), --config.train.remat=full (9.3 GiB)``"""
    return ", ".join(
        " ".join(f"--config.{name}={value}" for name, value in settings.items())
        + (f" ({need / GIB:.1f} GiB)" if need >= GIB / 10 else f" ({need / 2**20:.1f} MiB)")
        for settings, need in found
    )


def _with(config: ConfigDict, settings: dict[str, Any]) -> ConfigDict:
    changed = ConfigDict(config.to_dict())
    changed.update_from_flattened_dict(settings)
    return changed


def _split(config: ConfigDict, method: str, devices: Devices, rows: int) -> Iterator[dict[str, Any]]:
    """Each parameter over all devices of a slice."""
    sizes = mesh_sizes(**plain_settings(config.mesh), num_devices=devices.count)
    if sizes["data"] > devices.num_slices and sizes["data"] % devices.num_slices == 0:
        fsdp = sizes["fsdp"] * sizes["data"] // devices.num_slices
        yield {"mesh.data": devices.num_slices, "mesh.fsdp": fsdp}


def _narrow(config: ConfigDict, method: str, devices: Devices, rows: int) -> Iterator[dict[str, Any]]:
    yield {"train.activation_dtype": "bfloat16"}


def _recompute(config: ConfigDict, method: str, devices: Devices, rows: int) -> Iterator[dict[str, Any]]:
    yield {"train.remat": "full"}


def _in_parts(config: ConfigDict, method: str, devices: Devices, rows: int) -> Iterator[dict[str, Any]]:
    """Fewer rows at a time, down to one for each part of the mesh."""
    sizes = mesh_sizes(**plain_settings(config.mesh), num_devices=devices.count)
    now = method_settings(config, method)["accumulation"]
    for number in itertools.takewhile(
        lambda number: number * sizes["data"] * sizes["fsdp"] < 2 * rows, (now * 2**power for power in range(1, 32))
    ):
        yield {"train.accumulation": number}


def _adapters(config: ConfigDict, method: str, devices: Devices, rows: int) -> Iterator[dict[str, Any]]:
    if method_settings(config, method)["tune"] != "lora":
        yield {"train.tune": "lora"}


def _narrow_base(config: ConfigDict, method: str, devices: Devices, rows: int) -> Iterator[dict[str, Any]]:
    settings = method_settings(config, method)
    if settings["tune"] == "lora" and not settings["lora"]["base_dtype"]:
        yield {"train.lora.base_dtype": "bfloat16"}
