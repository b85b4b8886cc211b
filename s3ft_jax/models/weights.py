"""Weights: safetensors files of a Hugging Face folder <-> the decoder's parameters.

In: a folder, a DecoderConfig and its weight rows. Out: the pure state that ``nnx.split(Decoder(...))`` has. Tensors are
read one by one, and only the part a device needs; nothing is ever unpickled. Axes as in models/decoder.py.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.families.rows import Row, WeightMap
from s3ft_jax.models.placement import read_row
from s3ft_jax.models.tensors import DTYPES, INDEX_NAME, SINGLE_NAME, Tensors, WeightsError


def abstract_params(config: DecoderConfig) -> nnx.State:
    """The parameters' shapes (``jax.ShapeDtypeStruct`` leaves, float32); allocates nothing."""
    return nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0))))[1]


def count_params(config: DecoderConfig) -> int:
    """How many numbers the model has; a tied embedding counts once."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(abstract_params(config)))


def flat_params(params: nnx.State) -> dict[str, Any]:
    """Parameters by dotted path, e.g. ``blocks.q.kernel``; the leaves are whatever the state holds."""
    return {".".join(map(str, path)): variable.get_value() for path, variable in nnx.to_flat_state(params)}


def _replace(params: nnx.State, values: Mapping[str, Any]) -> nnx.State:
    return nnx.from_flat_state(
        [(path, variable.replace(values[".".join(map(str, path))])) for path, variable in nnx.to_flat_state(params)]
    )


def source_dtypes(folder: str | os.PathLike) -> dict[str, str]:
    """Tensor name -> safetensors dtype code (``F32``, ``BF16``, ``F16``, ...) of every tensor of the folder."""
    with contextlib.ExitStack() as stack:
        tensors = Tensors(Path(folder), stack)
        return {name: tensors.dtype(name) for name in sorted(tensors.names())}


def _pieces(weight_map: WeightMap, shapes: Mapping[str, Any]) -> dict[str, list[tuple[Row, tuple[int, ...]]]]:
    """Tensor name -> the rows it is made of, each with its layer (and expert), in the order of the outputs."""
    pieces: dict[str, list[tuple[Row, tuple[int, ...]]]] = {}
    for row in weight_map.rows:
        for place in row.places(shapes[row.path].shape) if row.path in shapes else ():
            pieces.setdefault(row.tensor_name(place), []).append((row, place))
    return {name: sorted(parts, key=lambda part: part[0].start) for name, parts in pieces.items()}


def _covered_once(parts: list[tuple[Row, tuple[int, ...]]], shapes: Mapping[str, Any]) -> bool:
    """Whether the rows of one tensor take each of its outputs exactly once."""
    if len(parts) == 1 and not parts[0][0].whole:
        return True
    ends = [0, *(row.start + shapes[row.path].shape[-1] for row, _ in parts)]
    starts = [*(row.start for row, _ in parts), parts[0][0].whole]
    return starts == ends and len({row.whole for row, _ in parts}) == 1


def _check(tensors: Tensors, weight_map: WeightMap, shapes: Mapping[str, Any]) -> None:
    """Each tensor and each parameter exactly once, with the right shape, or an error that lists both sides."""
    pieces = _pieces(weight_map, shapes)
    names, paths = list(pieces), [row.path for row in weight_map.rows]
    double = sorted(path for path, times in collections.Counter(paths).items() if times > 1)
    double += sorted(name for name, parts in pieces.items() if not _covered_once(parts, shapes))
    known = set(names) | {name for name, _ in weight_map.duplicates}
    missing = sorted(set(names) - tensors.names())
    unknown = sorted(name for name in tensors.names() - known if not weight_map.ignores(name))
    expected = {
        name: row.tensor_shape(shapes[row.path].shape[row.leading :]) for name, ((row, _), *_) in pieces.items()
    }
    wrong = [
        f"{name} is {list(tensors.shape(name))}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in tensors.names() and tensors.shape(name) != shape
    ]
    dtypes = [f"{name}: {tensors.dtype(name)}" for name in names if name in tensors.names()]
    problems = {
        "tensors the model needs and the files lack": missing,
        "tensors of the files that no parameter takes": unknown,
        "parameters that no row fills": sorted(set(shapes) - set(paths)),
        "rows whose parameter the model lacks": sorted(set(paths) - set(shapes)),
        "not taken by the rows exactly once": double,
        "tensors of another shape": wrong,
        f"tensors that are not one of {', '.join(DTYPES)}": [d for d in dtypes if d.split(": ")[1] not in DTYPES],
    }
    if any(problems.values()):
        listed = "\n".join(f"  {title}: {_shown(entries)}" for title, entries in problems.items() if entries)
        raise WeightsError(
            f"the files and the model differ:\n{listed}\nDo config.json and the weights belong together?"
        )
    for name, original in weight_map.duplicates:
        if name in tensors.names() and not np.array_equal(tensors.read(name), tensors.read(original)):
            raise WeightsError(
                f"{name} differs from {original}, but config.json says the embeddings are tied. "
                "Set tie_word_embeddings to false if the model has an output matrix of its own, else remove the tensor."
            )


def _shown(entries: list[str], most: int = 20) -> str:
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest


def load(
    folder: str | os.PathLike,
    config: DecoderConfig,
    weight_map: WeightMap,
    *,
    dtype: jnp.dtype | None = None,
    shardings: nnx.State | None = None,
) -> nnx.State:
    """Read a folder's weights into the parameters of ``Decoder(config)``.

    Each device's part is read by itself, so a process reads only the bytes of its own devices. Beside what it keeps,
    the host holds a few rows of a tensor (CPU devices), or the parts of two tensors on their way (accelerators);
    benchmarks/loading.py measures it.

    Args:
      folder: holds model.safetensors, or several files and their index.
      config, weight_map: from ``families.read_config``.
      dtype: of the parameters; None keeps each tensor's own (the widest, where the layers of a stack differ).
      shardings: state of ``jax.sharding.Sharding`` leaves (``sharding.param_shardings``); None: the default device.

    Returns:
      State with one ``jax.Array`` per parameter.

    Raises:
      WeightsError: files missing, pickled only, broken, or tensors and parameters do not match one to one.
    """
    abstract = abstract_params(config)
    shapes = flat_params(abstract)
    with contextlib.ExitStack() as stack:
        tensors = Tensors(Path(folder), stack)
        weight_map = weight_map.named_as(tensors.names())
        try:
            _check(tensors, weight_map, shapes)
        except WeightsError as error:
            raise WeightsError(f"{folder}: {error}") from None
        places = {} if shardings is None else flat_params(shardings)
        default = jax.sharding.SingleDeviceSharding(jnp.zeros(()).device)
        values = {
            row.path: read_row(tensors, row, shapes[row.path].shape, dtype, places.get(row.path, default))
            for row in weight_map.rows
        }
    return _replace(abstract, values)


def export(
    params: nnx.State,
    config: DecoderConfig,
    weight_map: WeightMap,
    folder: str | os.PathLike,
    *,
    source_dtypes: Mapping[str, str] | None = None,
    max_shard_bytes: int = 4 * 10**9,
) -> list[str]:
    """Write parameters as safetensors files, the inverse of ``load``.

    Args:
      params: without adapters; merge those first (``Decoder.merge_adapters``).
      config, weight_map: as for ``load``.
      folder: made if needed; files of the same names are replaced.
      source_dtypes: of ``source_dtypes`` above: each tensor is written in the dtype it came in, and a tied output
        matrix is written if the source had one. None: the parameters' own dtypes, no duplicates.
      max_shard_bytes: largest file, in bytes of tensors; a larger tensor gets a file of its own. One file's tensors
        are held on the host at a time.

    Returns:
      Names of the files written, the index last if there are several.

    Raises:
      WeightsError: the state has adapters, ``source_dtypes`` names other tensors than the rows, or the folder holds
        weights of another export that would be left beside these.
    """
    values = flat_params(params)
    expected = set(flat_params(abstract_params(config)))
    if set(values) != expected:
        raise WeightsError(
            f"export: parameters left over {sorted(set(values) - expected)}, missing {sorted(expected - set(values))}. "
            "Merge adapters into the kernels before exporting."
        )
    pieces = _pieces_to_write(weight_map, values, source_dtypes)
    dtypes = {
        name: DTYPES[source_dtypes[name]] if source_dtypes else jnp.dtype(values[row.path].dtype)
        for name, ((row, _), *_) in pieces.items()
    }
    bytes_of = {
        name: int(np.prod(row.tensor_shape(values[row.path].shape[row.leading :]))) * dtypes[name].itemsize
        for name, ((row, _), *_) in pieces.items()
    }

    def tensor(name: str) -> np.ndarray:
        parts = [np.asarray(values[row.path][place]) for row, place in pieces[name]]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        return np.ascontiguousarray((whole if pieces[name][0][0].operation == "same" else whole.T).astype(dtypes[name]))

    return _write_files(Path(folder), _shards(bytes_of, max_shard_bytes), bytes_of, tensor)


def _pieces_to_write(
    weight_map: WeightMap, values: Mapping[str, Any], source_dtypes: Mapping[str, str] | None
) -> dict[str, list[tuple[Row, tuple[int, ...]]]]:
    """``_pieces`` in the order of writing; with the names and copies that the source had, and nothing it lacks."""
    if source_dtypes is None:
        return _pieces(weight_map, values)
    weight_map = weight_map.named_as(source_dtypes)
    pieces = _pieces(weight_map, values)
    pieces |= {name: pieces[original] for name, original in weight_map.duplicates if name in source_dtypes}
    kept = {name for name in source_dtypes if not weight_map.ignores(name)}
    if kept != set(pieces):
        raise WeightsError(
            f"export: the source has tensors the model lacks {sorted(kept - set(pieces))}, or lacks "
            f"{sorted(set(pieces) - kept)}. Was it imported from this folder?"
        )
    return pieces


def _shards(bytes_of: Mapping[str, int], max_shard_bytes: int) -> list[list[str]]:
    """Names in order, cut before a file would grow beyond the limit."""
    shards, used = [[]], 0
    for name, size in bytes_of.items():
        if shards[-1] and used + size > max_shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def _write_files(folder: Path, shards: list[list[str]], bytes_of: Mapping[str, int], tensor: Any) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    several = len(shards) > 1
    files = [f"model-{k + 1:05}-of-{len(shards):05}.safetensors" for k in range(len(shards))]
    files = [*files, INDEX_NAME] if several else [SINGLE_NAME]
    stale = sorted(path.name for path in folder.glob("*.safetensors*") if path.name not in files)
    if stale:
        raise WeightsError(f"{folder}: holds weights of another export: {stale}. Delete them or choose another folder.")
    places = {name: files[k] for k, names in enumerate(shards) for name in names}
    for k, names in enumerate(shards):
        _write_file(folder / files[k], names, tensor)
    if several:
        index = {"metadata": {"total_size": sum(bytes_of.values())}, "weight_map": dict(sorted(places.items()))}
        (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return files


def _write_file(path: Path, names: Iterable[str], tensor: Any) -> None:
    """Under another name first, so that a kill never leaves half a file; "pt" is what transformers asks for."""
    partial = path.with_name(path.name + ".partial")
    save_file({name: tensor(name) for name in names}, partial, metadata={"format": "pt"})
    os.replace(partial, path)
