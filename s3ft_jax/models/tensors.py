"""Tensors: the safetensors files of a folder, opened lazily and read in parts. Nothing is ever unpickled.

In: a folder. Out: names, shapes, dtypes, and any part of a tensor as a numpy array, as it lies or turned round.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import safetensors

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
DTYPES = {"F32": jnp.dtype(jnp.float32), "BF16": jnp.dtype(jnp.bfloat16), "F16": jnp.dtype(jnp.float16)}
"""Dtype codes of safetensors that are read."""
ROWS_AT_A_TIME = 128
"""Rows of a matrix that are read and turned round at a time: 1.5 GB/s on one core; fewer or more are slower."""


class WeightsError(ValueError):
    """The files of a checkpoint are not what the model needs. The message lists every difference at once."""


def weight_files(folder: str | os.PathLike) -> list[Path]:
    """The safetensors files that hold the model, in order.

    Raises:
      WeightsError: there are none, or the index names a file that is not there.
    """
    folder = Path(folder)
    index = folder / INDEX_NAME
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise WeightsError(f"{index}: not a safetensors index ({error!r}). Fetch or copy it again.") from None
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise WeightsError(f"{folder}: {INDEX_NAME} names files that are not there: {missing}. Fetch them.")
        return [folder / name for name in names]
    if (folder / SINGLE_NAME).exists():
        return [folder / SINGLE_NAME]
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    cause = f"only {pickled}, which could run code when opened and is never read" if pickled else "no weights"
    raise WeightsError(
        f"{folder}: no {SINGLE_NAME} or {INDEX_NAME}; found {cause}. Convert with transformers: "
        "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True)"
    )


class Tensors:
    """The tensors of a folder's safetensors files, opened lazily: name -> shape, dtype code, slices."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack):
        self._slices = {}
        for file in weight_files(folder):
            try:
                handle = stack.enter_context(safetensors.safe_open(file, framework="np"))
            except safetensors.SafetensorError as error:
                raise WeightsError(f"{file}: not a whole safetensors file ({error}). Fetch or copy it again.") from None
            for name in sorted(handle.keys()):
                if name in self._slices:
                    raise WeightsError(f"{file}: tensor {name!r} is also in another file of {folder}. Remove one.")
                self._slices[name] = handle.get_slice(name)

    def names(self) -> set[str]:
        """Of all tensors, whichever file holds them."""
        return set(self._slices)

    def shape(self, name: str) -> tuple[int, ...]:
        """As it lies in the file."""
        return tuple(self._slices[name].get_shape())

    def dtype(self, name: str) -> str:
        """Its code, e.g. ``BF16``; ``DTYPES`` holds those that are read."""
        return self._slices[name].get_dtype()

    def read(self, name: str, index: tuple[slice, ...] | None = None) -> np.ndarray:
        """A tensor, or the part of it at ``index``, copied out of the file."""
        index = tuple(slice(0, size) for size in self.shape(name)) if index is None else index
        return self._slices[name][index]

    def read_into(self, out: np.ndarray, name: str, index: tuple[slice, ...], *, turned: bool) -> None:
        """A part of a tensor, written into an array; a few rows of it at a time are held beside that.

        Args:
          out: of the part's shape, or, turned, of a matrix's part with its axes exchanged. Numbers are cast to its
            dtype.
          name: of the tensor.
          index: the part of it; slices have both ends.
          turned: for a matrix [out, in] that is wanted as [in, out].
        """
        dtype = np.dtype(DTYPES[self.dtype(name)])
        # as plain integers: numpy copies those in blocks that stay in the cache, other dtypes number by number
        bits = np.dtype(f"u{dtype.itemsize}") if out.dtype == dtype else dtype
        out = out.view(bits) if out.dtype == dtype else out
        rows, *others = index
        for start in range(rows.start, rows.stop, ROWS_AT_A_TIME):
            stop = min(start + ROWS_AT_A_TIME, rows.stop)
            part = self.read(name, (slice(start, stop), *others)).view(bits)
            place = slice(start - rows.start, stop - rows.start)
            if turned:
                out[:, place] = part.T
            else:
                out[place] = part
