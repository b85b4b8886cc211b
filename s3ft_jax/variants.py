"""Variants: a method with training settings of its own, as one name that stands wherever a method's name may.

    s3ft@learning_rate=0.0003,loss.dft=true
    ---- --------------------
    |    settings of the section train, each name=value, sorted by name
    the method, whose selections are trained on

A name is also a folder below checkpoints/ and scores/, so values hold letters, digits and ``_ . + -`` only; a setting
of several words joins them by plus signs (``lora.targets=q+v``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from s3ft_jax.config import ConfigError, convert, nearest
from s3ft_jax.selection import METHODS

MARK = "@"
_VALUE = re.compile(r"[A-Za-z0-9_.+-]*")


class VariantError(ValueError):
    """A name is no method, or its settings cannot be; the message names it, the cause and the fix."""


def method_of(name: str) -> str:
    """``s3ft@num_steps=50`` -> ``s3ft``; a method is its own."""
    return name.partition(MARK)[0]


def settings_of(name: str, train: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a name states, by their flat names.

    Args:
      name: of a method or variant.
      train: the flat settings of the section ``train``, whose types the values take.

    Raises:
      VariantError: no such method or setting, a setting stated twice, or a value of another type.
    """
    method, mark, stated = name.partition(MARK)
    if method not in METHODS:
        raise VariantError(f"{name!r}: no method {method!r}{nearest(method, METHODS)}")
    found: dict[str, Any] = {}
    for part in stated.split(",") if mark else ():
        key, equals, text = part.partition("=")
        if not equals or key in found:
            raise VariantError(f"{name!r}: {part!r}; write METHOD@name=value,name=value, each name once")
        if key not in train:
            raise VariantError(f"{name!r}: {key!r} is not a setting of train{nearest(key, train)}")
        found[key] = _read(name, key, text, train[key])
    return found


def _read(name: str, key: str, text: str, default: Any) -> Any:
    if not _VALUE.fullmatch(text):
        raise VariantError(f"{name!r}: {key}={text!r}; letters, digits and _ . + - only, for it names a folder")
    words = isinstance(default, (tuple, list))
    try:
        return convert(",".join(text.split("+")) if words else text, default, f"{name!r}: {key}")
    except ConfigError as error:
        raise VariantError(str(error)) from None


def write(method: str, settings: Mapping[str, Any]) -> str:
    """The name of a method with these settings; the same settings always give the same name.

    Raises:
      VariantError: a value that cannot stand in a name.
    """
    parts = []
    for key in sorted(settings):
        text = _write(settings[key])
        if not _VALUE.fullmatch(text):
            raise VariantError(f"{method}: {key} = {settings[key]!r} cannot stand in a variant's name")
        parts.append(f"{key}={text}")
    return method + (MARK + ",".join(parts) if parts else "")


def _write(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return "+".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
