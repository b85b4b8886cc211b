"""The expressions judge beyond the truth table: limits, isolation, what it needs, and what it hands on."""

import json
import os
import resource
import signal
import sys
import threading
import time

import pytest

from s3ft_jax.judges import JudgeError, check_name, expressions, numbers, pool
from s3ft_jax.records import Example, Response


def pair(gold: str, text: str, check: dict | None = None, question: str = "q") -> tuple[Example, Response]:
    messages = ({"role": "user", "content": question},)
    example = Example("t/test/0", "t", "test", messages, gold, "expressions", check or {})
    return example, Response(example.id, "own", 0, text, (), (), True, 0.0)


def judged(*args, **options) -> tuple[str, str]:
    verdict = expressions.judge(*pair(*args, **options))
    assert verdict.judge == "expressions"
    return verdict.outcome, verdict.reason.partition(":")[0]


@pytest.mark.parametrize(
    ("gold", "text", "expected"),
    [
        ("#### 18", "The answer is 18.", ("right", "right")),
        ("#### 18", "so 3 and 15 make 18", ("right", "last_number")),
        ("#### 18", "$3x = 15$. So it is 18 in all", ("right", "last_number")),
        ("\\boxed{x^2+1}", "\\boxed{1+x^2}", ("right", "equal")),
        ("x^2+1", "it is $1+x^2$ then", ("right", "equal")),
        ("we get\n$x^2$\nand so $x^2+1$", "\\boxed{1+x^2}", ("right", "equal")),
        ("\\boxed{\\text{east}}", "\\boxed{East}", ("right", "text")),
        ("\\boxed{\\text{seat}}", "\\boxed{east}", ("wrong", "different")),
        ("\\boxed{x+1}", "\\boxed{}", ("wrong", "no_answer")),
        ("\\boxed{x+1}", "no formula at all", ("undecided", "words")),
        ("\\boxed{x+1}", "no formula\nat all", ("wrong", "no_answer")),
        ("\\boxed{\\text{B}}", "(B)", ("right", "text")),
        ("\\boxed{\\text{B}}", "\\boxed{(B) 12}", ("right", "text")),
        ("\\boxed{\\text{B}}", "\\boxed{(C) 12}", ("wrong", "different")),
        ("\\boxed{0.1\\overline{36}}", "\\boxed{\\frac{3}{22}}", ("right", "equal")),
        ("\\boxed{[2,5)}", "\\boxed{2 \\le x < 5}", ("right", "equal")),
        ("\\boxed{(1,2)}", "\\boxed{\\{1,2\\}}", ("wrong", "notation")),
        ("\\boxed{5 \\text{ m}}", "\\boxed{5 \\text{ km}}", ("undecided", "units")),
        ("\\boxed{5:1}", "\\boxed{10:2}", ("undecided", "notation")),
        ("\\boxed{5}", "The answer is 5!", ("undecided", "notation")),
        ("\\boxed{120}", "\\boxed{5!}", ("right", "equal")),
        ("\\boxed{\\pm a_1}", "\\boxed{x = \\pm a_1}", ("right", "text")),
        ("\\boxed{x = \\pm a_1}", "\\boxed{\\pm a_1}", ("right", "text")),
        ("\\boxed{x+1}", "\\boxed{it depends on x}", ("undecided", "words")),
        ("\\boxed{x+1}", "\\boxed{" + "x+" * 600 + "x}", ("undecided", "too_long")),
        ("\\boxed{x+1}", "\\boxed{\\frac{x}}", ("undecided", "unread")),
        ("\\boxed{\\frac{x}}", "\\boxed{x+1}", ("undecided", "gold")),
        ("no\nlines", "\\boxed{x}", ("undecided", "gold")),
        ("\\boxed{101_2}", "\\boxed{101}", ("undecided", "base")),
        ("\\boxed{101_2}", "$101_{2}$", ("right", "text")),
        ("\\boxed{12:30}", "\\boxed{12:45}", ("wrong", "notation")),
        ("\\boxed{x\\%}", "\\boxed{x}", ("wrong", "percent")),
        ("\\boxed{-\\frac{1}{2}}", "\\boxed{\\frac{1}{2}}", ("wrong", "wrong")),
        ("\\boxed{-\\frac{1}{2}}", "\\boxed{-1/2}", ("right", "right")),
        ("\\boxed{-\\frac{1}{2}}", "$-0.5$", ("right", "last_number")),
        ("\\boxed{-5}", "The answer is - 5.", ("right", "right")),
        ("\\boxed{2}", "So the area is $\\frac{\\pi}{2}$.", ("wrong", "different")),
        ("\\boxed{2}", "So it is $2a$.", ("wrong", "different")),
        ("\\boxed{2000000}", "The answer is $2M.", ("right", "right")),
        ("\\boxed{x+1}", "The answer is $x+1$. This answer is right because $1+x$ is $2$ at 1.", ("right", "text")),
    ],
)
def test_classes(gold, text, expected):
    assert judged(gold, text) == expected


def test_gold_of_the_check():
    assert judged("ignored", "\\boxed{b+a}", check={"answer": "a+b"}) == ("right", "equal")
    assert judged("ignored", "\\boxed{4}", check={"answer": 4}) == ("right", "right")
    assert judged("ignored", "\\boxed{4}", check={"answer": True}) == ("undecided", "gold")
    assert judged("", "\\boxed{4}") == ("undecided", "gold")


