"""Processes room: who belongs together, as the environment tells it. Opens no device.

    S3FT_COORDINATOR, S3FT_NUM_PROCESSES, S3FT_PROCESS      set by hand, or by tpu_scripts/pod.sh for a list of machines
    SLURM_NTASKS, SLURM_PROCID, SLURM_STEP_NODELIST         a job step of Slurm
    TPU_WORKER_HOSTNAMES, TPU_WORKER_ID, MEGASCALE_*        a TPU slice of GKE
    the metadata server of a machine with TPU chips         a Cloud TPU slice: worker-network-endpoints,
                                                            agent-worker-number, tpu-env

The first that names more than one process counts. Names of the metadata as in jax/_src/clusters/cloud_tpu_cluster.py.
"""

from __future__ import annotations

import dataclasses
import glob
import re
import urllib.request
from collections.abc import Callable, Mapping

COORDINATOR, NUM_PROCESSES, PROCESS = "S3FT_COORDINATOR", "S3FT_NUM_PROCESSES", "S3FT_PROCESS"
"""Environment variables: host:port of process 0, which the others can reach; how many there are; which this is."""
PORT = "S3FT_PORT"
"""Environment variable: the port, where the address of process 0 is found without one."""
DEFAULT_PORT = 8476
"""The one that the firewall rules of Cloud TPU slices open; JAX took 8482 in its place with 0.8.1, which some rules do
not open (github.com/jax-ml/jax/issues/35905)."""
METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/attributes/"
METADATA_S = 5.0


class ProcessError(RuntimeError):
    """Processes that do not find each other, or one that does not come. The message says which, and what to do."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Processes of one job.

    Attributes:
      host, port: where the first one is reached.
      count: how many there are.
      index: of this one.
      source: what told so.
      names: of the machines they run on, by index; empty where unknown.
      devices: of this machine's, those of this process; None: all.
    """

    host: str
    port: int
    count: int
    index: int
    source: str
    names: tuple[str, ...] = ()
    devices: tuple[int, ...] | None = None

    def name(self, index: int) -> str:
        """A process, for people: ``process 3 (host-3)``."""
        return f"process {index}" + (f" ({self.names[index]})" if self.names else "")


def find(environment: Mapping[str, str], ask: Callable[[str], str | None] | None = None) -> Cluster | None:
    """The job this process belongs to; None where it is alone.

    Args:
      environment: variables.
      ask: an attribute of the metadata server -> its text, or None; default: the real one, where TPU chips are found.

    Raises:
      ProcessError: the variables are not whole, or contradict each other; names them.
    """
    found = _by_hand(environment) or _slurm(environment) or _gke(environment)
    if found is None and (ask or (_has_chips() and "TPU_SKIP_MDS_QUERY" not in environment)):
        found = _cloud_tpu(environment, ask or _ask_metadata)
    if found is None or found.count == 1:
        return None
    if not 0 <= found.index < found.count:
        raise ProcessError(f"{found.source}: this is process {found.index} of {found.count}; 0 to {found.count - 1}")
    return found


def _by_hand(values: Mapping[str, str]) -> Cluster | None:
    given = {name: values.get(name, "") for name in (COORDINATOR, NUM_PROCESSES, PROCESS)}
    if not any(given.values()):
        return None
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ProcessError(f"{', '.join(missing)} is not set; several processes need {', '.join(given)}")
    count, index = (_number(name, given[name]) for name in (NUM_PROCESSES, PROCESS))
    if not 0 <= index < count:
        raise ProcessError(f"{PROCESS}={index} must be from 0 to {count - 1}, one less than {NUM_PROCESSES}")
    host, _, port = given[COORDINATOR].rpartition(":")
    if not host:
        host, port = given[COORDINATOR], ""
    return Cluster(host.strip("[]"), _port(values, port), count, index, COORDINATOR)


