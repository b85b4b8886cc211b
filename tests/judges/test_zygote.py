"""The zygote, spoken to directly: one confined child after another, and none outlives it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from s3ft_jax.judges import candidate, wire, zygote
from s3ft_jax.judges.sandbox_levels import Limits, SandboxProcess, SandboxStartError


@pytest.fixture
def process() -> Iterator[SandboxProcess]:
    started = SandboxProcess("unsafe", "candidate", Limits(), 0)
    yield started
    with contextlib.suppress(OSError):
        started.close()


class Child:
    """One program in a zygote's child: ``ask`` calls its function ``f``."""

    def __init__(self, process: SandboxProcess, text: str):
        reader, self._writer = os.pipe()
        self._reader, writer = os.pipe()
        self.output, output = os.pipe()
        process.start({}, [reader, writer, output])
        for descriptor in (reader, writer, output):
            os.close(descriptor)
        wire.send(self._writer, {"text": text, "entry": "f", "name": "f", "head": ""})

    def ready(self) -> bool:
        wire.receive(self._reader, 10_000)
        return wire.receive(self._reader, 10_000) == {"ready": True}

    def ask(self, *args: Any) -> Any:
        wire.send(self._writer, {"op": "call", "args": wire.encode(list(args)), "kwargs": {"dict": []}})
        reply = wire.receive(self._reader, 10_000)
        return wire.decode(reply["value"]) if "value" in reply else reply["class"]

    def close(self) -> None:
        for descriptor in (self._writer, self._reader, self.output):
            os.close(descriptor)


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


PLACE = "import os\ndef f(): return os.getpid(), os.getppid(), os.getsid(0)"


def test_each_program_gets_a_fresh_child(process):
    pids = []
    for _ in range(3):
        child = Child(process, PLACE)
        assert child.ready()
        pid, parent, session = child.ask()
        assert parent == process._process.pid and session == pid
        report = process.end()
        assert report["signal"] == signal.SIGKILL and not alive(pid)
        assert 0 <= report["cpu"] < 4 and report["dirty"] is False
        child.close()
        pids.append(pid)
    assert len(set(pids)) == 3


def test_nothing_of_one_program_is_left_for_the_next(process):
    look = "import builtins, math, gc\nMARK = 'left' + 'over'\ndef f():\n"
    first = Child(process, look + "  builtins.LEFT = math.LEFT = [MARK]\n  return hasattr(math, 'LEFT')")
    assert first.ready() and first.ask() is True
    process.end()
    first.close()
    second = Child(process, look + "  return hasattr(builtins, 'LEFT') or hasattr(math, 'LEFT')")
    assert second.ready() and second.ask() is False
    process.end()
    second.close()


def test_a_child_that_dies_is_reported_and_the_zygote_serves_on(process):
    for text, code, number in [
        ("import os\ndef f(): os._exit(7)", 7, 0),
        ("import os\ndef f(): os.kill(os.getpid(), 11)", 0, signal.SIGSEGV),
    ]:
        child = Child(process, text)
        assert child.ready()
        with pytest.raises(EOFError):
            child.ask()
        report = process.end()
        assert (report["code"], report["signal"]) == (code, number)
        child.close()
    child = Child(process, PLACE)
    assert child.ready() and child.ask()[1] == process._process.pid
    process.end()
    child.close()


def test_a_child_holds_its_own_descriptors_only(process):
    child = Child(
        process, "import os\ndef f(): print('words', flush=True); return sorted(map(int, os.listdir('/proc/self/fd')))"
    )
    assert child.ready()
    assert set(child.ask()) <= {0, 1, 2, 3, 4, 5}  # 5 is the folder being listed
    assert os.read(child.output, 100) == b"words\n"
    process.end()
    assert os.read(child.output, 100) == b""
    child.close()


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_when_the_zygote_goes_a_running_program_goes(process, how):
    child = Child(process, PLACE)
    assert child.ready()
    pid = child.ask()[0]
    if how == "closed":
        process.close()
        assert process._process.returncode == 0
    else:
        process._process.send_signal(signal.SIGKILL)
        process._process.wait()
        with pytest.raises((EOFError, OSError)):
            process.end()
    assert gone(pid)
    child.close()


def test_files_left_in_scratch_are_told():
    try:
        process = SandboxProcess("bubblewrap", "candidate", Limits(), 0)
    except SandboxStartError as error:
        pytest.skip(f"level not available here: {error}")
    try:
        told = []
        for text in ("def f(): return 0", "def f(): open('left', 'w').close()"):
            child = Child(process, text)
            assert child.ready()
            if child.ask() == "exception(FileNotFoundError)":
                pytest.skip("this bwrap makes no scratch")
            told.append(process.end()["dirty"])
            child.close()
        assert told == [False, True]
    finally:
        process.close()


def test_a_kernel_without_landlock_is_refused_where_it_is_needed():
    ours, theirs = socket.socketpair()
    values = {
        "landlock": "need",
        "seccomp": False,
        "scratch": "",
        "uid": 0,
        "memory_bytes": 1 << 30,
        "cpu_seconds": 5,
        "file_bytes": 9,
        "open_files": 32,
    }
    settings = {"control": theirs.fileno(), "role": "candidate", "confinement": values}
    code = (
        "from s3ft_jax.judges import confinement, zygote\nconfinement.landlock_abi = lambda: 0\n"
        f"zygote.main({settings!r})"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path or os.curdir for path in sys.path))
    with ours, theirs:
        done = subprocess.run(
            [sys.executable, "-c", code],
            pass_fds=(theirs.fileno(),),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "this kernel has no Landlock (Linux 5.13 or newer, switched on)" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_tests_use_is_imported_before_any_program():
    assert set(candidate.MODULES) < set(zygote.PRELOADED)
    assert not {"subprocess", "socket", "ctypes", "threading"} & set(zygote.PRELOADED)
