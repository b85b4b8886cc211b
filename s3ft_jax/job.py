"""A command as a job of one or several processes: they meet, agree, are watched, and end together.

In: the environment (``processes/cluster.py``), the command and its settings. Out: ``Processes`` for the workdir. Where
there is one process, only the watch is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from s3ft_jax import activity, processes
from s3ft_jax.progress import quiet, say

STALL = "S3FT_STALL_MINUTES"
"""Environment variable: minutes in which nothing moves until a process says where it stands; 0: it never does."""
STALL_MINUTES = 10.0

_joined = processes.Processes()


def facts(command: str, arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What all processes must have in common.

    Args:
      command: its name.
      arguments: of the command line.
      settings: of the config, flat.

    Returns:
      Name -> JSON value; the code is a digest of every file of the package.
    """
    known = {"python": platform.python_version(), "code": code_digest(), "command": command}
    known |= {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    known |= {f"--{name}": str(value) for name, value in arguments.items() if value not in (None, "", False)}
    return known | {name: str(value) for name, value in settings.items()}


def code_digest() -> str:
    """Of the package's Python files, their names and bytes."""
    folder, total = pathlib.Path(__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


@contextlib.contextmanager
def joined(known: Callable[[], Mapping[str, Any]], *, devices: bool) -> Iterator[processes.Processes]:
    """Within this block the processes of the job work; the first one talks.

    Args:
      known: gives ``facts``; asked where there are several processes.
      devices: they compute together.

    Raises:
      ProcessError: one does not come, or runs something else.
      Lost: one is gone.
    """
    global _joined
    text = os.environ.get(STALL, "") or str(STALL_MINUTES)
    try:
        minutes = float(text)
    except ValueError:
        raise processes.ProcessError(f"{STALL}={text!r}: must be a number of minutes") from None
    own = _joined = processes.join(facts=known, describe=activity.describe, tell=say, devices=devices)
    if not own.is_first:
        quiet()
    watch = activity.watch(60 * minutes, own.standings) if minutes > 0 else None
    try:
        with own.together():
            yield own
    finally:
        if watch is not None:
            watch.set()


def guarded(main: Callable[[], int]) -> int:
    """The exit code of ``main``; after a failure in a job of several processes, the end itself.

    Python's own end would have JAX wait for processes that are gone, and abort with a code that hides ours.
    """
    global _joined
    _joined = processes.Processes()
    try:
        code = main()
    except Exception:
        if not _is_of_several():
            raise
        traceback.print_exc()
        code = 1
    if code and _is_of_several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _is_of_several() -> bool:
    """Also before all have joined: JAX may know of the others already."""
    return _joined.count > 1 or processes.is_known_to_jax()
