"""few_shot: turns of training examples stand before the question, and as many as there is room for."""

from s3ft_jax.prompts import PromptEncoder
from s3ft_jax.records import Example
from s3ft_jax.stages import few_shot
from s3ft_jax.stages.launch import BASE


def example(number, *roles):
    turns = tuple({"role": role, "content": f"{role} {number}"} for role in roles or ("user",))
    return Example(f"t/train/{number}", "t", "train", turns, f"gold {number}", "exact", {})


def test_shots_are_turns_between_the_system_and_the_question():
    (shown,) = few_shot.show([example(0, "system", "user")], [example(1, "system", "user"), example(2)])
    said = [(turn["role"], turn["content"]) for turn in shown.messages]
    assert said == [
        ("system", "system 0"), ("user", "user 1"), ("assistant", "gold 1"),
        ("user", "user 2"), ("assistant", "gold 2"), ("user", "user 0"),
    ]  # fmt: skip
    assert (shown.id, shown.gold) == ("t/train/0", "gold 0")


def test_each_seed_draws_its_own_and_the_same_again():
    train = [example(number) for number in range(50)]
    drawn = [[one.id for one in few_shot.draw(train, 4, seed)] for seed in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1] and len(set(drawn[0])) == 4


def test_as_many_as_fit(walked):
    _, workdir = walked
    encoder = PromptEncoder(str(workdir / BASE / "tokenizer"))
    train, test = (workdir.read_records(Example, f"examples/{split}.jsonl") for split in ("train", "test"))
    longest = [
        max(
            len(encoder.encode_prompt(one.messages))
            for seed in (0, 1)
            for one in few_shot.show(test, few_shot.draw(train, count, seed))
        )
        for count in range(4)
    ]
    for most in range(4):
        for room in (longest[2], longest[2] - 1, longest[1] - 1):
            found = few_shot.most_fitting(test, train, (0, 1), encoder, most=most, max_prompt=room)
            assert found == max([count for count in range(most + 1) if longest[count] <= room and count], default=0)
