import collections
import random

import pytest

from s3ft_jax.tasks.pocket import programs
from s3ft_jax.tasks.pocket.programs import FILTERS, MAPS, NEVER_FILTERS, NEVER_MAPS, Program

STYLES = ("loop", "comprehension", "near", "mid", "far")
CUBES = Program(FILTERS[2], 2, NEVER_MAPS[0], 2, "list")


def run(text: str, numbers: list[int]) -> object:
    """What the last function of a text made by this suite returns."""
    space: dict[str, object] = {}
    exec(text, space)
    function = [value for name, value in space.items() if callable(value) and name not in ("__builtins__", "reduce")][
        -1
    ]
    return function(numbers)


def test_every_style_as_written_out_by_hand():
    assert programs.answer_in(CUBES, "loop") == (
        "def f(a):\n  r = []\n  for x in a:\n    if x > 0:\n      r.append(x ** 3)\n  return r"
    )
    assert programs.answer_in(CUBES, "near") == "def f(a):\n  return [x ** 3 for x in a if x > 0]"
    assert programs.answer_in(CUBES, "mid") == (
        "def solution(nums):\n  return list(map(lambda n: n ** 3, filter(lambda n: 0 < n, nums)))"
    )
    assert programs.answer_in(CUBES, "far") == (
        "def walk(seq):\n  if not seq:\n    return []\n  head, *tail = seq\n"
        "  first = [head ** 3] if 0 < head else []\n  return first + walk(tail)"
    )
    with pytest.raises(ValueError, match="no style 'loud'"):
        programs.answer_in(CUBES, "loud")


@pytest.mark.parametrize("reduce", programs.REDUCES)
@pytest.mark.parametrize("style", STYLES)
def test_all_styles_of_all_operations_compute_the_same(style, reduce):
    rng = random.Random(f"{style}/{reduce}")
    for chosen in FILTERS + NEVER_FILTERS:
        for mapped in (None, *MAPS, *NEVER_MAPS):
            program = Program(chosen, rng.randint(2, 12), mapped, rng.randint(2, 12), reduce)
            numbers = [rng.randint(-20, 20) for _ in range(8)]
            if reduce == "count" and mapped:
                continue
            assert run(programs.answer_in(program, style), numbers) == programs.run_program(program, numbers)
            assert run(programs.answer_in(program, style), []) == programs.run_program(program, [])


def test_right_results_as_worked_out_by_hand():
    assert programs.run_program(CUBES, [-2, 1, 3]) == [1, 27]
    odd_product = Program(FILTERS[1], 2, MAPS[3], 5, "product")  # odd ones, plus 5
    assert programs.run_program(odd_product, [1, 2, -3]) == 6 * 2
    assert programs.run_program(odd_product, []) == 1
    halves = Program(NEVER_FILTERS[0], 4, NEVER_MAPS[1], 2, "sum")  # at least 4, halved
    assert programs.run_program(halves, [3, 4, 7]) == 2 + 3


def test_seven_tests_tell_the_programs_of_a_pool_apart():
    rng = random.Random("apart")
    confused = pairs = 0
    for _ in range(150):
        one = programs.draw_program(rng, 0.3, 0.3)
        tests = programs.tests_of(one, "prompt")
        assert len(tests) == programs.NUM_TESTS and all(test.startswith("assert candidate(") for test in tests)
        for chosen in FILTERS + NEVER_FILTERS:
            other = Program(chosen, one.filter_number, one.map, one.map_number, one.reduce)
            if chosen is one.filter:
                continue
            pairs += 1
            lists = [eval(test.split("(", 1)[1].split(") ==")[0]) for test in tests]
            confused += all(
                programs.run_program(one, values) == programs.run_program(other, values) for values in lists
            )
    assert pairs > 1000 and confused / pairs < 0.02


def test_splits_share_no_program_whatever_its_words():
    meanings = collections.defaultdict(set)
    for split, count in (("train", 400), ("validation", 200), ("test", 200)):
        for example in programs.examples(split, count, 0):
            meanings[split].add(example.gold)
    assert not meanings["train"] & meanings["test"] and not meanings["train"] & meanings["validation"]
    assert not meanings["validation"] & meanings["test"]


def test_never_met_words_are_in_the_target_and_nowhere_in_pretraining():
    words = ("at least", "at most", "other than", "cubed", "halved", "modulo")
    rng = random.Random("never")
    texts = [make(rng)[0] for make in (programs.pretraining, programs.rewrite, programs.cued) for _ in range(400)]
    texts += [programs.pretraining(rng, "rare")[0] for _ in range(400)]
    shares = {}
    for split in ("train", "test"):
        asked = [example.messages[0]["content"] for example in programs.examples(split, 500, 0)]
        shares[split] = sum(any(word in text for word in words) for text in asked) / 500
    assert not any(word in text for word in words for text in texts)
    assert 0.3 < shares["train"] < 0.5 and abs(shares["train"] - shares["test"]) < 0.08


@pytest.mark.parametrize("style", ["near", "mid", "far"])
def test_every_gold_passes_the_judge(judged, style):
    for example in programs.examples("train", 60, 0, style):
        verdict = judged(example, example.gold)
        assert verdict.outcome == "right", verdict.reason


def test_own_styles_pass_the_judge_and_an_empty_function_does_not(judged):
    rng = random.Random("own")
    example = programs.examples("train", 1, 0)[0]
    for _ in range(25):
        program = programs.draw_program(rng, 0.3, 0.3)
        check = {"entry": None, "tests": programs.tests_of(program, "p")}
        asked = example.__class__(**example.__dict__ | {"check": check, "gold": programs.answer_in(program, "mid")})
        for style in ("loop", "comprehension"):
            assert judged(asked, programs.answer_in(program, style)).outcome == "right"
        assert judged(asked, "def f(a):\n  return None").outcome == "wrong"


def test_rewriting_texts_compute_what_their_reference_computes():
    rng = random.Random("rewrite")
    for _ in range(200):
        prompt, response = programs.rewrite(rng)
        reference = prompt.removesuffix("\nSay it your own way.").split("\nReference: ")[1]
        numbers = [rng.randint(-20, 20) for _ in range(8)]
        assert run(reference, numbers) == run(response, numbers)
        assert response.startswith("def f(a):")
