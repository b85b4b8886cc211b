"""allocator: freed memory is kept on a CPU, also by threads that come later, if it is set before the first one."""

import ctypes
import subprocess
import sys

import pytest

from s3ft_jax import allocator, cli, stopping
from small import ROOT


class RecordingLibrary:
    """A C library that only notes what was asked of its allocator."""

    def __init__(self):
        self.asked = {}

    def mallopt(self, name, value):
        self.asked[name] = value


@pytest.mark.parametrize(
    ("platforms", "plugins", "own", "asked"),
    [
        ("cpu", (), None, allocator.MALLOC),
        ("", (), None, allocator.MALLOC),
        ("tpu", (), None, {}),
        ("cpu", ("ctypes",), None, {}),  # stands for an accelerator's plugin that is installed
        ("cpu", (), "1000", {}),
    ],
)
def test_freed_memory_is_kept_on_a_cpu_only(monkeypatch, platforms, plugins, own, asked):
    library = RecordingLibrary()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(allocator, "ACCELERATOR_PLUGINS", plugins)
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    if own:
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", own)
    allocator.keep_freed_memory()
    assert library.asked == asked


def test_a_c_library_without_such_settings_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    allocator.keep_freed_memory()


PROGRAM = """
import ctypes, resource, sys, threading
from s3ft_jax.allocator import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def allocate(size=200 << 20, times=10):
    for _ in range(times):
        block = libc.malloc(size)
        ctypes.memset(block, 1, size)
        libc.free(block)

def threads(number, work):  # alive together, so that each has an arena
    gate = threading.Barrier(number)
    some = [threading.Thread(target=lambda: (work(), gate.wait())) for _ in range(number)]
    [one.start() for one in some]
    [one.join() for one in some]

early = sys.argv[1] == "early"
if early:
    keep_freed_memory()
threads(4, lambda: libc.free(libc.malloc(1000)))
keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
threads(2, allocate)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


def faults(when):
    """Page faults of each of 20 large blocks that two threads allocate and free."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, when], capture_output=True, text=True, env=environment, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc")
def test_blocks_of_later_threads_stay_only_if_it_is_set_before_the_first_one():
    pages = (200 << 20) // 4096
    assert faults("early") < pages / 4
    assert faults("late") > pages / 2, "if this fails, the order no longer matters and need not be kept"


def test_the_command_line_sets_it_before_its_first_thread(monkeypatch, capsys):
    done = []
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: done.append("allocator"))
    monkeypatch.setattr(stopping, "install", lambda: done.append("thread"))
    assert cli.main(["plan", "--config=configs/nothing.py", "--topology=v5e:2x2"]) == 2
    assert done == ["allocator", "thread"]