def test_percent_where_the_question_asks_for_it():
    assert judged("\\boxed{x\\%}", "\\boxed{x}", question="what percent?") == ("right", "equal")


@pytest.mark.parametrize(
    "bomb",
    ["9^{9^{9^9}}", "10^{10^{10}}", "\\binom{10^6}{5\\cdot 10^5}", "(x+1)^{100000}", "(" * 400 + "1" + ")" * 400],
)
def test_a_bomb_costs_its_own_limit_and_changes_nothing_else(bomb, monkeypatch):
    monkeypatch.setattr(expressions, "LIMIT_SECONDS", 0.3)
    handler, limits = signal.getsignal(signal.SIGALRM), resource.getrlimit(resource.RLIMIT_AS)
    assert judged("\\boxed{2a}", f"\\boxed{{{bomb}}}")[0] == "undecided"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert (signal.getsignal(signal.SIGALRM), resource.getrlimit(resource.RLIMIT_AS)) == (handler, limits)
    assert judged("\\boxed{x+1}", "\\boxed{1+x}") == ("right", "equal")


class Slow:
    """Its finalizer fails with ``error`` or else works for longer than the limit."""

    def __init__(self, error=None):
        self.error = error

    def __del__(self):
        if self.error:
            raise self.error
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            pass


def test_a_limit_that_strikes_in_a_finalizer_is_not_reported_and_strikes_again(monkeypatch):
    """Python swallows what is raised there, and would print it; an error that is not the limit's is printed."""
    monkeypatch.setattr(expressions, "LIMIT_SECONDS", 0.05)
    seen = []
    hook = lambda failure: seen.append(failure.exc_type)  # noqa: E731
    monkeypatch.setattr(sys, "unraisablehook", hook)
    with pytest.raises(expressions._Limit), expressions._limited():
        Slow(OSError("a file"))
        Slow()
        time.sleep(5)
    assert seen == [OSError] and sys.unraisablehook is hook


def test_memory_has_a_limit(monkeypatch):
    monkeypatch.setattr(expressions, "LIMIT_BYTES", 2**26)
    monkeypatch.setattr(expressions, "_read", lambda answer: [bytearray(2**28)])
    assert judged("\\boxed{x+2}", "\\boxed{3+x}") == ("undecided", "limit")


def test_a_limit_that_is_swallowed_comes_again(monkeypatch):
    monkeypatch.setattr(expressions, "LIMIT_SECONDS", 0.05)

    def stubborn(answer):
        try:
            while True:
                pass
        except BaseException:
            while True:
                pass

    monkeypatch.setattr(expressions, "_read", stubborn)
    assert judged("\\boxed{x+3}", "\\boxed{3+x}") == ("undecided", "limit")


def test_nothing_is_evaluated(tmp_path):
    mark = tmp_path / "mark"
    for code in (f"__import__('os').mkdir('{mark}')", f"exec(\"open('{mark}','w')\")", "\\input{/etc/passwd}"):
        assert judged("\\boxed{x+1}", f"\\boxed{{{code}}}")[0] != "right"
        assert judged("\\boxed{x+1}", f"${code}$")[0] != "right"
    assert not mark.exists()


def test_another_thread_may_judge():
    found = []
    thread = threading.Thread(target=lambda: found.append(judged("\\boxed{x+1}", "\\boxed{1+x}")))
    thread.start()
    thread.join()
    assert found == [("right", "equal")]


def test_workers_judge_and_what_hangs_costs_its_worker(monkeypatch):
    """What our own limit cannot stop is stopped by the pool, in less than its usual time."""
    monkeypatch.setitem(pool.OWN_SECONDS, "expressions", 3.0)
    pairs = [pair("\\boxed{x+1}", "\\boxed{1+x}"), pair("\\boxed{x+1}", "\\boxed{2+x}")]
    hung = Example("t/test/1", "t", "test", (), "", "expressions", {})
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    outcomes = [verdict.outcome for verdict in pool.judge_all(pairs, num_workers=1)]
    assert outcomes == ["right", "wrong"]
    asked = []
    monkeypatch.setattr(pool._Worker, "__init__", lambda self, settings: None)
    monkeypatch.setattr(pool._Worker, "close", lambda self: None)

    def ask(self, message, seconds):
        asked.append((json.loads(message["pairs"][0]["example"])["judge"], seconds))
        raise pool._WorkerLost("judge_timeout: no verdict")

    monkeypatch.setattr(pool._Worker, "ask", ask)
    (verdict,) = pool.judge_all([(hung, pairs[0][1])], num_workers=1)
    assert (verdict.outcome, asked) == ("undecided", [("expressions", 3.0)])


def test_without_math_verify_the_name_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(expressions.importlib.util, "find_spec", lambda name: None)
    for name in ("expressions", "first(numbers, expressions)"):
        with pytest.raises(JudgeError, match=r"pip install 's3ft_jax\[math\]'"):
            check_name(name)
    check_name("numbers")


def test_the_version_names_what_a_verdict_follows_from():
    assert [part.split()[0] for part in expressions.version().split(" ")][::2] == [
        "math-verify", "latex2sympy2_extended", "sympy"
    ]  # fmt: skip


def test_numbers_are_judged_as_the_numbers_judge_does():
    for gold, text in (("18", "18.0"), ("1/3", "0.333"), ("20 %", "20"), ("5", "between 4 and 5"), ("3", "12:30")):
        example, response = pair(f"#### {gold}", f"The answer is {text}")
        assert expressions.judge(example, response).outcome == numbers.judge(example, response).outcome
