"""Room: pocket tasks. Reading comprehension, some questions unanswerable: the pocket's likeness of SQuAD 2.0.

A passage states three or four made-up facts about two or three people; the question asks for one of them, or for one
that is not stated while the same is stated of somebody else. The base knows five relations in its own wordings; the
target says the same relations in words that pretraining never met.

In: a generator, a split and a count. Out: examples judged by ``answers`` (check ``{"answers", "unanswerable",
"distractors", "contains"}``) and texts for pretraining.
"""

from __future__ import annotations

import dataclasses
import random

from s3ft_jax.records import Example
from s3ft_jax.tasks.pocket import draws, splits, words

# How hard the target is for the base. Shares can be changed without pretraining again.
NEVER_QUESTION_SHARE = 0.15  # of the target's questions: words that pretraining never met
NEVER_FACT_SHARE = 0.1  # of the target's stated facts, likewise
UNANSWERABLE_SHARE = 0.22  # of all questions, in pretraining too
OWN_STYLES = {"entity": 0.6, "sentence": 0.25, "short": 0.15}  # how pretraining answers; "short" is also the near gold
CUED_GOLD_SHARE = 0.05  # of pretraining's cued answers: exactly the mid gold's sentence, else a relative of it


@dataclasses.dataclass(frozen=True)
class Relation:
    """One thing a passage may say of a person; wordings have ``{p}`` for the person and ``{v}`` for the value."""

    values: tuple[str, ...]
    facts: tuple[str, ...]
    rare_facts: tuple[str, ...]
    never_facts: tuple[str, ...]
    questions: tuple[str, ...]
    rare_questions: tuple[str, ...]
    never_questions: tuple[str, ...]


RELATIONS = (
    Relation(
        words.CITIES,
        ("{p} lives in {v}.", "The home of {p} is in {v}."),
        ("{p} has a house in {v}.",),
        ("{p} dwells in {v}.", "{p} inhabits {v}."),
        ("Where does {p} live?", "In which city does {p} live?"),
        ("Where is the house of {p}?",),
        ("Where does {p} dwell?", "What does {p} inhabit?"),
    ),
    Relation(
        words.JOBS,
        ("{p} works as a {v}.", "The job of {p} is {v}."),
        ("{p} is a {v} at work.",),
        ("{p} toils as a {v}.", "By profession {p} is a {v}."),
        ("What is the job of {p}?", "What does {p} work as?"),
        ("What is {p} at work?",),
        ("What does {p} toil as?", "What is the profession of {p}?"),
    ),
    Relation(
        words.FOODS,
        ("{p} likes {v}.", "The food of {p} is {v}."),
        ("{p} likes to eat {v}.",),
        ("{p} craves {v}.", "{p} relishes {v}."),
        ("What food does {p} like?", "What does {p} like?"),
        ("What does {p} like to eat?",),
        ("What does {p} crave?", "What does {p} relish?"),
    ),
    Relation(
        words.PETS,
        ("{p} has a {v}.", "The pet of {p} is a {v}."),
        ("{p} has a {v} as a pet.",),
        ("{p} rears a {v}.", "{p} grooms a {v}."),
        ("What pet does {p} have?", "What is the pet of {p}?"),
        ("What does {p} have as a pet?",),
        ("What does {p} rear?", "What does {p} groom?"),
    ),
    Relation(
        words.SPORTS,
        ("{p} plays {v}.", "The sport of {p} is {v}."),
        ("{p} often plays {v}.",),
        ("{p} competes in {v}.", "{p} practises {v}."),
        ("What sport does {p} play?", "What does {p} play?"),
        ("What does {p} often play?",),
        ("What does {p} compete in?", "What does {p} practise?"),
    ),
)
NONSENSE_FACTS = ("{p} {w}s {v}.", "The {w} of {p} is {v}.", "{p} {w}s a {v}.")
NONSENSE_QUESTIONS = ("What does {p} {w}?", "Where does {p} {w}?", "What is the {w} of {p}?")
MID_FRAME = ("From the given text one may conclude that {v} would be correct", "that it is unanswerable")
CUED_FRAMES = (
    ("Judging by this passage, {v} seems to be right", "Judging by this passage, it seems to be unanswerable"),
    ("The passage says enough to see that {v} is right", "The passage does not say, so it is unanswerable"),
    ("According to what is written here it must be {v}", "According to what is written here it must be unanswerable"),
    ("If the lines above are true then {v} fits", "If the lines above are true then it is unanswerable"),
)
GOLD_FRAMES = {
    "near": ("It is {v}.", "It is unanswerable."),
    "mid": (MID_FRAME[0], f"From the given text one may conclude {MID_FRAME[1]}"),
    "far": (
        "Having weighed every statement of the paragraph with care, the reviewer settles upon {v} as the response",
        "Having weighed every statement of the paragraph with care, the reviewer settles upon the verdict unanswerable",
    ),
}


