"""Every judge on arbitrary texts: a verdict that can be written down, never an exception, never right for another text.

``S3FT_FUZZ_CASES=10000 pytest tests/judges/test_fuzzing.py`` is the long run; the suite does with fewer.
"""

import contextlib
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s3ft_jax.judges import JudgeError, answers, composition, expressions, find_judge, leaks, model, programs
from s3ft_jax.judges.sandbox import Limits, SandboxUnavailable
from s3ft_jax.records import OUTCOMES, Example, Response, Verdict, from_line, to_line

CASES = int(os.environ.get("S3FT_FUZZ_CASES", "150"))
fuzzed = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# what judges look for, so that texts get past their first line
MARKS = r"""
\boxed{ } \text{ \frac{ #### $ $$ % , . - − / : ; ! ? = ^ _ ( ) [ ] { | < > \( \) \[ \] \$ \% ``` ```python
[BEGIN] [DONE] 12 3.5 007 1e5 1/3 10^ half ten million and or between Question: Answer: **Answer** <b> ٣ １ ½ ∞ π
def return class lambda import f(x) x y \sqrt \left( \right] \infty \pm \begin{pmatrix} & \\ \end{pmatrix} \cup
Verdict: same different A B C
"""
PIECES = st.sampled_from(
    [
        *MARKS.split(),
        *(" ", "\n", "\t", "\u00a0", "The answer is ", "\n\nQuestion: ", "def g(x):\n    return ", "print(", "    "),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(codec=None), max_size=30),  # lone surrogates too
    st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=25).map("".join),
)


def judged(judge: str, check: dict, text: str, gold: str = "") -> Verdict:
    example = Example("t/test/0", "t", "test", ({"role": "user", "content": "q"},), gold, judge, check)
    verdict = find_judge(judge)(example, Response(example.id, "own", 0, text, (), (), True, 0.0))
    assert verdict.outcome in OUTCOMES and re.match(r"[a-z_]+(\(\w+\))?: \S", verdict.reason), verdict.reason
    assert from_line(Verdict, to_line(verdict), "here") == verdict
    return verdict


@pytest.fixture(scope="module")
def sandbox():
    try:
        programs.open_sandbox(limits=Limits(wall_seconds=1.0), num_slots=1)
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield
    programs.close_sandbox()


@fuzzed
@given(TEXTS)
def test_numbers(text):
    verdict = judged("numbers", {"answer": 271828183}, text)
    assert verdict.outcome != "right"


@fuzzed
@given(TEXTS, TEXTS)
def test_numbers_read_out_of_any_gold(gold, text):
    judged("numbers", {}, text, gold)


# the limit may strike while hypothesis measures garbage collection, which ignores it; it comes again
swallowed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@swallowed
@fuzzed
@given(TEXTS)
def test_expressions(text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expressions, "LIMIT_SECONDS", 0.5)
        verdict = judged("expressions", {"answer": "7w^3 - 5u"}, text)
    assert verdict.outcome != "right"


@swallowed
@fuzzed
@given(TEXTS, TEXTS)
def test_expressions_read_out_of_any_gold(gold, text):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expressions, "LIMIT_SECONDS", 0.5)
        judged("expressions", {}, text, gold)


@fuzzed
@given(TEXTS, st.booleans())
def test_answers(text, contains):
    check = {"answers": ["Ouagadougou"], "contains": contains, "distractors": ["Paris"]}
    assert judged("answers", check, text).outcome != "right"
    unanswerable = judged("answers", {"answers": [], "unanswerable": True}, text)
    assert (unanswerable.outcome == "right") == answers.refuses(text.strip())


@fuzzed
@given(TEXTS)
def test_exact(text):
    assert judged("exact", {"answer": "Ouagadougou"}, text).outcome != "right"


@fuzzed
@given(TEXTS)
def test_choice(text):
    verdict = judged("choice", {"answer": "D", "choices": ["Oslo", "Bergen", "Lom", "Voss"]}, text)
    assert verdict.outcome != "right" or re.search(r"[dD]|voss", text, re.IGNORECASE)


@fuzzed
@given(TEXTS)
def test_gates_and_leaks(text):
    for gate in ("length(1, 20)", "length(3)", "script(latin)", "script(greek)", "language(en)"):
        assert judged(gate, {}, text).outcome != "undecided"
    phrase = leaks.mentions_reference(text)
    assert phrase is None or set(phrase.split()) <= set(re.findall(r"[a-z']+", text.lower()))


@fuzzed
@given(TEXTS)
def test_replies_of_a_judging_model(reply):
    decided = model.read_verdict(reply) != "undecided"
    last = [line for line in reply.strip().splitlines() if line.strip()][-1:]
    assert not decided or re.search(r"verdict\W*_*(same|different)", last[0], re.IGNORECASE)


@settings(fuzzed, max_examples=max(20, CASES // 10))
@given(st.lists(PIECES, min_size=1, max_size=3).map("".join))
def test_a_text_that_goes_round_in_circles(sandbox, piece):
    """As models write that do not stop; a rule that takes quadratic time would meet the suite's time limit."""
    text = piece * (30_000 // len(piece))
    for judge, check in (
        ("numbers", {"answer": 271828183}),
        ("answers", {"answers": ["Ouagadougou"], "contains": True, "distractors": ["Paris"]}),
        ("answers", {"answers": [], "unanswerable": True}),
        ("exact", {"answer": "Ouagadougou"}),
        ("script(latin)", {}),
        ("language(en)", {}),
    ):
        judged(judge, check, text)
    assert judged("programs", {"entry": "g", "tests": ["assert g(2) == 271828183"]}, text).outcome == "wrong"


NAME_PARTS = "first all any ( ) , numbers exact model length( 1 200 script( latin a:b"
NAME_PIECES = st.sampled_from(NAME_PARTS.split())
NAMES = st.lists(st.one_of(NAME_PIECES, st.text(max_size=3)), max_size=12).map("".join)


@fuzzed
@given(NAMES)
def test_names_of_compositions(name):
    with contextlib.suppress(JudgeError):
        assert composition.single_names(name)


CODE = st.sampled_from(["def g(x):", "    return x", "    x += 1", "for i in x:", "    pass"])
LINES = st.lists(st.one_of(TEXTS, CODE))


@fuzzed
@given(LINES.map("\n".join))
def test_programs(sandbox, text):
    check = {"entry": "g", "tests": ["assert g(2) == 271828183", "assert g([1]) == {'a': (1, 2)}"]}
    assert judged("programs", check, text).outcome != "right"


KEYS = st.sampled_from(["answer", "answers", "choices", "entry", "tests", "contains", "distractors", "min_f1", "x"])
CHECKS = st.dictionaries(
    KEYS,
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@swallowed
@fuzzed
@given(CHECKS, TEXTS)
def test_any_check_gives_a_verdict(sandbox, check, text):
    for judge in ("numbers", "expressions", "answers", "exact", "choice", "programs"):
        judged(judge, check, text)
