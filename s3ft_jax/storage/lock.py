"""A lock on a file, which ends with the process that holds it, however it ends. Files of this machine only."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from s3ft_jax.storage.files import is_remote


class Locked(RuntimeError):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold(path: str | os.PathLike) -> Iterator[None]:
    """Hold the lock of an existing file within this block.

    A bucket has no locks, and a folder of another machine may have none: then nothing is held.

    Raises:
      Locked: another process holds it.
    """
    if is_remote(path):
        yield
        return
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(str(path)) from None
        except OSError:  # no locks here
            pass
        yield