def _slurm(values: Mapping[str, str]) -> Cluster | None:
    if not all(values.get(name) for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST")):
        return None
    count, index = _number("SLURM_NTASKS", values["SLURM_NTASKS"]), _number("SLURM_PROCID", values["SLURM_PROCID"])
    nodes = slurm_nodes(values["SLURM_STEP_NODELIST"])
    names, devices = tuple(nodes) if len(nodes) == count else (), None
    if len(nodes) < count:  # several on a machine: a GPU each
        devices = (_number("SLURM_LOCALID", values.get("SLURM_LOCALID", "0")),)
    return Cluster(nodes[0], _port(values), count, index, "Slurm", names, devices)


def slurm_nodes(text: str) -> list[str]:
    """``gpu[01-02,7],login`` -> gpu01, gpu02, gpu7, login.

    Raises:
      ProcessError: it is written otherwise.
    """
    nodes = []
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]*)(?:\[([^\]]*)\])?([^,\[\]]*)", text):
        if not (prefix or ranges or suffix):
            continue
        for part in ranges.split(",") if ranges else [""]:
            first, _, last = part.partition("-")
            if part and not (first.isdigit() and (last or first).isdigit()):
                raise ProcessError(f"SLURM_STEP_NODELIST={text!r}: {part!r} is not a range of numbers")
            span = range(int(first), int(last or first) + 1) if part else [None]
            nodes += [prefix + ("" if one is None else str(one).zfill(len(first))) + suffix for one in span]
    return nodes


def _gke(values: Mapping[str, str]) -> Cluster | None:
    text = values.get("TPU_PROCESS_ADDRESSES") or values.get("TPU_WORKER_HOSTNAMES", "")
    if not text or "TPU_WORKER_ID" not in values:
        return None
    hosts = [one.rsplit(":", 1)[0] for one in text.split(",")]
    return _slices(values, hosts, _number("TPU_WORKER_ID", values["TPU_WORKER_ID"]), values, "GKE")


def _cloud_tpu(values: Mapping[str, str], ask: Callable[[str], str | None]) -> Cluster | None:
    number, endpoints = ask("agent-worker-number"), ask("worker-network-endpoints")
    if number is None or not endpoints:
        return None
    hosts = [one.split(":")[-1] for one in endpoints.split(",")]  # host, or name:id:ip as it was once
    lines = (line.partition(":") for line in (ask("tpu-env") or "").splitlines())
    told = {key.strip(): value.strip().strip("'") for key, _, value in lines}
    return _slices(values, hosts, int(number), told | dict(values), "Cloud TPU")


def _slices(values: Mapping[str, str], hosts: list[str], worker: int, told: Mapping[str, str], source: str) -> Cluster:
    """One slice, or several, each with as many workers as this one."""
    slices = int(told.get("MEGASCALE_NUM_SLICES") or 1)
    if slices == 1:
        return Cluster(hosts[0], _port(values), len(hosts), worker, source, tuple(hosts))
    first = told.get("MEGASCALE_COORDINATOR_ADDRESS", "").rsplit(":", 1)[0]
    if not first:
        raise ProcessError(f"{source}: {slices} slices, but MEGASCALE_COORDINATOR_ADDRESS is not set")
    index = int(told.get("MEGASCALE_SLICE_ID") or 0) * len(hosts) + worker
    return Cluster(first, _port(values), slices * len(hosts), index, source)


def _port(values: Mapping[str, str], given: str = "") -> int:
    return _number("the port", given or values.get(PORT, "") or str(DEFAULT_PORT))


def _number(name: str, text: str) -> int:
    if not text.strip().isdigit():
        raise ProcessError(f"{name}={text!r}: must be a whole number")
    return int(text)


def _has_chips() -> bool:
    return bool(glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))


def _ask_metadata(name: str) -> str | None:
    request = urllib.request.Request(METADATA + name, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=METADATA_S) as answer:
            return answer.read().decode()
    except OSError:
        return None
