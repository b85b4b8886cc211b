import collections
import os
import random
import subprocess
import sys

import pytest

from s3ft_jax.tasks.pocket import draws


class OnlyRandom(random.Random):
    """A generator that refuses everything but ``random()``, the one method Python promises never to change."""

    def __getattribute__(self, name):
        if name in {"choice", "choices", "sample", "shuffle", "randrange", "randint", "uniform", "getrandbits"}:
            raise AssertionError(f"{name} may give other values on another Python")
        return super().__getattribute__(name)


def test_integer_reaches_both_ends_and_nothing_else():
    rng = random.Random("ends")
    assert {draws.integer(rng, 3, 6) for _ in range(500)} == {3, 4, 5, 6}


def test_pick_by_share_follows_the_shares():
    rng = random.Random("shares")
    counts = collections.Counter(draws.pick_by_share(rng, {"a": 3, "b": 1, "never": 0}) for _ in range(8000))
    assert counts["a"] / 8000 == pytest.approx(0.75, abs=0.02)
    assert counts["never"] == 0


def test_shuffled_gives_every_order_equally_often():
    rng = random.Random("orders")
    counts = collections.Counter("".join(draws.shuffled(rng, "abc")) for _ in range(6000))
    assert len(counts) == 6
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_several_are_different_and_leave_the_options_alone():
    options = [1, 2, 3, 4]
    assert len(set(draws.several(random.Random("few"), options, 3))) == 3
    assert options == [1, 2, 3, 4]


def test_home_is_fixed_by_the_text_and_follows_the_sixteenths():
    counts = collections.Counter(draws.home(f"question {number}") for number in range(16_000))
    assert draws.home("How many apples?") == draws.home("How many apples?")
    for name, sixteenths in {"train": 4, "validation": 2, "test": 2, "pretraining": 8}.items():
        assert counts[name] == pytest.approx(1000 * sixteenths, rel=0.05)


def test_home_of_known_texts():
    # CRC-32 of "123456789" is 0xCBF43926 (the check value of the standard): sixteenth 6, the first of the test split.
    assert draws.home("123456789") == "test"


def test_only_the_promised_method_is_used():
    from s3ft_jax.tasks.pocket import POCKET, skills

    rng = OnlyRandom("promised")
    for task in POCKET.values():
        for make in (task.pretraining, task.rewrite, task.cued):
            for _ in range(20):
                assert all(make(rng))
    for kind in (*skills.SKILLS, "facts", "myths"):
        assert all(skills.pretraining(rng, kind))


def test_bytes_do_not_depend_on_the_hash_seed():
    program = (
        "import hashlib\n"
        "from s3ft_jax.tasks.pocket import POCKET, pretraining, skills\n"
        "texts = [repr(document) for document in pretraining.documents(3, 300)]\n"
        "texts += [repr(e) for task in POCKET.values() for e in task.examples('train', 5, 1)]\n"
        "texts += [repr(example) for example in skills.examples(1)]\n"
        "print(hashlib.sha256('\\n'.join(texts).encode()).hexdigest())\n"
    )
    outputs = set()
    for hash_seed in ("1", "77"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", program]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1
