"""The tester's side of the pipe: scripted programs answer it, so that every frame it gets and sends is known."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from s3ft_jax.judges import tester, wire

HEAD = {"found": "def f(x)", "problem": "", "detail": ""}
READY = {"ready": True}


class Script:
    """A program that is nothing but the frames it has already answered.

    Attributes:
      reader, writer: the tester's ends of the pipes.
    """

    def __init__(self, *frames: dict[str, Any] | bytes):
        self.reader, answering = os.pipe()
        self._asked, self.writer = os.pipe()
        for frame in frames:
            if isinstance(frame, bytes):
                os.write(answering, struct.pack("!I", len(frame)) + frame)
            else:
                wire.send(answering, frame)
        os.close(answering)

    def asked(self) -> list[dict[str, Any]]:
        """Every frame the tester has sent; closes the pipes."""
        os.close(self.writer)
        found = []
        try:
            while True:
                found.append(wire.receive(self._asked, 1 << 20))
        except EOFError:
            return found
        finally:
            os.close(self._asked)
            os.close(self.reader)


def judge(frames: list[Any], tests: list[str], **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(outcome, what the program was asked after its text) for a program that answers ``frames``."""
    job = {
        "text": "the text",
        "entry": "f",
        "name": "f",
        "setup": "",
        "head": "",
        "tests": tests,
        "weak": [],
        "result_bytes": 4000,
    }
    job |= changes
    script = Script(HEAD, READY, *frames)
    outcome = tester.judge(job, script.reader, script.writer)
    first, *asked = script.asked()
    assert first == {key: job[key] for key in ("text", "entry", "name", "head")}  # never the tests
    return outcome, asked


def value(result: Any) -> dict[str, Any]:
    return {"value": wire.encode(result)}


def failure(kind: str, name: str, detail: str = "", base: str = "") -> dict[str, str]:
    return {"class": kind, "type": name, "detail": detail, "base": base}


@pytest.fixture
def channel() -> Iterator[Any]:
    """frames -> a Channel on a program that answers them."""
    scripts: list[Script] = []

    def open_channel(*frames: dict[str, Any] | bytes) -> tester.Channel:
        scripts.append(Script(*frames))
        return tester.Channel(scripts[-1].reader, scripts[-1].writer, 200)

    yield open_channel
    for script in scripts:
        script.asked()


def test_results_are_compared_here_and_the_program_sees_arguments_only():
    outcome, asked = judge([value(4), value(9)], ["assert f(2) == 4", "assert f(x=3) == 9"])
    assert outcome == {"class": "right", "detail": "", "found": "def f(x)", "weak": [], "opaque": []}
    assert asked == [
        {"op": "call", "args": [2], "kwargs": {"dict": []}},
        {"op": "call", "args": [], "kwargs": {"dict": [["x", 3]]}},
    ]


def test_the_first_test_that_fails_ends_it_and_says_what_it_got():
    outcome, asked = judge([value(4), value(8)], ["assert f(2) == 4", "assert f(3)\\\n == 9", "assert f(4) == 16"])
    assert (outcome["class"], outcome["detail"]) == ("wrong", "got 8 in assert f(3)\\ == 9")
    assert len(asked) == 2
    outcome, _ = judge([value(None)], ["assert f(1) < 2"])
    assert outcome["detail"].startswith("TypeError: '<' not supported") and "got None in" in outcome["detail"]


def test_both_names_are_the_function_and_standard_ones_are_imported():
    tests = ["assert candidate(1) == f(1) == math.floor(7.5)", "assert candidate('a') == Counter('a')"]
    outcome, asked = judge([value(7), value(7), value({"a": 1})], tests, name="candidate")
    assert outcome["class"] == "right"
    assert [request["op"] for request in asked] == ["call"] * 3


def test_a_side_with_a_name_of_the_program_is_evaluated_there():
    outcome, (request,) = judge([value(3)], ["assert f(root) == 1 + 2"])
    assert outcome["class"] == "right" and outcome["weak"] == []
    assert request == {"op": "value", "source": "f(root)", "standard": []}
    assert judge([value(4)], ["assert f(root) == 1 + 2"])[0]["class"] == "wrong"


