"""The fields of a config.json: every one is read, known to be harmless, or refused by name.

In: the plain dict of a config.json. Out: the values a family asks for; an error that names every field left over.
A field that is passed over in silence gives a model that runs and is wrong; that is what this room is for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from s3ft_jax.models.config import Rope


class UnsupportedModel(ValueError):
    """The model's config.json asks for something this package cannot do. The message names the field and the fix."""


# Fields that do not change what the network computes from token ids.
HARMLESS = frozenset(
    (
        # what transformers writes about itself, and its own run-time choices
        "architectures",
        "model_type",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "_name_or_path",
        "name_or_path",
        "use_cache",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "return_dict_in_generate",
        "torchscript",
        "use_bfloat16",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "attn_implementation",
        "_commit_hash",
        "finetuning_task",
        "task_specific_params",
        "tokenizer_class",
        "id2label",
        "label2id",
        "problem_type",
        "num_labels",
        "is_decoder",
        "initializer_range",
        "chunk_size_feed_forward",
        # token ids and old generation settings, read elsewhere: generation_config.json, the tokenizer
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "unk_token_id",
        "sep_token_id",
        "decoder_start_token_id",
        "prefix",
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "output_scores",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
        # notes left by other tools
        "context_window_size",
        "prefill_chunk_size",
        "sliding_window_size",
        "attention_sink_size",
        "transformers.js_config",
        "is_llama_config",
        "unsloth_fixed",
        "unsloth_version",
    )
)


class Fields:
    """The fields of one config.json, and which of them have been read.

    Args:
      values: the plain dict.
      where: shown in messages, e.g. the file's path.
    """

    def __init__(self, values: Mapping[str, Any], where: str = "config.json"):
        self.values = dict(values)
        self.where = where
        self._seen = set(HARMLESS)

    def take(self, name: str, default: Any) -> Any:
        """The field's value, or ``default`` where it is absent or null."""
        self._seen.add(name)
        value = self.values.get(name)
        return default if value is None else value

    def number(self, name: str, default: float | None = None, *, whole: bool = True) -> Any:
        """A number; absent or null gives ``default``.

        Raises:
          UnsupportedModel: not a (whole) number, or absent with no default.
        """
        value = self.take(name, default)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise UnsupportedModel(
                f"{self.where}: field {name!r} must be a {'whole ' if whole else ''}number, found {value!r}. "
                "Is this the config.json of the whole model?"
            )
        return value

    def require(self, name: str, allowed: tuple[Any, ...], cause: str) -> None:
        """Read a field of which only some values can be served.

        Raises:
          UnsupportedModel: the field has another value (absent and null always pass).
        """
        value = self.take(name, None)
        if value is not None and value not in allowed:
            raise UnsupportedModel(f"{self.where}: {name} = {value!r} is not supported: {cause}")

    def finish(self) -> None:
        """Raise UnsupportedModel if a field is left that was not read, is not harmless and is not empty or off."""
        left = {
            name: value
            for name, value in sorted(self.values.items())
            if name not in self._seen and value not in (None, False, "", [], {})
        }
        if left:
            shown = ", ".join(f"{name} = {value!r}" for name, value in left.items())
            raise UnsupportedModel(
                f"{self.where}: nobody reads {shown}. If a field changes what the network computes, this model is not "
                "supported; if it does not, delete it from config.json or add it to HARMLESS in "
                "s3ft_jax/models/families/fields.py."
            )


_ROPE_KEYS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def read_rope(fields: Fields, default_theta: float) -> Rope:
    """Rotary positions from ``rope_theta`` and ``rope_scaling`` (transformers 4) or ``rope_parameters`` (5).

    Raises:
      UnsupportedModel: another kind of scaling, a key missing or a key too many, or the two forms disagree.
    """
    theta = fields.number("rope_theta", default_theta, whole=False)
    old, new = fields.take("rope_scaling", {}), fields.take("rope_parameters", {})
    if old and new and {**old, "rope_theta": theta} != {"rope_theta": theta, **new}:
        raise UnsupportedModel(
            f"{fields.where}: rope_scaling = {old!r} and rope_parameters = {new!r} disagree. Delete one of them."
        )
    name = "rope_parameters" if new else "rope_scaling"
    scaling = dict(new or old)
    theta = scaling.pop("rope_theta", theta)
    kind = scaling.pop("rope_type", scaling.pop("type", "default"))
    scaling.pop("type", None)
    if kind not in _ROPE_KEYS:
        raise UnsupportedModel(
            f"{fields.where}: {name} of type {kind!r} is not supported; supported: {', '.join(_ROPE_KEYS)}"
        )
    if scaling.get("partial_rotary_factor") == 1.0:
        del scaling["partial_rotary_factor"]
    wanted, found = set(_ROPE_KEYS[kind]), {key for key, value in scaling.items() if value is not None}
    if wanted != found:
        raise UnsupportedModel(
            f"{fields.where}: {name} of type {kind!r} needs the keys {sorted(wanted)}; missing "
            f"{sorted(wanted - found)}, not supported {sorted(found - wanted)}"
        )
    if kind == "default":
        return Rope(theta=float(theta))
    if kind == "linear":
        return Rope(theta=float(theta), scaling="linear", factor=float(scaling["factor"]))
    return Rope(
        theta=float(theta),
        scaling="llama3",
        factor=float(scaling["factor"]),
        low_freq_factor=float(scaling["low_freq_factor"]),
        high_freq_factor=float(scaling["high_freq_factor"]),
        original_max_positions=int(scaling["original_max_position_embeddings"]),
    )


def read_longrope(
    fields: Fields, scaling: Mapping[str, Any], theta: float, original: int, longest: int, width: int
) -> Rope:
    """Longrope from its entry: one divisor per rotated pair for short and for long use, and the factor on cos and sin.

    transformers, modeling_rope_utils.py, ``_compute_longrope_parameters``.

    Args:
      fields: for messages.
      scaling: the entry of config.json.
      theta: where the entry has none.
      original, longest: positions the model was first made for, and was extended to.
      width: dimensions of a head that are rotated.

    Raises:
      UnsupportedModel: a list of another length, or a key nobody reads.
    """
    known = {"rope_type", "type", "rope_theta", "short_factor", "long_factor", "factor", "attention_factor"}
    known |= {"original_max_position_embeddings", "partial_rotary_factor"}
    unknown = sorted(key for key, value in scaling.items() if key not in known and value is not None)
    if unknown:
        raise UnsupportedModel(f"{fields.where}: longrope has the keys {unknown}, which nobody reads")
    original = scaling.get("original_max_position_embeddings") or original
    lists = {}
    for name in ("short_factor", "long_factor"):
        lists[name] = tuple(float(value) for value in scaling.get(name) or ())
        if len(lists[name]) != width // 2:
            raise UnsupportedModel(
                f"{fields.where}: longrope's {name} has {len(lists[name])} entries, {width // 2} are needed"
            )
    factor = scaling.get("factor") or longest / original
    scale = scaling.get("attention_factor")
    if scale is None:
        scale = 1.0 if factor <= 1.0 else math.sqrt(1.0 + math.log(factor) / math.log(original))
    return Rope(
        theta=float(scaling.get("rope_theta", theta)),
        scaling="longrope",
        original_max_positions=int(original),
        short_factors=lists["short_factor"],
        long_factors=lists["long_factor"],
        scale=float(scale),
    )
