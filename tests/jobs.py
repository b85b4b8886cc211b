"""Real processes of a job on this machine, for tests."""

import os
import signal
import socket
import subprocess
import sys

from s3ft_jax.processes import COORDINATOR, NUM_PROCESSES, PROCESS
from small import QUICK, SMALL

LIMIT_S = 280


def port():
    """A free one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(workdir, count, *overrides, stage=("sample", "own"), num_devices=2, only=None, others=()):
    """``s3ft STAGE`` in so many processes.

    Args:
      stage: and its arguments.
      only: which are started; None: all.
      others: arguments that all but the first have on top.
    """
    where, started = f"127.0.0.1:{port()}", []
    arguments = [f"--config.{one}" for one in (*SMALL, *overrides)]
    for index in range(count) if only is None else only:
        own = {COORDINATOR: where, NUM_PROCESSES: str(count), PROCESS: str(index)} if count > 1 else {}
        flags = f"--xla_force_host_platform_device_count={num_devices} {QUICK}"
        command = [sys.executable, "-m", "s3ft_jax", *stage, "--config=configs/quickstart.py:task=arithmetic"]
        started.append(
            subprocess.Popen(
                [*command, f"--workdir={workdir.path}", *arguments, *(others if index else ())],
                env=os.environ | own | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    return started


def ended(started, codes=None):
    """What each printed; fails where one ends with another code (default 0), or with a traceback."""
    try:
        said = [one.communicate(timeout=LIMIT_S)[0] for one in started]
    finally:
        for one in started:
            if one.poll() is None:
                one.send_signal(signal.SIGKILL)
    assert [one.returncode for one in started] == (codes or [0] * len(started)), "\n".join(said)
    assert all("Traceback" not in one for one in said), "\n".join(said)
    return said
