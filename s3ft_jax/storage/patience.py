"""Calls to an object store that fail in passing are tried again, later and later, and said to be.

gcsfs tries a call six times within about a minute, tensorstore (the arrays) 32 times. That is too little for an outage
of minutes in a job of hours, and silent. Here a call is tried for ``PATIENCE_S`` seconds more.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 600.0
"""Seconds after the first failure until a call is given up; the environment's S3FT_STORAGE_MINUTES takes its place."""
FIRST_S, LONGEST_S = 1.0, 60.0
"""The first pause and the longest; each is twice the one before, less up to a quarter so that hosts do not march in
step (Google's advice: https://cloud.google.com/storage/docs/retry-strategy)."""
_LASTING = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError, ImportError)
_CLIENTS = ("gcsfs", "fsspec", "aiohttp", "requests", "google", "urllib3")

T = TypeVar("T")


class StorageError(OSError):
    """A bucket did not do what it was asked for; the message names the path, the cause and the fix."""


def is_passing(error: BaseException) -> bool:
    """Whether the same call may go well a little later: the network, too many calls, or the store's own failure."""
    if isinstance(error, (StorageError, *_LASTING)):
        return False
    code = getattr(error, "code", None)
    if isinstance(code, int) and 400 <= code < 500:
        return code in (408, 429)
    if isinstance(error, OSError):
        return not str(error).startswith("Forbidden")
    return isinstance(error, asyncio.TimeoutError) or type(error).__module__.partition(".")[0] in _CLIENTS


def patiently(call: Callable[[], T], path: str) -> T:
    """The call's result, however often it takes.

    Args:
      call: may be called again after it failed in the middle.
      path: named in messages.

    Raises:
      StorageError: it failed for longer than the patience, or for a reason that lasts.
      FileNotFoundError, FileExistsError: as the call.
    """
    limit = float(os.environ.get("S3FT_STORAGE_MINUTES", PATIENCE_S / 60)) * 60
    began, pause = time.monotonic(), FIRST_S
    while True:
        try:
            return call()
        except Exception as error:
            if isinstance(error, (FileNotFoundError, FileExistsError, StorageError)):
                raise
            if not is_passing(error):
                if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _CLIENTS:
                    raise StorageError(f"{path}: {_cause(error)}") from error
                raise
            failed = error
        waited = time.monotonic() - began
        if waited + pause > limit:
            raise StorageError(
                f"{path}: {_cause(failed)}, for {waited / 60:.1f} minutes (S3FT_STORAGE_MINUTES says for how long to "
                "try). The same command goes on where it was."
            ) from failed
        seconds = pause * random.uniform(0.75, 1.0)
        print(f"warning: {path}: {_cause(failed)}; trying again in {seconds:.0f} s", file=sys.stderr, flush=True)
        time.sleep(seconds)
        pause = min(2 * pause, LONGEST_S)


def _cause(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    if "Forbidden" in said or getattr(error, "code", None) in (401, 403):
        said += ". This account may not; give it the role Storage Object User on the bucket, or log in: "
        said += "gcloud auth application-default login"
    elif "Anonymous" in said or "credentials" in said.lower():
        said += ". Log in: gcloud auth application-default login"
    return said
