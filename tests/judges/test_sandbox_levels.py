"""Levels: how a sandboxed process starts at each, what it says when it cannot, and that nothing of it stays."""

from __future__ import annotations

import os
import shutil

import pytest

from s3ft_jax.judges import sandbox_levels
from s3ft_jax.judges.sandbox_levels import Limits, SandboxProcess, SandboxStartError, describe


@pytest.fixture
def nothing_stays():
    """The same descriptors are open after the test as before."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def bwrap(monkeypatch):
    """(path or None) -> puts bwrap there, or nowhere."""

    def put(path: str | None) -> None:
        sandbox_levels._bubblewrap_help.cache_clear()
        monkeypatch.setattr(sandbox_levels.shutil, "which", lambda program: path)

    yield put
    monkeypatch.undo()
    sandbox_levels._bubblewrap_help.cache_clear()


def refusal(level: str) -> str:
    with pytest.raises(SandboxStartError) as caught:
        SandboxProcess(level, "candidate", Limits(), 0)
    return str(caught.value)


def test_levels_say_what_they_do_and_what_not():
    best = describe("bubblewrap", 5, "user 65520")
    assert best.name == "bubblewrap"
    assert "own namespaces" in best.protects and "Landlock 5" in best.protects and "user 65520" in best.protects
    assert "Landlock" not in describe("bubblewrap", 0, "user 65520").protects
    landlock = describe("landlock", 3, "user 1000")
    assert "no file writes (Landlock 3)" in landlock.protects and "seccomp" in landlock.protects
    assert "no scratch" in landlock.missing
    unsafe = describe("unsafe", 0, "")
    assert "seccomp" not in unsafe.protects
    assert unsafe.missing == "files, network and processes are open to programs"


def test_a_process_starts_serves_and_ends(nothing_stays):
    process = SandboxProcess("unsafe", "candidate", Limits(), 0)
    try:
        assert (process.landlock, process.runs_as) == (0, f"user {os.getuid()}")
        null = os.open(os.devnull, os.O_RDWR)
        for _ in range(2):  # one after another
            process.start({}, [null, null, null])
            assert set(process.end()) == {"signal", "code", "cpu", "dirty"}
        os.close(null)
        assert process._process.poll() is None
    finally:
        process.close()
    assert process._process.returncode == 0  # it left by itself


def test_without_bubblewrap_the_cause_is_named(nothing_stays, bwrap):
    bwrap(None)
    assert refusal("bubblewrap") == "bwrap is not installed"


def test_bubblewrap_that_may_not_make_namespaces_is_heard(nothing_stays, bwrap, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text(
        "#!/bin/sh\n[ $1 = --help ] && exit 0\necho bwrap: No permissions to create new namespace >&2\nexit 1\n"
    )
    fake.chmod(0o755)
    bwrap(str(fake))
    assert refusal("bubblewrap") == "bwrap: No permissions to create new namespace"


def test_a_machine_without_a_filter_has_the_unsafe_level_only(nothing_stays, monkeypatch):
    monkeypatch.setattr(sandbox_levels.platform, "machine", lambda: "riscv64")
    for level in ("bubblewrap", "landlock"):
        assert refusal(level) == "no seccomp filter for riscv64, only for ['aarch64', 'x86_64']"
    SandboxProcess("unsafe", "tester", Limits(), 0).close()


def test_an_interpreter_that_does_not_start_is_named(nothing_stays, monkeypatch):
    monkeypatch.setattr(sandbox_levels.sys, "executable", "/no/such/python")
    assert refusal("unsafe").startswith("/no/such/python does not start: ")


def test_a_process_that_dies_or_hangs_at_the_start_is_an_error(nothing_stays, monkeypatch):
    monkeypatch.setattr(sandbox_levels, "_BOOT", "import sys; sys.stdin.read(); sys.exit('no such luck')")
    assert refusal("unsafe") == "no such luck"
    monkeypatch.setattr(sandbox_levels, "START_SECONDS", 0.2)
    monkeypatch.setattr(sandbox_levels, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(sandbox_levels, "_BOOT", "import sys, time; sys.stdin.read(); time.sleep(60)")
    assert refusal("unsafe") == "no answer: TimeoutError"


def test_each_level_asks_for_its_layers():
    limits = Limits(wall_seconds=2.5, memory_bytes=1 << 28, file_bytes=7, open_files=9)
    asked = {
        level: sandbox_levels._confinement(level, limits, "", 15) for level in ("bubblewrap", "landlock", "unsafe")
    }
    assert [asked[level]["landlock"] for level in asked] == ["want", "need", "no"]
    assert [asked[level]["seccomp"] for level in asked] == [True, True, False]
    for values in asked.values():
        assert (values["memory_bytes"], values["file_bytes"], values["open_files"]) == (1 << 28, 7, 9)
        assert values["cpu_seconds"] == 3  # whole seconds, never less than the wall time
    spare = sandbox_levels.FIRST_SPARE_UID + 1 if os.getuid() == 0 else 0  # slot 15 of 14 begins anew
    assert [asked[level]["uid"] for level in asked] == [spare, spare, 0]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")
def test_bubblewrap_shows_pythons_folders_only():
    arguments = sandbox_levels._bubblewrap(Limits(scratch_bytes=12345), "/tmp")
    assert {"--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--new-session"} <= set(arguments)
    shown = [arguments[place + 1] for place, word in enumerate(arguments) if word == "--ro-bind"]
    assert "/usr" in shown or "/nix/store" in shown
    assert not {"/", "/home", "/root", "/etc", "/proc", "/var", "/tmp"} & set(shown)
    assert "--bind" not in arguments and "--proc" not in arguments
    place = arguments.index("--size")
    assert arguments[place : place + 4] == ["--size", "12345", "--tmpfs", "/tmp"]
    assert arguments[-2:] == ["--chdir", "/tmp"]
    assert "--tmpfs" not in sandbox_levels._bubblewrap(Limits(), "")
