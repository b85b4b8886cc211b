"""A walk through the small quickstart in two processes, on this disk or in a bucket, for ``benchmarks.faults``."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from jobs import port  # noqa: E402
from object_store import ObjectStore  # noqa: E402
from small import QUICK, SMALL  # noqa: E402

LIMIT_S = 600.0
"""Seconds after a fault in which both processes must have ended; a whole walk in the worst bucket takes half of it."""
RECIPE = (
    *SMALL,
    "methods=('s3ft',)",
    "general.limit=1",
    "report.num_scored=4",
    "mesh.data=2",
    "train.refresh_epochs=0.5",
    "train.save_every=1",
    "train.validate.every=2",
    "train.validate.count=5",
    "train.validate.score=True",
)
SKEW = "import time; real = time.time; time.time = lambda: real() + {skew}\n"
COMMAND = "import sys; from s3ft_jax.cli import main; sys.exit(main())"


class Broken(RuntimeError):
    """A promise was not kept; the message says which."""


class Run:
    """One command in two processes, from its start to the end of both."""

    def __init__(self, workdir: str, store: ObjectStore | None, skew: float = 0.0):
        where = f"127.0.0.1:{port()}"
        settings = [f"--config.{one}" for one in RECIPE]
        shared = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {QUICK}",
            "S3FT_COORDINATOR": where,
            "S3FT_NUM_PROCESSES": "2",
            "S3FT_JOIN_S": "60",
            "S3FT_STORAGE_MINUTES": "0.2",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / "runs" / "faults" / "programs"),
            "PYTHONPATH": str(ROOT),
        }
        shared |= store.environment() if store else {}
        self.began, self.processes = time.monotonic(), []
        for index in range(2):
            code = (SKEW.format(skew=skew) if skew and index else "") + COMMAND
            arguments = ["run", "--config=configs/quickstart.py:task=arithmetic", f"--workdir={workdir}", *settings]
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", code, *arguments],
                    env=shared | {"S3FT_PROCESS": str(index)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    cwd=ROOT,
                )
            )

    def is_over(self) -> bool:
        """Whether both have ended."""
        return all(process.poll() is not None for process in self.processes)

    def wait(self, seconds: float) -> bool:
        """``is_over`` within so many seconds."""
        until = time.monotonic() + seconds
        while not self.is_over() and time.monotonic() < until:
            time.sleep(0.05)
        return self.is_over()

    def end(self) -> tuple[list[int], list[str]]:
        """(codes, what each printed).

        Raises:
          Broken: one hangs, or ends in a traceback.
        """
        over = self.wait(LIMIT_S)
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        said = [process.communicate()[0] for process in self.processes]
        codes = [process.returncode for process in self.processes]
        if not over:
            raise Broken("hangs past its limit:\n" + "\n".join(said))
        if any("Traceback" in one for one in said):
            raise Broken("ends in a traceback:\n" + "\n".join(said))
        return codes, said


class Walk:
    """A workdir on its way from nothing to a report."""

    def __init__(self, folder: pathlib.Path, number: int, bucket: tuple[float, int] | None):
        in_bucket = bucket is not None
        self.store = ObjectStore(listing_delay_s=bucket[0], fail_every=bucket[1]) if in_bucket else None
        self.local = folder / f"walk-{number}"
        self.damaged = ""
        self.workdir = f"gs://bucket/walk-{number}" if in_bucket else str(self.local)

    def __enter__(self) -> Walk:
        if self.store:
            self.store.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.store:
            self.store.__exit__()

    def start(self, skew: float = 0.0) -> Run:
        """The command, once more."""
        return Run(self.workdir, self.store, skew)

    def files(self) -> dict[str, bytes]:
        """Every file: path below the workdir -> bytes."""
        if self.store:
            start = self.workdir.removeprefix("gs://bucket/") + "/"
            return {name.removeprefix(start): self.store.read(name) for name in self.store.names(start)}
        files = (path for path in self.local.rglob("*") if path.is_file())
        return {path.relative_to(self.local).as_posix(): path.read_bytes() for path in files}

    def done(self) -> set[str]:
        """Stages that are done."""
        if self.store:
            names = self.store.names(self.workdir.removeprefix("gs://bucket/") + "/manifests/")
        else:
            names = [str(path) for path in (self.local / "manifests").glob("*.json")]
        return {name.rpartition("/")[2] for name in names if name.endswith(".json")}

    def keep(self) -> None:
        """What is in the bucket, on this disk, for whoever looks into it."""
        for name, data in self.files().items() if self.store else ():
            path = self.local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
