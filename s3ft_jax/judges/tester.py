"""Judges room, sandbox: the process that runs the tests. The program under test is elsewhere, behind a pipe (wire.py).

In: the test texts of an example and the pipe to the process that runs the program (candidate.py). Out: one frame with
the class of the outcome. In the tests' names the function is a proxy: arguments go out and results come back as plain
data, so no object of the program ever takes part in a comparison, and no test text reaches the program.

    assert add([1], 2) == [1, 2]        proxy sends ([1], 2), gets [1, 2]; == is evaluated here
    assert depth(root) == 3             root exists only in the program: the left side is evaluated there and sent as
                                        data, == and 3 are evaluated here
    assert twice(lambda x: x, 2) == 2   an argument has no plain form: the left side is evaluated there
    assert same(lambda x: x, f)         nothing to compare here: the whole line is run there; "weak", since a program
                                        could cheat
"""

from __future__ import annotations

import ast
import builtins
import os
import re
from collections.abc import Callable
from typing import Any

from s3ft_jax.judges import wire
from s3ft_jax.judges.candidate import MEMBERS, MODULES, standard_name


class ProgramGone(BaseException):
    """The program's process ended. Not an Exception, so that a test's ``except`` does not catch it."""


class ResultRefused(BaseException):
    """The program's answer is too long or not plain data."""


class NotPlain(BaseException):
    """A test passes an argument that cannot travel."""


class ProgramError(Exception):
    """The program raised something that is not a built-in exception."""


_FAILURE_CLASS = re.compile(r"exception\(\w{0,60}\)|memory|process_denied|network_denied|entry_missing")


def failure_of(reply: dict[str, Any]) -> dict[str, str]:
    """The class, type and words of a failure the program reports; it cannot report itself right."""
    failure = {key: str(reply.get(key, ""))[:200] for key in ("class", "type", "detail", "base")}
    if not _FAILURE_CLASS.fullmatch(failure["class"]):
        failure |= {"class": "wrong", "detail": failure["detail"] or "the program answered with something else"}
    return failure


class Channel:
    """The pipe to the program.

    Attributes:
      raised: the last exception of the program that was raised into a test, to tell it from the tests' own.
      failure: that exception's class and words.
      last: the last result, for the report.
      opaque: whether a result since ``last`` was reset had no plain form.
    """

    def __init__(self, reader: int, writer: int, result_bytes: int):
        self._reader, self._writer, self._result_bytes = reader, writer, result_bytes
        self.raised: BaseException | None = None
        self.failure: dict[str, str] = {}
        self.last: Any = None
        self.opaque = False

    def read(self) -> dict[str, Any]:
        """One frame of the program."""
        try:
            return wire.receive(self._reader, self._result_bytes)
        except EOFError:
            raise ProgramGone from None
        except OverflowError as error:
            raise ResultRefused("output", f"result too long: {error}") from None
        except wire.WireError as error:
            raise ResultRefused("wrong", f"unreadable result: {error}") from None

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one request and read its reply; an exception of the program is raised here under its built-in type."""
        try:
            wire.send(self._writer, message)
        except BrokenPipeError:
            raise ProgramGone from None
        reply = self.read()
        if "class" not in reply:
            return reply
        self.failure = failure_of(reply)
        kind = getattr(builtins, self.failure["type"], None) or getattr(builtins, self.failure["base"], None)
        known = isinstance(kind, type) and issubclass(kind, Exception)
        try:
            self.raised = kind(self.failure["detail"]) if known else ProgramError(self.failure["type"])
        except TypeError:  # UnicodeDecodeError and the like want more arguments
            self.raised = ProgramError(self.failure["type"])
        raise self.raised

    def value(self, reply: dict[str, Any]) -> Any:
        """The result in a reply."""
        try:
            self.last = wire.decode(reply.get("value"))
        except (wire.WireError, RecursionError) as error:
            raise ResultRefused("wrong", f"unreadable result: {error}") from None
        self.opaque = self.opaque or wire.holds_opaque(reply.get("value"))
        return self.last

    def proxy(self) -> Callable[..., Any]:
        """What the tests call."""

        def function(*args: Any, **kwargs: Any) -> Any:
            try:
                sent = {"op": "call", "args": wire.encode(list(args)), "kwargs": wire.encode(kwargs)}
            except (wire.WireError, RecursionError) as error:
                raise NotPlain(str(error)) from None
            reply = self.ask(sent)
            if "args" in reply:
                self._write_back(list(args) + list(kwargs.values()), reply)
            result, same = self.value(reply), reply.get("same")
            mine = args[same] if isinstance(same, int) and 0 <= same < len(args) else None
            return mine if type(mine) is type(result) else result

        return function

    def _write_back(self, arguments: list[Any], reply: dict[str, Any]) -> None:
        """Give the caller's lists, dicts and sets the contents the program left in them."""
        try:
            changed = [*wire.decode(reply["args"]), *wire.decode(reply["kwargs"]).values()]
        except (wire.WireError, RecursionError, KeyError, AttributeError, TypeError) as error:
            raise ResultRefused("wrong", f"unreadable arguments: {error}") from None
        for mine, new in zip(arguments, changed, strict=False):
            _renewed(mine, new)


