import itertools
import random
import re

import pytest

from s3ft_jax.tasks.pocket import arithmetic
from s3ft_jax.tasks.pocket.arithmetic import Step, Story

STORY = Story("Sam", "Ida", "apples", 49, (Step("+", 49, "+", 51, 100), Step("-", 100, "-", 20, 80)))
STYLES = ("plain", "then", "so", "near", "mid", "far")


def test_every_style_as_written_out_by_hand():
    assert arithmetic.answer_in(STORY, "plain") == "49 + 51 = 100. 100 - 20 = 80. Answer: 80"
    assert arithmetic.answer_in(STORY, "then") == "We compute 49 + 51 = 100, then 100 - 20 = 80. Answer: 80"
    assert arithmetic.answer_in(STORY, "so") == "49 + 51 = 100. 100 - 20 = 80. So the answer is 80."
    assert arithmetic.answer_in(STORY, "near") == arithmetic.answer_in(STORY, "so")
    assert arithmetic.answer_in(STORY, "mid") == (
        "Sam now owns << 49 + 51 = 100 >> apples\nSam now owns << 100 - 20 = 80 >> apples\n#### 80"
    )
    assert arithmetic.answer_in(STORY, "far") == (
        "Sam now owns 49+51=<<49+51=100>>100 apples\nSam now owns 100-20=<<100-20=80>>80 apples\n#### 80"
    )
    with pytest.raises(ValueError, match="no style 'loud'"):
        arithmetic.answer_in(STORY, "loud")


def test_stories_add_up():
    rng = random.Random("stories")
    for _ in range(500):
        story = arithmetic.draw_story(rng)
        assert len(story.steps) in (2, 3) and story.steps[0].left == story.start
        for step in story.steps:
            exact = {"+": step.left + step.right, "-": step.left - step.right, "*": step.left * step.right}
            assert step.result == exact.get(step.sign, step.left / step.right)
            assert 1 <= step.result <= 120
        assert all(one.result == two.left for one, two in itertools.pairwise(story.steps))


def test_the_question_holds_every_number_that_is_needed():
    rng = random.Random("words")
    for wording in ("plain", "rare", "target", "nonsense"):
        for _ in range(100):
            story = arithmetic.draw_story(rng)
            numbers = set(re.findall(r"\d+", arithmetic.put_into_words(rng, story, wording)))
            needed = {str(step.right) for step in story.steps if step.kind in ("+", "-", "bags")}
            assert needed | {str(story.start)} == numbers


def test_never_met_verbs_are_in_the_target_and_nowhere_in_pretraining():
    verbs = {form.split()[1] for forms in arithmetic.NEVER.values() for form in forms}
    assert len(verbs) == 8
    rng = random.Random("never")
    texts = [make(rng)[0] for make in (arithmetic.pretraining, arithmetic.rewrite, arithmetic.cued) for _ in range(400)]
    texts += [arithmetic.pretraining(rng, "rare")[0] for _ in range(400)]
    assert not verbs & set(" ".join(texts).replace(".", " ").split())
    target = " ".join(example.messages[0]["content"] for example in arithmetic.examples("test", 300, 0))
    assert verbs <= set(target.split())


def test_every_style_passes_the_judge(judged):
    rng = random.Random("judge")
    for example in arithmetic.examples("train", 1, 0):
        for _ in range(150):
            story = arithmetic.draw_story(rng)
            asked = example.__class__(**example.__dict__ | {"check": {"answer": str(story.answer)}})
            for style in STYLES:
                assert judged(asked, arithmetic.answer_in(story, style)).outcome == "right"
            for frame in arithmetic.CUED_FRAMES:
                assert judged(asked, arithmetic.answer_in(story, "mid", frame)).outcome == "right"
            assert (
                judged(asked, f"{story.answer} + 1 = {story.answer + 1}. Answer: {story.answer + 1}").outcome == "wrong"
            )


@pytest.mark.parametrize("style", ["near", "mid", "far"])
def test_every_gold_passes_the_judge(judged, style):
    for example in arithmetic.examples("test", 200, 0, style):
        assert judged(example, example.gold).outcome == "right"


def test_rewriting_texts_carry_the_sums_of_their_reference():
    rng = random.Random("rewrite")
    seen = {"<< ": 0, "<<": 0, "So the": 0}
    for _ in range(300):
        prompt, response = arithmetic.rewrite(rng)
        question, reference = prompt.removesuffix("\nSay it your own way.").split("\nReference: ")
        sums = re.findall(r"\d+ [-+*/] \d+ = \d+", response)
        tight = reference.replace(" ", "")
        assert sums and all(text.replace(" ", "") in tight for text in sums)
        assert "<<" not in response and "####" not in response
        for mark in seen:
            seen[mark] += mark in reference
        assert question.endswith("?")
    assert seen["<< "] > 80 and seen["<<"] - seen["<< "] > 30 and seen["So the"] > 30
