"""Judges room, sandbox: the program in a response. Runs inside the sandbox, since parsing hostile text costs memory.

In: the text of a response and the name of the function wanted. Out: a ``Code``: the source to run, the function to
call, or why there is none.

Tried in this order: the last fenced block that defines the function, with what it uses out of the blocks before it; the
same of the texts between ``[BEGIN]`` and ``[DONE]`` (or ``[[BEGIN]]`` and ``[[DONE]]``, as MBPP-style prompts ask for);
the last block or text; the whole text if it parses and defines a function; the program among the prose. Where the
response continues a head (HumanEval), a response without the function is taken as its body.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import textwrap
import warnings

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^\n`]*\n(.*?)(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)
_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[^\n]*", re.MULTILINE)
_BEGINS_CODE = re.compile(r"(?:async[ \t]+)?def[ \t]|class[ \t]|@\w|import[ \t]|from[ \t]+[\w.]+[ \t]+import\b")
NO_CODE = (SyntaxError, ValueError, RecursionError, MemoryError)
"""What Python's parser raises for text that is no program, or one nested too deeply to read."""
MAX_STARTS, MAX_ENDS = 5, 30
"""Lines tried as the first, and for each as the last, of a program among prose."""
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


def find_code(text: str, entry: str | None, head: str = "") -> Code:
    """Read the program out of a response.

    Args:
      text: the response.
      entry: the function the tests call, or None for the last function defined.
      head: what the response continues; a response without the function itself is its body.
    """
    text, head = (part.replace("\r\n", "\n").replace("\r", "\n") for part in (text, head))
    blocks = [match.group(2) for match in _FENCE.finditer(text)]
    marked = [match.group(1) for match in _MARKS.finditer(text)]
    if head and not any(_mentions_definition(part, entry) for part in (*blocks, text)):
        return _read(head.rstrip() + "\n" + _body(blocks[-1] if blocks else text), entry)
    code = _choose(text, entry, blocks, marked)
    return _after(_complete(head), code) if head else code


def _choose(text: str, entry: str | None, blocks: list[str], marked: list[str]) -> Code:
    for choices in (blocks, marked):
        defining = [choice for choice in choices if _mentions_definition(choice, entry)]
        if defining:
            return _with_helpers(_read(defining[-1], entry), choices[: choices.index(defining[-1])])
    for choices in (blocks, marked):
        if choices:
            return _read(choices[-1], entry)
    whole = _read(text, entry)
    if whole.problem == "syntax":
        whole = _among_prose(text, entry) or whole
    if whole.problem == "syntax" and not _mentions_definition(text, entry):
        return Code("", "", "", "no_code", "no code block, and the text is not Python")
    if not whole.problem and not whole.found:
        return Code("", "", "", "no_code", "the text defines no function")
    return whole


def _body(text: str) -> str:
    """A function's body: indented, and without what follows at the margin (HumanEval's stop words stand there)."""
    lines = text.strip("\n").splitlines() or [""]
    if not lines[0].startswith((" ", "\t")):
        # either only the text's own beginning was stripped, or the whole body stands at the margin
        first_only = ["    " + lines[0], *lines[1:]]
        inside = all(line.startswith((" ", "\t")) for line in first_only if line.strip())
        inside = inside and _parses("def f():\n" + "\n".join(first_only))
        lines = first_only if inside else ["    " + line for line in lines]
    end = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith((" ", "\t"))), len(lines))
    return "\n".join(lines[:end]) + "\n"


def _parses(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(source)
        except NO_CODE:
            return False
    return True


def _complete(head: str) -> str:
    """A head that parses by itself: with its docstring as body, or with a body that does nothing; else none of it."""
    return next(filter(_parses, (head + "\n", head.rstrip() + "\n    pass\n")), "")


def _with_helpers(code: Code, before: list[str]) -> Code:
    """With what the program uses and only an earlier block defines: functions, classes, imports, constants."""
    if code.problem or not before:
        return code
    held: dict[str, ast.stmt] = {}
    for block in before:
        try:
            held |= {name: node for node in _parse(block)[1].body for name in _bound(node)}
        except NO_CODE:
            continue
    tree = _parse(code.source)[1]
    here = {name for node in tree.body for name in _bound(node)}
    wanted, added = [tree], {}
    while wanted:
        names = {node.id for node in ast.walk(wanted.pop()) if isinstance(node, ast.Name)}
        fresh = {name: held[name] for name in sorted(names & held.keys() - here - added.keys())}
        added |= fresh
        wanted += fresh.values()
    nodes = sorted({id(node): node for node in added.values()}.values(), key=list(held.values()).index)
    try:
        helpers = "".join(ast.unparse(node) + "\n" for node in nodes)
    except (RecursionError, MemoryError):
        return code
    return _after(helpers, code)


def _after(before: str, code: Code) -> Code:
    """The program behind other text; what it asks of __future__ must stay first."""
    first = "".join(f"{line}\n" for line in _FUTURE.findall(code.source))
    return dataclasses.replace(code, source=first + before + _FUTURE.sub("", code.source))


def _bound(node: ast.stmt) -> list[str]:
    """Names that a statement of the top level defines; of calls and loops none, so that examples are not run."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign) and not any(isinstance(part, ast.Call) for part in ast.walk(node.value)):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _among_prose(text: str, entry: str | None) -> Code | None:
    """The longest program from a line that begins a definition or an import on, up to where the prose goes on."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if _BEGINS_CODE.match(line)][:MAX_STARTS]
    for start in starts:
        ends = [
            end for end in range(len(lines), start, -1) if end == len(lines) or not lines[end].startswith((" ", "\t"))
        ]
        for end in ends[:MAX_ENDS]:
            block = "\n".join(lines[start:end]) + "\n"
            code = _read(block, entry) if _mentions_definition(block, entry) else None
            if code is not None and not code.problem:
                return code
    return None


def _mentions_definition(block: str, entry: str | None) -> bool:
    name = re.escape(entry) if entry else r"\w+"
    defined = rf"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+{name}\b"
    # "median = median([3, 1, 2])" shows how to call it
    assigned = rf"^{name}[ \t]*=(?!=)(?:[ \t]*lambda\b|(?![^\n]*\b{name}[ \t]*\())"
    return re.search(f"{defined}|{assigned}", block, re.MULTILINE) is not None


def _read(source: str, entry: str | None) -> Code:
    """Parse one source and name its function."""
    try:
        source, tree = _parse(source)
    except NO_CODE as error:
        line = getattr(error, "lineno", None)
        detail = (getattr(error, "msg", None) or str(error) or "nested too deeply") + (
            f" in line {line}" if line else ""
        )
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
