"""The path of an object in a bucket: epath's, with patience, and its listings show what this process has written.

epath hands out this class for ``gs://`` from when this module is imported, to Orbax too. Three things differ from
epath's own:

- every call is tried again when it fails in passing (``patience``); what is gone because the answer of the
  call that removed it was lost is no error
- listings are never taken from a cache: another process may have written since
- a listing may lag behind (not on Cloud Storage as it is now, but with caches and gateways before it): what this
  process wrote is in it, what it removed is not. For others to see it, ``settle`` waits.

Arrays are written by tensorstore, which goes around epath: ``expect`` says under which names, so that Orbax, which
lists them to put the parts of all processes together, misses none. It would do so in silence.
"""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath
from etils.epath.gpath import PosixGPath

from s3ft_jax.storage.patience import StorageError, patiently

# one way to reach a bucket, which is the one that is tested: not TensorFlow's where that happens to be installed
os.environ.setdefault("EPATH_USE_TF", "false")
# gcsfs asks each bucket by gRPC whether it is a zonal or hierarchical one; ours are read and written as any
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

PREFIX = "gs://"
OVERTAKEN_S = 1.0
"""Seconds after which each object that listings do not show is asked for."""
SETTLE_S = 120.0
"""Seconds until what was written must be listed."""

_changes: dict[str, bool] = {}  # path -> written (True) or removed (False) by this process, not yet seen in a listing
_expected: set[str] = set()  # paths that something else writes, not yet seen
_lock = threading.Lock()


def prepare_gcsfs() -> None:
    """Before the first path is used: gcsfs lists anew each time, and leaves it to ``patience`` to say what failed."""
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it prints the stack of a call it has given up
    from fsspec.config import conf  # slow to import, and most runs use no bucket

    for name in ("gs", "gcs"):
        conf.setdefault(name, {})["use_listings_cache"] = False


def filesystem() -> Any:
    """What epath itself goes through to buckets."""
    import fsspec

    return fsspec.filesystem("gs")


def put(path: str, data: bytes, *, new: bool = False) -> None:
    """Write an object whole.

    Args:
      path: of the object.
      data: what is to be in it.
      new: only if there is none.

    Raises:
      FileExistsError: there is one already; it may be from a call of this very put whose answer was lost.
      StorageError: see ``patiently``; or there is no such bucket.
    """
    options = {"mode": "create"} if new else {}
    try:
        patiently(lambda: filesystem().pipe_file(path, data, **options), path)
    except FileNotFoundError:
        name = path.removeprefix(PREFIX).partition("/")[0]
        raise StorageError(
            f"{path}: there is no bucket {name}, or this account may not see it. Make it: gcloud storage buckets "
            f"create {PREFIX}{name} --location=REGION, in the region of the machines."
        ) from None


def _changed(path: str, written: bool) -> None:
    with _lock:
        _changes[path] = written


def expect(path: str | os.PathLike) -> None:
    """Say that an object will be written by what goes around these paths; from when it is there, listings show it."""
    with _lock:
        _expected.update([str(path)] if str(path).startswith(PREFIX) else [])


def written_below(folder: str) -> list[str]:
    """Paths below a folder that are written, and that listings may not show yet."""
    start = folder.rstrip("/") + "/"
    with _lock:
        expected = [path for path in _expected if path.startswith(start)]
    for path in expected:
        if _is_there(path):
            _changed(path, True)
            with _lock:
                _expected.discard(path)
    return _below(folder, True)


def _is_there(path: str) -> bool:
    """Whether there is such an object, whatever listings say; fsspec's ``isfile`` takes a failure for a no."""

    def ask() -> bool:
        try:
            return filesystem().info(path)["type"] == "file"
        except FileNotFoundError:
            return False

    return patiently(ask, path)


def _below(folder: str, written: bool) -> list[str]:
    start = folder.rstrip("/") + "/"
    with _lock:
        return [path for path, is_written in _changes.items() if is_written == written and path.startswith(start)]


