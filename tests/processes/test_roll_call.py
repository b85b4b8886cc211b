"""roll_call: all meet, or all are told who is missing and what one has otherwise; a thread stands for each process."""

import contextlib
import socket
import time

import pytest

from meetings import FACTS, closing, clusters, free_port, in_threads, meet
from s3ft_jax.processes import roll_call
from s3ft_jax.processes.cluster import ProcessError


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    with closing(monkeypatch):
        yield


def test_all_meet_in_any_order():
    results, said = meet([(cluster, FACTS) for cluster in reversed(clusters(4))])
    assert [len(lines) for lines, _ in results] == [1, 1, 1, 3]
    assert all(names == (socket.gethostname(),) * 4 for _, names in results) and not said


def test_who_is_missing_is_named_while_waiting_and_in_the_end(monkeypatch):
    monkeypatch.setattr(roll_call, "TELL_S", 0.3)
    four = clusters(4, names=("h0", "h1", "h2", "h3"))
    results, said = meet([(four[0], FACTS), (four[2], FACTS)], seconds=3.0)
    for error in results:
        assert "2 of 4 processes: process 1 (h1), process 3 (h3) did not come within 3 s" in str(error)
        assert "Was the command started on all of them?" in str(error)
    assert said[-1].startswith("waiting for 2 of 4 processes: process 1 (h1), process 3 (h3); ")


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
