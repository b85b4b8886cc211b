"""Rows from anywhere: local files, the Hugging Face hub, TensorFlow Datasets.

In: ``task.data`` and ``task.splits``. Out: an iterator of ``Row``, each with its ``file:row``. Nothing is known of
tasks or columns here. A row that cannot be read (bad JSON, not an object, too few columns) is yielded with its problem,
so that whoever counts rows decides what to do about it.

    data                      split train is read from
    rows.jsonl                rows.jsonl, which then serves for every split (the task divides it, or refuses)
    folder/                   folder/train.jsonl, train.json, train.csv, train.parquet or train-*.parquet (or .gz, .zip)
                              or MultiDoc2Dial's files (multidoc2dial.py)
    owner/name                the hub's split ``train``; ``owner/name:config`` picks a configuration
    tfds:name/config          the builder's split ``train``

``task.splits`` overrides: ``{"test": "other.jsonl"}`` or, at the hub, ``{"validation": "dev"}``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from s3ft_jax import storage
from s3ft_jax.tasks import multidoc2dial
from s3ft_jax.tasks.formats import SUFFIXES, Unreadable, kind_of, read_file, stem
from s3ft_jax.tasks.task import SPLITS, DataError, Row

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the rows of one split lie.

    Attributes:
      kind: ``files``, ``hub`` or ``tfds``.
      name: for messages, and the data set's name at the hub or in tfds.
      paths: the files, in order; empty for hub and tfds.
      config: the data set's configuration; empty: its default.
      part: the split's name at the hub or in tfds.
      shared: True if the same file serves for every split, so that the task has to divide it.
    """

    kind: str
    name: str
    paths: tuple[Any, ...] = ()
    config: str = ""
    part: str = ""
    shared: bool = False


def find_source(data: str, split: str, splits: Mapping[str, str]) -> Source | None:
    """Find where a split's rows lie; None if the data has no such split.

    Args:
      data: ``task.data``.
      split: train, validation or test.
      splits: ``task.splits``.

    Raises:
      DataError: no such file or folder, a folder without data files, or two files for one split.
    """
    if not data:
        raise DataError("task.data: not set. Give a file, a folder, a hub id (owner/name) or tfds:name/config.")
    chosen = splits.get(split, "")
    if data.startswith("tfds:"):
        return _listed(Source("tfds", data.removeprefix("tfds:")), split, chosen)
    path = _path(data)
    if chosen and (path.exists() or _path(chosen).exists()):
        beside = (path if path.is_dir() else path.parent) / chosen
        file = _path(chosen) if _path(chosen).is_file() else beside
        if not file.is_file():
            raise DataError(f"task.splits.{split}: {chosen!r} is no file, neither as it stands nor beside {data}.")
        return Source("files", str(file), (file,))
    if path.is_dir():
        return _in_folder(path, split)
    if path.is_file():
        return Source("files", str(path), (path,), shared=True)
    if is_hub_id(data):
        hub = _HUB_ID.fullmatch(data)
        return _listed(Source("hub", hub["name"], config=hub["config"] or ""), split, chosen)
    raise DataError(
        f"task.data: {data!r}: no such file or folder (looked in {os.getcwd()}), and it is no hub id (owner/name). "
        "Give an existing path."
    )


def is_hub_id(data: str) -> bool:
    """Whether ``task.data`` could name a data set of the hub; a file or folder of that name goes before it."""
    return bool(_HUB_ID.fullmatch(data)) and not data.endswith(SUFFIXES)


def file_digests(data: str, splits: Mapping[str, str]) -> dict[str, str]:
    """Name -> the beginning of the sha256 of every file that rows are read from; none for the hub and tfds.

    Files of the same name are told apart by their whole paths.

    Raises:
      DataError: see ``find_source``.
    """
    if not data or data.startswith("tfds:") or (is_hub_id(data) and not _path(data).exists()):
        return {}
    sources = filter(None, (find_source(data, split, splits) for split in SPLITS))
    rows = dict.fromkeys(path for source in sources for path in source.paths)
    pages = (multidoc2dial.documents_of(path) for path in rows if _of_dialogues(path))
    paths = list(dict.fromkeys([*rows, *(path for path in pages if path.exists())]))
    names = [path.name for path in paths]
    return {
        path.name if names.count(path.name) == 1 else str(path): storage.digest_of(epath.Path(path))[:16]
        for path in paths
    }