def _renewed(mine: Any, new: Any) -> Any:
    """``mine`` with the contents of ``new`` where it is a container of the same type, and so are those inside it."""
    if type(mine) is not type(new):
        return new
    if isinstance(mine, list):
        mine[:] = [_renewed(*pair) for pair in zip(mine, new, strict=False)] + new[len(mine) :]
    elif isinstance(mine, dict):
        inner = {key: _renewed(mine.get(key), value) for key, value in new.items()}
        mine.clear()
        mine.update(inner)
    elif isinstance(mine, set):
        mine.clear()
        mine.update(new)
    elif isinstance(mine, bytearray):
        mine[:] = new
    else:
        return new
    return mine


class Tests:
    """The tests of one example and where each of them has to be evaluated."""

    def __init__(self, job: dict[str, Any], channel: Channel):
        self._channel = channel
        self._setup = job["setup"].replace("\r\n", "\n")
        self._names = {job["name"], job["entry"] or job["name"]}
        self.namespace: dict[str, Any] = {"__name__": "tests", **dict.fromkeys(self._names, channel.proxy())}
        self._setup_is_there = False
        if self._setup and self._unknown(ast.parse(self._setup)):
            self._set_up_there()
        elif self._setup:
            exec(compile(self._setup, "setup", "exec", dont_inherit=True), self.namespace)

    def _unknown(self, tree: ast.AST) -> set[str]:
        """Names that mean nothing on this side; standard ones are imported on the way."""
        nodes = list(ast.walk(tree))
        used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
        bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        bound |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler))}
        bound |= {(node.asname or node.name).split(".")[0] for node in nodes if isinstance(node, ast.alias)}
        unknown = used - bound - set(vars(builtins)) - set(self.namespace)
        for name in unknown & {*MODULES, *MEMBERS}:
            self.namespace[name] = standard_name(name)
        return unknown - set(self.namespace)

    def _request(self, op: str, source: str) -> dict[str, Any]:
        words = set(re.findall(r"\w+", source))
        return {"op": op, "source": source, "standard": sorted(words & {*MODULES, *MEMBERS})}

    def _set_up_there(self) -> None:
        if self._setup and not self._setup_is_there:
            self._channel.ask(self._request("run", self._setup))
            self._setup_is_there = True

    def run(self, source: str, weak: bool) -> bool:
        """Run one test.

        Args:
          source: its text.
          weak: run it in the program's process.

        Returns:
          whether it was run the weak way.
        """
        tree = ast.parse(source.strip().replace("\r\n", "\n"))
        unknown = self._unknown(tree)
        sides = self._sides(tree, unknown) if unknown else None
        if not (weak or (unknown and sides is None)):
            try:
                if sides is None:
                    exec(compile(tree, "test", "exec", dont_inherit=True), self.namespace)
                else:
                    _demand_equal(*map(self._side, sides))
                return False
            except NotPlain:  # an argument cannot travel, but perhaps the result can
                sides = sides or self._sides(tree, self._names)
                if sides is not None:
                    self._set_up_there()
                    _demand_equal(*map(self._side, sides))
                    return False
        self._set_up_there()
        self._channel.ask(self._request("run", source.strip()))
        return True

    def _sides(self, tree: ast.Module, unknown: set[str]) -> tuple[tuple[ast.expr, bool], ...] | None:
        """For ``assert a == b`` with names unknown here: each side and whether it is evaluated there."""
        if len(tree.body) != 1 or not isinstance(tree.body[0], ast.Assert):
            return None
        test = tree.body[0].test
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
            return None
        sides = (test.left, test.comparators[0])
        used = ({node.id for node in ast.walk(side) if isinstance(node, ast.Name)} for side in sides)
        there = tuple(bool(unknown & names) for names in used)
        return None if all(there) else tuple(zip(sides, there, strict=True))

    def _side(self, side: tuple[ast.expr, bool]) -> Any:
        expression, there = side
        source = ast.unparse(expression)
        if there:
            return self._channel.value(self._channel.ask(self._request("value", source)))
        return eval(source, self.namespace)


