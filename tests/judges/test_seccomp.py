"""The filter's bytes, run by a small interpreter of BPF, on both architectures."""

from __future__ import annotations

import errno
import pathlib
import re
import struct

import pytest

from s3ft_jax.judges import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000


def run(code: bytes, number: int, architecture: int, args: tuple[int, ...] = ()) -> int:
    """The return value of a BPF program for one system call."""
    data = struct.pack("=iIQ6Q", number, architecture, 0, *(args + (0,) * 6)[:6])
    program = [struct.unpack_from("=HBBI", code, place) for place in range(0, len(code), 8)]
    place = accumulator = 0
    while True:
        operation, if_true, if_false, operand = program[place]
        place += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x15:
            place += if_true if accumulator == operand else if_false
        elif operation == 0x25:
            place += if_true if accumulator > operand else if_false
        elif operation == 0x06:
            return operand
        else:
            raise AssertionError(f"unknown operation {operation:#x}")


def refused(number: int) -> int:
    return 0x00050000 | number


@pytest.fixture(params=sorted(seccomp.MACHINES))
def machine(request):
    return request.param


def test_every_listed_call_is_refused_with_its_error(machine):
    column, architecture = seccomp.MACHINES[machine]
    code = seccomp.shared_filter(machine)
    for calls, answer in seccomp.DENIED:
        for name, numbers in calls.items():
            if numbers[column] is not None:
                assert run(code, numbers[column], architecture) == refused(answer), name


def test_a_foreign_architecture_is_killed_and_new_calls_do_not_exist(machine):
    _, architecture = seccomp.MACHINES[machine]
    code = seccomp.shared_filter(machine)
    assert run(code, 0, 0x40000003) == KILL
    for number in (463, 1000, 0x40000000, 0x40000000 + 57):
        assert run(code, number, architecture) == refused(errno.ENOSYS)


# name: (x86_64, aarch64), arguments, expected
SHARED = [
    ("openat read", (257, 56), (0, 0, 0o0), ALLOW),
    ("openat write", (257, 56), (0, 0, 0o1 | 0o100 | 0o1000), ALLOW),
    ("openat truncate without write", (257, 56), (0, 0, 0o1000), refused(errno.EACCES)),
    ("openat mode 3", (257, 56), (0, 0, 0o3), refused(errno.EACCES)),
    ("openat mode 3 truncate", (257, 56), (0, 0, 0o1003), refused(errno.EACCES)),
    ("open truncate without write", (2, None), (0, 0o1000), refused(errno.EACCES)),
    ("socketpair unix stream", (53, 199), (1, 1 | 0o2000000), ALLOW),
    ("socketpair unix datagram", (53, 199), (1, 2), refused(errno.EAFNOSUPPORT)),
    ("socketpair inet", (53, 199), (2, 1), refused(errno.EAFNOSUPPORT)),
    ("prlimit self", (302, 261), (0,), ALLOW),
    ("prlimit other", (302, 261), (7,), refused(errno.ESRCH)),
    ("ioctl window size", (16, 29), (0, 0x5413), ALLOW),
    ("ioctl TIOCSTI", (16, 29), (0, 0x5412), refused(errno.EACCES)),
    ("ioctl SIOCSPGRP", (16, 29), (0, 0x8902), refused(errno.EACCES)),
    ("fcntl F_GETFD", (72, 25), (0, 1), ALLOW),
    ("fcntl F_SETOWN", (72, 25), (0, 8), refused(errno.EACCES)),
    ("fcntl F_SETPIPE_SZ", (72, 25), (0, 1031), refused(errno.EACCES)),
    ("read", (0, 63), (), ALLOW),
    ("getpid", (39, 172), (), ALLOW),
    ("wait4, for the zygote", (61, 260), (), ALLOW),
    ("clone, for the zygote", (56, 220), (17,), ALLOW),
]


@pytest.mark.parametrize(("name", "numbers", "args", "expected"), SHARED, ids=[row[0] for row in SHARED])
def test_calls_decided_by_arguments(machine, name, numbers, args, expected):
    column, architecture = seccomp.MACHINES[machine]
    if numbers[column] is not None:
        assert run(seccomp.shared_filter(machine), numbers[column], architecture, args) == expected


def test_a_program_may_signal_itself_and_start_threads_only(machine):
    column, architecture = seccomp.MACHINES[machine]
    code = seccomp.program_filter(machine, 4711)
    kill, tgkill, clone = ((62, 129)[column], (234, 131)[column], (56, 220)[column])
    for call in (kill, tgkill):
        assert run(code, call, architecture, (4711, 9)) == ALLOW
        for other in (1, 0, 4712, 2**32 - 1, 2**64 - 1):
            assert run(code, call, architecture, (other, 9)) == refused(errno.ESRCH)
    assert run(code, clone, architecture, (0x3D0F00,)) == ALLOW
    assert run(code, clone, architecture, (17,)) == refused(errno.EPERM)
    if machine == "x86_64":
        assert run(code, 57, architecture) == run(code, 58, architecture) == refused(errno.EPERM)


def test_numbers_are_those_of_the_system_headers():
    headers = [
        pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        pathlib.Path("/usr/include/asm-generic/unistd.h"),
    ]
    if not all(header.exists() for header in headers):
        pytest.skip("no kernel headers on this machine")
    tables = [
        {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())}
        for header in headers
    ]
    checked = 0
    for group in [calls for calls, _ in seccomp.DENIED] + [
        seccomp._FREQUENT,
        seccomp._JUDGED,
        seccomp._JUDGED_BY_PROCESS,
        seccomp._FORK,
    ]:
        for name, numbers in group.items():
            for number, table in zip(numbers, tables, strict=True):
                if number is not None and name in table:
                    assert table[name] == number, name
                    checked += 1
    assert checked > 200
