import random

import pytest

from s3ft_jax.tasks.pocket import POCKET, draws, splits


def prompts_of(task: str, split: str, count: int, seed: int = 0) -> list[str]:
    return [example.messages[0]["content"] for example in POCKET[task].examples(split, count, seed)]


@pytest.mark.parametrize("task", POCKET)
def test_splits_never_share_a_prompt(task):
    # Two seeds of the training questions: the splits stay apart even between runs with different seeds.
    train = set(prompts_of(task, "train", 1024)) | set(prompts_of(task, "train", 200, seed=1))
    validation, test = prompts_of(task, "validation", 512), prompts_of(task, "test", 600)
    assert len(set(validation)) == 512 and len(set(test)) == 600
    assert not train & set(validation) and not train & set(test) and not set(validation) & set(test)
    assert all(draws.home(prompt) == "test" for prompt in test)


@pytest.mark.parametrize("task", POCKET)
def test_fewer_are_a_prefix_of_more_and_the_seed_matters(task):
    make = POCKET[task].examples
    assert make("train", 12, 5) == make("train", 30, 5)[:12]
    assert prompts_of(task, "train", 12, seed=5) != prompts_of(task, "train", 12, seed=6)
    assert make("test", 0, 5) == []


@pytest.mark.parametrize("task", POCKET)
def test_gold_style_changes_gold_and_nothing_else(task):
    near, mid, far = (POCKET[task].examples("train", 40, 0, style) for style in splits.GOLD_STYLES)
    for a, b, c in zip(near, mid, far, strict=True):
        assert (a.id, a.messages, a.check) == (b.id, b.messages, b.check) == (c.id, c.messages, c.check)
        assert len({a.gold, b.gold, c.gold}) == 3


@pytest.mark.parametrize("task", POCKET)
def test_examples_have_ids_judges_and_a_paraphrase_prompt_in_train_only(task):
    train, test = POCKET[task].examples("train", 3, 0), POCKET[task].examples("test", 3, 0)
    assert [example.id for example in train] == [f"{task}/train/0000{number}" for number in range(3)]
    judges = {"arithmetic": "numbers", "programs": "programs", "reading": "answers"}
    assert {example.judge for example in train + test} == {judges[task]}
    assert all(example.paraphrase_messages == () for example in test)
    for example in train:
        question = example.messages[0]["content"]
        shown = f"{question}\nReference: {example.gold}\nSay it your own way."
        assert example.paraphrase_messages == ({"role": "user", "content": shown},)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("dev", 3, 0, "mid"), "has no split 'dev'.*train, validation, test"),
        (("train", 3, 0, "middle"), "gold_style is 'middle'.*near, mid, far"),
        (("train", -1, 0, "mid"), "-1 train examples asked for"),
    ],
)
@pytest.mark.parametrize("task", POCKET)
def test_wrong_names_are_told(task, arguments, message):
    with pytest.raises(ValueError, match=message):
        POCKET[task].examples(*arguments)


def test_deal_stops_when_questions_run_out():
    def draw(rng: random.Random) -> splits.Draft:
        return splits.Draft(f"question {draws.integer(rng, 0, 9)}", "gold", dict)

    with pytest.raises(ValueError, match="different train questions found, 50 asked for"):
        splits.deal("tiny", "train", 50, 0, "mid", "numbers", draw)


def test_question_of_undoes_both_prompts():
    assert splits.question_of(splits.paraphrase_prompt("How many?", "<< 1 + 1 = 2 >>\n#### 2")) == "How many?"
    assert splits.question_of(splits.cue("How many?")) == "How many?"
    assert splits.question_of("How many?") == "How many?"
