"""Processes of a job, with a thread in the place of each."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from s3ft_jax.processes import roll_call
from s3ft_jax.processes.cluster import Cluster, ProcessError
from s3ft_jax.processes.lines import Lines

FACTS = {"code": "abc", "train.num_steps": "100"}


@contextlib.contextmanager
def closing(monkeypatch) -> Iterator[None]:
    """Ends every connection that a roll call within this block leaves open."""
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