@epath.register_path_cls(PREFIX)
class BucketPath(PosixGPath):
    """See the module; the methods are pathlib's."""

    def exists(self) -> bool:
        return (patiently(super().exists, str(self)) and self._is_left()) or bool(written_below(str(self)))

    def is_dir(self) -> bool:
        return (patiently(super().is_dir, str(self)) and self._is_left()) or bool(written_below(str(self)))

    def _is_left(self) -> bool:
        """Whether a listing shows anything here that this process has not removed."""
        gone = _below(str(self), False)
        return not gone or bool(self._objects() - set(gone))

    def _objects(self) -> set[str]:
        """Paths of all objects here and below that a listing shows."""
        return {PREFIX + path for path in patiently(lambda: filesystem().find(str(self)), str(self))}

    def iterdir(self) -> Iterator[BucketPath]:
        listed = super().iterdir

        def names() -> set[str]:
            try:
                return {path.name for path in listed()}
            except FileNotFoundError:
                if written_below(str(self)):
                    return set()
                raise

        found = patiently(names, str(self))
        start = len(str(self).rstrip("/")) + 1
        found |= {path[start:].partition("/")[0] for path in written_below(str(self))}
        found -= {path[start:] for path in _below(str(self), False)}
        return iter([self / name for name in sorted(found - {""})])

    def glob(self, pattern: str) -> Iterator[BucketPath]:
        listed = super().glob
        found = patiently(lambda: {str(path) for path in listed(pattern)}, str(self))
        depth, whole = pattern.count("/") + 1, f"{str(self).rstrip('/')}/{pattern}"
        start = len(str(self).rstrip("/")) + 1
        mine = {str(self / "/".join(path[start:].split("/")[:depth])) for path in written_below(str(self))}
        found |= {path for path in mine if fnmatch.fnmatchcase(path, whole) and path.count("/") == whole.count("/")}
        found -= set(_below(str(self), False))
        return iter([type(self)(path) for path in sorted(found)])

    def stat(self) -> Any:
        return patiently(super().stat, str(self))

    def mkdir(self, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing to do, and nothing to object to: a bucket has no folders, only names with slashes.

        What lies below may be another process's, which was sooner: all of them write a step's arrays.
        """

    def read_bytes(self) -> bytes:
        return patiently(lambda: filesystem().cat_file(str(self)), str(self))  # one call; epath's makes four

    def read_text(self, encoding: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8")

    def write_bytes(self, data: bytes) -> int:
        put(str(self), bytes(data))
        _changed(str(self), True)
        return len(data)

    def write_text(self, data: str, encoding: str | None = None, errors: str | None = None) -> int:
        return self.write_bytes(data.encode())

    def unlink(self, missing_ok: bool = False) -> None:
        self._remove(super().unlink, missing_ok)
        _changed(str(self), False)

    def rmtree(self, missing_ok: bool = False) -> None:
        written = {*written_below(str(self)), *self._objects()}  # some of which a late listing would leave standing
        with _lock:
            _expected.difference_update([path for path in _expected if path.startswith(f"{self}/")])
        self._remove(super().rmtree, missing_ok)
        for path in written:
            type(self)(path).unlink(missing_ok=True)
            _changed(path, False)

    def _remove(self, call: Callable[[], None], missing_ok: bool) -> None:
        """What is there before and not afterwards was removed: by this call, or by one whose answer was lost."""
        if self.exists():
            with contextlib.suppress(FileNotFoundError):
                patiently(call, str(self))
        elif not missing_ok:
            raise FileNotFoundError(f"{self}: nothing of this name in the bucket")


def settle(limit_s: float = SETTLE_S) -> None:
    """Wait until listings show what this process has written and removed, for the sake of other processes.

    Raises:
      StorageError: they do not, after ``limit_s`` seconds.
    """
    began, pause = time.monotonic(), 0.05
    while left := _unsettled():
        if time.monotonic() > began + OVERTAKEN_S and not (left := _not_overtaken(left)):
            return
        if time.monotonic() > began + limit_s:
            raise StorageError(
                f"{left[0]}: was written or removed {limit_s:.0f} s ago, and listings of its folder do not say so. "
                "Is something that caches listings between this machine and the bucket?"
            )
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _unsettled() -> list[str]:
    """Changes that listings do not show; those they show are forgotten."""
    with _lock:
        changes = dict(_changes)
    left = []
    for folder in sorted({path.rpartition("/")[0] for path in changes}):
        listed = _listed(folder)
        for path, written in changes.items():
            if path.rpartition("/")[0] == folder and (path in listed) != written:
                left.append(path)
            elif path.rpartition("/")[0] == folder:
                with _lock:
                    if _changes.get(path) == written:
                        del _changes[path]
    return left


def _not_overtaken(paths: list[str]) -> list[str]:
    """Those that are as this process left them; what another one has since removed or written is its affair."""
    left = []
    for path in paths:
        with _lock:
            written = _changes.get(path)
        if _is_there(path) == written:
            left.append(path)
            continue
        with _lock:
            if _changes.get(path) == written:
                del _changes[path]
    return left


def _listed(folder: str) -> set[str]:
    path = BucketPath(folder)

    def names() -> set[str]:
        try:
            return {f"{folder}/{one.name}" for one in PosixGPath.iterdir(path)}
        except FileNotFoundError:
            return set()

    return patiently(names, folder)
