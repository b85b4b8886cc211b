"""Stage: can this machine do the work? Versions, devices, memory, sandbox, tokenizer, data, judge, disk, write access.

Exits non-zero when something that is needed is missing, and says what to do. What cannot be known here, as of a model
on a hub that does not answer, is said to be not checked.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.changes import plain
from s3ft_jax.progress import say
from s3ft_jax.stages.launch import BASE, POCKET, plain_settings, pocket_model_folder
from s3ft_jax.storage import is_remote
from s3ft_jax.workdir import Workdir, WorkdirError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "datasets", "ml-collections", "numpy")
SPLITS = ("train", "validation", "test")


class NotChecked(Exception):
    """What is asked cannot be known here, and why."""


def run(config: ConfigDict | None, workdir: Workdir | None) -> int:
    """Print one line per check; 0 if nothing needed is missing, else 1."""
    checks: dict[str, Callable[[], str]] = {
        "python": check_python,
        "packages": check_packages,
        "devices": check_devices,
        "memory": check_memory,
        "sandbox": lambda: check_sandbox(config),
        "tokenizer": lambda: check_tokenizer(config, workdir),
        "workdir": lambda: check_workdir(workdir),
    }
    if config is not None:
        checks |= {
            "data": lambda: check_data(config),
            "judge": lambda: check_judge(config),
            "training": lambda: check_training(config, workdir),
            "disk": lambda: check_disk(config, workdir),
        }
    missing = unknown = 0
    for name, check in checks.items():
        try:
            say(f"ok       {name:<10} {check()}")
        except NotChecked as reason:
            unknown += 1
            say(f"?        {name:<10} {reason}")
        except Exception as error:  # a doctor reports every finding, whatever it is
            missing += 1
            say(f"MISSING  {name:<10} {type(error).__name__}: {error}")
    there = f"nothing is missing; {unknown} not known" if unknown else "all that is needed is there"
    say(f"{missing} of {len(checks)} checks failed" if missing else there)
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


def check_tokenizer(config: ConfigDict | None, workdir: Workdir | None) -> str:
    """The model's tokenizer and chat template load and give a prompt: those imported, or else as import reads them.

    Raises:
      NotChecked: the model is not on this disk, and the hub does not answer.
    """
    from s3ft_jax import hf_folder
    from s3ft_jax.prompts import PromptEncoder
    from s3ft_jax.stages import import_model

    path = config.model.path if config is not None else POCKET
    if not path:
        raise WorkdirError("model.path is empty: give --config.model.path=FOLDER, a hub id, or pocket")
    with tempfile.TemporaryDirectory() as folder:
        where = folder
        if _is_imported(config, workdir):
            where = str(workdir / BASE / "tokenizer")
        else:
            try:
                source = hf_folder.read(pocket_model_folder() if path == POCKET else path, weights=False)
            except hf_folder.HubUnreachable as error:
                raise NotChecked(f"not checked: not on this disk ({error})") from None
            template = config.model.chat_template if config is not None else ""
            import_model.copy_small_files(source, pathlib.Path(folder), template)
        args = plain_settings(config.model.template_args) if config is not None and where == folder else None
        encoder = PromptEncoder(where, template_args=args)
    ids = encoder.encode_prompt(({"role": "user", "content": "Hello?"},))
    return f"{path}: {encoder.vocab_size} tokens, a prompt of {len(ids)}, stops at {list(encoder.stop_ids)}"


def _is_imported(config: ConfigDict | None, workdir: Workdir | None) -> bool:
    """Whether the workdir's base is this model, read with these settings."""
    manifest = workdir.manifest("import") if workdir is not None and config is not None else None
    return manifest is not None and manifest["settings"] == plain(plain_settings(config.model))


def check_data(config: ConfigDict) -> str:
    """The task is known, and its files are there.

    Raises:
      NotChecked: the rows come from a hub.
    """
    from s3ft_jax.tasks import TASKS, DataError
    from s3ft_jax.tasks.rows import find_source, is_hub_id

    own = config.task
    if own.name not in TASKS:
        raise DataError(f"task.name: unknown task {own.name!r}. Tasks: {', '.join(TASKS)}.")
    if not own.data and own.name != "custom":
        return f"{own.name}, the rows that the task names itself"
    if own.data.startswith("tfds:") or is_remote(own.data):
        raise NotChecked(f"not checked: {own.data} is fetched by `s3ft prepare`")
    there = pathlib.Path(own.data).expanduser().exists()
    if not there and is_hub_id(own.data):
        raise NotChecked(f"not checked: {own.data} is no file here; `s3ft prepare` asks the hub for such a data set")
    if there and own.name != "custom":
        return f"{own.data}, for {own.name}"  # which files it takes is the task's to say
    found = {split: find_source(own.data, split, plain_settings(own.splits)) for split in SPLITS}
    if found["train"] is None:
        raise DataError(f"task.data: {own.data} has no train rows. Set `task.splits.train=FILE`.")
    return ", ".join(f"{split} {source.name}" for split, source in found.items() if source is not None)


