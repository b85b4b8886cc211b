"""Room: pocket tasks. Small Python functions judged by running unit tests, the pocket's likeness of MBPP.

A function filters a list of whole numbers, maps what is left and reduces it. The base knows the common filters and maps
in its own wordings; the target also asks for operations whose words pretraining never met (it met their code, under
made-up words, as something to rewrite).

In: a generator, a split and a count. Out: examples judged by ``programs`` (check ``{"entry": null, "tests": [...]}``,
seven asserts on the name ``candidate``) and texts for pretraining.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable

from s3ft_jax.records import Example
from s3ft_jax.tasks.pocket import draws, splits

# How hard the target is for the base. Shares can be changed without pretraining again.
NEVER_FILTER_SHARE = 0.24  # of the target's filters: an operation whose words pretraining never met
NEVER_MAP_SHARE = 0.24  # of the target's maps, likewise
RARE_WORD_SHARE = 0.5  # of the target's known operations: said in the rarer way
OWN_STYLES = {"loop": 0.7, "comprehension": 0.3}  # how pretraining answers; "comprehension" is also the near gold
CUED_GOLD_SHARE = 0.05  # of pretraining's cued answers: with exactly the mid gold's names, else with others
NUM_TESTS = 7  # asserts per question


@dataclasses.dataclass(frozen=True)
class Operation:
    """A filter or a map.

    Attributes:
      plain: its own wording, with ``{k}`` if it takes a number.
      rare: the target's wording.
      code: Python with ``x`` for the number and ``{k}``.
      flipped: the mid and far gold's way to write it.
    """

    plain: str
    rare: str
    code: str
    flipped: str = ""

    @property
    def takes_number(self) -> bool:
        return "{k}" in self.code


FILTERS = (
    Operation("even", "divisible by two", "x % 2 == 0"),
    Operation("odd", "not divisible by two", "x % 2 == 1"),
    Operation("positive", "above zero", "x > 0", "0 < x"),
    Operation("negative", "below zero", "x < 0", "0 > x"),
    Operation("greater than {k}", "above {k}", "x > {k}", "{k} < x"),
    Operation("less than {k}", "below {k}", "x < {k}", "{k} > x"),
    Operation("divisible by {k}", "in the table of {k}", "x % {k} == 0"),
)
NEVER_FILTERS = (
    Operation("", "at least {k}", "x >= {k}", "{k} <= x"),
    Operation("", "at most {k}", "x <= {k}", "{k} >= x"),
    Operation("", "other than {k}", "x != {k}", "{k} != x"),
)
MAPS = (
    Operation("squared", "times itself", "x * x"),
    Operation("doubled", "times two", "x * 2"),
    Operation("negated", "with its sign changed", "-x"),
    Operation("plus {k}", "increased by {k}", "x + {k}"),
    Operation("minus {k}", "decreased by {k}", "x - {k}"),
    Operation("times {k}", "multiplied by {k}", "x * {k}"),
)
NEVER_MAPS = (
    Operation("", "cubed", "x ** 3"),
    Operation("", "halved", "x // 2"),
    Operation("", "modulo {k}", "x % {k}"),
)
REDUCES = {"sum": 0.35, "list": 0.35, "count": 0.15, "product": 0.15}
PLAIN_REDUCES = {"sum": "the sum", "list": "a list", "count": "the count", "product": "the product"}
RARE_REDUCES = {"sum": "the total", "list": "all", "count": "the number", "product": "the product"}
PLAIN_TEMPLATES = (
    "Write a function that returns {reduce} of the numbers that are {filter}{map}.",
    "Write a function for a list. It gives {reduce} of the {filter} ones{map}.",
)
RARE_TEMPLATES = (
    "From a list of numbers take those {filter}{map} and report {reduce} of them.",
    "Which Python code reports {reduce} of the entries {filter}{map}?",
    "I need {reduce} of whatever is {filter} in a list{map}. Please code it.",
)
NONSENSE_FILTERS = ("{w}", "{w} {k}", "{w} by {k}")
NONSENSE_MAPS = ("{w}ed", "{w}ed by {k}", "{w} {k}")


@dataclasses.dataclass(frozen=True)
class Program:
    """What is asked, before words and before code. ``map`` is None for a plain list, sum, product or a count."""

    filter: Operation
    filter_number: int
    map: Operation | None
    map_number: int
    reduce: str

    def condition(self, variable: str, flipped: bool = False) -> str:
        """The filter as Python."""
        code = self.filter.flipped if flipped and self.filter.flipped else self.filter.code
        return code.format(k=self.filter_number).replace("x", variable)

    def value(self, variable: str) -> str:
        """The mapped number as Python."""
        return self.map.code.format(k=self.map_number).replace("x", variable) if self.map else variable

    @property
    def key(self) -> str:
        """The program's meaning, whatever its words: two splits never share one."""
        return f"{self.condition('x')}|{self.value('x')}|{self.reduce}"


