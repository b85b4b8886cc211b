"""Settings: read a configs/*.py file, apply ``--config.a.b=c``, and reject what no stage reads.

In: ``configs/quickstart.py:task=reading,seeds=5`` and overrides. Out: a locked ml_collections ConfigDict. An unknown
key, or a value of the wrong type, is an error that names the nearest key.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from s3ft_jax.bounds import find_outside
from s3ft_jax.changes import flatten


class ConfigError(ValueError):
    """A config file, argument or override cannot be used; the message names it, the cause and the fix."""


def parse_arg(arg: str, **defaults: Any) -> ConfigDict:
    """Parse the part after the colon of ``configs/x.py:a=1,b=two``.

    Args:
      arg: comma-separated ``name=value``; a comma inside of brackets belongs to the value.
      **defaults: the names this config knows, with their default values; a value takes the type of its default.

    Returns:
      A ConfigDict with every name.

    Raises:
      ConfigError: unknown name (the nearest is suggested), or a value that is not of the default's type.
    """
    values = dict(defaults)
    for part in filter(None, (piece.strip() for piece in _pieces(arg))):
        name, equals, text = part.partition("=")
        if not equals:
            raise ConfigError(f"config argument {part!r}: expected name=value; known names: {sorted(defaults)}")
        if name not in defaults:
            raise ConfigError(f"config argument {name!r} is not known{nearest(name, defaults)}")
        values[name] = convert(text, defaults[name], f"config argument {name}")
    return ConfigDict(values)


def _pieces(arg: str) -> list[str]:
    """``judge=first(numbers, model),steps=9`` -> ``judge=first(numbers, model)``, ``steps=9``"""
    found, depth = [""], 0
    for letter in arg:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            found.append("")
        else:
            found[-1] += letter
    return found


def nearest(name: str, known: Any) -> str:
    """``; did you mean 'x'?`` or the list of what is known."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def convert(text: str, default: Any, where: str) -> Any:
    """Text of the command line -> a value of the default's type.

    Raises:
      ConfigError: names ``where``, the text and the type wanted.
    """
    wanted = type(default).__name__
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if isinstance(default, (int, float)):
            return type(default)(text)
        if isinstance(default, (tuple, list)):
            return _sequence(text, default)
        if isinstance(default, (Mapping, ConfigDict)):
            value = ast.literal_eval(text)
            if isinstance(value, Mapping):
                return dict(value)
            raise ValueError
    except (ValueError, KeyError, SyntaxError):
        raise ConfigError(f"{where}: {text!r} is not of type {wanted} (default {default!r})") from None
    return text


def _sequence(text: str, default: Sequence[Any]) -> tuple[Any, ...]:
    """``(1, 2)``, ``[1, 2]``, ``1,2`` or ``a,b`` -> a tuple; one word is a tuple of one."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = tuple(piece.strip() for piece in text.strip("()[] ").split(",") if piece.strip())
    value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if default and not all(isinstance(entry, type(default[0])) for entry in value):
        raise ValueError
    return value


def load_config(spec: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """Build the config of one run.

    Args:
      spec: ``path/to/file.py`` or ``path/to/file.py:argument``.
      overrides: ``train.learning_rate=1e-5``, in order.

    Returns:
      The locked config.

    Raises:
      ConfigError: no such file, no ``get_config`` in it, unknown key, wrong type, a value that cannot be (``bounds``).
    """
    path, _, arg = spec.partition(":")
    module = _load_file(path)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"--config={path}: the file has no function get_config(arg)")
    config = module.get_config(arg)
    for override in overrides:
        apply_override(config, override)
    outside = find_outside(flatten(config.to_dict()))
    if outside:
        raise ConfigError(outside)
    return config.lock()


def _load_file(path: str) -> Any:
    file = pathlib.Path(path).resolve()
    if not file.is_file():
        found = sorted(str(p) for p in pathlib.Path("configs").glob("*.py")) if pathlib.Path("configs").is_dir() else []
        raise ConfigError(f"--config={path}: no such file" + (nearest(path, found) if found else ""))
    # config files say `from configs.defaults import defaults`: found beside the file, or beside this package
    for root in (pathlib.Path(__file__).resolve().parents[1], file.parent, file.parent.parent):
        if str(root) not in sys.path:
            sys.path.append(str(root))
    module_spec = importlib.util.spec_from_file_location(f"s3ft_config_{file.stem}", file)
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"--config={path}: {type(error).__name__}: {error}") from error
    return module


OPEN = ("task.columns", "task.splits", "replay.columns", "replay.splits", "compare.variants")
"""Settings whose keys are the user's own; their values are texts."""
PER_METHOD = "train.per_method"
LENGTHS = ("num_steps", "num_epochs")
"""Of ``train``: two ways to say how long a run is."""


def apply_override(config: ConfigDict, override: str) -> None:
    """Apply one ``a.b=c`` in place.

    ``train.num_steps=7`` also takes the place of every ``train.per_method.METHOD.num_steps`` given before it, and so
    do ``train.num_steps`` and ``train.num_epochs`` of each other.
    ``task.columns.question=query`` and ``train.per_method.sft.learning_rate=3e-4`` add keys of the user's own.

    Raises:
      ConfigError: no ``=``, unknown key (the nearest is suggested), wrong type.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--config.{override}: expected --config.key=value")
    parent, _, last = key.rpartition(".")
    known = flatten(config.to_dict())
    if parent in OPEN:
        node, default = _node(config, parent, known), ""
    elif parent.startswith(f"{PER_METHOD}.") and parent.count(".") == 2:
        node, default = _method_node(config, parent, last, known)
    else:
        node = _node(config, parent, known, key)
        if last not in node:
            raise ConfigError(f"--config.{key} is not a setting{nearest(key, known)}")
        default = node[last]
    value = convert(text, default, f"--config.{key}")
    with node.unlocked():
        node[last] = ConfigDict(value) if isinstance(default, ConfigDict) else value
    if parent == "train":
        _drop_per_method(config, last)
        if last in LENGTHS:
            _drop_other_length(config, last)


def _drop_per_method(config: ConfigDict, name: str) -> None:
    """What is set for all methods on the command line holds for all, also where the file chose per method."""
    for own in config.train.get("per_method", {}).values():
        if name in own:
            with own.unlocked():
                del own[name]


def _drop_other_length(config: ConfigDict, name: str) -> None:
    """Steps on the command line take the place of epochs in the file, and the other way round."""
    (other,) = (length for length in LENGTHS if length != name)
    _drop_per_method(config, other)
    if other == "num_epochs" and other in config.train:
        config.train[other] = 0.0


def _node(config: ConfigDict, path: str, known: Mapping[str, Any], key: str = "") -> ConfigDict:
    """The section at ``path``; ConfigError naming ``key`` if there is none."""
    node = config
    for name in filter(None, path.split(".")):
        if not isinstance(node, ConfigDict) or name not in node or not isinstance(node[name], ConfigDict):
            raise ConfigError(f"--config.{key or path} is not a setting{nearest(key or path, known)}")
        node = node[name]
    return node


def _method_node(config: ConfigDict, path: str, last: str, known: Mapping[str, Any]) -> tuple[ConfigDict, Any]:
    """The section ``train.per_method.METHOD``, made if absent, and the shared setting whose type it takes."""
    method = path.rpartition(".")[2]
    if last not in config.train:
        raise ConfigError(f"--config.{path}.{last} is not a setting of train{nearest(f'train.{last}', known)}")
    methods = config.train.per_method
    with config.train.unlocked(), methods.unlocked():
        if method not in methods:
            methods[method] = ConfigDict()
    return methods[method], config.train[last]