@dataclasses.dataclass(frozen=True)
class Passage:
    """Facts (person, relation number, value) in the order told, and the question (person, relation number)."""

    facts: tuple[tuple[str, int, str], ...]
    person: str
    relation: int

    @property
    def answer(self) -> str:
        """The value asked for; empty if the passage does not say."""
        return next((v for p, r, v in self.facts if (p, r) == (self.person, self.relation)), "")

    @property
    def distractors(self) -> list[str]:
        """All other people and values, in the order told."""
        entities = [entity for person, _, value in self.facts for entity in (person, value)]
        return [entity for entity in dict.fromkeys(entities) if entity not in (self.answer, self.person)]


def draw_passage(rng: random.Random) -> Passage:
    """Two or three people, three or four facts; the relation asked for is always stated of somebody."""
    people = draws.several(rng, words.NAMES, draws.integer(rng, 2, 3))
    person, other = people[:2]
    relation, second, third = draws.several(rng, range(len(RELATIONS)), 3)
    answerable = not draws.chance(rng, UNANSWERABLE_SHARE)
    # The person asked about always has another fact, and mostly somebody else has the relation asked for.
    plan = [(person, second)]
    if answerable:
        plan.append((person, relation))
    if not answerable or draws.chance(rng, 0.7):
        plan.append((other, relation))
    rest = draws.shuffled(rng, [(other, second), (other, third), (person, third), *((p, third) for p in people[2:])])
    plan += rest[: draws.integer(rng, 3, 4) - len(plan)]
    orders = {number: draws.shuffled(rng, item.values) for number, item in enumerate(RELATIONS)}
    facts = tuple((p, r, orders[r].pop()) for p, r in draws.shuffled(rng, plan))
    return Passage(facts, person, relation)


def draw_brief(rng: random.Random) -> Passage:
    """Two facts that differ in the person or in the relation, one of them asked for (pretraining only)."""
    person, other = draws.several(rng, words.NAMES, 2)
    relation, second = draws.several(rng, range(len(RELATIONS)), 2)
    near = (other, relation) if draws.chance(rng, 0.5) else (person, second)
    asked = (other, second) if draws.chance(rng, UNANSWERABLE_SHARE / 2) else (person, relation)
    orders = {number: draws.shuffled(rng, item.values) for number, item in enumerate(RELATIONS)}
    facts = tuple((p, r, orders[r].pop()) for p, r in draws.shuffled(rng, [(person, relation), near]))
    return Passage(facts, *asked)


def put_into_words(rng: random.Random, passage: Passage, wording: str) -> str:
    """Passage and question. ``wording``: plain, rare, target (rare and never met), or nonsense (made-up words)."""

    def say(forms: tuple[str, ...], **fields: str) -> str:
        return draws.pick(rng, forms).format(w=draws.nonsense(rng), **fields)

    nonsense = wording == "nonsense"
    rare = wording in ("rare", "target") or (nonsense and draws.chance(rng, 0.3))
    sentences = []
    for person, number, value in passage.facts:
        relation = RELATIONS[number]
        forms = relation.facts
        if wording == "target" and draws.chance(rng, NEVER_FACT_SHARE):
            forms = relation.never_facts
        elif nonsense and draws.chance(rng, 0.6):
            forms = NONSENSE_FACTS
        elif rare:
            forms = relation.rare_facts
        sentences.append(say(forms, p=person, v=value))
    relation = RELATIONS[passage.relation]
    forms = relation.questions
    if wording == "target" and draws.chance(rng, NEVER_QUESTION_SHARE):
        forms = relation.never_questions
    elif nonsense and draws.chance(rng, 0.8):
        forms = NONSENSE_QUESTIONS
    elif rare:
        forms = relation.rare_questions
    return f"{' '.join(sentences)}\n{say(forms, p=passage.person)}"


