"""cluster: who belongs together, as Slurm, GKE, Cloud TPU or a person says it."""

import pytest

from s3ft_jax.processes.cluster import (
    COORDINATOR,
    DEFAULT_PORT,
    NUM_PROCESSES,
    PROCESS,
    Cluster,
    ProcessError,
    find,
    slurm_nodes,
)

SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_STEP_NODELIST": "gpu[01-02]"}
GKE = {"TPU_WORKER_HOSTNAMES": "a-0.svc,a-1.svc", "TPU_WORKER_ID": "1"}


def told(**attributes):
    """A metadata server that knows these; a name is written with _ for -."""
    return lambda name: attributes.get(name.replace("-", "_"))


def test_alone_where_nothing_is_named():
    assert find({}) is None
    assert find(SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None
    assert find({}, told(agent_worker_number="0", worker_network_endpoints="10.0.0.2")) is None
    assert find({}, told()) is None


def test_by_hand():
    values = {COORDINATOR: "host:1", NUM_PROCESSES: "4", PROCESS: "3"}
    assert find(values) == Cluster("host", 1, 4, 3, COORDINATOR)
    assert find(values | {COORDINATOR: "host"}).port == DEFAULT_PORT
    assert find(values | {COORDINATOR: "host", "S3FT_PORT": "8482"}).port == 8482
    assert find(values | {COORDINATOR: "[::1]:9"}).host == "::1"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({NUM_PROCESSES: "2"}, f"{COORDINATOR}, {PROCESS} is not set"),
        ({COORDINATOR: "a:1", NUM_PROCESSES: "two", PROCESS: "0"}, "'two'.* must be a whole number"),
        ({COORDINATOR: "a:1", NUM_PROCESSES: "2", PROCESS: "2"}, f"{PROCESS}=2 must be from 0 to 1"),
        ({COORDINATOR: "a:x", NUM_PROCESSES: "2", PROCESS: "0"}, "the port='x'"),
        (SLURM | {"SLURM_PROCID": "2"}, "Slurm: this is process 2 of 2"),
        (SLURM | {"SLURM_STEP_NODELIST": "gpu[a-b]"}, "'a-b' is not a range"),
        (GKE | {"MEGASCALE_NUM_SLICES": "2"}, "GKE: 2 slices, but MEGASCALE_COORDINATOR_ADDRESS is not set"),
    ],
)
def test_what_is_not_whole_is_named(values, words):
    with pytest.raises(ProcessError, match=words):
        find(values)


def test_slurm():
    assert find(SLURM) == Cluster("gpu01", DEFAULT_PORT, 2, 1, "Slurm", ("gpu01", "gpu02"))
    several = SLURM | {"SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    assert find(several) == Cluster("gpu01", DEFAULT_PORT, 4, 1, "Slurm", (), (1,)), "a GPU each"


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("node001", ["node001"]),
        ("node001,host2", ["node001", "host2"]),
        ("gpu[01-02,7],login", ["gpu01", "gpu02", "gpu7", "login"]),
        ("a[9-11]-x,b[1]", ["a9-x", "a10-x", "a11-x", "b1"]),
    ],
)
def test_lists_of_nodes(text, nodes):
    assert slurm_nodes(text) == nodes


def test_gke():
    assert find(GKE) == Cluster("a-0.svc", DEFAULT_PORT, 2, 1, "GKE", ("a-0.svc", "a-1.svc"))
    slices = {"MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1", "MEGASCALE_COORDINATOR_ADDRESS": "a-0.svc:8080"}
    assert find(GKE | slices) == Cluster("a-0.svc", DEFAULT_PORT, 4, 3, "GKE")


@pytest.mark.parametrize("endpoints", ["10.0.0.2,10.0.0.3", "x:0:10.0.0.2,y:1:10.0.0.3"])
def test_cloud_tpu(endpoints):
    slice_ = {"agent_worker_number": "1", "worker_network_endpoints": endpoints}
    found = find({}, told(**slice_))
    assert found == Cluster("10.0.0.2", DEFAULT_PORT, 2, 1, "Cloud TPU", ("10.0.0.2", "10.0.0.3"))
    assert found.name(1) == "process 1 (10.0.0.3)"
    text = "MEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\nMEGASCALE_COORDINATOR_ADDRESS: '10.0.0.2:8080'\n"
    several = find({}, told(**slice_, tpu_env=text))
    assert several == Cluster("10.0.0.2", DEFAULT_PORT, 4, 3, "Cloud TPU") and several.name(1) == "process 1"


def test_what_a_person_says_comes_first():
    values = {COORDINATOR: "host:1", NUM_PROCESSES: "3", PROCESS: "0"}
    assert find(SLURM | GKE | values).source == COORDINATOR
    assert find(SLURM | GKE).source == "Slurm"