def test_an_argument_that_cannot_travel_and_a_result_that_can():
    """The left side is evaluated there, the comparison is made here: an object that equals everything is nothing."""
    test = "assert f(lambda n: n, 1) == 1 + 2"
    outcome, (request,) = judge([value(3)], [test])
    assert (outcome["class"], outcome["weak"]) == ("right", [])
    assert request == {"op": "value", "source": "f(lambda n: n, 1)", "standard": []}
    opaque = {"value": {"opaque": ["Anything", True]}}
    assert judge([opaque], [test])[0]["class"] == "wrong"


def test_an_argument_that_comes_back_is_the_same_object():
    tests = ["a = [1]\nb = f(a)\nassert b is a and a == [1, 2]\nassert f(1) == 1\nassert f([1]) == [3]"]
    changed = {"value": [1, 2], "args": [[1, 2]], "kwargs": {"dict": []}, "same": 0}
    lies = {"value": 1, "same": 7}, {"value": [3], "same": "x"}
    assert judge([changed, *lies], tests)[0]["class"] == "right"
    inner = {"value": None, "args": [[[0, 2], [3]]], "kwargs": {"dict": []}}
    tests = ["row = [1, 2]\nm = [row]\nf(m)\nassert m == [[0, 2], [3]] and row == [0, 2]"]
    assert judge([inner], tests)[0]["class"] == "right"


@pytest.mark.parametrize(
    "test",
    [
        "assert f(lambda n: n, 1)",
        "assert f(root) == other",
        "assert f(root)",
        "x = root",
        "assert f(lambda n: n) == f(2)",
    ],
)
def test_what_cannot_be_split_runs_there_and_is_marked_weak(test):
    outcome, (request,) = judge([value(None)], [test])
    assert (outcome["class"], outcome["weak"]) == ("right", [0])
    assert request == {"op": "run", "source": test, "standard": []}
    assert judge([failure("exception(AssertionError)", "AssertionError")], [test])[0]["class"] == "wrong"


def test_a_test_may_be_named_weak():
    outcome, asked = judge([value(1), value(None)], ["assert f(1)", "assert math.floor(f(2))"], weak=[1])
    assert outcome["weak"] == [1]
    assert asked[1] == {"op": "run", "source": "assert math.floor(f(2))", "standard": ["math"]}


def test_setup_runs_here_unless_it_needs_the_program():
    outcome, asked = judge([value(11)], ["assert f(BASE) == BASE + 1"], setup="BASE = 10")
    assert outcome["class"] == "right" and asked[0]["args"] == [10]
    outcome, asked = judge([value(None), value(2)], ["assert f(root) == 2"], setup="root = Node(1)")
    assert outcome["class"] == "right"
    assert [request["source"] for request in asked] == ["root = Node(1)", "f(root)"]
    # A weak test finds the setup there too, and once only.
    outcome, asked = judge([value(None)] * 3, ["f(lambda: B)", "f(lambda: B)"], setup="B = 1")
    assert [request["source"] for request in asked] == ["B = 1", "f(lambda: B)", "f(lambda: B)"]


def test_tests_that_are_at_fault_are_not_held_against_the_program():
    outcome, _ = judge([value(1)], ["assert f(1)", "assert f(1) =="])
    assert outcome["class"] == "bad_tests" and outcome["detail"].startswith("test 2 is not Python")
    outcome, _ = judge([], ["assert f(1)"], setup="1 / 0")
    assert outcome["class"] == "bad_tests"
    assert outcome["detail"] == "the setup raised ZeroDivisionError: division by zero"
    # A SyntaxError that the program raises is the program's own.
    outcome, _ = judge([failure("exception(SyntaxError)", "SyntaxError", "eval")], ["assert f(1)"])
    assert (outcome["class"], outcome["detail"]) == ("exception(SyntaxError)", "eval")


def test_a_program_cannot_report_itself_right():
    for kind in ("right", "bad_tests", "sandbox_error", "exception(x) right", "memory\n", "gone"):
        assert tester.failure_of(failure(kind, "X"))["class"] == "wrong"
        assert judge([failure(kind, "X")], ["assert f(1)"])[0]["class"] == "wrong"
    for kind in ("exception(KeyError)", "memory", "process_denied", "network_denied", "entry_missing"):
        assert tester.failure_of(failure(kind, "X"))["class"] == kind
    found = tester.failure_of({"class": ["right"], "detail": "x" * 999})
    assert found == {"class": "wrong", "type": "", "detail": "x" * 200, "base": ""}
    assert tester.failure_of({"class": "right"})["detail"] == "the program answered with something else"


