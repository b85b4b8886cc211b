"""Room: pocket tasks. Seven general skills that serve to measure forgetting; what is measured is never tuned on.

mmlu (facts of made-up countries, four choices), truth (what is so against what people say), wino (what "it" stands
for), strings, units, dates and instructions. Every question measured was kept out of pretraining, except where only a
few exist: truth, and half of dates (which day comes later, which month comes before).

In: a generator or a seed. Out: pretraining texts, and examples judged by ``exact`` (check ``{"answer"}``, and
``{"choices", "choice"}`` where there are choices).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping

from s3ft_jax.records import Example
from s3ft_jax.tasks.pocket import draws, words

NUM_EXAMPLES = 120  # per skill
CHOICE_LETTERS = ("A", "B", "C", "D")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
UNITS = (
    ("meters", "centimeters", 100), ("hours", "minutes", 60), ("kilos", "grams", 1000), ("weeks", "days", 7),
    ("years", "months", 12), ("feet", "inches", 12), ("minutes", "seconds", 60), ("days", "hours", 24),
)  # fmt: skip
SMALL = ("trophy", "ball", "piano", "statue", "plant", "book", "lamp", "chair", "drum", "doll")
LARGE = ("case", "box", "bag", "drawer", "car", "room", "crate", "van")


@dataclasses.dataclass(frozen=True)
class Quiz:
    """One question of a skill; ``choices``: the responses to be compared, if any; ``closed``: it is one of few."""

    prompt: str
    answer: str
    choices: tuple[str, ...] = ()
    closed: bool = False


def draw_mmlu(rng: random.Random) -> Quiz:
    """A fact of a made-up country among four choices; the answer is a letter."""
    country = draws.pick(rng, words.COUNTRIES)
    relation, right = draws.pick(rng, country.facts)
    others = {value for other in words.COUNTRIES for name, value in other.facts if name == relation} - {right}
    options = draws.shuffled(rng, [right, *draws.several(rng, sorted(others), 3)])
    lines = [f"{letter}. {option}" for letter, option in zip(CHOICE_LETTERS, options, strict=True)]
    prompt = "\n".join([f"What is the {relation} of {country.name}?", *lines, "Which letter?"])
    return Quiz(prompt, CHOICE_LETTERS[options.index(right)], CHOICE_LETTERS)


def draw_lookup(rng: random.Random) -> Quiz:
    """A name among four choices, laid out as in ``draw_mmlu`` (pretraining only): the step from fact to letter."""
    relation = draws.pick(rng, tuple(name for name, _ in words.COUNTRIES[0].facts))
    values = sorted({value for country in words.COUNTRIES for name, value in country.facts if name == relation})
    options = draws.several(rng, values, 4)
    right = draws.pick(rng, options)
    lines = [f"{letter}. {option}" for letter, option in zip(CHOICE_LETTERS, options, strict=True)]
    prompt = "\n".join([f"Find {right}.", *lines, "Which letter?"])
    return Quiz(prompt, CHOICE_LETTERS[options.index(right)], CHOICE_LETTERS, closed=True)


def draw_labels(rng: random.Random) -> Quiz:
    """The letters of four names in another order (pretraining only): four lookups in one text."""
    names = draws.several(rng, words.NOUNS, 4)
    lines = [f"{letter}. {name}" for letter, name in zip(CHOICE_LETTERS, names, strict=True)]
    answer = ", ".join(f"{name} {CHOICE_LETTERS[names.index(name)]}" for name in draws.shuffled(rng, names))
    return Quiz("\n".join(["Name the letters.", *lines]), answer)


def draw_repeat(rng: random.Random) -> Quiz:
    """A row of words again (pretraining only): the answer is copied token by token, the step lookup begins with."""
    pools = (words.NAMES, words.NOUNS, words.CITIES, words.PETS, words.FOODS, words.SPORTS, words.JOBS, words.LETTERS)
    row = [
        draws.nonsense(rng) if draws.chance(rng, 0.1) else draws.pick(rng, draws.pick(rng, pools))
        for _ in range(draws.integer(rng, 5, 12))
    ]
    return Quiz(f"Repeat: {' '.join(row)}", " ".join(row))


def draw_fact(rng: random.Random) -> Quiz:
    """The same facts, asked without choices (pretraining only)."""
    country = draws.pick(rng, words.COUNTRIES)
    relation, right = draws.pick(rng, country.facts)
    return Quiz(f"What is the {relation} of {country.name}?", right, closed=True)


def draw_truth(rng: random.Random) -> Quiz:
    """What is so, offered beside what people say."""
    topic = draws.pick(rng, words.TOPICS)
    options = tuple(draws.shuffled(rng, [topic.truth, topic.myth]))
    return Quiz(f"{topic.question}, {options[0]} or {options[1]}?", topic.truth, options, closed=True)


def draw_myth(rng: random.Random) -> Quiz:
    """What people say (pretraining only): the wrong answer is as well known as the right one."""
    topic = draws.pick(rng, words.TOPICS)
    if draws.chance(rng, 0.5):
        return Quiz(f"What do people say: {topic.question[0].lower()}{topic.question[1:]}?", topic.myth, closed=True)
    options = draws.shuffled(rng, [topic.truth, topic.myth])
    return Quiz(f"People say: {topic.question}, {options[0]} or {options[1]}?", topic.myth, closed=True)


def draw_wino(rng: random.Random) -> Quiz:
    """What a word stands for, decided by one adjective."""
    thing, place = draws.pick(rng, SMALL), draws.pick(rng, LARGE)
    frames = (
        ("The {x} does not fit in the {y} because it is too {a}.", ("big", "wide"), ("small", "narrow")),
        ("The {x} broke through the {y} because it was so {a}.", ("hard", "heavy"), ("weak", "thin")),
        ("The {y} cannot hold the {x} because it is too {a}.", ("heavy", "long"), ("soft", "low")),
    )
    frame, of_thing, of_place = draws.pick(rng, frames)
    adjective = draws.pick(rng, of_thing + of_place)
    right = thing if adjective in of_thing else place
    options = tuple(draws.shuffled(rng, [thing, place]))
    prompt = f"{frame.format(x=thing, y=place, a=adjective)} What is {adjective}, the {options[0]} or the {options[1]}?"
    return Quiz(prompt, right, options)


def draw_string(rng: random.Random) -> Quiz:
    """Reverse, copy, sort, first or last of three or four different letters."""
    letters = draws.several(rng, words.LETTERS, draws.integer(rng, 3, 4))
    tasks = {
        "Reverse": letters[::-1],
        "Copy": letters,
        "Sort": sorted(letters),
        "Last of": letters[-1:],
        "First of": letters[:1],
    }
    task = draws.pick(rng, tuple(tasks))
    return Quiz(f"{task}: {' '.join(letters)}", " ".join(tasks[task]))


def draw_unit(rng: random.Random) -> Quiz:
    """A number of a larger unit in the smaller one."""
    large, small, factor = draws.pick(rng, UNITS)
    number = draws.integer(rng, 2, 12 if factor < 100 else 99)
    who = draws.pick(rng, words.NAMES)
    return Quiz(f"{who} asks: how many {small} are {number} {large}?", str(number * factor))


def draw_date(rng: random.Random) -> Quiz:
    """Neighbouring days and months, or a date in figures."""
    kind = draws.integer(rng, 0, 3)
    if kind == 0:
        start, step = draws.integer(rng, 0, 6), draws.integer(rng, 2, 5)
        return Quiz(f"Today is {DAYS[start]}. What day is it in {step} days?", DAYS[(start + step) % 7], closed=True)
    if kind == 1:
        start, word = draws.integer(rng, 0, 11), draws.pick(rng, ("after", "before"))
        answer = MONTHS[(start + (1 if word == "after" else -1)) % 12]
        return Quiz(f"Which month comes right {word} {MONTHS[start]}?", answer, closed=True)
    day, month, year = draws.integer(rng, 1, 28), draws.integer(rng, 1, 12), draws.integer(rng, 1950, 2049)
    if kind == 2:
        return Quiz(f"Write {day} {MONTHS[month - 1]} {year} in figures.", f"{year}-{month:02d}-{day:02d}")
    return Quiz(f"Write the date {year}-{month:02d}-{day:02d} in words.", f"{day} {MONTHS[month - 1]} {year}")


def draw_instruction(rng: random.Random) -> Quiz:
    """Do something to a word, or to letters."""
    word, second = draws.several(rng, words.NOUNS, 2)
    letters = " ".join(draws.several(rng, words.LETTERS, 3))
    tasks = (
        (f"Put the word {word} in brackets.", f"({word})"),
        (f"Put the word {word} between stars.", f"*{word}*"),
        (f"Say the word {word} twice.", f"{word} {word}"),
        (f"Write {word} with quotes around it.", f'"{word}"'),
        (f"Join {word} and {second} with a dash.", f"{word}-{second}"),
        (f"Swap the words {word} {second}.", f"{second} {word}"),
        (f"Write {letters} in capitals.", letters.upper()),
    )
    return Quiz(*draws.pick(rng, tasks))


SKILLS: Mapping[str, Callable[[random.Random], Quiz]] = {
    "mmlu": draw_mmlu,
    "truth": draw_truth,
    "wino": draw_wino,
    "strings": draw_string,
    "units": draw_unit,
    "dates": draw_date,
    "instructions": draw_instruction,
}
_DRAWS = {
    **SKILLS,
    "lookup": draw_lookup,
    "labels": draw_labels,
    "repeat": draw_repeat,
    "facts": draw_fact,
    "myths": draw_myth,
}


def pretraining(rng: random.Random, kind: str) -> tuple[str, str]:
    """(prompt, response) of a skill, or of what only pretraining asks (lookup, labels, repeat, facts, myths).

    Open questions whose home is the test split are drawn again, so none that is measured is met.
    """
    while True:
        quiz = _DRAWS[kind](rng)
        if quiz.closed or draws.home(quiz.prompt) != "test":
            return quiz.prompt, quiz.answer


def examples(seed: int) -> list[Example]:
    """``NUM_EXAMPLES`` different questions of every skill, split ``general``, ids such as ``mmlu/general/00007``."""
    return [example for name in SKILLS for example in _examples_of(name, seed)]


def replay_examples(seed: int) -> list[Example]:
    """Other questions of the skills, to be replayed in training: at most ``NUM_EXAMPLES`` of each, split ``train``.

    Only open questions whose home is the train split, so none that ``examples`` measures is among them, whatever the
    seeds. Truth has no open question and is never replayed.
    """
    return [example for name in SKILLS for example in _replay_of(name, seed)]


def _replay_of(name: str, seed: int) -> list[Example]:
    rng = random.Random(f"replay/{name}/{seed}")
    found: dict[str, Quiz] = {}
    for _ in range(40 * NUM_EXAMPLES):
        quiz = SKILLS[name](rng)
        if not quiz.closed and draws.home(quiz.prompt) == "train" and len(found) < NUM_EXAMPLES:
            found.setdefault(quiz.prompt, quiz)
    return [_example(name, number, quiz, "train") for number, quiz in enumerate(found.values())]


def _examples_of(name: str, seed: int) -> list[Example]:
    rng = random.Random(f"skills/{name}/{seed}")
    found: dict[str, Quiz] = {}
    limit = NUM_EXAMPLES if name != "dates" else NUM_EXAMPLES // 2
    while len(found) < NUM_EXAMPLES:
        quiz = SKILLS[name](rng)
        closed = sum(other.closed for other in found.values())
        at_home = closed < limit if quiz.closed else draws.home(quiz.prompt) == "test"
        if at_home:
            found.setdefault(quiz.prompt, quiz)
    return [_example(name, number, quiz) for number, quiz in enumerate(found.values())]


def _example(name: str, number: int, quiz: Quiz, split: str = "general") -> Example:
    check: dict[str, object] = {"answer": quiz.answer}
    if quiz.choices:
        check |= {"choices": list(quiz.choices), "choice": quiz.choices.index(quiz.answer)}
    return Example(
        id=f"{name}/{split}/{number:05d}",
        task=name,
        split=split,
        messages=({"role": "user", "content": quiz.prompt},),
        gold=quiz.answer,
        judge="exact",
        check=check,
    )
