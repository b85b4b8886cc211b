"""Fingerprints of files: how large, and which bytes, so that damage is found before it is trained on."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
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


def of_file(path: epath.Path) -> str:
    """sha256 of a local file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: epath.Path) -> Iterator[epath.Path]:
    for path in folder.iterdir():
        yield from _walk(path) if path.is_dir() else [path]