def test_before_the_first_frame_the_sandbox_failed_and_after_it_the_program():
    job = {
        "text": "",
        "entry": "f",
        "name": "f",
        "setup": "",
        "head": "",
        "tests": ["f(1)"],
        "weak": [],
        "result_bytes": 999,
    }
    for frames, expected in [((), "sandbox_error"), ((HEAD,), "gone"), ((HEAD, READY), "gone")]:
        script = Script(*frames)
        assert tester.judge(job, script.reader, script.writer)["class"] == expected
        script.asked()
    script = Script({"found": "", "problem": "no_code", "detail": "prose"})
    outcome = tester.judge(job, script.reader, script.writer)
    assert (outcome["class"], outcome["detail"]) == ("no_code", "prose")
    script.asked()


def test_a_program_that_ends_is_not_caught_by_a_test():
    outcome, _ = judge([], ["try:\n  f(1)\nexcept Exception:\n  pass"])
    assert outcome["class"] == "gone"
    outcome, _ = judge([{"value": "x" * 5000}], ["try:\n  f(1)\nexcept Exception:\n  pass"])
    assert outcome["class"] == "output" and "5012 bytes are more than 4000" in outcome["detail"]


@pytest.mark.parametrize("frame", [b"{{{", b"[1]", {"value": {"eval": "1"}}, {"value": {"opaque": []}}])
def test_unreadable_results_are_wrong_even_if_the_test_catches_all(frame):
    outcome, _ = judge([frame], ["try:\n  f(1)\nexcept Exception:\n  pass"])
    assert outcome["class"] == "wrong" and outcome["detail"].startswith("unreadable result: ")


def test_the_place_of_a_failed_test_with_an_opaque_result_is_told():
    opaque = {"value": {"opaque": ["E", True]}}
    outcome, _ = judge([value(1), opaque], ["assert f(1) == 1", "assert f(1) == 2"])
    assert (outcome["class"], outcome["opaque"]) == ("wrong", [1])
    assert "got <E object>" in outcome["detail"]
    outcome, _ = judge([opaque, value(1)], ["assert f(1)", "assert f(1) == 2"])
    assert (outcome["class"], outcome["opaque"]) == ("wrong", [])


def test_exceptions_come_under_their_built_in_type(channel):
    for name, base, kind in [
        ("ValueError", "ValueError", ValueError),
        ("KeyError", "KeyError", KeyError),
        ("Own", "Exception", Exception),
        ("OwnValueError", "ValueError", ValueError),
        ("Own", "", tester.ProgramError),
        ("SystemExit", "SystemExit", tester.ProgramError),  # would end the tester
        ("UnicodeDecodeError", "UnicodeDecodeError", tester.ProgramError),  # wants more arguments
        ("print", "print", tester.ProgramError),
    ]:
        link = channel(failure(f"exception({name})", name, "why", base))
        with pytest.raises(Exception) as caught:
            link.ask({"op": "call"})
        assert type(caught.value) is kind and link.raised is caught.value
        assert link.failure == failure(f"exception({name})", name, "why", base)


def test_changed_arguments_are_written_back_where_the_type_is_the_same(channel):
    changed = {"value": None, "args": wire.encode([[3], {1: 2}, {5}, (9,), "new"]), "kwargs": wire.encode({"k": [7]})}
    mine: tuple[Any, ...] = ([1], {}, set(), [8], "old")
    keyword: list[int] = []
    assert channel(changed).proxy()(*mine, k=keyword) is None
    assert mine == ([3], {1: 2}, {5}, [8], "old") and keyword == [7]
    for args in ({"eval": 1}, [{"eval": 1}], 5):
        with pytest.raises(tester.ResultRefused) as caught:
            channel({**changed, "args": args}).proxy()([1], k=[])
        assert caught.value.args[0] == "wrong"


def test_an_argument_without_plain_form_is_never_sent():
    script = Script()
    link = tester.Channel(script.reader, script.writer, 200)
    loop: list[Any] = []
    loop.append(loop)
    for argument in (lambda: 0, object(), loop):
        with pytest.raises(tester.NotPlain):
            link.proxy()(argument)
    assert script.asked() == []
    assert not issubclass(tester.NotPlain, Exception) and not issubclass(tester.ResultRefused, Exception)
