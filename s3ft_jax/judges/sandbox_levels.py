"""Judges room, sandbox: the levels of protection and how a sandboxed process is started at each.

In: a level's name, a role (``candidate`` runs programs, ``tester`` runs tests) and limits. Out: a running
``SandboxProcess``, which forks one confined child for each program (zygote.py).

    bubblewrap   own mount, process, network, ipc and host-name namespaces (and a user namespace, or a spare user when
                 root), scratch in memory; plus everything of the next level
    landlock     Landlock, seccomp, rlimits and no new privileges; needs no privilege, works in containers
    unsafe       rlimits only; never chosen unless asked for

Processes are started by plain ``subprocess.Popen``: no fork of the calling process, which may hold JAX's threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import Any

from s3ft_jax.judges import seccomp, wire

START_SECONDS = 20.0
"""How long a sandboxed process may take to say it is ready; about 0.1 s on an idle machine."""

FIRST_SPARE_UID = 65520
SPARE_UIDS = 14
"""User ids 65520 to 65533 belong to nobody (systemd's list of user ids, "unused")."""

STOP_SECONDS = 5.0
"""How long it may take to leave; about 5 ms."""

_INSIDE = ("seccomp", "confinement", "wire", "code_blocks", "candidate", "tester", "zygote")
_BOOT = """
import json, sys, types
start = json.load(sys.stdin)
for name in ("s3ft_jax", "s3ft_jax.judges"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
for name, source in start["modules"]:
    module = sys.modules["s3ft_jax.judges." + name] = types.ModuleType("s3ft_jax.judges." + name)
    setattr(sys.modules["s3ft_jax.judges"], name, module)
    exec(compile(source, name + ".py", "exec"), module.__dict__)
module.main(start["settings"])
"""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
      wall_seconds: time for loading the program and all its tests together.
      memory_bytes: address space.
      output_bytes: standard output and standard error together.
      file_bytes: largest file written (scratch exists at the bubblewrap level only).
      open_files: descriptors.
      result_bytes: one result, as text.
      scratch_bytes: size of the scratch directory, in memory.
    """

    wall_seconds: float = 4.0
    memory_bytes: int = 512 << 20
    output_bytes: int = 64 << 10
    file_bytes: int = 1 << 20
    open_files: int = 64
    result_bytes: int = 1 << 20
    scratch_bytes: int = 16 << 20


@dataclasses.dataclass(frozen=True)
class Level:
    """One level of protection.

    Attributes:
      name: ``bubblewrap``, ``landlock`` or ``unsafe``.
      protects: what it does, in words.
      missing: what it does not do, in words.
    """

    name: str
    protects: str
    missing: str


class SandboxStartError(RuntimeError):
    """A level cannot be had on this machine; the message is the cause."""


def describe(name: str, landlock: int, runs_as: str) -> Level:
    """The level in words, as found on this machine.

    Args:
      name: the level's name.
      landlock: Landlock's version, 0 for none.
      runs_as: the user that programs run as.
    """
    common = "no new process, network, signal or kernel object (seccomp); limits on time, memory, output and files"
    if name == "bubblewrap":
        layers = f" and Landlock {landlock}" if landlock else ""
        protects = f"own namespaces with a read-only view of Python alone{layers}; {common}; runs as {runs_as}"
        return Level(name, protects, "the kernel itself is shared; the number of empty scratch files is not limited")
    if name == "landlock":
        files = f"file reads limited to Python's library, no file writes (Landlock {landlock})"
        missing = "file names (not contents) can be probed; no scratch: a program that writes files fails"
        return Level(name, f"{files}; {common}; runs as {runs_as}", missing)
    return Level(name, "limits on time, memory and output", "files, network and processes are open to programs")


class SandboxProcess:
    """One zygote at one level.

    Attributes:
      landlock, runs_as: what it reported when ready.
    """

    def __init__(self, level: str, role: str, limits: Limits, slot: int):
        """Start it and wait until it is ready.

        Args:
          level: a level's name.
          role: ``candidate`` or ``tester``.
          limits: for each program.
          slot: a number that picks the spare user.

        Raises:
          SandboxStartError: it did not become ready.
        """
        scratch = "/tmp" if level == "bubblewrap" and "--size" in _bubblewrap_help() else ""
        settings = {"role": role, "confinement": _confinement(level, limits, scratch, slot)}
        command = [os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", "-c", _BOOT]
        if level == "bubblewrap":
            command = [*_bubblewrap(limits, scratch), "--", *command]
        # Opened when nothing above can be refused any more.
        ours, theirs = socket.socketpair()
        settings["control"] = theirs.fileno()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        try:
            self._process = subprocess.Popen(
                command,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            ours.close()
            self._errors.close()
            raise SandboxStartError(f"{command[0]} does not start: {error}") from None
        finally:
            theirs.close()
        self.control = ours
        self._wait_until_ready(json.dumps({"modules": _sources(), "settings": settings}).encode())

    def _wait_until_ready(self, start: bytes) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(start)
            self._process.stdin.close()
            self.control.settimeout(START_SECONDS)
            # wire.receive reads the descriptor; the first byte is awaited with a time limit.
            if not self.control.recv(1, socket.MSG_PEEK):
                raise EOFError
            self.control.settimeout(None)
            ready = wire.receive(self.control.fileno(), 1 << 16)
        except (OSError, EOFError, wire.WireError) as error:
            self.close()
            raise SandboxStartError(self._said or f"no answer: {type(error).__name__}") from None
        self.landlock, self.runs_as = int(ready["landlock"]), str(ready["runs_as"])

    def start(self, job: dict[str, Any], descriptors: list[int]) -> None:
        """Have one child forked that holds ``descriptors`` as 3, 4, ... (of a candidate, the third is its output)."""
        socket.send_fds(self.control, [b"R"], descriptors)
        wire.send(self.control.fileno(), job)

    def end(self) -> dict[str, Any]:
        """Kill the child. Returns how it ended: signal, code, cpu in seconds, dirty (left files in scratch)."""
        self.control.sendall(b"E")
        return wire.receive(self.control.fileno(), 1 << 16)

    def close(self) -> None:
        """End the process and everything in it; a second call does nothing."""
        if self._errors.closed:
            return
        self.control.close()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        # It leaves by itself when the socket closes, and takes a running program with it.
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.seek(0)
        self._said = self._errors.read(2000).decode(errors="replace").strip()[-400:]
        self._errors.close()


def _confinement(level: str, limits: Limits, scratch: str, slot: int) -> dict[str, Any]:
    """The fields of ``confinement.Confinement``."""
    if level != "unsafe" and platform.machine() not in seccomp.MACHINES:
        raise SandboxStartError(f"no seccomp filter for {platform.machine()}, only for {sorted(seccomp.MACHINES)}")
    root = os.getuid() == 0 and level != "unsafe"
    return {
        "landlock": {"bubblewrap": "want", "landlock": "need"}.get(level, "no"),
        "seccomp": level != "unsafe",
        "scratch": scratch,
        "uid": FIRST_SPARE_UID + slot % SPARE_UIDS if root else 0,
        "memory_bytes": limits.memory_bytes,
        "cpu_seconds": int(limits.wall_seconds) + 1,
        "file_bytes": limits.file_bytes,
        "open_files": limits.open_files,
    }


@functools.cache
def _sources() -> list[tuple[str, str]]:
    """Name and text of the modules that run inside, in an order in which they can be imported."""
    folder = pathlib.Path(__file__).parent
    return [(name, (folder / f"{name}.py").read_text(encoding="utf-8")) for name in _INSIDE]


@functools.cache
def _bubblewrap_help() -> str:
    program = shutil.which("bwrap")
    if program is None:
        return ""
    return subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout


def _bubblewrap(limits: Limits, scratch: str) -> list[str]:
    """The bwrap command line up to the program.

    As root no user namespace is made: the zygote changes to a spare user instead, so that not even the kernel's view
    of a program is root. ``--die-with-parent`` is left out on purpose: it fires when the starting *thread* ends. The
    zygote leaves by itself when the supervisor's socket closes.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxStartError("bwrap is not installed")
    arguments = [program, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--hostname", "sandbox", "--new-session", "--cap-drop", "ALL"]
    if os.getuid() == 0:
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    for path in ("/lib", "/lib64", "/lib32"):
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            arguments += ["--ro-bind", path, path]
    place = len(arguments)
    prefixes = {"/usr", sys.base_prefix, sys.base_exec_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    prefixes |= {"/nix/store"} if os.path.isdir("/nix/store") else set()
    for path in sorted(prefixes):
        if not any(path != other and path.startswith(other.rstrip("/") + "/") for other in prefixes):
            arguments += ["--ro-bind", path, path]
    if "--perms" in _bubblewrap_help():
        # Else bwrap makes these private to root, and the spare user could not reach Python's library.
        parents = {str(parent) for path in prefixes for parent in pathlib.PurePath(path).parents} - {"/"} - prefixes
        for path in sorted(parents, reverse=True):
            arguments[place:place] = ["--perms", "0755", "--dir", path]
    arguments += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    arguments += ["--dev", "/dev", "--remount-ro", "/dev"]
    if scratch:
        arguments += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", scratch]
    return [*arguments, "--remount-ro", "/", "--chdir", scratch or "/"]