def check_judge(config: ConfigDict) -> str:
    """The judges named are known, and those of your own can be imported.

    Raises:
      JudgeError: one is not, or cannot.
    """
    from s3ft_jax.judges import JudgeError, check_name, find_judge
    from s3ft_jax.judges.composition import single_names

    if config.task.name == "custom" and not config.judge.name:
        raise JudgeError("judge.name is empty, and rows of your own name no judge: e.g. --config.judge.name=numbers")
    names = [name for name in (config.judge.name, config.judge.second) if name]
    sys.path.insert(0, os.getcwd())  # as a worker finds it, whichever way this process was started
    try:
        for name in names:
            check_name(name)
            for single in single_names(name):
                if ":" in single:
                    find_judge(single)
    finally:
        sys.path.pop(0)
    return ", then ".join(names) or "the task's own"


def check_training(config: ConfigDict, workdir: Workdir | None) -> str:
    """What training needs of a device by the estimate, beside what the device has.

    Raises:
      NotChecked: the architecture is not on this disk; or it fits only where examples share rows.
      OutOfMemory: it does not fit, with the examples that are prepared.
    """
    from s3ft_jax import sharding
    from s3ft_jax.stages import device_memory
    from s3ft_jax.stages.plan import size

    architecture = _architecture(config, workdir)
    mesh = sharding.make_mesh(**plain_settings(config.mesh))
    need, limit = device_memory.need_on(config, architecture, "", mesh), device_memory.limit_of(mesh)
    rows = f"{need.rows} rows of {config.train.max_length:,} tokens"
    shown = f"about {size(need.total)} of each device with {rows} a step, "
    shown += f"which has {size(limit)}" if limit else "which does not say what it has"
    if not limit or need.total <= limit:
        return shown
    if _is_imported(config, workdir) and workdir.has("examples/train.jsonl"):
        device_memory.check(config, workdir)
        return f"{shown}; the examples here share rows, and fit"
    helps = device_memory.advice(config, architecture, "", mesh, need.rows, limit)
    raise NotChecked(f"{shown}: fits only if examples are short enough to share rows. {helps}")


def check_disk(config: ConfigDict, workdir: Workdir | None) -> str:
    """What the run writes at most, about, beside what is free: the base, checkpoints under way, tuned models.

    Raises:
      NotChecked: no workdir is given, or a bucket is.
      WorkdirError: there is too little.
    """
    from s3ft_jax.models.weights import count_params
    from s3ft_jax.planning.memory import number_bytes
    from s3ft_jax.stages import device_memory
    from s3ft_jax.stages.plan import size
    from s3ft_jax.stages.remedies import Devices

    if workdir is None or is_remote(workdir.path):
        raise NotChecked("not checked: it is asked of a --workdir on this machine")
    architecture = _architecture(config, workdir)
    alone = ConfigDict(config.to_dict())
    alone.mesh.update({"data": 1, "fsdp": 1, "tensor": 1})
    kept, full = device_memory.need_of(alone, architecture, "", Devices(1), "cpu", 1).kept, config.train.tune == "full"
    base = count_params(architecture) * number_bytes(config.model.dtype)
    checkpoint = kept if full else max(0, kept - base)
    model = count_params(architecture) * number_bytes(config.train.param_dtype) if full else checkpoint
    need = base + (config.train.keep + 1) * checkpoint + len(config.methods) * len(config.train.seeds) * model
    free = shutil.disk_usage(workdir.path).free
    shown = f"about {size(need)} for base, checkpoints and tuned models (responses not counted), {size(free)} free"
    if need > free and workdir.manifest("import") is None:
        raise WorkdirError(f"{shown}: take another --workdir, fewer methods or seeds, or train.tune=lora")
    return shown


def _architecture(config: ConfigDict, workdir: Workdir | None) -> Any:
    """Of the base: as imported, or by its config.json alone.

    Raises:
      NotChecked: it is not on this disk, and the hub does not answer.
    """
    from s3ft_jax import checkpoints, hf_folder
    from s3ft_jax.stages.plan import read_model

    if _is_imported(config, workdir):
        return checkpoints.read_meta(workdir / BASE).config
    try:
        return read_model(config)
    except hf_folder.HubUnreachable as error:
        raise NotChecked(f"not checked: the model is not on this disk ({error})") from None


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
