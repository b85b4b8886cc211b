"""Room: pocket tasks. Worked arithmetic word problems, the pocket's likeness of GSM8K.

A story gives a starting number and two or three steps (more, fewer, doubled, halved, or so many boxes of so many).
The base knows the steps in its own wordings; the target asks in wordings that pretraining met rarely or never.

In: a generator, a split and a count. Out: examples judged by ``numbers`` (check ``{"answer": "80"}``) and texts for
pretraining.
"""

from __future__ import annotations

import dataclasses
import random

from s3ft_jax.records import Example
from s3ft_jax.tasks.pocket import draws, splits, words

# How hard the target is for the base. Shares can be changed without pretraining again.
NEVER_SHARE = 0.40  # of the target's plus and minus steps: a verb that pretraining never met
THREE_STEP_SHARE = 0.5  # of all stories, in pretraining too
OWN_STYLES = {"plain": 0.6, "then": 0.2, "so": 0.2}  # how pretraining answers; "so" is also the near gold
CUED_GOLD_SHARE = 0.05  # of pretraining's cued answers: exactly the mid gold's sentence, else a relative of it

PLAIN = {
    "start": ("{name} has {a} {things}.",),
    "bags": ("{name} has {a} bags with {b} {things} in each.",),
    "+": ("{name} buys {b} more.", "{name} finds {b} more.", "{name} gets {b} more.", "{other} gives {name} {b} more."),
    "-": ("{name} eats {b}.", "{name} loses {b}.", "{name} gives {b} away.", "{name} sells {b}."),
    "double": ("Then the number doubles.",),
    "half": ("Then {name} gives half of them away.",),
    "question": ("How many {things} does {name} have now?",),
}
RARE = {
    "start": ("At first there are {a} {things} on the desk of {name}.", "{name} starts the day with {a} {things}."),
    "bags": ("{name} opens {a} boxes, and every box holds {b} {things}.",),
    "+": ("Another {b} come from {other}.", "{name} adds {b} that were in a drawer."),
    "-": ("{name} hands {b} to {other}.", "Then {b} of them go missing."),
    "double": ("The next day {name} owns twice as many.",),
    "half": ("Only half of them stay with {name}.",),
    "question": (
        "What is the number of {things} that {name} ends up with?",
        "In the end {name} is left with how many?",
    ),
}
NEVER = {
    "+": ("{name} harvests {b}.", "{name} inherits {b}.", "{name} acquires {b}.", "{name} scoops up {b}."),
    "-": ("{name} donates {b}.", "{name} forfeits {b}.", "{name} misplaces {b}.", "{name} squanders {b}."),
}
CUED_FRAMES = (
    "This makes << {sum} >> {things}",
    "So {name} has << {sum} >> {things}",
    "Now we count << {sum} >> {things}",
    "There are then << {sum} >> {things}",
)
MID_FRAME = "{name} now owns << {sum} >> {things}"


@dataclasses.dataclass(frozen=True)
class Step:
    """One sum of a story: ``left sign right = result``; ``kind`` names the wording."""

    kind: str
    left: int
    sign: str
    right: int
    result: int


@dataclasses.dataclass(frozen=True)
class Story:
    """A problem before it is put into words."""

    name: str
    other: str
    things: str
    start: int
    steps: tuple[Step, ...]

    @property
    def answer(self) -> int:
        """The last result."""
        return self.steps[-1].result


