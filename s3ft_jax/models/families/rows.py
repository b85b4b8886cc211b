"""Weight rows: which tensor of a Hugging Face checkpoint is which parameter of the decoder, as data.

In: nothing. Out: ``Row`` and ``WeightMap``, which a family fills in (llama.py) and weights.py reads forwards to load
and backwards to export. A row is invertible, so that import followed by export gives back the same bytes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

Axis = TypeVar("Axis")


@dataclasses.dataclass(frozen=True)
class Row:
    """One tensor of the checkpoint <-> one parameter, or one tensor per layer <-> one stacked parameter.

        name  model.layers.{i}.self_attn.q_proj.weight   [out, in], one for each i in 0..L-1
        path  blocks.q.kernel                            [L, in, out]

    Attributes:
      name: of the tensor; ``{i}`` stands for the layer and fills the parameter's leading axis.
      path: of the parameter, as in the state of ``nnx.split(Decoder(...))``, joined by dots.
      operation: ``same``, or ``transpose`` (torch keeps a linear map as [out, in], we as [in, out]).
    """

    name: str
    path: str
    operation: Literal["same", "transpose"] = "same"

    @property
    def stacked(self) -> bool:
        """Whether the parameter has a leading layer axis."""
        return "{i}" in self.name

    def tensor_name(self, layer: int) -> str:
        """Name of the tensor of one layer; ``layer`` is unused where the parameter is not stacked."""
        return self.name.replace("{i}", str(layer))

    def turn(self, axes: Sequence[Axis]) -> tuple[Axis, ...]:
        """Per-axis facts (sizes, slices) of the parameter without its layer axis -> those of the tensor, and back.

        Both operations are their own inverse, so one function serves both ways.
        """
        return tuple(axes) if self.operation == "same" else tuple(reversed(axes))


class WeightMap(NamedTuple):
    """All rows of one model.

    Attributes:
      rows: each parameter is in exactly one row.
      ignored: patterns (``{i}`` for the layer) of tensors that are left out on purpose, because they are computed.
      duplicates: name of a tensor that some checkpoints hold twice -> the name it must equal. It is checked on loading,
        and written on export if the source had it.
    """

    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()

    def ignores(self, name: str) -> bool:
        """Whether a tensor of this name is left out on purpose."""
        return any(re.fullmatch(re.escape(p).replace(r"\{i\}", r"\d+"), name) for p in self.ignored)
