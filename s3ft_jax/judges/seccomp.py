"""Judges room, sandbox: the system calls a model-written program may not make, as a hand-made seccomp filter.

In: the machine's name (``x86_64`` or ``aarch64``), and for the second part the process id it is for. Out: the bytes of
classic BPF programs for ``prctl(PR_SET_SECCOMP)``. This file runs inside the sandbox too: standard library only.

Two parts, since the kernel takes 0.7 ms to prepare the long one: ``shared_filter`` is installed once in the zygote and
inherited; ``program_filter`` (no fork, no signals) is installed in each forked process on top of it. A call must
pass both.

The filter holds what file and namespace isolation cannot: no new process, no signal to another process, no network, no
change of a file's mode or owner (Landlock does not cover these), no kernel object that outlives the process (shared
memory, keys), no door into rarely used kernel code. Threads stay allowed. A call newer than ``NEWEST_CALL`` is answered
"not implemented", so a new kernel opens nothing.

Each refusal has an error number of its own kind, so that a judge can say why a program failed:

    fork, exec            EPERM          -> process_denied
    socket                EAFNOSUPPORT   -> network_denied
    signal to another     ESRCH          (as in a process namespace of one's own)
    chmod, chown, xattr   EACCES
    everything else       ENOSYS

Call numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import errno
import struct

_PROCESS = {"execve": (59, 221), "execveat": (322, 281)}

_FORK = {"fork": (57, None), "vfork": (58, None)}

_NETWORK = {"socket": (41, 198)}

_FILES = {
    "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "truncate": (76, 45), "mknod": (133, None), "mknodat": (259, 33),
}  # fmt: skip

_RARE = {
    # Other processes.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30), "setpgid": (109, 154), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # Memory and objects that limits do not count or that outlive the process.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191),
    "semop": (65, 193), "semtimedop": (220, 192), "msgget": (68, 186), "msgctl": (71, 187), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "mq_open": (240, 180), "mq_unlink": (241, 181), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # Kernel doors.
    "clone3": (435, 435), "openat2": (437, 437), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_setup": (206, 0), "unshare": (272, 97), "setns": (308, 268),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "syslog": (103, 116), "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "personality": (135, 92),
    "vhangup": (153, 58), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None), "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450), "sync": (162, 81), "syncfs": (306, 267),
}  # fmt: skip

_FREQUENT = {  # allowed by the first comparisons, for speed
    "read": (0, 63), "write": (1, 64), "futex": (202, 98), "mmap": (9, 222), "munmap": (11, 215), "brk": (12, 214),
    "lseek": (8, 62), "fstat": (5, 80), "close": (3, 57),
}  # fmt: skip

_JUDGED = {  # decided by their arguments
    "prlimit64": (302, 261), "socketpair": (53, 199), "open": (2, None), "openat": (257, 56), "ioctl": (16, 29),
    "fcntl": (72, 25),
}  # fmt: skip

_JUDGED_BY_PROCESS = {"clone": (56, 220), "kill": (62, 129), "tgkill": (234, 131)}

DENIED: tuple[tuple[dict[str, tuple[int | None, int | None]], int], ...] = (
    (_PROCESS, errno.EPERM),
    (_NETWORK, errno.EAFNOSUPPORT),
    (_FILES, errno.EACCES),
    (_RARE, errno.ENOSYS),
)
"""Calls refused whatever their arguments, with the error number each group is answered with; fork comes on top."""

NEWEST_CALL = 462
"""The last call number known to this table (mseal, Linux 6.10); both architectures number alike from 424 on."""

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine name -> (column of the tables, AUDIT_ARCH value of the kernel)."""

# Classic BPF instructions (linux/bpf_common.h) and seccomp return values (linux/seccomp.h).
_LOAD, _AND, _EQUAL, _GREATER, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data; args follow at 16, 8 bytes each, low word first

_CLONE_THREAD, _AF_UNIX, _SOCK_STREAM, _TYPE_BITS = 0x10000, 1, 1, 0xF
_OPEN_TRUNCATE, _OPEN_MODE = 0o1000, 0o3
_IOCTL_DENIED = (0x5412, 0x541C, 0x5452, 0x8901, 0x8902)  # TIOCSTI, TIOCLINUX, FIOASYNC, FIOSETOWN, SIOCSPGRP
_FCNTL_DENIED = (8, 10, 15, 1024, 1026, 1031)  # F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def _refuse(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _argument(index: int) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * index)


