"""A bucket for the tests of this folder: good, unless a test makes it bad."""

import os

import fsspec.config
import pytest

from object_store import ObjectStore
from s3ft_jax import storage
from s3ft_jax.storage import bucket


@pytest.fixture(scope="session")
def served():
    """One server for the session: gcsfs keeps its address."""
    with ObjectStore() as store:
        os.environ.update(store.environment())
        storage.check("gs://bucket/x", "test")
        fsspec.config.conf["gcs"]["token"] = "anon"  # this process has read its environment already
        yield store
        for name in store.environment():
            del os.environ[name]


@pytest.fixture
def store(served, monkeypatch, tmp_path):
    """Without faults, delays and objects."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served.fail_every, served.delay_s, served.listing_delay_s = 0, 0.0, 0.0
    served.objects.clear()
    served.calls.clear()
    bucket._changes.clear()
    bucket._expected.clear()
    yield served
    served.fail_every, served.listing_delay_s = 0, 0.0


@pytest.fixture
def impatient(monkeypatch):
    """gcsfs and ours make short pauses."""
    import asyncio

    import gcsfs.retry

    class Hurried:
        def __getattr__(self, name):
            return getattr(asyncio, name)

        @staticmethod
        async def sleep(seconds):
            await asyncio.sleep(seconds / 1000)

    monkeypatch.setattr(gcsfs.retry, "asyncio", Hurried())
    monkeypatch.setattr("s3ft_jax.storage.patience.FIRST_S", 0.001)