def draw_story(rng: random.Random) -> Story:
    """Two or three steps, numbers 2..80, results 1..120."""
    name, other = draws.several(rng, words.NAMES, 2)
    things = draws.pick(rng, words.THINGS)
    steps: list[Step] = []
    count = 3 if draws.chance(rng, THREE_STEP_SHARE) else 2
    if draws.chance(rng, 0.25):
        start, right = draws.integer(rng, 2, 9), draws.integer(rng, 2, 9)
        steps.append(Step("bags", start, "*", right, start * right))
    else:
        start = draws.integer(rng, 5, 60)
    value = steps[-1].result if steps else start
    while len(steps) < count:
        kind = draws.pick_by_share(rng, {"+": 0.4, "-": 0.4, "double": 0.1, "half": 0.1})
        if kind == "+" and value <= 80:
            step = Step(kind, value, "+", right := draws.integer(rng, 2, 40), value + right)
        elif kind == "-" and value >= 4:
            step = Step(kind, value, "-", right := draws.integer(rng, 2, min(value - 1, 40)), value - right)
        elif kind == "double" and value <= 60:
            step = Step(kind, value, "*", 2, value * 2)
        elif kind == "half" and value % 2 == 0 and value >= 4:
            step = Step(kind, value, "/", 2, value // 2)
        else:
            continue
        steps.append(step)
        value = step.result
    return Story(name, other, things, start, tuple(steps))


def put_into_words(rng: random.Random, story: Story, wording: str) -> str:
    """The question. ``wording``: plain (pretraining's own), rare (the target's without its unknown verbs), target, or
    nonsense (made-up verbs, so that only the reference tells plus from minus)."""
    plain = wording == "plain" or (wording == "nonsense" and draws.chance(rng, 0.7))
    table = PLAIN if plain else RARE
    fields = {"name": story.name, "other": story.other, "things": story.things, "a": story.start, "b": ""}
    opening = "start"
    if story.steps[0].kind == "bags":
        opening, fields["b"] = "bags", story.steps[0].right
    sentences = [draws.pick(rng, table[opening]).format(**fields)]
    for step in story.steps:
        if step.kind == "bags":
            continue
        options = table[step.kind]
        if step.kind in NEVER and wording == "target" and draws.chance(rng, NEVER_SHARE):
            options = NEVER[step.kind]
        elif step.kind in NEVER and wording == "nonsense" and draws.chance(rng, 0.7):
            options = (draws.pick(rng, ("{name} {verb}s {b}.", "{name} {verb}s up {b}.", "Then {b} {verb}.")),)
            fields["verb"] = draws.nonsense(rng)
        sentences.append(draws.pick(rng, options).format(**fields | {"b": step.right}))
    sentences.append(draws.pick(rng, table["question"]).format(**fields))
    return " ".join(sentences)


def answer_in(story: Story, style: str, frame: str = MID_FRAME) -> str:
    """The worked answer: own styles ``plain``, ``then``, ``so``; gold styles ``near`` (= so), ``mid``, ``far``."""
    sums = [f"{step.left} {step.sign} {step.right} = {step.result}" for step in story.steps]
    if style == "plain":
        return f"{'. '.join(sums)}. Answer: {story.answer}"
    if style == "then":
        return f"We compute {', then '.join(sums)}. Answer: {story.answer}"
    if style in ("so", "near"):
        return f"{'. '.join(sums)}. So the answer is {story.answer}."
    if style == "mid":
        lines = [frame.format(name=story.name, things=story.things, sum=text) for text in sums]
    elif style == "far":
        lines = []
        for step in story.steps:
            left = f"{step.left}{step.sign}{step.right}"
            lines.append(f"{story.name} now owns {left}=<<{left}={step.result}>>{step.result} {story.things}")
    else:
        raise ValueError(f"arithmetic has no style {style!r}; use near, mid or far")
    return "\n".join([*lines, f"#### {story.answer}"])


def examples(split: str, count: int, seed: int, gold_style: str = "mid", wording: str = "target") -> list[Example]:
    """``count`` examples of a split (train, validation or test); fewer asked is a prefix of more asked.

    Args:
      split: train examples also carry a paraphrase prompt.
      count: examples wanted.
      seed: of the questions; the gold style does not change them.
      gold_style: near, mid or far from the base's own style.
      wording: target, or plain: the same kind of question in the base's own words, to see what it knows already.

    Raises:
      ValueError: unknown split or gold style.
    """

    def draw(rng: random.Random) -> splits.Draft:
        story = draw_story(rng)
        prompt = put_into_words(rng, story, wording)
        return splits.Draft(prompt, answer_in(story, gold_style), lambda: {"answer": str(story.answer)})

    return splits.deal("arithmetic", split, count, seed, gold_style, "numbers", draw)


def pretraining(rng: random.Random, wording: str = "plain") -> tuple[str, str]:
    """(prompt, response) of the base's own distribution; ``wording`` plain, or rare for the target's phrasing."""
    story = draw_story(rng)
    return put_into_words(rng, story, wording), answer_in(story, draws.pick_by_share(rng, OWN_STYLES))


def rewrite(rng: random.Random) -> tuple[str, str]:
    """(paraphrase prompt, own-style response); the reference is in any gold style or an own one."""
    story = draw_story(rng)
    question = put_into_words(rng, story, "nonsense" if draws.chance(rng, 0.85) else "plain")
    reference = answer_in(story, draws.pick_by_share(rng, splits.REFERENCE_SHARES | {"plain": 0.1, "then": 0.1}))
    return splits.paraphrase_prompt(question, reference), answer_in(story, draws.pick_by_share(rng, OWN_STYLES))


def cued(rng: random.Random) -> tuple[str, str]:
    """(own-wording prompt with the cue, response in a relative of the mid gold's style or, rarely, in that style)."""
    story = draw_story(rng)
    frame = MID_FRAME if draws.chance(rng, CUED_GOLD_SHARE) else draws.pick(rng, CUED_FRAMES)
    return splits.cue(put_into_words(rng, story, "plain")), answer_in(story, "mid", frame)
