"""Publish a file whole, fetch from a bucket what a library reads on this machine, send there what one has written."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import importlib.util
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from s3ft_jax.storage.bucket import PREFIX, filesystem, prepare_gcsfs, written_below
from s3ft_jax.storage.patience import StorageError, patiently

_FACTS = ".fetched.json"


def is_remote(path: str | os.PathLike) -> bool:
    """Whether this is the address of an object, not of a file."""
    return "://" in str(path)


def check(path: str | os.PathLike, key: str) -> None:
    """Refuse an address that cannot be reached from here; to be called before a path in a bucket is used.

    Args:
      path: local, or in a bucket.
      key: flag or config key that named it, for the message.

    Raises:
      StorageError: another kind of store than Cloud Storage, or gcsfs is not installed.
    """
    if not is_remote(path):
        return
    if not str(path).startswith(PREFIX):
        raise StorageError(
            f"{key}: {path}: buckets are gs:// only. Mount the other kind (s3fs, blobfuse, rclone) and name the folder."
        )
    if importlib.util.find_spec("gcsfs") is None:
        raise StorageError(f"{key}: {path} needs the package gcsfs: pip install 's3ft_jax[gcs]'")
    prepare_gcsfs()


def publish(path: epath.Path, data: bytes) -> None:
    """Write one file so that at any moment it is the old one or the new one, whole.

    On a disk it is written beside its place and renamed. A bucket does so by itself, and has no rename: it would copy.

    Raises:
      OSError: it cannot be written; what was written of it is gone.
    """
    if is_remote(path):
        path.write_bytes(data)
        return
    partial = path.parent / f".{path.name}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def fetch(path: str | os.PathLike, only: Sequence[str] = ()) -> pathlib.Path:
    """A file or folder on this machine: itself, or its copy in the cache of the user's home.

    A file of a bucket is fetched again when it has changed there.

    Args:
      path: here or in a bucket.
      only: names below a folder in a bucket, may hold ``*``; empty: all.

    Raises:
      FileNotFoundError: there is nothing of this name in the bucket.
      StorageError: it cannot be read.
    """
    if not is_remote(path):
        return pathlib.Path(path)
    url = str(path).rstrip("/")
    check(url, "path")
    files, place = filesystem(), url.removeprefix(PREFIX)
    found = patiently(lambda: files.find(place, detail=True), url)
    mine = [path.removeprefix(PREFIX) for path in written_below(url)]
    found |= {name: patiently(lambda name=name: files.info(name), url) for name in mine if name not in found}
    if only and list(found) != [place]:
        wanted = [f"{place}/{pattern}" for pattern in only]
        found = {name: info for name, info in found.items() if any(fnmatch.fnmatchcase(name, one) for one in wanted)}
    if not found:
        raise FileNotFoundError(f"{url}: nothing of this name in the bucket")
    target = _cache() / hashlib.sha256(url.encode()).hexdigest()[:16] / url.rpartition("/")[2]
    if list(found) == [place]:
        return _fetch_files(files, {place: found[place]}, place.rpartition("/")[0], target.parent) / target.name
    return _fetch_files(files, found, place, target)


def _fetch_files(files: Any, found: dict[str, Any], start: str, target: pathlib.Path) -> pathlib.Path:
    facts = target / _FACTS
    before = {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        before = json.loads(facts.read_text())
    now = {}
    for name, info in found.items():
        inner = name.removeprefix(f"{start}/")
        now[inner] = str(info.get("generation") or info.get("etag") or [info.get("size"), str(info.get("mtime"))])
        if before.get(inner) != now[inner] or not (target / inner).exists():
            (target / inner).parent.mkdir(parents=True, exist_ok=True)
            partial = target / f"{inner}.{os.getpid()}.partial"  # several processes may fetch the same file
            patiently(lambda name=name, partial=partial: files.get_file(name, str(partial)), f"{PREFIX}{name}")
            os.replace(partial, target / inner)
    for inner in set(before) - set(now):
        (target / inner).unlink(missing_ok=True)
    partial = target / f"{_FACTS}.{os.getpid()}.partial"
    partial.write_text(json.dumps(now))
    os.replace(partial, facts)
    return target


@contextlib.contextmanager
def local_output(target: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A folder on this machine, to be made and written into by libraries that write files only.

    At the end of the block it takes the place of ``target``, here or in a bucket; after an error ``target`` stays.
    """
    if is_remote(target):
        url = str(target).rstrip("/")
        check(url, "path")
        with tempfile.TemporaryDirectory() as folder:
            inside = pathlib.Path(folder) / url.rpartition("/")[2]
            yield inside
            _send(inside, url)
        return
    here = pathlib.Path(target)
    partial = here.with_name(here.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    yield partial
    if here.exists():
        shutil.rmtree(here)
    os.replace(partial, here)


def _send(folder: pathlib.Path, url: str) -> None:
    epath.Path(url).rmtree(missing_ok=True)
    files = filesystem()
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = f"{url}/{file.relative_to(folder).as_posix()}"
        patiently(lambda file=file, name=name: files.put_file(str(file), name.removeprefix(PREFIX)), name)


def copy_folder(source: epath.Path, target: epath.Path) -> None:
    """Copy the files (not folders) of one folder to another."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if not file.is_dir():
            (target / file.name).write_bytes(file.read_bytes())


def look_again(root: epath.Path, name: str = "") -> None:
    """Before looking for a file of another machine's: have a network's folders asked what is in them now.

    What they held a moment ago, and what they did not, a machine goes on believing for up to a minute. Opening a folder
    asks (nfs(5), "close-to-open"; Linux fs/nfs/dir.c, nfs_lookup_verify_inode): ``root`` and those on the way to
    ``name``, as far as they are there. A bucket is asked each time as it is.
    """
    if is_remote(root):
        return
    folder = pathlib.Path(root)
    with contextlib.suppress(OSError):  # whoever reads it will say what is wrong
        for part in ("", *pathlib.PurePosixPath(name).parts[:-1]):
            folder /= part
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def look_below(folder: epath.Path) -> None:
    """``look_again``, at a folder and at every one below it: a library will open the files in them."""
    look_again(folder.parent, folder.name)
    if not is_remote(folder):
        for _ in os.walk(folder):
            pass


def matching(root: epath.Path, patterns: Sequence[str]) -> list[str]:
    """Names below a folder that match one of the patterns, whose last part alone may hold ``*``; sorted."""
    names = set()
    for pattern in patterns:
        folder, _, last = pattern.rpartition("/")
        base = root / folder if folder else root
        look_again(root, pattern)
        if base.exists():
            names |= {f"{folder}/{path.name}" if folder else path.name for path in base.glob(last)}
    return sorted(names)


def digest_of(path: epath.Path) -> str:
    """sha256 of one file, or of all files below a folder with their names."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for inner in files_below(path):
        total.update(str(inner.relative_to(path)).encode() + b"\0" + inner.read_bytes())
    return total.hexdigest()


def files_below(folder: epath.Path) -> list[epath.Path]:
    """All files below a folder, sorted."""
    found: list[epath.Path] = []
    for inner in sorted(folder.iterdir()) if folder.exists() else []:
        found += files_below(inner) if inner.is_dir() else [inner]
    return found


def _cache() -> pathlib.Path:
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "s3ft_jax" / "fetched"
