"""JSON that says whether it is what was written: a seal inside, sha256 over the rest. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "seal"


class Damaged(ValueError):
    """A sealed file holds other bytes than were written; the message names it."""


def sealed(values: Mapping[str, Any]) -> bytes:
    """As JSON text, with its seal."""
    values = {name: value for name, value in values.items() if name != KEY}
    return json.dumps(values | {KEY: seal_of(values)}, indent=1).encode()


def opened(data: bytes, path: object) -> dict[str, Any]:
    """The values without the seal; a file from before there were seals is taken as it is.

    Raises:
      Damaged: not JSON, no object, or the seal is broken.
    """
    try:
        values = json.loads(data)
        seal = values.pop(KEY, None)
    except (ValueError, AttributeError, TypeError) as error:
        raise Damaged(f"{path}: damaged: {error}") from None
    if seal is not None and seal != seal_of(values):
        raise Damaged(f"{path}: damaged: its seal is broken")
    return values


def seal_of(values: Mapping[str, Any]) -> str:
    """sha256 in hex over values as JSON, in the order of their names."""
    plain = json.loads(json.dumps(values))  # what is compared has been through JSON
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