def read_rows(source: Source) -> Iterator[Row]:
    """Every row of a source, in order.

    Raises:
      DataError: a file of unknown kind, a file that is no table at all, or a data set that cannot be fetched.
    """
    if source.kind == "files":
        readers = ((multidoc2dial.read if _of_dialogues(path) else read_file, path) for path in source.paths)
        pairs = itertools.chain.from_iterable(read(path) for read, path in readers)
    else:
        place = f"{source.name}[{source.part}]"
        rows = _hub_rows(source) if source.kind == "hub" else _tfds_rows(source)
        pairs = ((f"{place}:{number}", row) for number, row in enumerate(rows, 1))
    for index, (where, values) in enumerate(pairs):
        if isinstance(values, Mapping):
            yield Row(where, index, values)
        elif isinstance(values, Unreadable):
            yield Row(where, index, None, values.problem)
        else:
            yield Row(where, index, None, f"not an object with columns but {kind_of(values)}")


def pick_split(key: str, seed: int, fracs: Mapping[str, float]) -> str:
    """Which split a key belongs to: the same for ever, whatever else the file holds.

    u = the first 8 bytes of sha256(seed, key) as a fraction in [0, 1); test is [0, test), validation the next part,
    train the rest. Keys that differ only in case or white space go together.

    Args:
      key: what must not lie in two splits, such as the prompt or the passage.
      fracs: split -> share; shares sum to 1.
    """
    folded = " ".join(key.lower().split())
    digest = hashlib.sha256(f"{seed}\0{folded}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    for split in ("test", "validation"):
        place -= fracs.get(split, 0.0)
        if place < 0:
            return split
    return "train"


def shares(data: str, splits: Mapping[str, str], fracs: Sequence[float]) -> dict[str, float]:
    """How the train source is divided: a split that has rows of its own takes no share of it; train takes the rest.

    Args:
      data, splits: as in ``find_source``.
      fracs: shares of train, validation and test.
    """
    result = {}
    for split, frac in zip(SPLITS[1:], fracs[1:], strict=True):
        source = find_source(data, split, splits)
        result[split] = frac if source is None or source.shared else 0.0
    return {"train": 1.0 - sum(result.values()), **result}


def _path(text: str) -> Any:
    if not storage.is_remote(text):
        return pathlib.Path(text).expanduser()
    storage.check(text, "task.data")
    return epath.Path(text)


def unread_files(data: str, splits: Mapping[str, str]) -> list[str]:
    """Data files of a folder that no split is read from, by name; none where ``data`` is no folder.

    Args:
      data, splits: as in ``find_source``.
    """
    if data.startswith("tfds:") or not data or not _path(data).is_dir():
        return []
    folder, files = _path(data), _data_files(_path(data))
    if _serves_all(files):
        return []
    read = {str(folder / chosen) for chosen in splits.values()} | {str(_path(chosen)) for chosen in splits.values()}
    for split in SPLITS:
        whole, shards = _of_split(files, split)
        read |= {str(file) for file in whole or shards if split not in splits}
    read |= {str(multidoc2dial.documents_of(file)) for file in files if str(file) in read and _of_dialogues(file)}
    return [file.name for file in files if str(file) not in read]


def _of_dialogues(path: Any) -> bool:
    """Whether a file is one of MultiDoc2Dial's, which has the pages beside it in another."""
    return path.name.startswith(multidoc2dial.DIALOGUES) and path.suffix == ".json"


def _data_files(folder: Any) -> list[Any]:
    files = (file for file in folder.iterdir() if file.name.endswith(SUFFIXES))
    return sorted(files, key=lambda file: file.name)


def _serves_all(files: Sequence[Any]) -> bool:
    """Whether a folder's only file is named after no split."""
    names = [name for names in SPLIT_NAMES.values() for name in names]
    return len(files) == 1 and not any(stem(files[0].name).startswith(name) for name in names)


def _of_split(files: Sequence[Any], split: str) -> tuple[list[Any], list[Any]]:
    """The files that are a split by their name, and those that are shards of it; of the first name that has any."""
    for name in SPLIT_NAMES[split]:
        whole = [file for file in files if stem(file.name).removeprefix(multidoc2dial.DIALOGUES) == name]
        shards = [file for file in files if re.fullmatch(rf"{name}-\d+.*|{name}[-_.]v?\d.*", stem(file.name))]
        if whole or shards:
            return whole, shards
    return [], []


def _in_folder(folder: Any, split: str) -> Source | None:
    files = _data_files(folder)
    if not files:
        raise DataError(f"task.data: {folder} holds no {', '.join(SUFFIXES)} file.")
    whole, shards = _of_split(files, split)
    if len(whole) > 1:
        names = ", ".join(file.name for file in whole)
        raise DataError(f"{folder}: several files for {split} ({names}). Pick one with `task.splits.{split}=FILE`.")
    if whole or shards:
        return Source("files", str(folder), tuple(whole or shards))
    if _serves_all(files):
        return Source("files", str(files[0]), (files[0],), shared=True)
    return None


def _listed(source: Source, split: str, chosen: str) -> Source | None:
    """The source with its split's name filled in; None if the data set does not list such a split."""
    names = _hub_splits(source) if source.kind == "hub" else _tfds_splits(source)
    if chosen:
        if chosen.split("[")[0] not in names:
            raise DataError(f"task.splits.{split}: {source.name} has no split {chosen!r}; it has {', '.join(names)}.")
        return dataclasses.replace(source, part=chosen)
    for name in SPLIT_NAMES[split]:
        if name in names:
            return dataclasses.replace(source, part=name)
    return None


def _hub_error(source: Source, error: Exception) -> DataError:
    cause = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(
        f"task.data: {source.name!r} is no local path here and could not be had from the Hugging Face hub: {cause}. "
        "Check the name, the network and `huggingface-cli login`; or download it and give the folder in `task.data`."
    )


def _hub_splits(source: Source) -> list[str]:
    import datasets

    try:
        return list(datasets.get_dataset_split_names(source.name, source.config or None))
    except Exception as error:  # the hub raises many kinds; each becomes one message with the fix
        raise _hub_error(source, error) from None


def _hub_rows(source: Source) -> Iterator[Any]:
    import datasets

    try:
        yield from datasets.load_dataset(source.name, source.config or None, split=source.part)
    except Exception as error:
        raise _hub_error(source, error) from None


def _tfds_builder(source: Source) -> Any:
    try:
        import tensorflow_datasets
    except ImportError:
        raise DataError(
            f"task.data: tfds:{source.name} needs TensorFlow Datasets: pip install tensorflow-datasets tensorflow"
        ) from None
    try:
        return tensorflow_datasets.builder(source.name)
    except Exception as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"task.data: tfds:{source.name}: {cause}. See the catalogue of TensorFlow Datasets.") from None


def _tfds_splits(source: Source) -> list[str]:
    return list(_tfds_builder(source).info.splits)


def _tfds_rows(source: Source) -> Iterator[Any]:
    import tensorflow_datasets

    builder = _tfds_builder(source)
    builder.download_and_prepare()
    for row in tensorflow_datasets.as_numpy(builder.as_dataset(split=source.part, shuffle_files=False)):
        yield _plain(row)


def _plain(value: Any) -> Any:
    """numpy values of TensorFlow Datasets as plain ones: bytes to text, arrays to lists, scalars to numbers."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