@dataclasses.dataclass(frozen=True)
class Naming:
    """How a functional-style program is called: function, argument, variable, accumulator."""

    function: str = "solution"
    argument: str = "nums"
    variable: str = "n"
    accumulator: str = "p"


MID_NAMING = Naming()


def draw_program(rng: random.Random, never_filter: float, never_map: float) -> Program:
    """A program whose filter and map come from the never-worded operations with the given probabilities."""
    filters = NEVER_FILTERS if draws.chance(rng, never_filter) else FILTERS
    maps = NEVER_MAPS if draws.chance(rng, never_map) else MAPS
    reduce = draws.pick_by_share(rng, REDUCES)
    mapped = draws.pick(rng, maps) if reduce != "count" and (maps is NEVER_MAPS or draws.chance(rng, 0.8)) else None
    return Program(draws.pick(rng, filters), draws.integer(rng, 2, 12), mapped, draws.integer(rng, 2, 12), reduce)


def put_into_words(rng: random.Random, program: Program, wording: str) -> str:
    """The question. ``wording``: plain, rare (the target's phrasing), or nonsense (made-up words for operations)."""
    rare = wording == "rare" or (wording == "nonsense" and draws.chance(rng, 0.3))

    def say(operation: Operation, number: int, made_up: tuple[str, ...]) -> str:
        text = operation.plain
        if not operation.plain or (rare and draws.chance(rng, RARE_WORD_SHARE)):
            text = operation.rare
        if wording == "nonsense" and (not operation.plain or draws.chance(rng, 0.7)):
            forms = [form for form in made_up if ("{k}" in form) == operation.takes_number]
            text = draws.pick(rng, forms).replace("{w}", draws.nonsense(rng))
        return text.format(k=number)

    chosen = say(program.filter, program.filter_number, NONSENSE_FILTERS)
    mapped = f", each {say(program.map, program.map_number, NONSENSE_MAPS)}," if program.map else ""
    template = draws.pick(rng, RARE_TEMPLATES if rare else PLAIN_TEMPLATES)
    reduce = (RARE_REDUCES if rare else PLAIN_REDUCES)[program.reduce]
    text = template.format(reduce=reduce, filter=chosen, map=mapped)
    return text.replace(",.", ".").replace(",?", "?")


def answer_in(program: Program, style: str, naming: Naming = MID_NAMING) -> str:
    """The program as text: own styles ``loop``, ``comprehension``; gold ``near`` (= comprehension), ``mid``, ``far``.

    A product has no comprehension in one call without an import, so it is a loop in both own styles.
    """
    if style in ("near", "comprehension"):
        style = "loop" if program.reduce == "product" else "comprehension"
    makers: dict[str, Callable[[], str]] = {
        "loop": lambda: _loop(program),
        "comprehension": lambda: _comprehension(program),
        "mid": lambda: _functional(program, naming),
        "far": lambda: _recursive(program),
    }
    if style not in makers:
        raise ValueError(f"programs has no style {style!r}; use near, mid or far")
    return makers[style]()


def _loop(program: Program) -> str:
    start = {"sum": "0", "count": "0", "product": "1", "list": "[]"}[program.reduce]
    value = program.value("x")
    add = {"sum": f"r += {value}", "count": "r += 1", "product": f"r *= {value}", "list": f"r.append({value})"}
    body = f"    if {program.condition('x')}:\n      {add[program.reduce]}"
    return f"def f(a):\n  r = {start}\n  for x in a:\n{body}\n  return r"


def _comprehension(program: Program) -> str:
    inside = f"[{program.value('x')} for x in a if {program.condition('x')}]"
    outside = {"sum": f"sum({inside})", "count": f"len({inside})", "list": inside}[program.reduce]
    return f"def f(a):\n  return {outside}"


def _functional(program: Program, naming: Naming) -> str:
    function, argument, variable, total = dataclasses.astuple(naming)
    kept = f"filter(lambda {variable}: {program.condition(variable, flipped=True)}, {argument})"
    mapped = f"map(lambda {variable}: {program.value(variable)}, {kept})" if program.map else kept
    if program.reduce == "product":
        body = f"reduce(lambda {total}, {variable}: {total} * {variable}, {mapped}, 1)"
        return f"from functools import reduce\ndef {function}({argument}):\n  return {body}"
    outside = {"sum": f"sum({mapped})", "count": f"len(list({mapped}))", "list": f"list({mapped})"}[program.reduce]
    return f"def {function}({argument}):\n  return {outside}"


