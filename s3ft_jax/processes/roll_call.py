"""Processes room: all processes of a job meet before any opens a device, so that none hangs there for the others.

Process 0 listens; the others connect and say who they are and what they run: code, versions, command, every setting.
It names who is missing while it waits and when time is up, and what one of them has otherwise. In: a ``Cluster`` and
facts, name -> value. Out: the connections, which ``link.py`` goes on with.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from s3ft_jax.processes.cluster import DEFAULT_PORT, PORT, Cluster, ProcessError
from s3ft_jax.processes.lines import Lines

HELLO = "s3ft roll call 1"
TELL_S = 15.0
"""Seconds between two lines about who is missing."""
GREET_S = 10.0
"""Seconds that one who has connected has to say who it is."""
AGAIN_S = 0.5
"""Seconds between two tries to reach process 0."""
ALL_WORKERS = (
    "Was the command started on all of them? tpu_scripts/pod.sh run does so; by hand: gcloud compute tpus tpu-vm ssh "
    "NAME --worker=all --command=..."
)


def call(
    cluster: Cluster, facts: Mapping[str, Any], *, seconds: float, tell: Callable[[str], None]
) -> tuple[dict[int, Lines], tuple[str, ...]]:
    """Meet the others.

    Args:
      cluster: who belongs together.
      facts: JSON values that must be the same for all.
      seconds: to wait for the last one.
      tell: takes lines for people while it waits.

    Returns:
      Connections by index: of process 0 to all others, of these to process 0. Names of all machines.

    Raises:
      ProcessError: somebody is missing, or has other facts; names who, and what.
    """
    if cluster.index == 0:
        return _lead(cluster, facts, seconds, tell)
    return _answer(cluster, facts, seconds, tell)


def differences(facts: Mapping[int, Mapping[str, Any]], name: Callable[[int], str]) -> list[str]:
    """What the others have otherwise than process 0, a line each."""
    own = facts[0]
    found = []
    for index in sorted(facts):
        for key in sorted(set(own) | set(facts[index])):
            left, right = own.get(key, "(not set)"), facts[index].get(key, "(not set)")
            if left != right:
                found.append(f"{key}: {name(0)} has {_short(left)}, {name(index)} has {_short(right)}")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lead(
    cluster: Cluster, facts: Mapping[str, Any], seconds: float, tell: Callable[[str], None]
) -> tuple[dict[int, Lines], tuple[str, ...]]:
    until, told = time.monotonic() + seconds, time.monotonic()
    lines: dict[int, Lines] = {}
    heard: dict[int, dict[str, Any]] = {0: {"host": socket.gethostname(), "facts": dict(facts)}}
    with _listen(cluster) as server:
        while len(heard) < cluster.count and time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                _greet(server.accept()[0], cluster, lines, heard)
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                tell(f"waiting for {_missing(cluster, heard)}; {until - told:.0f} s left")
    names = tuple(heard[index]["host"] if index in heard else "" for index in range(cluster.count))
    problem = ""
    if len(heard) < cluster.count:
        problem = (
            f"{_missing(cluster, heard)} did not come within {seconds:.0f} s, as {cluster.source} has it that there "
            f"are {cluster.count}. {ALL_WORKERS}"
        )
    elif found := differences({i: one["facts"] for i, one in heard.items()}, lambda i: f"process {i} ({names[i]})"):
        problem = "the processes of this job do not agree:\n" + "\n".join(found[:20])
        problem += f"\nand {len(found) - 20} more" if len(found) > 20 else ""
        problem += "\nBring all machines to the same tree and command: tpu_scripts/pod.sh copy, then run."
    for one in lines.values():
        with contextlib.suppress(OSError):
            one.send({"refused": problem} if problem else {"names": names})
    if problem:
        for one in lines.values():
            one.close()
        raise ProcessError(problem)
    return lines, names


def _listen(cluster: Cluster) -> socket.socket:
    where = ("", cluster.port)
    try:
        if socket.has_dualstack_ipv6():
            server = socket.create_server(where, family=socket.AF_INET6, backlog=cluster.count, dualstack_ipv6=True)
        else:
            server = socket.create_server(where, backlog=cluster.count)
    except OSError as error:
        raise ProcessError(
            f"process 0 cannot listen at port {cluster.port}: {error.strerror}. Is another job running here? "
            f"tpu_scripts/pod.sh stop ends it; another port: {PORT}=8482, on all machines."
        ) from error
    server.settimeout(0.2)
    return server


def _greet(
    connection: socket.socket, cluster: Cluster, lines: dict[int, Lines], heard: dict[int, dict[str, Any]]
) -> None:
    """Take one who has connected into ``lines`` and ``heard``; a stranger is sent away."""
    one = Lines(connection)
    one.limit(GREET_S)
    try:
        said = one.receive() or {}
    except (OSError, ValueError):
        said = {}
    index, problem = said.get("index"), ""
    if said.get("hello") != HELLO:
        problem = "this is a job of s3ft; another version of it, or another program, is at the other end"
    elif said.get("count") != cluster.count or index not in range(cluster.count):
        problem = f"process 0 has it that there are {cluster.count} processes, process {index} that {said.get('count')}"
    elif index in heard:
        problem = f"process {index} is there already, on {heard[index]['host']}: it was started twice"
    if problem:
        with contextlib.suppress(OSError):
            one.send({"refused": problem})
        return one.close()
    lines[index], heard[index] = one, said


def _missing(cluster: Cluster, heard: Mapping[int, Any]) -> str:
    missing = [cluster.name(index) for index in range(cluster.count) if index not in heard]
    shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
    return f"{len(missing)} of {cluster.count} processes: {shown}"


def _answer(
    cluster: Cluster, facts: Mapping[str, Any], seconds: float, tell: Callable[[str], None]
) -> tuple[dict[int, Lines], tuple[str, ...]]:
    until = time.monotonic() + seconds
    one = _reach(cluster, until, seconds)
    hello = {"hello": HELLO, "index": cluster.index, "count": cluster.count, "host": socket.gethostname()}
    one.limit(max(1.0, until - time.monotonic()) + GREET_S)  # process 0 says itself when time is up
    try:
        one.send(hello | {"pid": os.getpid(), "facts": dict(facts)})
        said = one.receive()
    except (OSError, ValueError) as error:
        said, problem = None, f"no answer from process 0 at {cluster.host}:{cluster.port}: {error}"
    else:
        problem = f"process 0 at {cluster.host}:{cluster.port} ended before all had come; see what it says"
    if said is not None and "names" in said:
        return {0: one}, tuple(said["names"])
    one.close()
    raise ProcessError((said or {}).get("refused", problem))


def _reach(cluster: Cluster, until: float, seconds: float) -> Lines:
    why = ""
    while time.monotonic() < until:
        try:
            connection = socket.create_connection((cluster.host, cluster.port), timeout=5)
        except OSError as error:
            why = error.strerror or str(error)
            time.sleep(AGAIN_S)
            continue
        if connection.getsockname() != connection.getpeername():
            return Lines(connection)
        connection.close()  # on one machine, where nobody listens yet, a port may be given to the caller itself
    raise ProcessError(
        f"{cluster.name(cluster.index)} could not reach process 0 at {cluster.host}:{cluster.port} in {seconds:.0f} s: "
        f"{why}. Is it running there, and is the port open between the machines? The rules of Cloud TPU slices open "
        f"{DEFAULT_PORT}, not always 8482, which JAX took since 0.8.1; another one: {PORT}=..., on all machines. "
        f"{ALL_WORKERS}"
    )
