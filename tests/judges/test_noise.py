"""Noise: as many verdicts are turned round as asked for, always the same ones, and no others."""

import pytest

from s3ft_jax.judges.noise import disturb
from s3ft_jax.judges.verdicts import JudgeError
from s3ft_jax.records import Verdict

OUTCOMES = ("right", "wrong", "undecided")
VERDICTS = [Verdict(f"t/train/{i:05d}", "own", 0, "exact", OUTCOMES[i % 3], "", "why") for i in range(6000)]


def turned(found, outcome):
    pairs = [(old, new) for old, new in zip(VERDICTS, found, strict=True) if old.outcome == outcome]
    return {new.example_id for old, new in pairs if new.outcome != outcome}


def test_the_share_that_was_asked_for():
    found = disturb(VERDICTS, 0.2, 0.05, 0)
    assert abs(len(turned(found, "wrong")) / 2000 - 0.2) < 0.03
    assert abs(len(turned(found, "right")) / 2000 - 0.05) < 0.02
    assert not turned(found, "undecided")
    assert {v.reason for v in found} == {"why", "noise: was wrong: why", "noise: was right: why"}
    assert disturb(VERDICTS, 0.0, 0.0, 0) == VERDICTS
    assert len(turned(disturb(VERDICTS, 1.0, 1.0, 0), "right")) == 2000


def test_the_same_ones_always_and_more_of_them_at_a_larger_share():
    less, more, other = (disturb(VERDICTS, share, 0.0, seed) for share, seed in ((0.05, 0), (0.2, 0), (0.2, 1)))
    assert turned(less, "wrong") < turned(more, "wrong") != turned(other, "wrong")
    assert disturb(VERDICTS[::-1], 0.2, 0.0, 0) == more[::-1], "company does not matter"


@pytest.mark.parametrize(("accepts", "rejects", "name"), [(1.5, 0.0, "false_accepts"), (0.0, -0.1, "false_rejects")])
def test_a_share_out_of_range_is_named(accepts, rejects, name):
    with pytest.raises(JudgeError, match=rf"judge\.noise\.{name} = "):
        disturb(VERDICTS, accepts, rejects, 0)
