"""The candidate's side of the pipe: frames in, frames out; all requests are written first, then it serves them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from typing import Any

import pytest

from s3ft_jax.judges import candidate, wire


@pytest.fixture
def talk(monkeypatch):
    """(text, *requests, entry, name) -> every frame the candidate answers until its requests end."""
    monkeypatch.setitem(sys.modules, "candidate", None)
    state = random.getstate()

    def run(text: str, *requests: dict[str, Any], entry: str | None = "f", name: str = "f") -> list[dict[str, Any]]:
        reader, requesting = os.pipe()
        replying, writer = os.pipe()
        with os.fdopen(reader, "rb"), os.fdopen(replying, "rb"):
            for message in ({"text": text, "entry": entry, "name": name, "head": ""}, *requests):
                wire.send(requesting, message)
            os.close(requesting)
            try:
                candidate.serve(reader, writer)
            finally:
                os.close(writer)
            replies = []
            while True:
                try:
                    replies.append(wire.receive(replying, 1 << 20))
                except EOFError:
                    return replies

    yield run
    random.setstate(state)


def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": "call", "args": wire.encode(list(args)), "kwargs": wire.encode(kwargs)}


def raised(code: str) -> str:
    return f"import errno\ndef f():\n{code}"


def test_a_program_is_found_made_ready_and_called(talk):
    head, ready, first, second = talk("```python\ndef f(x): return (x, x * x)\n```", call(2), call(x=3))
    assert head == {"found": "def f(x)", "problem": "", "detail": ""}
    assert ready == {"ready": True}
    assert [wire.decode(reply["value"]) for reply in (first, second)] == [(2, 4), (3, 9)]
    assert "args" not in first  # nothing was changed in place


def test_without_a_function_it_says_why_and_reads_no_request(talk):
    (head,) = talk("I cannot help with that.", call(1))
    assert (head["problem"], head["found"]) == ("no_code", "")
    (head,) = talk("def f(x) return x", call(1))
    assert head["problem"] == "syntax" and head["detail"].endswith("in line 1")
    for text in ("def g(x): return x", "def g(x): return x\nf = 3"):
        _, missing = talk(text, call(1))
        assert missing == {
            "class": "entry_missing",
            "type": "NameError",
            "detail": "the program defines no function f",
        }
    _, failure = talk("def f(x): return x\nraise ValueError('on load')", call(1))
    assert failure == {
        "class": "exception(ValueError)",
        "type": "ValueError",
        "detail": "on load",
        "base": "ValueError",
    }


def test_the_function_is_called_by_the_tests_name_too(talk):
    text = "def helper(x): return x\ndef square(x): return helper(x) * x"
    request = {"op": "value", "source": "[candidate(3), square(4)]", "standard": []}
    replies = talk(text, request, entry=None, name="candidate")
    assert replies[0]["found"] == "def square(x)"
    assert replies[2] == {"value": [9, 16]}


def test_arguments_changed_in_place_go_back(talk):
    text = "def f(v, d, other=None):\n  v.sort(); d.clear()\n  if other is not None: other.append(1)"
    first, second = talk(text, call([2, 1], {1: 2}), call([1], {}, other=[]))[2:]
    assert first["value"] is None
    assert wire.decode(first["args"]) == [[1, 2], {}] and wire.decode(first["kwargs"]) == {}
    assert wire.decode(second["kwargs"]) == {"other": [1]}


def test_results_leave_as_plain_data_only(talk):
    always = "class E:\n  def __eq__(self, o): return True\nclass L(list):\n  def __eq__(self, o): return True\n"
    reply, plain, cycle = talk(
        always + "def f(n):\n  a = []\n  a.append(a)\n  return [E(), L([1]), a][n]", call(0), call(1), call(2)
    )[2:]
    assert reply == {"value": {"opaque": ["E", True]}}
    assert plain == {"value": [1]}
    assert cycle["class"] == "exception(WireError)" and "contains itself" in cycle["detail"]


@pytest.mark.parametrize("form", [{"eval": "1"}, {"type": "object"}, {"a": 1, "b": 2}, {"opaque": []}])
def test_arguments_that_are_no_plain_data_are_refused_and_it_serves_on(talk, form):
    refused, served = talk("def f(x): return x", {"op": "call", "args": [form], "kwargs": {"dict": []}}, call(5))[2:]
    assert (refused["class"], refused["type"]) == ("exception(WireError)", "WireError")
    assert "unreadable value" in refused["detail"]
    assert served == {"value": 5}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("  raise KeyError('k')", "exception(KeyError)"),
        ("  raise MemoryError", "memory"),
        ("  raise SystemError('error return without exception set')", "memory"),
        ("  raise SystemError('another')", "exception(SystemError)"),
        ("  raise OSError(errno.EPERM, 'no')", "process_denied"),
        ("  raise OSError(errno.EACCES, 'no')", "exception(PermissionError)"),
        ("  raise OSError(errno.EAFNOSUPPORT, 'no')", "network_denied"),
        ("  try: raise OSError(errno.EAFNOSUPPORT, 'no')\n  except OSError as e: raise RuntimeError from e",
         "network_denied"),
        ("  try: raise OSError(errno.EPERM, 'no')\n  finally: raise RuntimeError", "process_denied"),
        ("  raise SystemExit(0)", "exception(SystemExit)"),
        ("  raise KeyboardInterrupt", "exception(KeyboardInterrupt)"),
        ("  raise type('a) right (b', (Exception,), {})", "exception(arightb)"),
    ],
)  # fmt: skip
def test_what_is_raised_has_a_class_that_can_be_counted(talk, code, expected):
    reply, again = talk(raised(code), call(), call())[2:]
    assert reply["class"] == expected
    assert again == reply


def test_nothing_of_a_raised_object_is_trusted(talk):
    text = (
        "class E(Exception):\n  def __str__(self): return 1 / 0\ndef f(n):\n  raise E if n else ValueError('x' * 999)"
    )
    broken, long = talk(text, call(1), call(0))[2:]
    assert broken == {"class": "exception(E)", "type": "E", "detail": "", "base": "Exception"}
    assert long["detail"] == "x" * 200


def test_expressions_and_statements_run_among_the_programs_names(talk):
    text = "class Node:\n  def __init__(self, v): self.v = v\ndef f(n): return n.v\nmath = 'mine'"
    run = {"op": "run", "source": "root = Node(7)", "standard": ["Counter", "math"]}
    value = {"op": "value", "source": "[f(root), Counter('aa')['a'], math]", "standard": []}
    wrong = {"op": "run", "source": "assert f(root) == 8", "standard": []}
    replies = talk(text, run, value, wrong)[2:]
    assert replies[0] == {"value": None}
    assert replies[1] == {"value": [7, 2, "mine"]}  # a standard name never replaces the program's own
    assert replies[2]["class"] == "exception(AssertionError)"


def test_random_numbers_are_the_same_every_time(talk):
    text = "import random\ndef f(): return random.random()"
    assert talk(text, call())[2] == talk(text, call())[2]


def test_standard_names_are_a_closed_list():
    for name in (*candidate.MODULES, *candidate.MEMBERS):
        assert candidate.standard_name(name).__name__.rsplit(".", 1)[-1] == name
    assert candidate.standard_name("deque")([1], 1).maxlen == 1
    for name in ("os", "subprocess", "open", "__import__"):
        with pytest.raises(KeyError):
            candidate.standard_name(name)


def test_run_leaves_without_the_programs_exit_handlers():
    text = "import atexit\natexit.register(print, 'still here', flush=True)\ndef f(): return 1"
    reader, requesting = os.pipe()
    replying, writer = os.pipe()
    with os.fdopen(replying, "rb"):
        wire.send(requesting, {"text": text, "entry": "f", "name": "f", "head": ""})
        os.close(requesting)
        code = f"from s3ft_jax.judges import candidate\ncandidate.run({reader}, {writer})\nprint('came back')"
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path or os.curdir for path in sys.path))
        done = subprocess.run(
            [sys.executable, "-c", code], pass_fds=(reader, writer), env=environment, capture_output=True, timeout=60
        )
        os.close(reader)
        os.close(writer)
        assert [wire.receive(replying, 1000) for _ in range(2)][1] == {"ready": True}
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