def _demand_equal(left: Any, right: Any) -> None:
    if not left == right:
        raise AssertionError


def judge(job: dict[str, Any], reader: int, writer: int) -> dict[str, Any]:
    """Run all tests of one job.

    Args:
      job: text, entry, name, head, setup, tests, weak (places of tests to run the weak way), result_bytes.
      reader: descriptor of the program's replies.
      writer: descriptor of requests to it.

    Returns:
      ``class`` (``right``, or why not), ``detail``, ``found``, ``weak`` and ``opaque``: places of tests run the weak
      way, and of the failed test whose result had no plain form.
    """
    channel = Channel(reader, writer, job["result_bytes"])
    outcome: dict[str, Any] = {"class": "sandbox_error", "detail": "", "found": "", "weak": [], "opaque": []}
    head: dict[str, Any] = {}
    place, source = -1, ""
    try:
        wire.send(writer, {key: job[key] for key in ("text", "entry", "name", "head")})
        head = channel.read()
        outcome["found"] = head["found"]
        if head["problem"]:
            return {**outcome, "class": head["problem"], "detail": head["detail"]}
        start = channel.read()
        if "class" in start:
            failure = failure_of(start)
            return {**outcome, "class": failure["class"], "detail": failure["detail"]}
        tests = Tests(job, channel)
        for place, source in enumerate(job["tests"]):
            channel.opaque, channel.raised = False, None
            if tests.run(source, place in job["weak"]):
                outcome["weak"].append(place)
        return {**outcome, "class": "right", "detail": ""}
    except (ProgramGone, BrokenPipeError):
        # Before the first frame the process was still ours: then it was the sandbox that failed.
        return {**outcome, "class": "gone" if head else "sandbox_error", "detail": "the sandboxed process ended"}
    except ResultRefused as error:
        return {**outcome, "class": error.args[0], "detail": error.args[1]}
    except SyntaxError as error:
        if error is not channel.raised:
            return {**outcome, "class": "bad_tests", "detail": f"test {place + 1} is not Python: {error}"}
        return {**outcome, **_program_failure(channel)}
    except Exception as error:
        if channel.opaque:
            outcome["opaque"] = [place]
        return {**outcome, **_explain(error, channel, place, source)}


def _explain(error: Exception, channel: Channel, place: int, source: str) -> dict[str, str]:
    if error is channel.raised:
        failure = _program_failure(channel)
        return {"class": "wrong", "detail": source[:160]} if channel.failure["type"] == "AssertionError" else failure
    if place < 0:
        return {"class": "bad_tests", "detail": f"the setup raised {type(error).__name__}: {error}"}
    got = repr(channel.last)[:80]
    cause = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: {str(error)[:80]}; "
    return {"class": "wrong", "detail": f"{cause}got {got} in {' '.join(source.split())[:160]}"}


def _program_failure(channel: Channel) -> dict[str, str]:
    return {"class": channel.failure["class"], "detail": channel.failure["detail"]}


def run(job: dict[str, Any], reader: int, writer: int, result: int) -> None:
    """``judge``, then send the outcome and leave."""
    try:
        wire.send(result, judge(job, reader, writer))
    finally:
        os._exit(0)