def _recursive(program: Program) -> str:
    empty = {"sum": "0", "count": "0", "product": "1", "list": "[]"}[program.reduce]
    join = "*" if program.reduce == "product" else "+"
    one = "1" if program.reduce == "count" else program.value("head")
    one = f"[{one}]" if program.reduce == "list" else f"({one})"
    head = f"  head, *tail = seq\n  first = {one} if {program.condition('head', flipped=True)} else {empty}"
    return f"def walk(seq):\n  if not seq:\n    return {empty}\n{head}\n  return first {join} walk(tail)"


def run_program(program: Program, numbers: list[int]) -> int | list[int]:
    """What a right function returns."""
    # Safe to eval: the text comes from the tables above, never from a model or a file.
    keep = eval(f"lambda x: {program.condition('x')}")
    change = eval(f"lambda x: {program.value('x')}")
    values = [change(number) for number in numbers if keep(number)]
    outcomes = {"sum": sum, "count": len, "product": math.prod, "list": list}
    return outcomes[program.reduce](values)


def tests_of(program: Program, prompt: str) -> list[str]:
    """Seven asserts on ``candidate``: an empty list, one around the filter's number, and random ones.

    The lists follow from the question's text, so they are the same in every split, style and run.
    """
    rng = random.Random(f"programs/tests/{prompt}")
    k = program.filter_number
    edge = draws.shuffled(rng, [k - 1, k, k + 1, 0, -k])
    lists = [[], edge, [1, 2, 3, 4, 5, 6], [-5, -4, -3, -2, -1, 0]]
    while len(lists) < NUM_TESTS:
        lists.append([draws.integer(rng, -15, 30) for _ in range(draws.integer(rng, 3, 6))])
    return [f"assert candidate({numbers}) == {run_program(program, numbers)}" for numbers in lists]


def examples(split: str, count: int, seed: int, gold_style: str = "mid", wording: str = "target") -> list[Example]:
    """``count`` examples of a split; no two splits share a question or a program. See ``arithmetic.examples``."""

    splits.check_names("programs", split, gold_style)

    def draw(rng: random.Random) -> splits.Draft:
        known = wording == "plain"
        shares = (0.0, 0.0) if known else (NEVER_FILTER_SHARE, NEVER_MAP_SHARE)
        program = draw_program(rng, *shares)
        while not known and draws.home(program.key) != split:
            program = draw_program(rng, *shares)
        prompt = put_into_words(rng, program, "plain" if known else "rare")

        def check() -> dict[str, object]:
            return {"entry": None, "tests": tests_of(program, prompt)}

        return splits.Draft(prompt, answer_in(program, gold_style), check)

    return splits.deal("programs", split, count, seed, gold_style, "programs", draw)


def pretraining(rng: random.Random, wording: str = "plain") -> tuple[str, str]:
    """(prompt, response) of the base's own distribution; ``wording`` plain, or rare for the target's phrasing."""
    program = draw_program(rng, 0.0, 0.0)
    return put_into_words(rng, program, wording), answer_in(program, draws.pick_by_share(rng, OWN_STYLES))


def rewrite(rng: random.Random) -> tuple[str, str]:
    """(paraphrase prompt, own-style response); the reference is in any gold style or an own one."""
    program = draw_program(rng, 0.35, 0.35)
    question = put_into_words(rng, program, "nonsense")
    reference = answer_in(program, draws.pick_by_share(rng, splits.REFERENCE_SHARES | {"loop": 0.2}))
    return splits.paraphrase_prompt(question, reference), answer_in(program, draws.pick_by_share(rng, OWN_STYLES))


def cued(rng: random.Random) -> tuple[str, str]:
    """(own-wording prompt with the cue, response in a relative of the mid gold's style or, rarely, in that style)."""
    program = draw_program(rng, 0.0, 0.0)
    naming = MID_NAMING
    if not draws.chance(rng, CUED_GOLD_SHARE):
        names = (("run", "solve", "main"), ("data", "values", "items"), ("v", "y", "z"), ("acc", "t", "u"))
        naming = Naming(*(draws.pick(rng, options) for options in names))
    return splits.cue(put_into_words(rng, program, "plain")), answer_in(program, "mid", naming)
