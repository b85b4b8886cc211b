"""Judges room, sandbox: the process that runs a model-written program. Nothing it says is believed except plain data.

In: one frame with the response's text, then requests to call the function or to evaluate an expression. Out: a frame
for each: the result as plain data (wire.py), or what was raised. The process is confined before it starts
(confinement.py) and killed after one response.

It is never told what the tests expect: it sees arguments only. The exception is ``run``, the weak way, used only where
the tests (not the program) cannot do without objects that exist in the program alone.
"""

from __future__ import annotations

import errno
import importlib
import os
import random
import re
import sys
import types
from typing import Any

from s3ft_jax.judges import code_blocks, wire

MODULES = (
    "bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools",
    "json", "math", "operator", "random", "re", "statistics", "string", "sys", "typing",
)  # fmt: skip
MEMBERS = {
    "Counter": "collections", "OrderedDict": "collections", "defaultdict": "collections", "deque": "collections",
    "namedtuple": "collections", "Decimal": "decimal", "Fraction": "fractions", "isclose": "math",
}  # fmt: skip
"""Names that test texts use without importing them, because the reference program imported them."""

REQUEST_BYTES = 1 << 26


def standard_name(name: str) -> Any:
    """The standard library's meaning of a name in a test text.

    Raises:
      KeyError: the name is not in ``MODULES`` or ``MEMBERS``.
    """
    if name in MODULES:
        return importlib.import_module(name)
    return getattr(importlib.import_module(MEMBERS[name]), name)


def serve(reader: int, writer: int) -> None:
    """Run one program until the tester goes away.

    Args:
      reader: descriptor of requests.
      writer: descriptor of replies.
    """
    job = wire.receive(reader, REQUEST_BYTES)
    code = code_blocks.find_code(job["text"], job["entry"], job["head"])
    wire.send(writer, {"found": code.found, "problem": code.problem, "detail": code.detail})
    if code.problem:
        return
    module = types.ModuleType("candidate")
    # Data classes, pickling and typing look a class's module up by name.
    sys.modules["candidate"] = module
    random.seed(0)
    try:
        # not with this file's own __future__: annotations are evaluated in the program
        exec(compile(code.source, "candidate.py", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        wire.send(writer, _failure(error))
        return
    function = module.__dict__.get(code.function)
    if not callable(function):
        detail = f"the program defines no function {code.function}"
        wire.send(writer, {"class": "entry_missing", "type": "NameError", "detail": detail})
        return
    module.__dict__[job["name"]] = function
    wire.send(writer, {"ready": True})
    while True:
        try:
            request = wire.receive(reader, REQUEST_BYTES)
        except EOFError:
            return
        wire.send(writer, _reply(request, function, module.__dict__))


def _reply(request: dict[str, Any], function: Any, namespace: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["op"] == "call":
            return _call(request, function)
        for name in request["standard"]:
            namespace.setdefault(name, standard_name(name))
        if request["op"] == "value":
            code = compile(request["source"], "test", "eval", dont_inherit=True)
            return {"value": wire.encode(eval(code, namespace), strict=False)}
        exec(compile(request["source"], "test", "exec", dont_inherit=True), namespace)
        return {"value": None}
    except BaseException as error:
        return _failure(error)


def _call(request: dict[str, Any], function: Any) -> dict[str, Any]:
    """Call the function; arguments it changed in place go back, as they would without a process in between."""
    arguments, keywords = wire.decode(request["args"]), wire.decode(request["kwargs"])
    result = function(*arguments, **keywords)
    reply = {"value": wire.encode(result, strict=False)}
    for place, argument in enumerate(arguments):
        if argument is result and isinstance(result, (list, dict, set, bytearray)):
            reply["same"] = place  # so that "is" and later changes mean what they mean without a process in between
    after = [wire.encode(arguments, strict=False), wire.encode(keywords, strict=False)]
    if after != [request["args"], request["kwargs"]]:
        reply["args"], reply["kwargs"] = after
    return reply


def _failure(error: BaseException) -> dict[str, str]:
    """What was raised, in plain text; nothing of the object itself is trusted to work."""
    name = re.sub(r"\W", "", type(error).__name__)[:60]
    try:
        detail = str(error)[:200]
    except BaseException:
        detail = ""
    bases = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return {"class": _failure_class(error, name, detail), "type": name, "detail": detail, "base": next(bases)}


def _failure_class(error: BaseException, name: str, detail: str) -> str:
    # CPython 3.11 and 3.12 set no exception where a frame finds no room (push_chunk in Python/pystate.c) and say this.
    if isinstance(error, MemoryError) or (name, detail) == ("SystemError", "error return without exception set"):
        return "memory"
    cause: BaseException | None = error
    for _ in range(8):
        if isinstance(cause, OSError) and (cause.errno == errno.EAFNOSUPPORT or type(cause).__name__ == "gaierror"):
            return "network_denied"
        if isinstance(cause, OSError) and cause.errno == errno.EPERM:
            return "process_denied"
        cause = cause.__cause__ or cause.__context__ if cause is not None else None
    return f"exception({name})"


def run(reader: int, writer: int) -> None:
    """``serve``, then leave at once: no exit handler or thread of the program gets a turn."""
    try:
        serve(reader, writer)
    finally:
        os._exit(0)
