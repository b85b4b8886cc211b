"""Room: pocket tasks. Words that several pocket tasks share, and the made-up world of the general skills.

In: nothing. Out: tuples of names and nouns; ``COUNTRIES`` (facts that exist nowhere else) and ``TOPICS`` (what is true
and what people merely say), both drawn once from a fixed seed.
"""

from __future__ import annotations

import dataclasses
import random

from s3ft_jax.tasks.pocket import draws

NAMES = (
    "Tom", "Anna", "Ben", "Mia", "Sam", "Eva", "Leo", "Nina", "Max", "Ida", "Paul", "Rosa", "Omar", "Lena", "Finn",
    "Sara", "Jack", "Emma", "Noah", "Lily", "Adam", "Ruth", "Hugo", "Zoe",
)  # fmt: skip
THINGS = (
    "apples", "books", "coins", "pens", "cards", "shells", "stamps", "cookies", "marbles", "eggs", "balls", "cups",
    "nuts", "stones", "roses", "keys",
)  # fmt: skip
CITIES = ("Oslo", "Rome", "Paris", "Lima", "Cairo", "Delhi", "Kyoto", "Boston", "Berlin", "Madrid", "Dublin", "Vienna")
JOBS = (
    "baker", "doctor", "farmer", "pilot", "teacher", "nurse", "singer", "painter", "driver", "cook", "judge",
    "tailor",
)  # fmt: skip
FOODS = ("soup", "rice", "bread", "cheese", "fish", "pizza", "salad", "honey", "pasta", "beans", "cake", "curry")
PETS = ("cat", "dog", "horse", "rabbit", "parrot", "hamster", "turtle", "goat", "lizard", "pony", "mouse", "duck")
SPORTS = ("tennis", "chess", "golf", "hockey", "rugby", "squash", "polo", "soccer", "cricket", "darts", "bowls", "judo")
NOUNS = (
    "river", "table", "garden", "window", "mountain", "pencil", "candle", "bridge", "forest", "island", "market",
    "button", "ladder", "engine", "basket", "letter", "kitchen", "village", "flower", "bottle", "camera", "carpet",
    "castle", "circle", "corner", "desert", "dinner", "doctor", "feather", "hammer", "jacket", "lemon", "mirror",
    "needle", "ocean", "orange", "planet", "pocket", "rocket", "school", "shadow", "silver", "spider", "summer",
    "ticket", "tiger", "tunnel", "valley", "winter", "wizard",
)  # fmt: skip
GOODS = ("gold", "wool", "tea", "salt", "silk", "iron", "wine", "corn", "oil", "glass", "paper", "sugar")
COLORS = ("red", "blue", "green", "white", "black", "yellow", "brown", "pink")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


@dataclasses.dataclass(frozen=True)
class Country:
    """A made-up country: its name and what is asked about it."""

    name: str
    facts: tuple[tuple[str, str], ...]  # (relation, value)


@dataclasses.dataclass(frozen=True)
class Topic:
    """A made-up thing about which the truth and what people say differ."""

    question: str  # e.g. "What color is a zupock"
    truth: str
    myth: str


RELATIONS = ("capital", "river", "main export")


def _made_up(rng: random.Random, count: int, taken: set[str]) -> list[str]:
    found: list[str] = []
    while len(found) < count:
        word = draws.nonsense(rng).capitalize()
        if len(word) > 3 and word not in taken:
            taken.add(word)
            found.append(word)
    return found


def _countries(count: int) -> tuple[Country, ...]:
    rng = random.Random("pocket/countries")
    taken: set[str] = set()
    names, capitals, rivers = (_made_up(rng, count, taken) for _ in range(3))
    exports = [draws.pick(rng, GOODS) for _ in range(count)]
    values = zip(names, capitals, rivers, exports, strict=True)
    return tuple(Country(name, tuple(zip(RELATIONS, facts, strict=True))) for name, *facts in values)


def _topics(count: int) -> tuple[Topic, ...]:
    rng = random.Random("pocket/topics")
    kinds = (("What color is a {}", COLORS), ("What does a {} eat", FOODS), ("What is a {} made of", GOODS))
    topics = []
    for number, word in enumerate(_made_up(rng, count, set())):
        question, values = kinds[number % len(kinds)]
        truth, myth = draws.several(rng, values, 2)
        topics.append(Topic(question.format(word.lower()), truth, myth))
    return tuple(topics)


COUNTRIES = _countries(24)
TOPICS = _topics(100)
