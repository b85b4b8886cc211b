"""Judges room: decides whether a response is right. Host only; nothing here imports JAX.

In: an example and a response. Out: a ``Verdict``: right, wrong or undecided, what was found, and why. The same judge
filters the training data and scores the test set.

    JUDGES[name](example, response) -> Verdict       one verdict, here and now
    pool.judge_all(pairs) -> list[Verdict]           many, in killable worker processes
    find_judge("my_module:my_judge")                 a judge of your own
    verdict_cache.judge_cached(...)                  the same, with verdicts that are kept
    trial.try_judges(examples)                       judges of your own, tried before anything is sampled
    composition.judge_composed(pairs, judge_single)  judges put together: first(numbers, model)
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable

from s3ft_jax.judges import answers, choice, exact, expressions, gates, numbers, programs
from s3ft_jax.judges.composition import single_names
from s3ft_jax.judges.model import MODEL
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Example, Response, Verdict

Judge = Callable[[Example, Response], Verdict]
"""A judge is deterministic, looks at one response and raises nothing for a bad one. One of your own may return True or
False instead of a Verdict."""

JUDGES: dict[str, Judge] = {
    "numbers": numbers.judge,
    "expressions": expressions.judge,
    "programs": programs.judge,
    "answers": answers.judge,
    "exact": exact.judge,
    "choice": choice.judge,
}

GATES: dict[str, Callable[..., Judge]] = {
    "length": gates.length,
    "script": gates.script,
    "language": gates.language,
}
"""Judges of form, made from the arguments in their name: ``length(1,200)``."""


def check_name(name: str) -> None:
    """Refuse a name that no judge or composition can have; modules of judges of your own are not imported.

    Raises:
      JudgeError: naming the config key, the cause and the fix; also if a library that the judge needs is missing.
    """
    for single in single_names(name):
        if ":" not in single and single != MODEL:
            _built_in(single)
        if single == "expressions":
            expressions.check_installed()


def find_judge(name: str) -> Judge:
    """The single judge of that name.

    Args:
      name: a key of ``JUDGES``, a gate with its arguments, or ``my_module:my_judge`` for a function
        ``my_judge(example, response)`` in a module that can be imported (the current folder is searched).

    Raises:
      JudgeError: there is none.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon:
        return _built_in(name)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise JudgeError(
            f"judge.name={name!r}: importing {module_name!r} raised {type(error).__name__}: {error}. "
            f"Put {module_name}.py into the current folder or on PYTHONPATH, and check that it imports by itself."
        ) from None
    judge = getattr(module, function_name, None)
    if not callable(judge):
        raise JudgeError(
            f"judge.name={name!r}: the module {module_name!r} has no function {function_name!r}. Define "
            f"def {function_name}(example, response) there, returning a s3ft_jax.records.Verdict, True or False."
        )
    return judge


def _built_in(name: str) -> Judge:
    if name in JUDGES:
        return JUDGES[name]
    base, bracket, arguments = name.partition("(")
    if bracket and base in GATES:
        try:
            return GATES[base](*filter(None, map(str.strip, arguments.rstrip(")").split(","))))
        except TypeError:
            raise JudgeError(
                f"judge.name={name!r}: {base} is written length(1, 200), script(latin) or language(en)"
            ) from None
    close = difflib.get_close_matches(base, [*JUDGES, *GATES], n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise JudgeError(
        f"judge.name={name!r}: there is no such judge; {hint}Set it to one of {', '.join(JUDGES)}, {MODEL}, to a gate "
        f"({', '.join(GATES)}) with its arguments, to my_module:my_judge for a function of your own, or to several put "
        "together: first(a, b), all(a, b), any(a, b)."
    )
