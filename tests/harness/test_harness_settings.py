"""What a user chooses of benchmarks."""

import dataclasses

import pytest

from s3ft_jax.harness.settings import HarnessError, HarnessSettings


def test_plain_values_for_manifests():
    settings = HarnessSettings(tasks=["mmlu", "hellaswag"], shots=5)
    values = dataclasses.asdict(settings)
    assert values["tasks"] == ("mmlu", "hellaswag") and values["shots"] == 5
    assert HarnessSettings(**values) == settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ()}, r"benchmark\.tasks = \(\): no task"),
        ({"tasks": ("mmlu", "mmlu")}, r"\['mmlu'\] twice"),
        ({"tasks": ("mmlu",), "limit": -1}, r"benchmark\.limit must be 0"),
    ],
)
def test_what_cannot_be_is_named(options, message):
    with pytest.raises(HarnessError, match=message):
        HarnessSettings(**options)
