"""roll_call and link, with a thread in the place of each process; test_processes.py has real ones."""

import contextlib
import socket
import threading
import time

import pytest

from s3ft_jax.processes import link as links
from s3ft_jax.processes import roll_call
from s3ft_jax.processes.cluster import Cluster, ProcessError
from s3ft_jax.processes.lines import Lines
from s3ft_jax.processes.link import Link, Lost

FACTS = {"code": "abc", "train.num_steps": "100"}


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """Ends every connection that a test leaves open."""
    made = []

    class Kept(Lines):
        def __init__(self, connection):
            super().__init__(connection)
            made.append(self)

    monkeypatch.setattr(roll_call, "Lines", Kept)
    yield
    for one in made:
        one.close()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def clusters(count, port=0, **options):
    port = port or free_port()
    return [Cluster("127.0.0.1", port, count, index, "a test", **options) for index in range(count)]


def meet(jobs, seconds=20.0):
    """Calls of all at once -> what each returned or raised.

    Args:
      jobs: (cluster, facts) of each.
    """
    results = [None] * len(jobs)

    def one(place, cluster, facts):
        try:
            results[place] = roll_call.call(cluster, facts, seconds=seconds, tell=said.append)
        except ProcessError as error:
            results[place] = error

    said = []
    threads = [threading.Thread(target=one, args=(place, *job)) for place, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results, said


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


def in_threads(*calls):
    """What each call returned or raised."""
    results = [None] * len(calls)

    def one(place, call):
        try:
            results[place] = call()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


def test_all_meet_in_any_order():
    results, said = meet([(cluster, FACTS) for cluster in reversed(clusters(4))])
    assert [len(lines) for lines, _ in results] == [1, 1, 1, 3]
    assert all(names == (socket.gethostname(),) * 4 for _, names in results) and not said


def test_who_is_missing_is_named_while_waiting_and_in_the_end(monkeypatch):
    monkeypatch.setattr(roll_call, "TELL_S", 0.3)
    four = clusters(4, names=("h0", "h1", "h2", "h3"))
    results, said = meet([(four[0], FACTS), (four[2], FACTS)], seconds=1.5)
    for error in results:
        assert "2 of 4 processes: process 1 (h1), process 3 (h3) did not come within 2 s" in str(error)
        assert "Was the command started on all of them?" in str(error)
    assert said[0].startswith("waiting for 2 of 4 processes: process 1 (h1), process 3 (h3); ")


def test_process_0_is_missing():
    _, second = clusters(2, names=("h0", "h1"))
    (error,), _ = meet([(second, FACTS)], seconds=1.0)
    assert f"process 1 (h1) could not reach process 0 at 127.0.0.1:{second.port} in 1 s" in str(error)
    assert "open 8476, not always 8482" in str(error)


def test_what_one_has_otherwise_is_named_to_all():
    three = clusters(3)
    other = {"code": "xyz", "train.num_steps": "200"}
    results, _ = meet([(three[0], FACTS), (three[1], FACTS), (three[2], FACTS | other)])
    host = socket.gethostname()
    for error in results:
        assert f"code: process 0 ({host}) has abc, process 2 ({host}) has xyz" in str(error)
        assert "train.num_steps: process 0" in str(error) and "process 1" not in str(error)


def test_differences_are_in_order_and_short():
    found = roll_call.differences({0: {"a": "1"}, 1: {"a": "x" * 99, "b": "2"}, 2: {"a": "1"}}, lambda i: f"p{i}")
    assert found == [f"a: p0 has 1, p1 has {'x' * 57}...", "b: p0 has (not set), p1 has 2"]


def test_one_that_is_started_twice_or_counts_otherwise_is_sent_away():
    first, second, _ = clusters(3)
    results, _ = meet([(first, FACTS), (second, FACTS), (second, FACTS)], seconds=2.0)
    late, early = sorted(map(str, results[1:]), key=lambda text: "started twice" not in text)
    assert late == f"process 1 is there already, on {socket.gethostname()}: it was started twice"
    assert early == str(results[0]) and "1 of 3 processes: process 2 did not come" in early
    port = free_port()
    (alone, wrong), _ = meet([(clusters(2, port)[0], FACTS), (clusters(3, port)[1], FACTS)], seconds=1.5)
    assert "has it that there are 2 processes, process 1 that 3" in str(wrong)
    assert "1 of 2 processes: process 1 did not come" in str(alone)


def test_a_stranger_changes_nothing(monkeypatch):
    monkeypatch.setattr(roll_call, "GREET_S", 0.5)
    first, second = clusters(2)

    def stranger():
        until = time.monotonic() + 5
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", first.port), timeout=5) as one:
                one.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return one.recv(4096)

    answer = in_threads(stranger, lambda: meet([(first, FACTS)], 4.0), lambda: time.sleep(2) or meet([(second, FACTS)]))
    assert b"refused" in answer[0]
    assert all(not isinstance(one, ProcessError) for results, _ in answer[1:] for one in results)


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as taken:
        first = clusters(2, taken.getsockname()[1])[0]
        (error,), _ = meet([(first, FACTS)], seconds=1.0)
    assert "cannot listen at port" in str(error) and "S3FT_PORT" in str(error)


def test_lines_refuse_what_is_no_message():
    for data in (b"[1]\n", b"not json\n"):
        left, right = socket.socketpair()
        left.sendall(data)
        with pytest.raises(ValueError):
            Lines(right).receive()
        left.close()
        right.close()


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