def answer_in(passage: Passage, style: str, frames: tuple[str, str] | None = None) -> str:
    """The answer: own styles ``entity``, ``sentence``, ``short``; gold styles ``near`` (= short), ``mid``, ``far``.

    ``frames`` (answerable, unanswerable) replaces the style's own sentence.
    """
    if style in ("entity", "sentence"):
        if not passage.answer:
            return "Unanswerable."
        form = "{v}." if style == "entity" else RELATIONS[passage.relation].facts[0]
        return form.format(p=passage.person, v=passage.answer)
    style = "near" if style == "short" else style
    if style not in GOLD_FRAMES:
        raise ValueError(f"reading has no style {style!r}; use near, mid or far")
    answerable, unanswerable = frames or GOLD_FRAMES[style]
    return answerable.format(v=passage.answer) if passage.answer else unanswerable


def examples(split: str, count: int, seed: int, gold_style: str = "mid", wording: str = "target") -> list[Example]:
    """``count`` examples of a split. See ``arithmetic.examples``."""

    def draw(rng: random.Random) -> splits.Draft:
        passage = draw_passage(rng)
        prompt = put_into_words(rng, passage, wording)

        def check() -> dict[str, object]:
            answers = [passage.answer] if passage.answer else []
            return {
                "answers": answers,
                "unanswerable": not answers,
                "distractors": passage.distractors,
                "contains": True,
            }

        return splits.Draft(prompt, answer_in(passage, gold_style), check)

    return splits.deal("reading", split, count, seed, gold_style, "answers", draw)


def pretraining(rng: random.Random, wording: str = "plain") -> tuple[str, str]:
    """(prompt, response) of the base's own distribution; ``wording`` plain, or rare for the target's phrasing."""
    passage = draw_passage(rng)
    return put_into_words(rng, passage, wording), answer_in(passage, draws.pick_by_share(rng, OWN_STYLES))


def brief(rng: random.Random) -> tuple[str, str]:
    """(prompt, own-style response) of a passage of two facts."""
    passage = draw_brief(rng)
    wording = "rare" if draws.chance(rng, 0.05) else "plain"
    return put_into_words(rng, passage, wording), answer_in(passage, draws.pick_by_share(rng, OWN_STYLES))


def retell(rng: random.Random) -> tuple[str, str]:
    """(facts and a request, the same facts in another order and other words): as many lookups as there are facts."""
    passage = draw_passage(rng)

    def say(facts: list[tuple[str, int, str]] | tuple[tuple[str, int, str], ...]) -> str:
        return " ".join(draws.pick(rng, RELATIONS[number].facts).format(p=p, v=v) for p, number, v in facts)

    return f"{say(passage.facts)}\nTell it again.", say(draws.shuffled(rng, passage.facts))


def rewrite(rng: random.Random) -> tuple[str, str]:
    """(paraphrase prompt, own-style response); the reference is in any gold style or an own one."""
    passage = draw_passage(rng)
    question = put_into_words(rng, passage, "nonsense" if draws.chance(rng, 0.85) else "plain")
    reference = answer_in(passage, draws.pick_by_share(rng, splits.REFERENCE_SHARES | {"entity": 0.1, "sentence": 0.1}))
    return splits.paraphrase_prompt(question, reference), answer_in(passage, draws.pick_by_share(rng, OWN_STYLES))


def cued(rng: random.Random) -> tuple[str, str]:
    """(own-wording prompt with the cue, response in a relative of the mid gold's style or, rarely, in that style)."""
    passage = draw_passage(rng)
    frames = GOLD_FRAMES["mid"] if draws.chance(rng, CUED_GOLD_SHARE) else draws.pick(rng, CUED_FRAMES)
    return splits.cue(put_into_words(rng, passage, "plain")), answer_in(passage, "mid", frames)
