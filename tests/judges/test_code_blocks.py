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
