"""Judges room, sandbox: how a process gives up everything but computing. Runs inside; standard library only.

In: a ``Confinement`` (which layers, which limits). Out: nothing; the calling process can afterwards read Python's
library, use memory and CPU up to its limits, and talk over the descriptors it holds.

Layers, applied by a freshly forked process before any untrusted text is read:

    setrlimit        memory, CPU, file size, descriptors, core, locked memory
    no_new_privs     no program can win privileges
    Landlock         file reads only below READABLE, writes only to /dev/null (and scratch); Linux 5.13 or newer
    seccomp          seccomp.py; its first part already in the zygote

Landlock's structures and constants: Linux include/uapi/linux/landlock.h and Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import resource
import signal
import stat
import struct
import sys
import sysconfig

from s3ft_jax.judges import seccomp

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 1, 22, 38, 2
_LANDLOCK_CREATE, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = _READ_FILE | _READ_DIR
_CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class ConfinementError(OSError):
    """A layer could not be applied. The process must not go on to run untrusted code."""


@dataclasses.dataclass(frozen=True)
class Confinement:
    """Which layers to apply and how much a program may use.

    Attributes:
      landlock: ``need``, ``want`` (apply where the kernel has it) or ``no``.
      seccomp: apply the filter of seccomp.py.
      scratch: directory the program may write to, or "".
      uid: spare user and group id to change to when started as root; 0 keeps the present one.
      memory_bytes: address space.
      cpu_seconds: CPU time, whole seconds.
      file_bytes: largest file written.
      open_files: descriptors.
    """

    landlock: str
    seccomp: bool
    scratch: str
    uid: int
    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    open_files: int


def readable_directories() -> list[str]:
    """Directories that the running interpreter and its shared libraries are read from."""
    library = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    shared = {"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/nix/store"}
    shared.add(os.path.join(sys.base_exec_prefix, "lib"))
    return sorted(path for path in library | shared if os.path.isdir(path))


def landlock_abi() -> int:
    """Landlock's version in this kernel; 0 where it is missing or switched off."""
    return max(0, _libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1))


def landlock_ruleset(abi: int, scratch: str) -> int:
    """Build the rules once, as a descriptor that every forked process applies to itself.

    Args:
      abi: Landlock's version, at least 1.
      scratch: a directory open for writing, or "".
    """
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1
    attributes = struct.pack("=QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = _libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        raise ConfinementError(ctypes.get_errno(), "landlock_create_ruleset failed")
    for path in readable_directories():
        _allow(ruleset, path, _READ)
    for path in ("/etc/ld.so.cache", "/dev/urandom", "/dev/random", "/dev/zero", "/etc/localtime"):
        _allow(ruleset, path, _READ_FILE)
    _allow(ruleset, "/dev/null", _READ_FILE | _WRITE_FILE | (_TRUNCATE & files))
    if scratch:
        _allow(ruleset, scratch, files & ~1)
    return ruleset


def _allow(ruleset: int, path: str, access: int) -> None:
    """Add one path; a path that does not exist here needs no rule."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _READ_FILE | _WRITE_FILE | _TRUNCATE
        rule = struct.pack("=Qi", access, place)
        if _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) < 0:
            raise ConfinementError(ctypes.get_errno(), f"landlock_add_rule failed for {path}")
    finally:
        os.close(place)


def leave_root(uid: int) -> str:
    """Give up root's powers: become the spare user if Python's library stays readable, else drop all capabilities.

    Args:
      uid: the spare user and group id, never 0.

    Returns:
      what the process runs as now, for the level's description.
    """
    if all(_readable_by_all(path) for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}):
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        except OSError:
            pass
        else:
            return f"user {uid}"
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    if _libc.capset(header, bytes(24)) != 0:
        raise ConfinementError(ctypes.get_errno(), "capset failed")
    return "user 0 without capabilities"


def _readable_by_all(path: str) -> bool:
    """True if every directory on the way to ``path`` is open to all users."""
    parts = os.path.realpath(path).split("/")
    parents = ["/".join(parts[: count + 1]) or "/" for count in range(len(parts))]
    return all(os.stat(parent).st_mode & stat.S_IXOTH for parent in parents)


def confine(confinement: Confinement, ruleset: int) -> None:
    """Apply every layer to this process; it must have one thread.

    Args:
      confinement: what to apply.
      ruleset: descriptor from ``landlock_ruleset``, or -1 for none.

    Raises:
      ConfinementError: a layer was refused.
    """
    limits = {
        resource.RLIMIT_AS: confinement.memory_bytes,
        resource.RLIMIT_FSIZE: confinement.file_bytes,
        resource.RLIMIT_NOFILE: confinement.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for kind, value in limits.items():
        resource.setrlimit(kind, (value, value))
    # The soft limit's signal can be ignored, the hard limit's kill cannot.
    resource.setrlimit(resource.RLIMIT_CPU, (confinement.cpu_seconds, confinement.cpu_seconds + 1))
    if confinement.uid and os.getuid() == confinement.uid:
        resource.setrlimit(resource.RLIMIT_NPROC, (64, 64))
    # Even a zygote that is killed leaves no program behind.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if ruleset >= 0 and _libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) != 0:
        raise ConfinementError(ctypes.get_errno(), "landlock_restrict_self failed")
    if confinement.seccomp:
        _install(seccomp.program_filter(platform.machine(), os.getpid()))


def share_filter() -> None:
    """Install the part of the seccomp filter that this process and all it forks have in common."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _install(seccomp.shared_filter(platform.machine()))


def _install(code: bytes) -> None:
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: unsigned short length, then an aligned pointer.
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))


def _prctl(option: int, value: int, pointer: bytes | None = None) -> None:
    arguments = (ctypes.c_ulong(value), pointer, ctypes.c_ulong(0), ctypes.c_ulong(0))
    if _libc.prctl(option, *arguments) != 0:
        raise ConfinementError(ctypes.get_errno(), f"prctl({option}) failed")
