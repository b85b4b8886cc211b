import collections
import random

import pytest

from s3ft_jax.tasks.pocket import draws, skills, words

EXAMPLES = skills.examples(0)


def test_seven_skills_of_120_different_questions():
    counts = collections.Counter(example.task for example in EXAMPLES)
    assert counts == dict.fromkeys(skills.SKILLS, 120) and len(counts) == 7
    assert len({example.messages[0]["content"] for example in EXAMPLES}) == len(EXAMPLES)
    assert len({example.id for example in EXAMPLES}) == len(EXAMPLES)
    assert {example.split for example in EXAMPLES} == {"general"} and {example.judge for example in EXAMPLES} == {
        "exact"
    }
    assert all(example.paraphrase_messages == () for example in EXAMPLES)


def test_choices_hold_the_answer_once_and_the_prompt_shows_them():
    with_choices = [example for example in EXAMPLES if "choices" in example.check]
    assert {example.task for example in with_choices} == {"mmlu", "truth", "wino"}
    for example in with_choices:
        choices, right = example.check["choices"], example.check["choice"]
        assert choices[right] == example.check["answer"] == example.gold and len(set(choices)) == len(choices)
        assert all(choice in example.messages[0]["content"] for choice in choices)


def test_the_right_choice_is_not_given_away_by_its_place():
    for task in ("mmlu", "truth", "wino"):
        places = collections.Counter(example.check["choice"] for example in EXAMPLES if example.task == task)
        share = 1 / len(next(example for example in EXAMPLES if example.task == task).check["choices"])
        assert all(abs(count / 120 - share) < 0.15 for count in places.values())


@pytest.mark.parametrize("kind", [*skills.SKILLS, "facts", "myths"])
def test_pretraining_never_shows_an_open_question_that_is_measured(kind):
    rng = random.Random(f"open/{kind}")
    seen = {skills.pretraining(rng, kind)[0] for _ in range(1500)}
    measured = {example.messages[0]["content"] for example in EXAMPLES if example.task == kind}
    shared = seen & measured
    if kind == "truth":
        assert len(shared) > 60  # a closed set of sentences: knowing them is the skill
    elif kind == "dates":
        assert all(prompt.startswith(("Today is", "Which month")) for prompt in shared)
    else:
        assert not shared


def test_answers_are_right():
    for example in EXAMPLES:
        prompt, gold = example.messages[0]["content"], example.gold
        if example.task == "strings":
            task, letters = prompt.split(": ")
            expected = {"Reverse": letters[::-1], "Copy": letters, "Sort": " ".join(sorted(letters.split()))}
            assert gold == expected.get(task, letters[-1] if task == "Last of" else letters[0])
        elif example.task == "units":
            small, _, number, large = prompt.rstrip("?").split("how many ")[1].split()
            factor = next(factor for a, b, factor in skills.UNITS if (a, b) == (large, small))
            assert int(gold) == int(number) * factor
        elif example.task == "truth":
            topic = next(topic for topic in words.TOPICS if prompt.startswith(f"{topic.question},"))
            assert gold == topic.truth != topic.myth
        elif example.task == "mmlu":
            relation, country = prompt.split("\n")[0].removeprefix("What is the ").rstrip("?").split(" of ")
            right = next(dict(c.facts)[relation] for c in words.COUNTRIES if c.name == country)
            assert f"{gold}. {right}\n" in prompt
        elif prompt.startswith("Today is"):
            day, step = prompt.split()[2].rstrip("."), int(prompt.split()[-2])
            assert (skills.DAYS.index(gold) - skills.DAYS.index(day)) % 7 == step


def test_a_date_and_its_figures_by_hand():
    rng = random.Random("dates")
    quizzes = {draw.prompt: draw.answer for draw in (skills.draw_date(rng) for _ in range(3000))}
    figures = next(prompt for prompt in quizzes if prompt.startswith("Write 5 March"))
    year = figures.split()[3]
    assert quizzes[figures] == f"{year}-03-05"
    assert quizzes["Which month comes right after December?"] == "January"


def test_instructions_by_hand():
    rng = random.Random("instructions")
    quizzes = {draw.prompt: draw.answer for draw in (skills.draw_instruction(rng) for _ in range(4000))}
    assert quizzes["Put the word tiger in brackets."] == "(tiger)"
    assert quizzes["Write tiger with quotes around it."] == '"tiger"'
    assert quizzes["Say the word tiger twice."] == "tiger tiger"


def test_every_answer_passes_the_judge_and_another_does_not(judged):
    for example in EXAMPLES[::7]:
        assert judged(example, example.gold).outcome == "right"
        assert judged(example, f"{example.gold} {example.gold} indeed").outcome == "wrong"


def test_another_seed_measures_other_questions_of_the_same_home():
    others = {example.messages[0]["content"] for example in skills.examples(1) if example.task == "strings"}
    mine = {example.messages[0]["content"] for example in EXAMPLES if example.task == "strings"}
    assert others != mine and all(draws.home(prompt) == "test" for prompt in others)


def test_replayed_questions_are_never_measured_ones():
    measured = {example.messages[0]["content"] for seed in range(3) for example in skills.examples(seed)}
    for seed in range(3):
        replayed = skills.replay_examples(seed)
        prompts = {example.messages[0]["content"] for example in replayed}
        assert len(prompts) == len(replayed) == len({example.id for example in replayed})
        assert not prompts & measured
        counts = collections.Counter(example.task for example in replayed)
        assert set(counts) == set(skills.SKILLS) - {"truth"} and min(counts.values()) >= 60
        assert {example.split for example in replayed} == {"train"}
