"""What the pocket tests share: judging a text as if a model had said it."""

from collections.abc import Callable

import pytest

from s3ft_jax.judges import JUDGES
from s3ft_jax.records import Example, Response, Verdict


@pytest.fixture
def judged() -> Callable[[Example, str], Verdict]:
    """The verdict of the example's own judge on a text."""

    def judge(example: Example, text: str) -> Verdict:
        response = Response(example.id, "own", 0, text, (1,), (2,), True, -1.0)
        return JUDGES[example.judge](example, response)

    return judge
