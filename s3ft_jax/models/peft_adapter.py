"""Adapters -> the two files of a PEFT adapter: adapter_config.json and adapter_model.safetensors.

In: a decoder with adapters and its weight rows. Out: files that ``peft.PeftModel.from_pretrained`` lays onto the base
model of transformers, with the same logits. Names and fields are those of peft 0.21 (tuners/lora/config.py, layer.py,
utils/save_and_load.py); peft itself is not needed.

Where transformers keeps several of our projections in one module (Phi-3, GPT-2), their adapters are stacked. That is
exact: the rank is the sum of theirs, and alpha is such that the factor on the product stays the same.

    q and v of qkv_proj, rank r    A [2 r, in]    B [q k v, 2 r]: B_q   0
                                                                  0     0
                                                                  0     B_v
"""

from __future__ import annotations

import collections
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.families.rows import Row, WeightMap
from s3ft_jax.models.lora import Lora, LoraError

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
_KERNEL = ".weight"
_PREFIX = "base_model.model."  # what peft puts before the names of the modules of the model it wraps


def export_adapter(decoder: Decoder, weight_map: WeightMap, folder: str | os.PathLike, base: str) -> list[str]:
    """Write a decoder's adapters as PEFT's files.

    Further training with peft draws one dropout mask for the projections of a stacked module, where ours draws one for
    each; the adapter at rest is the same.

    Args:
      decoder: with adapters, not merged.
      weight_map: of the base (``families.read_config``).
      folder: made if needed; files of the same names are replaced.
      base: folder or hub id of the base, as ``base_model_name_or_path``.

    Returns:
      Names of the files written.

    Raises:
      LoraError: the decoder has no adapters.
    """
    if decoder.lora is None:
        raise LoraError("this model has no adapters: it was tuned in full, or they were merged. Export it merged.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    modules = _modules(decoder.lora, weight_map)
    tensors: dict[str, np.ndarray] = {}
    for name, rows in modules.items():
        tensors |= _stacked(decoder, name, rows)
    save_file(tensors, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    text = json.dumps(_config(decoder.lora, modules, _short_names(weight_map), base), indent=2)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
    return [WEIGHTS_NAME, CONFIG_NAME]


def _modules(lora: Lora, weight_map: WeightMap) -> dict[str, list[Row]]:
    """Module of transformers (``{i}`` for the layer) -> the rows of our adapted kernels in it, by first output."""
    modules: dict[str, list[Row]] = {}
    for row in weight_map.rows:
        if row.path in {f"blocks.{target}.kernel" for target in lora.targets}:
            modules.setdefault(row.name.removesuffix(_KERNEL), []).append(row)
    return {name: sorted(rows, key=lambda row: row.start) for name, rows in modules.items()}


def _short_names(weight_map: WeightMap) -> dict[str, str]:
    """Module -> the end of its name that no other module has: ``q_proj``; GPT-2 has two c_proj, so ``attn.c_proj``."""
    names = {row.name.removesuffix(_KERNEL) for row in weight_map.rows if row.name.endswith(_KERNEL)}
    times = collections.Counter(name.rpartition(".")[2] for name in names)
    return {name: ".".join(name.split(".")[-1 if times[name.rpartition(".")[2]] == 1 else -2 :]) for name in names}


def _stacked(decoder: Decoder, name: str, rows: list[Row]) -> dict[str, np.ndarray]:
    """The tensors of one module in all layers: lora_A [ranks, in] and lora_B [out, ranks], float32."""
    projections, rank = decoder.projections(), decoder.lora.rank
    adapted = [projections[row.path.split(".")[1]] for row in rows]
    lora_a, lora_b = ([np.asarray(getattr(one, part)[...]) for one in adapted] for part in ("lora_a", "lora_b"))
    num_layers = len(lora_a[0])
    down = np.concatenate(lora_a, axis=-1)
    up = np.zeros((num_layers, rank * len(rows), rows[0].whole or lora_b[0].shape[-1]), np.float32)
    for place, (row, part) in enumerate(zip(rows, lora_b, strict=True)):
        up[:, place * rank : (place + 1) * rank, row.start : row.start + part.shape[-1]] = part
    tensors = {}
    for layer in range(num_layers):
        module = _PREFIX + name.replace("{i}", str(layer))
        tensors[f"{module}.lora_A.weight"] = np.ascontiguousarray(down[layer].T)
        tensors[f"{module}.lora_B.weight"] = np.ascontiguousarray(up[layer].T)
    return tensors


def _config(lora: Lora, modules: dict[str, list[Row]], short: dict[str, str], base: str) -> dict[str, Any]:
    """adapter_config.json; modules of several adapters get a rank and an alpha of their own."""
    ranks = {short[name]: lora.rank * len(rows) for name, rows in modules.items() if len(rows) > 1}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "use_rslora": lora.rank_stabilized,
        "rank_pattern": ranks,
        "alpha_pattern": {
            name: lora.scale * (math.sqrt(rank) if lora.rank_stabilized else rank) for name, rank in ranks.items()
        },
        "target_modules": sorted(short[name] for name in modules),
        # GPT-2 keeps its matrices as [in, out]
        "fan_in_fan_out": all(row.operation == "same" for rows in modules.values() for row in rows),
        "bias": "none",
        "modules_to_save": None,
        "init_lora_weights": True,
    }
