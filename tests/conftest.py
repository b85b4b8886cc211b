"""Test set-up: 8 fake CPU devices, no network, real data found through S3FT_DATA_DIR."""

import os
import pathlib
import socket
import tempfile

import pytest

from small import QUICK, ROOT, small_config

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # JAX_PLATFORMS=cuda pytest -m gpu runs what needs a GPU
# eight fake devices; programs compiled in a hurry, since most of a test's time is compiling
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {QUICK}".strip()
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# one cache of compiled programs for this session and the processes it starts: many tests build the same small programs
_programs = tempfile.TemporaryDirectory(prefix="s3ft-programs-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"


pytest_plugins = ["llama2c"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The walks first: they take longest, and the processes of a parallel run should end together."""
    items.sort(key=lambda item: "walk" not in item.keywords)


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """Folder of real data sets and small weights; the test is skipped where it is absent."""
    folder = pathlib.Path(os.environ.get("S3FT_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set S3FT_DATA_DIR")
    return folder


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory):
    """(config, workdir) of one small run of the whole recipe on the model and a task that ship with the project.

    The processes of a parallel run share it: the first makes it while the others wait.
    """
    from filelock import FileLock

    from s3ft_jax.stages import recipe
    from s3ft_jax.workdir import Workdir

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    config, workdir = small_config(), Workdir(str(shared / "walked"))
    with FileLock(shared / "walked.lock"):
        recipe.run(config, workdir)  # a finished run is left as it is
    return config, workdir


@pytest.fixture
def copied(walked, tmp_path):
    """(config, workdir) of a copy of the small run, for tests that change it."""
    import shutil

    from s3ft_jax.workdir import Workdir

    _, workdir = walked
    shutil.copytree(workdir.path, tmp_path / "run")
    return small_config(), Workdir(str(tmp_path / "run"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection beyond this machine fails the test that tries it."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to reach the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
