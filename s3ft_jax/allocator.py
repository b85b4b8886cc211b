"""The C library's allocator on a CPU: freed memory is kept, not given back to the kernel and asked for again.

A training step allocates and frees the same large buffers every time; each return costs page faults, which double the
time of a step (benchmarks/RESULTS.md). To be called before any thread is started: a thread that has allocated has an
arena of its own, of at most 64 MiB, and where such an arena is given to a thread of XLA later, every larger buffer is
mapped and unmapped by the kernel, whatever has been set meanwhile.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os

ACCELERATOR_PLUGINS = ("libtpu", "jax_cuda12_plugin", "jax_cuda13_plugin")
# glibc, malloc.h: one arena, no block from the kernel of its own, no giving back, 64 MiB more than asked for at a time
MALLOC = {-8: 1, -4: 0, -1: -1, -2: 64 << 20}
"""``mallopt``: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD (-1: never; the largest int would be 2 GiB), M_TOP_PAD."""


def keep_freed_memory() -> None:
    """Let glibc keep what XLA frees on a CPU; again changes nothing.

    Left alone where another allocator or an accelerator is in use, and where MALLOC_TRIM_THRESHOLD_ is set.
    """
    libc = ctypes.CDLL(None)
    wanted = os.environ.get("JAX_PLATFORMS", "") in ("", "cpu") and "MALLOC_TRIM_THRESHOLD_" not in os.environ
    if wanted and hasattr(libc, "mallopt") and not any(map(importlib.util.find_spec, ACCELERATOR_PLUGINS)):
        for name, value in MALLOC.items():
            libc.mallopt(name, value)
