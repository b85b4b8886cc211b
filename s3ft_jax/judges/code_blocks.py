"""Judges room, sandbox: the program in a response. Runs inside the sandbox, since parsing hostile text costs memory.

In: the text of a response and the name of the function wanted. Out: a ``Code``: the source to run, the function to
call, or why there is none.

Tried in this order: the last fenced block that defines the function, the last fenced block, the last text between
``[BEGIN]`` and ``[DONE]`` (or ``[[BEGIN]]`` and ``[[DONE]]``, as MBPP-style prompts ask for), the whole text if it
parses and defines a function.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import textwrap
import warnings

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)
_MARKS = re.compile(r"\[BEGIN\]\]?(.*?)(?:\[?\[DONE\]|\Z)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Code:
    """What was read out of a response.

    Attributes:
      source: Python text; "" if there is none.
      function: name of the function to call; "" if none was asked for and none is defined.
      found: the function's head, for people, e.g. ``def add(a, b)``.
      problem: "" or the class of the failure: ``no_code``, ``syntax`` or ``entry_missing``.
      detail: the problem in words.
    """

    source: str
    function: str
    found: str
    problem: str = ""
    detail: str = ""


def find_code(text: str, entry: str | None) -> Code:
    """Read the program out of a response.

    Args:
      text: the response.
      entry: the function the tests call, or None for the last function defined.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    blocks = [match.group(2) for match in _FENCE.finditer(text)]
    defining = [block for block in blocks if _mentions_definition(block, entry)]
    marked = [match.group(1) for match in _MARKS.finditer(text)]
    for choices in (defining, blocks, marked):
        if choices:
            return _read(choices[-1], entry)
    whole = _read(text, entry)
    if whole.problem == "syntax" and not _mentions_definition(text, entry):
        return Code("", "", "", "no_code", "no code block, and the text is not Python")
    if not whole.problem and not whole.found:
        return Code("", "", "", "no_code", "the text defines no function")
    return whole


def _mentions_definition(block: str, entry: str | None) -> bool:
    name = re.escape(entry) if entry else r"\w+"
    definition = rf"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b|^{name}[ \t]*="
    return re.search(definition, block, re.MULTILINE) is not None


def _read(source: str, entry: str | None) -> Code:
    """Parse one source and name its function."""
    try:
        source, tree = _parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        detail = f"{getattr(error, 'msg', None) or error}" + (f" in line {line}" if line else "")
        return Code(source, entry or "", "", "syntax", detail)
    heads = _definitions(tree)
    if entry is None and not heads:
        return Code(source, "", "", "entry_missing", "no function is defined")
    function = entry if entry is not None else list(heads)[-1]
    return Code(source, function, heads.get(function, "; ".join(heads.values())))


def _parse(source: str) -> tuple[str, ast.Module]:
    """Parse, once more without common indentation if that was the trouble."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return source, ast.parse(source)
        except IndentationError:
            source = textwrap.dedent(source).strip("\n")
            return source, ast.parse(source)


def _definitions(tree: ast.Module) -> dict[str, str]:
    """Functions at the top level and their heads, in the order of their last definition."""
    heads: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            heads.pop(node.name, None)
            heads[node.name] = f"def {node.name}({ast.unparse(node.args)})"
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    heads.pop(target.id, None)
                    heads[target.id] = f"{target.id} = lambda {ast.unparse(node.value.args)}"
    return heads
