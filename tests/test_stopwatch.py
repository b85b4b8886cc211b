"""stopwatch: seconds over all starts of a stage, also of those that were stopped or killed."""

import time

import pytest

from s3ft_jax import stopwatch
from s3ft_jax.seals import sealed
from s3ft_jax.stopwatch import Spent, Stopwatches


def noted(tmp_path, **values):
    path = tmp_path / "note"
    path.write_bytes(sealed({"start": 2, "seconds": 30.0, "ended": True} | values))
    return path


BEGUN = {"spent": 10.0, "starts": 2, "unseen": 0}


def test_what_earlier_starts_took_is_added_up(tmp_path):
    assert Spent.of(None, tmp_path / "none") == Spent(0.0, 0, 0)
    assert Spent.of(BEGUN, noted(tmp_path)) == Spent(40.0, 2, 0)
    assert Spent.of(BEGUN, noted(tmp_path, ended=False)) == Spent(40.0, 2, 1), "killed behind its last note"
    assert Spent(40.0, 2, 1).values() == {"spent": 40.0, "starts": 3, "unseen": 1}


@pytest.mark.parametrize("what", ["none", "damaged", "of another start"])
def test_a_start_without_a_note_of_its_own_is_unseen(what, tmp_path):
    path = noted(tmp_path, start=1)
    if what == "none":
        path.unlink()
    elif what == "damaged":
        path.write_bytes(path.read_bytes().replace(b"30.0", b"99.0"))
    assert Spent.of(BEGUN, path) == Spent(10.0, 2, 1)


def test_a_record_of_an_older_version_is_one_unseen_start(tmp_path):
    assert Spent.of({"settings": {}}, tmp_path / "none") == Spent(0.0, 1, 1)


def test_it_stands_still_while_a_stage_inside_it_runs_also_one_that_fails():
    running, notes = Stopwatches(), []
    with running.run(Spent(), notes.append) as outer:
        with pytest.raises(KeyError), running.run(Spent(5.0, 1, 0), notes.append) as inner:
            time.sleep(0.2)
            held = outer.seconds
            raise KeyError
        assert held == pytest.approx(0, abs=0.1) and outer.seconds == pytest.approx(0, abs=0.1)
        assert inner.seconds >= 0.2 and inner.values()["seconds"] >= 5.2 and inner.values()["starts"] == 2
        time.sleep(0.1)
        assert outer.seconds >= 0.1
    (note,) = notes
    assert note["start"] == 2 and note["ended"] and note["seconds"] >= 0.2


def test_notes_are_written_now_and_then_and_one_that_fails_stops_nothing(monkeypatch):
    monkeypatch.setattr(stopwatch, "NOTE_S", 0.02)
    notes = []

    def write(note):
        notes.append(note)
        raise OSError("disk full")

    with Stopwatches().run(Spent(), write) as watch:
        assert not watch.noted
        time.sleep(0.3)
    assert 2 <= len(notes) <= 20 and watch.noted
    assert not any(note["ended"] for note in notes) and notes[-1]["seconds"] > notes[0]["seconds"]
