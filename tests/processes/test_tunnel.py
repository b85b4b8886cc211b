"""tunnel: bytes pass both ways, an end that is not there yet is waited for, and the near end outlives the far one."""

import socket
import subprocess
import sys
import threading
import time

import pytest

from jobs import port
from s3ft_jax.processes import EXIT_CODE
from s3ft_jax.processes.tunnel import Tunnel


@pytest.fixture
def connected():
    """(near end, far end) of a tunnel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        tunnel = Tunnel("127.0.0.1", server.getsockname()[1], 5)
        host, number = tunnel.address.split(":")
        with socket.create_connection((host, int(number)), timeout=5) as near:
            far, _ = server.accept()
            with far:
                far.settimeout(5)
                yield near, far


def received(end, count):
    data = b""
    while len(data) < count and (piece := end.recv(1 << 16)):
        data += piece
    return data


def test_bytes_pass_both_ways(connected):
    near, far = connected
    large = bytes(range(256)) * 4096
    threading.Thread(target=near.sendall, args=(large,), daemon=True).start()
    assert received(far, len(large)) == large
    far.sendall(b"back")
    assert received(near, 4) == b"back"


def test_the_near_end_stays_open_when_the_far_one_is_gone(connected):
    near, far = connected
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # a reset, as of a kill
    far.close()
    near.settimeout(0.5)
    with pytest.raises(TimeoutError):
        near.recv(1)
    near.sendall(b"into the void")
    near.sendall(b"and again")


def test_the_far_end_is_told_when_the_near_one_is_closed(connected):
    near, far = connected
    near.close()
    assert far.recv(1) == b""


def test_an_end_that_is_not_there_yet_is_waited_for():
    number = port()
    tunnel = Tunnel("127.0.0.1", number, 20)
    host, start = tunnel.address.split(":")
    with socket.create_connection((host, int(start)), timeout=10) as near:
        near.sendall(b"early")
        time.sleep(0.5)
        with socket.create_server(("127.0.0.1", number)) as server:
            far, _ = server.accept()
            with far:
                assert received(far, 5) == b"early"


def test_an_end_that_never_comes_is_given_up():
    tunnel = Tunnel("127.0.0.1", port(), 0.3)
    host, start = tunnel.address.split(":")
    with socket.create_connection((host, int(start)), timeout=10) as near:
        assert near.recv(1) == b""


CODE = """
import os, sys, time
from s3ft_jax import job, processes, stopping

def stop_itself(*args, **options):
    connect(*args, **options)
    if options.get("process_id", args[2]) == 0:
        os.kill(os.getpid(), 15)
        time.sleep(0.1)

if sys.argv[1] == "joining":
    import jax
    connect, jax.distributed.initialize = jax.distributed.initialize, stop_itself
    stopping.install()

def main():
    try:
        with job.joined(lambda: {}, devices=True) as own:
            own.wait("both to be here")
            if own.is_first and sys.argv[1] == "amid":
                os.kill(os.getpid(), 9)
            own.wait("what never comes")
        if own.is_first:
            os.kill(os.getpid(), 9)
        time.sleep(3)
    except processes.Lost as lost:
        print(f"error: {lost}", flush=True)
        return processes.EXIT_CODE
    except stopping.Stopped:
        return stopping.EXIT_CODE
    return 0

sys.exit(job.guarded(main))
"""


def both(when):
    """(codes, what each said) of two processes, of which the first is killed."""
    where = f"127.0.0.1:{port()}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, when],
            env={"PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(sys.path)}
            | {"S3FT_COORDINATOR": where, "S3FT_NUM_PROCESSES": "2", "S3FT_PROCESS": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    said = [one.communicate(timeout=120)[0] for one in started]
    return [one.returncode for one in started], said


@pytest.mark.parametrize("turn", range(3))
def test_when_the_first_is_killed_the_other_says_so(turn):
    """Without the tunnel JAX aborts it about every second time, before it can."""
    codes, said = both("amid")
    assert codes == [-9, EXIT_CODE], said[1]
    assert "process 0" in said[1] and "is gone" in said[1], said[1]


def test_when_one_is_stopped_while_jax_connects_all_end_at_once():
    """Else JAX waits half a minute at Python's end for those that are not there, and aborts all of them."""
    began = time.monotonic()
    codes, said = both("joining")
    assert codes == [EXIT_CODE, EXIT_CODE] and time.monotonic() - began < 30, said
    assert "process 0" in said[1] and "has ended: Stopped" in said[1], said[1]


def test_when_the_first_is_killed_after_the_end_the_other_has_ended_well():
    """Else JAX waits for it at Python's end, and aborts."""
    codes, said = both("after")
    assert codes == [-9, 0], said[1]
