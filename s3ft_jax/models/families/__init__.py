"""Model families as data: for each ``model_type`` of a config.json, how to read its fields and where its weights go.

To add a family: one file beside llama.py with ``read_config`` and ``weight_map``, one line in ``FAMILIES``, one parity
case in tests/models/test_families.py, which says you are done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families import (
    gemma,
    gpt2,
    granite,
    llama,
    mistral,
    mixtral,
    olmo2,
    phi3,
    qwen,
    smollm3,
    starcoder2,
)
from s3ft_jax.models.families.fields import UnsupportedModel
from s3ft_jax.models.families.rows import WeightMap


class Family(NamedTuple):
    """How one kind of Hugging Face model becomes a decoder.

    Attributes:
      read_config: (plain dict of config.json, its path for messages) -> DecoderConfig.
      weight_map: DecoderConfig -> rows.
    """

    read_config: Callable[[Mapping[str, Any], str], DecoderConfig]
    weight_map: Callable[[DecoderConfig], WeightMap]


FAMILIES: dict[str, Family] = {
    "llama": Family(llama.read_config, llama.weight_map),
    "mistral": Family(mistral.read_config, mistral.weight_map),
    "mixtral": Family(mixtral.read_config, mixtral.weight_map),
    "qwen2": Family(qwen.read_qwen2, qwen.weight_map),
    "qwen3": Family(qwen.read_qwen3, qwen.weight_map),
    "qwen3_moe": Family(qwen.read_qwen3_moe, qwen.mixture_weight_map),
    "gemma": Family(gemma.read_gemma, gemma.weight_map),
    "gemma2": Family(gemma.read_gemma2, gemma.weight_map),
    "gemma3_text": Family(gemma.read_gemma3, gemma.weight_map),
    "phi3": Family(phi3.read_config, phi3.weight_map),
    "gpt2": Family(gpt2.read_config, gpt2.weight_map),
    "olmo2": Family(olmo2.read_config, olmo2.weight_map),
    "granite": Family(granite.read_config, granite.weight_map),
    "starcoder2": Family(starcoder2.read_config, starcoder2.weight_map),
    "smollm3": Family(smollm3.read_config, smollm3.weight_map),
}


def find_family(values: Mapping[str, Any], where: str = "config.json") -> Family:
    """The family of a config.json's ``model_type``.

    Raises:
      UnsupportedModel: naming the model type and the supported ones.
    """
    model_type = values.get("model_type")
    if model_type not in FAMILIES:
        raise UnsupportedModel(
            f"{where}: model_type = {model_type!r} is not supported; supported: {', '.join(sorted(FAMILIES))}. "
            "To add a family see s3ft_jax/models/families/__init__.py."
        )
    return FAMILIES[model_type]


def read_config(
    values: Mapping[str, Any], where: str = "config.json", max_positions: int = 0
) -> tuple[DecoderConfig, WeightMap]:
    """The plain dict of a config.json -> architecture and weight rows.

    Args:
      values: the plain dict.
      where: shown in messages.
      max_positions: longest sequence the model is to be used for; 0: the length its family reads it for. With longrope,
        beyond the original length, it chooses the long factors.

    Raises:
      UnsupportedModel: the family or a field is not supported, or ``max_positions`` is more than the model can.
    """
    family = find_family(values, where)
    try:
        config = family.read_config(values, where)
    except UnsupportedModel:
        raise
    except ValueError as error:  # sizes that no decoder can have
        raise UnsupportedModel(f"{where}: {error}") from None
    if max_positions:
        config = _use_for(config, max_positions, values.get("max_position_embeddings") or config.max_positions, where)
    return config, family.weight_map(config)


def _use_for(config: DecoderConfig, max_positions: int, longest: int, where: str) -> DecoderConfig:
    if max_positions > longest or (config.learned_positions and max_positions != config.max_positions):
        rule = "exactly" if config.learned_positions else "at most"
        raise UnsupportedModel(
            f"{where}: model.max_positions = {max_positions}, but this model has {rule} {longest} positions"
        )
    return dataclasses.replace(config, max_positions=max_positions)
