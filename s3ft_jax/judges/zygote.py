"""Judges room, sandbox: the small process that forks one confined process for each program. Runs inside the sandbox.

In: over one socket, for each program a byte and the descriptors to use, a frame with the job, later a byte "end". Out:
a frame when ready, and after each "end" a frame with how the process ended. A fork of this small process costs 1 ms
where a new interpreter costs 10. The candidate's zygote never reads a program's text itself (the tester sends it to the
forked process), so nothing of one program is in the memory of the next.

    supervisor          zygote                          child
    start + fds    ->   fork                       ->   confine, run
    end            ->   kill, wait                      (gone)
                   <-   {"signal": 9, "cpu": 0.01}

When the socket closes, because the supervisor is gone, the child is killed and the zygote leaves: nothing stays behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import signal
import socket
from typing import Any

from s3ft_jax.judges import candidate, confinement, tester, wire

PRELOADED = (*candidate.MODULES, "abc", "array", "dataclasses", "enum", "numbers", "textwrap", "time", "traceback")
JOB_BYTES = 1 << 26
_SAFE_DESCRIPTOR = 32  # above the numbers a child gives its own descriptors


def main(settings: dict[str, Any]) -> None:
    """Serve until the socket closes.

    Args:
      settings: ``control`` (descriptor of the socket), ``role`` (``candidate`` or ``tester``), ``result_bytes`` and the
        fields of ``confinement.Confinement`` under ``confinement``.
    """
    # A low number of its own, so that a child closes it with the rest however many files the supervisor has open.
    control = socket.socket(fileno=os.dup(settings["control"]))
    os.close(settings["control"])
    limits = confinement.Confinement(**settings["confinement"])
    runs_as = f"user {os.getuid()}"
    if limits.uid and os.getuid() == 0:
        runs_as = confinement.leave_root(limits.uid)
    abi = confinement.landlock_abi() if limits.landlock != "no" else 0
    if limits.landlock == "need" and not abi:
        raise SystemExit("this kernel has no Landlock (Linux 5.13 or newer, switched on)")
    ruleset = confinement.landlock_ruleset(abi, limits.scratch) if abi else -1
    for name in PRELOADED:
        importlib.import_module(name)
    if limits.seccomp:
        confinement.share_filter()
    gc.freeze()
    wire.send(control.fileno(), {"ready": True, "landlock": abi, "runs_as": runs_as})
    while _serve_one(control, settings["role"], limits, ruleset):
        pass
    os._exit(0)


def _serve_one(control: socket.socket, role: str, limits: confinement.Confinement, ruleset: int) -> bool:
    """Run one program; False when the supervisor is gone."""
    start, descriptors, _, _ = socket.recv_fds(control, 1, 4)
    if not start:
        return False
    job = wire.receive(control.fileno(), JOB_BYTES)
    child = os.fork()
    if child == 0:
        _run_child(role, job, limits, ruleset, list(descriptors))
    for descriptor in descriptors:
        os.close(descriptor)
    end = control.recv(1)
    _kill(child)
    _, status, usage = os.wait4(child, 0)
    _reap_others()
    if not end:
        return False
    report = {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
        "cpu": usage.ru_utime + usage.ru_stime,
        "dirty": bool(limits.scratch and os.listdir(limits.scratch)),
    }
    wire.send(control.fileno(), report)
    return True


def _kill(child: int) -> None:
    """Kill the child and, at the unsafe level, what it started in its session."""
    os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)


def _reap_others() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run_child(
    role: str, job: dict[str, Any], limits: confinement.Confinement, ruleset: int, descriptors: list[int]
) -> None:
    """Become the confined process; never returns."""
    try:
        os.setsid()
        if limits.scratch:
            os.chdir(limits.scratch)
        null = os.open(os.devnull, os.O_RDWR)
        # First out of the way, then to their places, so that none overwrites another.
        kept = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _SAFE_DESCRIPTOR) for descriptor in descriptors]
        rules = fcntl.fcntl(ruleset, fcntl.F_DUPFD, _SAFE_DESCRIPTOR) if ruleset >= 0 else -1
        output = kept[2] if role == "candidate" else null
        for place, descriptor in enumerate((null, output, output)):
            os.dup2(descriptor, place)
        for place, descriptor in enumerate(kept):
            os.dup2(descriptor, 3 + place)
        closed_from = 3 + len(kept) if role == "tester" else 5
        for descriptor in range(closed_from, _SAFE_DESCRIPTOR):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        confinement.confine(limits, rules)
        os.closerange(_SAFE_DESCRIPTOR, 1024)
        if role == "candidate":
            candidate.run(3, 4)
        else:
            tester.run(job, 3, 4, 5)
    finally:
        os._exit(1)
