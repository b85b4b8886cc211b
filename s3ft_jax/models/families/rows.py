"""Weight rows: which tensor of a Hugging Face checkpoint is which parameter of the decoder, as data.

In: nothing. Out: ``Row`` and ``WeightMap``, which a family fills in (llama.py) and weights.py reads forwards to load
and backwards to export. A row is invertible, so that import followed by export gives back the same bytes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One tensor of the checkpoint, or a slice of it <-> one parameter, or one layer (and expert) of it.

        name  model.layers.{i}.self_attn.q_proj.weight    [out, in], one for each i in 0..L-1
        path  blocks.q.kernel                             [L, in, out]

    Where the checkpoint keeps several matrices in one tensor, each is a row of its own with ``start`` and ``whole``:

        name  model.layers.{i}.mlp.gate_up_proj.weight    [2 F, in]
        path  blocks.gate.kernel, start 0, whole 2 F      [L, in, F]: the first F outputs
        path  blocks.up.kernel, start F, whole 2 F        [L, in, F]: the others

    Attributes:
      name: of the tensor; ``{i}`` stands for the layer, ``{e}`` for the expert, and each fills a leading axis.
      path: of the parameter, as in the state of ``nnx.split(Decoder(...))``, joined by dots.
      operation: ``same``, or ``transpose`` (torch keeps a linear map as [out, in], we as [in, out]).
      start, whole: the row's first output among the tensor's outputs, and how many the tensor has; 0: all are ours.
    """

    name: str
    path: str
    operation: Literal["same", "transpose"] = "same"
    start: int = 0
    whole: int = 0

    @property
    def leading(self) -> int:
        """How many leading axes of the parameter are spread over tensors: layers, experts."""
        return len(re.findall(r"\{[a-z]\}", self.name))

    def tensor_name(self, indices: Iterable[int] = ()) -> str:
        """Name of the tensor of one layer (and expert)."""
        name = self.name
        for index in indices:
            name = re.sub(r"\{[a-z]\}", str(index), name, count=1)
        return name

    def tensor_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the tensor, from that of the parameter without its leading axes."""
        return self.turned((*shape[:-1], self.whole) if self.whole else tuple(shape))

    def places(self, shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The layers (and experts) whose tensors make up a parameter of this shape."""
        return np.ndindex(*shape[: self.leading])

    def tensor_index(self, index: Sequence[slice]) -> tuple[slice, ...]:
        """Part of the tensor, from the part of the parameter without its leading axes; slices have both ends."""
        *others, last = index
        return self.turned((*others, slice(last.start + self.start, last.stop + self.start)))

    def turned(self, axes: tuple) -> tuple:
        """Axes of the parameter (without its leading ones) in the tensor's order, and the other way round."""
        return axes if self.operation == "same" else tuple(reversed(axes))


class WeightMap(NamedTuple):
    """All rows of one model.

    Attributes:
      rows: each parameter is in exactly one row; the rows of one tensor cover it exactly once.
      ignored: patterns (``{i}`` for the layer) of tensors that are left out on purpose, because they are computed.
      duplicates: name of a tensor that some checkpoints hold twice -> the name it must equal. It is checked on loading,
        and written on export if the source had it.
      prefix: start of the names that some checkpoints leave out, e.g. ``transformer.``; empty: none does.
    """

    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    def ignores(self, name: str) -> bool:
        """Whether a tensor of this name is left out on purpose."""
        return any(re.fullmatch(re.escape(p).replace(r"\{i\}", r"\d+"), name) for p in self.ignored)

    def named_as(self, names: Iterable[str]) -> WeightMap:
        """The map for files with these tensor names: without the prefix, if none of them has it."""
        if not self.prefix or any(name.startswith(self.prefix) for name in names):
            return self
        rows = tuple(dataclasses.replace(row, name=row.name.removeprefix(self.prefix)) for row in self.rows)
        duplicates = tuple(tuple(name.removeprefix(self.prefix) for name in pair) for pair in self.duplicates)
        return WeightMap(rows, tuple(name.removeprefix(self.prefix) for name in self.ignored), duplicates)
