"""lines: one JSON object a line, whole, in order, and nothing else."""

import socket

import pytest

from s3ft_jax.processes.lines import Lines


@pytest.fixture
def pair():
    left, right = (Lines(one) for one in socket.socketpair())
    yield left, right
    left.close()
    right.close()


def test_messages_arrive_whole_and_in_order(pair):
    left, right = pair
    sent = [{"a": 1}, {"b": "x" * 100_000}, {"c": "two\nlines"}]
    right.limit(10)
    for message in sent[:1] + sent[2:]:
        left.send(message)
    assert [right.receive() for _ in range(2)] == [sent[0], sent[2]]
    left.send(sent[1])
    assert right.receive() == sent[1]
    left.close()
    assert right.receive() is None


def test_what_is_no_message_is_refused(pair):
    left, right = pair
    for data in (b"[1]\n", b"not json\n"):
        left._connection.sendall(data)
        with pytest.raises(ValueError):
            right.receive()
    right.limit(None, 100)
    left._connection.sendall(b"x" * 200)
    with pytest.raises(ValueError, match="without an end"):
        right.receive()


def test_silence_has_a_limit(pair):
    pair[1].limit(0.05)
    with pytest.raises(TimeoutError):
        pair[1].receive()
