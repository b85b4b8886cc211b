"""Model families as data: for each ``model_type`` of a config.json, how to read its fields and where its weights go.

To add a family: one file beside llama.py with ``read_config`` and ``weight_map``, one line in ``FAMILIES``, one parity
case in tests/models/test_families.py, which says you are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.families import (
    gemma,
    gpt2,
    granite,
    llama,
    mistral,
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
    "qwen2": Family(qwen.read_qwen2, qwen.weight_map),
    "qwen3": Family(qwen.read_qwen3, qwen.weight_map),
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


def read_config(values: Mapping[str, Any], where: str = "config.json") -> tuple[DecoderConfig, WeightMap]:
    """The plain dict of a config.json -> architecture and weight rows. Raises UnsupportedModel."""
    family = find_family(values, where)
    try:
        config = family.read_config(values, where)
    except UnsupportedModel:
        raise
    except ValueError as error:  # sizes that no decoder can have
        raise UnsupportedModel(f"{where}: {error}") from None
    return config, family.weight_map(config)
