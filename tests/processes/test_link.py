"""link: barriers, signs of life, and a clear end for all; a thread stands for each process."""

import threading
import time

import pytest

from meetings import FACTS, closing, clusters, in_threads, meet
from s3ft_jax.processes import link as links
from s3ft_jax.processes.link import Link, Lost


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    with closing(monkeypatch):
        yield


@pytest.fixture
def linked():
    """Links of three processes; ``ended`` takes what one says that ends by force."""
    results, _ = meet([(cluster, FACTS) for cluster in clusters(3)])
    ended = []
    made = [
        Link(i, ("a", "b", "c"), lines, describe=f"step {i}".__str__, tell=ended.append, end=ended.append)
        for i, (lines, _) in enumerate(results)
    ]
    yield made, ended
    in_threads(*(one.leave for one in made))


def test_a_barrier_holds_until_the_last_has_come(linked):
    (first, second, third), ended = linked
    passed = []

    def pass_two(one):
        for name in ("one", "two"):
            one.wait(name, 20)
            passed.append((name, one.index))

    threads = [threading.Thread(target=pass_two, args=(one,)) for one in (first, second)]
    for thread in threads:
        thread.start()
    for number, name in enumerate(("one", "two"), start=1):
        time.sleep(0.3)
        assert len(passed) == 2 * (number - 1)
        third.wait(name, 20)
    for thread in threads:
        thread.join(20)
    assert sorted(passed) == [("one", 0), ("one", 1), ("two", 0), ("two", 1)] and not ended


@pytest.mark.parametrize("who", [None, 0, 2])
def test_all_learn_whether_one_says_yes(linked, who):
    for _ in range(3):  # an answer is of its own question
        answers = in_threads(*(lambda one=one: one.any(one.index == who, "stop?", 20) for one in linked[0]))
        assert answers == [who is not None] * 3
        assert in_threads(*(lambda one=one: one.any(False, "stop?", 20) for one in linked[0])) == [False] * 3


def test_the_first_tells_the_others_and_is_told_by_them(linked):
    long = "x" * 20_000_000  # more than two that do not know each other yet would take
    for _ in range(2):
        brought = in_threads(*(lambda one=one: one.gather([one.index, long], "a", 20) for one in linked[0]))
        assert brought == [[[0, long], [1, long], [2, long]], [], []]
        told = in_threads(*(lambda one=one: one.first({"index": one.index}, "b", 20) for one in linked[0]))
        assert told == [{"index": 0}] * 3


def test_one_that_does_not_come_is_named(linked, monkeypatch):
    (first, second, third), ended = linked
    monkeypatch.setattr(links, "TELL_S", 0.2)
    third._send(0, {"stands": "train s3ft seed 0: 37/200"})
    results = in_threads(lambda: first.wait("shards", 1.5), lambda: second.wait("shards", 1.5))
    assert "process 0 (a) waited for process 2 (c): train s3ft seed 0: 37/200" in str(results[0])
    assert "process 1 (b) waited for the others (process 0 knows which) at 'shards'" in str(results[1])
    assert ended[0].startswith("waiting at 'shards' for ")


def test_two_that_wait_at_different_places_find_out(linked):
    links_, _ = linked
    places = ("train", "train", "judge")
    results = in_threads(*(lambda one=one, at=at: one.wait(at, 20) for one, at in zip(links_, places)))
    for error in results:
        assert isinstance(error, Lost)
        assert "process 0 (a) at 'train', process 1 (b) at 'train', process 2 (c) at 'judge'" in str(error)


@pytest.mark.parametrize("gone", [0, 2])
def test_one_that_is_killed_ends_the_others(linked, gone, monkeypatch):
    monkeypatch.setattr(links, "GRACE_S", 0.2)
    all_, ended = linked
    others = [one for one in all_ if one.index != gone]
    all_[gone]._closing.set()
    for one in all_[gone].lines.values():
        one.close()
    results = in_threads(*(lambda one=one: one.wait("the end", 20) for one in others))
    for error in results:
        assert isinstance(error, Lost)
        assert f"process {gone} ({'abc'[gone]}) is gone (its connection closed)" in str(error)
        assert "Start all of them again with the same command" in str(error)
    until = time.monotonic() + 5
    while len(ended) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(ended) == 2, "whoever does not end by itself is ended"


def test_one_that_is_silent_counts_as_gone(monkeypatch):
    monkeypatch.setattr(links, "DEAD_S", 0.5)
    results, _ = meet([(cluster, FACTS) for cluster in clusters(2)])
    ended = []
    first = Link(0, ("a", "b"), results[0][0], describe=str, tell=print, end=ended.append)
    with pytest.raises(Lost, match=r"process 1 \(b\) is gone \(no sign of life for 0 s\)"):
        first.wait("anywhere", 20)
    assert first.find_out() and not ended
    results[1][0][0].close()


def test_a_failure_is_told_with_its_cause(linked):
    (first, second, third), ended = linked
    second.fail("JudgeError: no sandbox")
    assert "process 1 (b) has ended: JudgeError: no sandbox" in first.find_out()
    assert "process 1 (b) has ended: JudgeError: no sandbox" in third.find_out()
    assert not ended


def test_where_all_stand(linked):
    (first, second, _), _ = linked
    second._send(0, {"stands": "judge own"})
    until = time.monotonic() + 5
    while len(first.standings()) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert first.standings() == ["process 0 (a): step 0", "process 1 (b): judge own, heard 0 s ago"]


def test_an_end_in_order_is_no_loss(linked):
    all_, ended = linked
    in_threads(*(lambda one=one: one.wait("the end", 20) for one in all_))
    in_threads(*(one.leave for one in all_))
    assert [one.lost for one in all_] == ["", "", ""] and not ended
