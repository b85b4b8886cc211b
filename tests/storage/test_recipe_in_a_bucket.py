"""The recipe through a bucket that is slow, fails one call in twenty and lists late ends with the same bytes."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from object_store import ObjectStore
from small import QUICK, ROOT, SMALL

pytestmark = pytest.mark.walk
RECIPE = (*SMALL, "methods=('s3ft',)", "general.limit=1", "report.num_scored=4", "train.save_every=4")
HURRIED = """
import asyncio, sys, gcsfs.retry
class Hurried:
    __getattr__ = lambda self, name: getattr(asyncio, name)
    sleep = staticmethod(lambda seconds: asyncio.sleep(seconds / 20))
gcsfs.retry.asyncio = Hurried()
from s3ft_jax.cli import main
sys.exit(main())
"""
"""gcsfs's pauses are seconds; there are hundreds here."""


def start(stage, workdir, store=None):
    """A command, begun."""
    settings = [f"--config.{one}" for one in RECIPE]
    where = ["--config=configs/quickstart.py:task=arithmetic", f"--workdir={workdir}"]
    return subprocess.Popen(
        [sys.executable, "-c", HURRIED, *stage, *where, *settings],
        env=os.environ | {"XLA_FLAGS": QUICK} | (store.environment() if store else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def ended(started):
    """What it printed."""
    said = started.communicate(timeout=280)[0]
    assert started.returncode == 0 and "Traceback" not in said, said
    return said


def test_the_same_bytes(tmp_path):
    here = tmp_path / "run"
    with ObjectStore(fail_every=20, delay_s=0.005, listing_delay_s=1.0) as store:
        both = start(["run"], here), start(["run"], "gs://bucket/run", store)
        assert "gs://bucket/run/report.html" in [ended(one) for one in both][1]
        assert store.calls["failed"] > 20
        both = start(["export", "s3ft"], here), start(["export", "s3ft"], "gs://bucket/run", store)
        assert "gs://bucket/run/export/s3ft/seed-0" in [ended(one) for one in both][1]
        theirs = {name.removeprefix("run/"): store.read(name) for name in store.names("run/")}
    mine = {p.relative_to(here).as_posix(): p.read_bytes() for p in pathlib.Path(here).rglob("*") if p.is_file()}
    # Orbax names its data files by chance; a report and a manifest hold times
    kept = [name for name in mine if "/arrays/" not in name]
    assert sorted(kept) == sorted(name for name in theirs if "/arrays/" not in name)
    timed = ("report", "manifests/", "checkpoint.json", "metrics.jsonl", "costs.csv", "drift/")
    same = [name for name in kept if not any(part in name for part in timed)]
    assert len(same) > 30 and [name for name in same if mine[name] != theirs[name]] == []
    for name in (name for name in kept if name.endswith("checkpoint.json")):
        left, right = json.loads(mine[name]), json.loads(theirs[name])
        assert all(left.pop(part) and right.pop(part) for part in ("files", "seal"))
        assert left.pop("params_digest") == right.pop("params_digest") and left == right
    lines = [text["checkpoints/s3ft/seed-0/metrics.jsonl"].decode().splitlines() for text in (mine, theirs)]
    losses = [[json.loads(line)["loss"] for line in part if "tokens" in line] for part in lines]
    assert losses[0] == losses[1] and len(losses[0]) == 4