_PASS: Instruction = (_RETURN, 0, 0, _ALLOW)


def _judged_calls() -> dict[str, list[Instruction]]:
    """What to do with calls that are fine with some arguments; each list ends in a return on every path."""
    # O_TRUNC without write access, and access mode 3, empty a file that Landlock before ABI 3 lets be read.
    flags = [
        (_AND, 0, 0, _OPEN_TRUNCATE | _OPEN_MODE),
        (_EQUAL, 3, 0, _OPEN_TRUNCATE),
        (_EQUAL, 2, 0, _OPEN_TRUNCATE | _OPEN_MODE),
        (_EQUAL, 1, 0, _OPEN_MODE),
        _PASS,
        _refuse(errno.EACCES),
    ]
    return {
        "prlimit64": [_argument(0), (_EQUAL, 1, 0, 0), _refuse(errno.ESRCH), _PASS],
        # A connected stream pair (asyncio's wake-up) cannot reach a named socket; a datagram pair could.
        "socketpair": [_argument(0), (_EQUAL, 0, 3, _AF_UNIX), _argument(1), (_AND, 0, 0, _TYPE_BITS),
                       (_EQUAL, 1, 0, _SOCK_STREAM), _refuse(errno.EAFNOSUPPORT), _PASS],
        "open": [_argument(1), *flags],
        "openat": [_argument(2), *flags],
        "ioctl": _deny_values(1, _IOCTL_DENIED),
        "fcntl": _deny_values(1, _FCNTL_DENIED),
    }  # fmt: skip


def _deny_values(index: int, values: tuple[int, ...]) -> list[Instruction]:
    """Refuse the call when argument ``index`` is one of ``values``."""
    checks = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(index), *checks, _PASS, _refuse(errno.EACCES)]


def shared_filter(machine: str) -> bytes:
    """The filter for the zygote and all it forks, as BPF instructions of 8 bytes.

    Args:
      machine: ``platform.machine()`` of this computer, a key of ``MACHINES``.

    Raises:
      KeyError: the machine is not in ``MACHINES``.
    """
    column, architecture = MACHINES[machine]
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        # Also stops the x32 calls of x86_64, whose numbers start at 2**30.
        (_GREATER, 0, 1, NEWEST_CALL),
        _refuse(errno.ENOSYS),
    ]
    for numbers in _FREQUENT.values():
        program += _when(numbers[column], [_PASS])
    for calls, answer in DENIED:
        for numbers in calls.values():
            program += _when(numbers[column], [_refuse(answer)])
    for name, block in _judged_calls().items():
        program += _when(_JUDGED[name][column], block)
    return _assemble(program)


def program_filter(machine: str, pid: int) -> bytes:
    """The filter for one forked process, on top of ``shared_filter``, which has checked the architecture.

    Args:
      machine: a key of ``MACHINES``.
      pid: the process, as it sees itself (``os.getpid()``); it may signal only itself.
    """
    column, _ = MACHINES[machine]
    own_process = [_argument(0), (_EQUAL, 1, 0, pid), _refuse(errno.ESRCH), _PASS]
    thread = [_argument(0), (_AND, 0, 0, _CLONE_THREAD), (_EQUAL, 1, 0, _CLONE_THREAD), _refuse(errno.EPERM), _PASS]
    blocks = {"clone": thread, "kill": own_process, "tgkill": own_process}
    program: list[Instruction] = [(_LOAD, 0, 0, _NUMBER)]
    for numbers in _FORK.values():
        program += _when(numbers[column], [_refuse(errno.EPERM)])
    for name, block in blocks.items():
        program += _when(_JUDGED_BY_PROCESS[name][column], block)
    return _assemble(program)


def _assemble(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in [*program, _PASS])


def _when(number: int | None, block: list[Instruction]) -> list[Instruction]:
    """Run ``block`` if the call's number is ``number``, else go on behind it; nothing where the call does not exist."""
    return [] if number is None else [(_EQUAL, 0, len(block), number), *block]
