"""patience: what fails in passing is tried again and said, what lasts is named at once."""

import pytest

from s3ft_jax.storage import StorageError, patience
from s3ft_jax.storage.patience import is_passing, patiently


class Coded(Exception):
    """What gcsfs raises for an answer of the store."""

    def __init__(self, code):
        super().__init__(f"answer {code}")
        self.code = code


Coded.__module__ = "gcsfs.retry"


@pytest.fixture
def pauses(monkeypatch):
    """How long was waited each time, in place of waiting."""
    found, now = [], [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])

    def sleep(seconds):
        found.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(patience.time, "sleep", sleep)
    return found


def failing(*errors, result="done"):
    """A call that raises these, one after the other, and then returns."""
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return result

    return call


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (Coded(503), True),
        (Coded(429), True),
        (Coded(408), True),
        (Coded(404), False),
        (Coded(403), False),
        (Coded(401), False),
        (ConnectionResetError(104, "Connection reset by peer"), True),
        (TimeoutError(), True),
        (TimeoutError(), True),
        (OSError("Forbidden: gs://b/x"), False),
        (PermissionError(13, "Permission denied"), False),
        (FileNotFoundError("gs://b/x"), False),
        (StorageError("said before"), False),
        (ValueError("a bug of ours"), False),
        (TypeError("a bug of ours"), False),
    ],
    ids=repr,
)
def test_what_passes(error, passing):
    assert is_passing(error) is passing


def test_a_call_is_tried_again_later_and_later_and_it_is_said(pauses, capsys):
    assert patiently(failing(*[Coded(503)] * 4), "gs://b/x") == "done"
    assert len(pauses) == 4
    assert all(0.75 * 2**number <= pause <= 2**number for number, pause in enumerate(pauses))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4 and said[0].startswith("warning: gs://b/x: answer 503; trying again in ")


def test_after_ten_minutes_it_is_given_up_with_the_cause_and_what_to_do(pauses, monkeypatch):
    with pytest.raises(StorageError, match=r"gs://b/x: answer 503, for 9\.\d minutes .*S3FT_STORAGE_MINUTES.*goes on"):
        patiently(failing(*[Coded(503)] * 1000), "gs://b/x")
    assert sum(pauses) < 600 and max(pauses) <= 60
    pauses.clear()
    monkeypatch.setenv("S3FT_STORAGE_MINUTES", "0")
    with pytest.raises(StorageError):
        patiently(failing(Coded(503)), "gs://b/x")
    assert not pauses


@pytest.mark.parametrize("error", [Coded(403), OSError("Forbidden: gs://b/x")], ids=repr)
def test_what_one_may_not_do_is_said_at_once_with_the_remedy(error, pauses):
    with pytest.raises(StorageError, match=r"gs://b/x: .*Storage Object User.*gcloud auth"):
        patiently(failing(error), "gs://b/x")
    assert not pauses


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), FileExistsError("x"), ValueError("a bug"), KeyError("a bug")]
)
def test_what_is_no_fault_of_the_store_comes_through_as_it_is(error, pauses):
    with pytest.raises(type(error)) as found:
        patiently(failing(error), "gs://b/x")
    assert found.value is error and not pauses
