"""Fingerprints of files: how large, and which bytes, so that damage is found before it is trained on."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from s3ft_jax.storage import is_remote


def of_folder(folder: epath.Path) -> dict[str, list[Any]]:
    """Every file below a folder: its path there -> [bytes, sha256].

    The sha256 is empty on object stores, which check for themselves.
    """
    local, found = not is_remote(folder), {}
    for path in sorted(_walk(folder)):
        with contextlib.suppress(*(() if local else (FileNotFoundError,))):  # removed, but listed still
            found[str(path.relative_to(folder))] = [path.stat().length, of_file(path) if local else ""]
    return found


def find_damage(folder: epath.Path, written: Mapping[str, Sequence[Any]]) -> str:
    """What is wrong with files below a folder: one is missing or has other bytes; "" if nothing is.

    Args:
      folder: that ``of_folder`` was called with.
      written: what it returned.
    """
    wrong = []
    for name, (size, digest) in written.items():
        path = folder / name
        if not path.exists():
            wrong.append(f"{name} is missing")
        elif path.stat().length != size or (digest and of_file(path) != digest):
            wrong.append(f"{name} is not what was written")
    return wrong[0] + (f", and {len(wrong) - 1} more files" if len(wrong) > 1 else "") if wrong else ""


def of_file(path: epath.Path) -> str:
    """sha256 of a local file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: epath.Path) -> Iterator[epath.Path]:
    for path in folder.iterdir():
        yield from _walk(path) if path.is_dir() else [path]
