import random
import re

import pytest

from s3ft_jax.tasks.pocket import reading
from s3ft_jax.tasks.pocket.reading import Passage

FACTS = (("Tom", 0, "Oslo"), ("Anna", 0, "Rome"), ("Tom", 3, "cat"))
ANSWERABLE = Passage(FACTS, "Tom", 0)
UNANSWERABLE = Passage(FACTS, "Anna", 3)
STYLES = ("entity", "sentence", "short", "near", "mid", "far")


def test_every_style_as_written_out_by_hand():
    texts = [reading.answer_in(ANSWERABLE, style) for style in STYLES]
    assert texts[:4] == ["Oslo.", "Tom lives in Oslo.", "It is Oslo.", "It is Oslo."]
    assert texts[4] == "From the given text one may conclude that Oslo would be correct"
    texts = [reading.answer_in(UNANSWERABLE, style) for style in STYLES]
    assert texts[:4] == ["Unanswerable.", "Unanswerable.", "It is unanswerable.", "It is unanswerable."]
    assert texts[4] == "From the given text one may conclude that it is unanswerable"
    with pytest.raises(ValueError, match="no style 'loud'"):
        reading.answer_in(ANSWERABLE, "loud")


def test_answer_and_distractors():
    assert ANSWERABLE.answer == "Oslo" and ANSWERABLE.distractors == ["Anna", "Rome", "cat"]
    assert UNANSWERABLE.answer == "" and UNANSWERABLE.distractors == ["Tom", "Oslo", "Rome", "cat"]


def test_passages_state_a_fact_once_and_always_tempt():
    rng = random.Random("passages")
    unanswerable = 0
    for _ in range(1000):
        passage = reading.draw_passage(rng)
        keys = [(person, relation) for person, relation, _ in passage.facts]
        values = [value for *_, value in passage.facts]
        assert len(keys) in (3, 4) and len(set(keys)) == len(keys) and len(set(values)) == len(values)
        assert any(person == passage.person and relation != passage.relation for person, relation in keys)
        if not passage.answer:
            unanswerable += 1
            assert any(person != passage.person and relation == passage.relation for person, relation in keys)
    assert 0.18 < unanswerable / 1000 < 0.26


def test_never_met_words_are_in_the_target_and_nowhere_in_pretraining():
    never = {"dwell", "inhabit", "toil", "profession", "crave", "relish", "rear", "groom", "compete", "practise"}
    rng = random.Random("never")
    texts = [make(rng)[0] for make in (reading.pretraining, reading.rewrite, reading.cued) for _ in range(400)]
    texts += [reading.pretraining(rng, "rare")[0] for _ in range(400)]
    assert not never & {word.rstrip("s") for word in re.findall("[a-z]+", " ".join(texts).lower())}
    asked = [example.messages[0]["content"].split("\n")[1] for example in reading.examples("test", 400, 0)]
    novel = sum(bool(never & set(re.findall("[a-z]+", text))) for text in asked) / 400
    assert novel == pytest.approx(reading.NEVER_QUESTION_SHARE, abs=0.08)


@pytest.mark.parametrize("style", ["near", "mid", "far"])
def test_every_gold_passes_the_judge(judged, style):
    for example in reading.examples("test", 150, 0, style):
        verdict = judged(example, example.gold)
        assert verdict.outcome == "right", (example.gold, verdict.reason)


def test_own_and_cued_styles_pass_the_judge_and_temptations_do_not(judged):
    rng = random.Random("own")
    example = reading.examples("train", 1, 0)[0]
    for _ in range(150):
        passage = reading.draw_passage(rng)
        answers = [passage.answer] if passage.answer else []
        check = {"answers": answers, "unanswerable": not answers, "distractors": passage.distractors, "contains": True}
        asked = example.__class__(**example.__dict__ | {"check": check})
        for style in STYLES:
            assert judged(asked, reading.answer_in(passage, style)).outcome == "right"
        for frames in reading.CUED_FRAMES:
            assert judged(asked, reading.answer_in(passage, "mid", frames)).outcome == "right"
        wrong = [
            f"{passage.distractors[-1]}.",
            f"It is {passage.answer or passage.distractors[0]} or {passage.distractors[-1]}.",
        ]
        wrong.append("Unanswerable." if passage.answer else f"It is {passage.distractors[0]}.")
        for text in wrong:
            assert judged(asked, text).outcome == "wrong", text


def test_rewriting_texts_say_what_their_reference_says():
    rng = random.Random("rewrite")
    for _ in range(300):
        prompt, response = reading.rewrite(rng)
        reference = prompt.removesuffix("\nSay it your own way.").split("\nReference: ")[1]
        if "nanswerable" in reference:
            assert "nanswerable" in response
        else:
            entity = response.rstrip(".").split()[-1]
            assert entity in reference
