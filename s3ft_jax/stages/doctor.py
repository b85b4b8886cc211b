"""Stage: can this machine do the work? Versions, devices, memory, sandbox, tokenizer, write access.

Exits non-zero when something that is needed is missing, and says what to do.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable

from ml_collections import ConfigDict

from s3ft_jax.progress import say
from s3ft_jax.stages.launch import POCKET, pocket_model_folder
from s3ft_jax.storage import is_remote
from s3ft_jax.workdir import Workdir

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "datasets", "ml-collections", "numpy")


def run(config: ConfigDict | None, workdir: Workdir | None) -> int:
    """Print one line per check; 0 if nothing needed is missing, else 1."""
    checks: dict[str, Callable[[], str]] = {
        "python": check_python,
        "packages": check_packages,
        "devices": check_devices,
        "memory": check_memory,
        "sandbox": lambda: check_sandbox(config),
        "tokenizer": lambda: check_tokenizer(config),
        "workdir": lambda: check_workdir(workdir),
    }
    missing = 0
    for name, check in checks.items():
        try:
            say(f"ok       {name:<10} {check()}")
        except Exception as error:  # a doctor reports every finding, whatever it is
            missing += 1
            say(f"MISSING  {name:<10} {type(error).__name__}: {error}")
    say("all that is needed is there" if not missing else f"{missing} of {len(checks)} checks failed")
    return 1 if missing else 0


def check_python() -> str:
    """Version and platform. An older Python than 3.11 cannot install the package."""
    return f"{platform.python_version()} on {platform.platform()}"


def check_packages() -> str:
    """Versions of the packages the product stands on."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def check_devices() -> str:
    """Devices JAX sees, and that one of them computes."""
    import jax
    import jax.numpy as jnp

    total = float(jnp.sum(jnp.ones((8, 8)) @ jnp.ones((8, 8))))
    if total != 512.0:
        raise RuntimeError(f"a product of ones gave {total} instead of 512 on {jax.local_devices()[0]}")
    return f"{jax.device_count()} x {jax.local_devices()[0].device_kind} ({jax.default_backend()}), computes"


def check_memory() -> str:
    """Memory of the host, and of the device where it tells."""
    import jax

    pages, size = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    text = f"host {pages * size / 2**30:.1f} GiB free"
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        text += f", device {stats['bytes_limit'] / 2**30:.1f} GiB"
    return text


def check_sandbox(config: ConfigDict | None) -> str:
    """Level of the sandbox for model-written programs; only the programs judge needs it."""
    from s3ft_jax.judges.sandbox import SandboxUnavailable, probe

    try:
        level = probe()
    except SandboxUnavailable as error:
        if config is None or "programs" in f"{config.task.name} {config.judge.name}" or "mbpp" in config.task.name:
            raise
        return f"none ({error}); not needed for {config.task.name}"
    return f"{level.name}: {level.protects}"


def check_tokenizer(config: ConfigDict | None) -> str:
    """The model's tokenizer and chat template load and give a prompt."""
    from s3ft_jax.prompts import PromptEncoder

    path = config.model.path if config is not None else POCKET
    encoder = PromptEncoder(str(pocket_model_folder()) if path == POCKET else path)
    ids = encoder.encode_prompt(({"role": "user", "content": "Hello?"},))
    return f"{path}: {encoder.vocab_size} tokens, a prompt of {len(ids)}, stops at {list(encoder.stop_ids)}"


def check_workdir(workdir: Workdir | None) -> str:
    """The workdir can be written, renamed in and read."""
    if workdir is None:
        return "not given (--workdir=DIR checks that it can be written)"
    path = workdir.write_bytes(".doctor", b"written")
    if path.read_bytes() != b"written":
        raise RuntimeError(f"{path} reads back other bytes than were written")
    path.unlink()
    free = "" if is_remote(workdir.path) else f", {shutil.disk_usage(workdir.path).free / 2**30:.1f} GiB free"
    return f"{workdir.path} can be written{free}"
