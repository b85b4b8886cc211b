"""What is taken for the program of a response."""

from __future__ import annotations

import pytest

from s3ft_jax.judges.code_blocks import find_code

TABLE = [
    ("```python\ndef f(x):\n  return 1\n```", "f", "def f(x)", "", "one block"),
    ("Sure:\n```\ndef f(x):\n  return 1\n```\nDone.", "f", "def f(x)", "", "no language"),
    (
        "```python\ndef f(x): return 1\n```\n```python\ndef f(x, y): return 2\n```",
        "f",
        "def f(x, y)",
        "",
        "the last that defines it",
    ),
    (
        "```python\ndef f(x): return 1\n```\n```python\nprint(f(1))\n```",
        "f",
        "def f(x)",
        "",
        "a later block that does not define it",
    ),
    ("```python\ndef f(x): return 1\n```\n```text\n1\n```", "f", "def f(x)", "", "a later block of output"),
    ("```python\ndef g(x): return 1\n```", "f", "def g(x)", "", "another name; the run says entry_missing"),
    ("```python\ndef f(x):\n  return 1", "f", "def f(x)", "", "fence cut by the length limit"),
    ("~~~python\ndef f(x): return 1\n~~~", "f", "def f(x)", "", "tilde fence"),
    ("  ```python\n  def f(x):\n    return 1\n  ```", "f", "def f(x)", "", "indented block"),
    ("[BEGIN]\ndef f(x): return 1\n[DONE]", "f", "def f(x)", "", "marks"),
    ("[[BEGIN]]\ndef f(x): return 1\n[[DONE]] more", "f", "def f(x)", "", "double marks"),
    ("[BEGIN] def f(x): return 1", "f", "def f(x)", "", "mark without an end"),
    ("def f(x):\n    return 1", "f", "def f(x)", "", "plain text"),
    ("def f(x):\r\n    return 1\r\n", "f", "def f(x)", "", "carriage returns"),
    ("f = lambda x: x", "f", "f = lambda x", "", "lambda"),
    (
        "import math\ndef g(a): return a\ndef f(x, *, y=1): return g(x)",
        None,
        "def f(x, *, y=1)",
        "",
        "the last function",
    ),
    ("I cannot help with that.", "f", "", "no_code", "prose"),
    ("Sorry", "f", "", "no_code", "one word is an expression, not a program"),
    ("", "f", "", "no_code", "empty"),
    ("x = 1", "f", "", "no_code", "no function"),
    ("```python\ndef f(x) return 1\n```", "f", "", "syntax", "colon missing"),
    ("def f(x):\n  return (1", "f", "", "syntax", "bracket missing"),
    ("```python\nx = 1\n```", None, "", "entry_missing", "a block without a function"),
    ("def f(x): return '\\d'", "f", "def f(x)", "", "an escape that Python warns of"),
    ("```python\ndef f(x):\n  return 1\x00\n```", "f", "", "syntax", "a zero byte"),
]


@pytest.mark.parametrize(("text", "entry", "found", "problem", "why"), TABLE, ids=[row[4] for row in TABLE])
def test_table(text, entry, found, problem, why):
    code = find_code(text, entry)
    assert (code.problem, code.found) == (problem, found), (why, code)
    if not problem:
        compile(code.source, "test", "exec", dont_inherit=True) if "\\d" not in text else None
        assert code.function == (entry or "f")


HEAD = (
    'from typing import List\n\ndef total(xs: List[int]) -> int:\n    """The sum.\n    >>> total([1])\n    1\n    """\n'
)


def run(source: str, *args):
    namespace: dict = {}
    exec(compile(source, "here", "exec", dont_inherit=True), namespace)
    return namespace["total"](*args)


@pytest.mark.parametrize(
    "text",
    [
        "    s = 0\n    for x in xs:\n        s += x\n    return s\n",
        "s = 0\n    for x in xs:\n        s += x\n    return s",
        "s = 0\nfor x in xs:\n    s += x\nreturn s",
        "for x in []:\n    pass\nreturn sum(xs)",
        "    return sum(xs)\n\nprint(total([1, 2]))\nassert False",
        "```python\n    return sum(xs)\n```",
        "```python\ndef total(xs: List[int]) -> int:\n    return sum(xs)\n```",
        "Sure:\n\n" + HEAD + "    return sum(xs)\n\nIt adds them up.",
    ],
)
def test_what_continues_a_head(text):
    code = find_code(text, "total", HEAD)
    assert not code.problem and run(code.source, [1, 2, 3]) == 6


def test_a_head_that_does_not_parse_is_left_out_of_a_whole_program():
    code = find_code("def total(xs):\n    return sum(xs)\n", "total", "def total(xs\n")
    assert run(code.source, [1]) == 1
    assert find_code("return 1", "total", "def total(xs\n").problem == "syntax"


def test_helpers_of_earlier_blocks_are_taken_along_and_examples_are_not():
    text = (
        "```python\nimport math\nLIMIT = 10\ndef half(x):\n    return math.floor(x / 2)\nprint(1 / 0)\n```\n"
        "```python\ntotal = 1 / 0\nx = half(3)\n```\n"
        "```python\ndef total(xs):\n    return min(LIMIT, sum(half(x) for x in xs))\n```"
    )
    assert run(find_code(text, "total").source, [4, 5, 60]) == 10


@pytest.mark.parametrize(
    "text",
    [
        "Here it is:\n\ndef total(xs):\n    return sum(xs)\n\nIt adds them up, from the first to the last.",
        "from the start: math.\n\nimport math\n\ndef total(xs):\n\n    return math.fsum(xs)\nThat is all.",
        "def of the sum:\n@decorated words\ndef total(xs): return sum(xs)\nclass dismissed",
    ],
)
def test_a_program_among_prose(text):
    code = find_code(text, "total")
    assert not code.problem and run(code.source, [1, 2]) == 3


def test_the_marks_that_hold_the_function_count():
    text = (
        "[BEGIN]\ndef total(xs):\n    return sum(xs)\n[DONE]\nNext task.\n[BEGIN]\ndef area(a):\n    return a\n[DONE]"
    )
    assert run(find_code(text, "total").source, [1, 2]) == 3


def test_a_line_that_shows_how_to_call_it_is_no_definition():
    text = "```\ndef total(xs):\n    return sum(xs)\n```\n```\ntotal = total([1])\n```"
    assert run(find_code(text, "total").source, [1, 2]) == 3


def test_a_lambda_that_calls_itself_is_a_definition():
    text = "```\ntotal = lambda xs: xs[0] + total(xs[1:]) if xs else 0\n```\n```\nprint(total([1]))\n```"
    assert run(find_code(text, "total").source, [1, 2]) == 3


def test_what_is_asked_of_the_future_stays_first():
    text = "```\ndef half(x):\n    return x / 2\n```\n```\nfrom __future__ import annotations\ndef total(xs: Nothing):\n    return half(sum(xs))\n```"  # fmt: skip # noqa: E501
    assert run(find_code(text, "total").source, [4]) == 2
    head = "import math\n\ndef total(xs):\n"
    text = "from __future__ import annotations\n\ndef total(xs: Nothing):\n    return math.fsum(xs)\n"
    assert run(find_code(text, "total", head).source, [4]) == 4


def test_a_helper_too_deep_to_be_written_out_is_left():
    deep = "x = " + "-" * 3000 + "1"
    code = find_code(f"```\n{deep}\n```\n```\ndef total(xs):\n    return x\n```", "total")
    assert code.function == "total" and not code.problem
