"""One process at a time: a lock on a file, which ends with the process that holds it, or a lease in a bucket."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import sys
from collections.abc import Callable, Iterator

from etils import epath

from s3ft_jax.storage.files import is_remote
from s3ft_jax.storage.lease import Locked, lease


@contextlib.contextmanager
def claim(path: epath.Path, write: Callable[[], object] | None = None) -> Iterator[None]:
    """Within this block this process alone works on what the file stands for.

    Args:
      path: of the file.
      write: writes it, which says who works; called when nobody else does. None: it stays as it is, or may go.

    Raises:
      Locked: another process works on it.
    """
    if is_remote(path):
        with lease(str(path.parent / f".{path.name}.lease")):
            if write is not None:
                write()
            yield
        return
    with hold(path) if path.exists() else contextlib.nullcontext():
        if write is None:
            yield
            return
        write()
    with hold(path):  # of the file that is there now
        yield


@contextlib.contextmanager
def hold(path: str | os.PathLike) -> Iterator[None]:
    """Hold the lock of an existing file of this machine within this block.

    A folder of another machine may have no locks: then nothing is held, which is said once.

    Raises:
      Locked: another process holds it.
    """
    with open(path, "r+b") as file:  # to write: NFS has no such lock on a file that is only read (flock(2))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(str(path)) from None
        except OSError as error:
            _tell(f"{os.path.dirname(path)}: {error.strerror}")
        yield


@functools.cache
def _tell(reason: str) -> None:
    message = f"warning: no locks here ({reason}): nothing keeps two commands from working on the same stage"
    print(message, file=sys.stderr, flush=True)
