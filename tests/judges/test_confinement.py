"""Confinement, applied for real: each trial is a fresh interpreter that confines itself and says what is left."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from s3ft_jax.judges import confinement, seccomp

START = """
import ctypes, errno, json, os, resource, socket, sys
from s3ft_jax.judges import confinement as c
def tried(action):
    try:
        action()
    except MemoryError:
        return "MemoryError"
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def limits(**changes):
    values = dict(landlock="no", seccomp=False, scratch="", uid=0, memory_bytes=256 << 20, cpu_seconds=7,
                  file_bytes=1000, open_files=20)
    return c.Confinement(**{**values, **changes})
found = {}
"""


def confined(code: str) -> dict[str, Any]:
    """What the trial put into ``found``, after ``START``."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path or os.curdir for path in sys.path))
    done = subprocess.run(
        [sys.executable, "-c", f"{START}{code}\nprint(json.dumps(found))"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_limits_are_those_asked_for():
    found = confined("""
c.confine(limits(), -1)
for name in ("AS", "FSIZE", "NOFILE", "CORE", "MEMLOCK", "MSGQUEUE", "CPU"):
    found[name] = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
signal = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(signal), 0, 0, 0)  # PR_GET_PDEATHSIG
found["with parent"] = signal.value
found["status"] = [line for line in open("/proc/self/status") if line.startswith("NoNewPrivs")]
""")
    assert found["AS"] == [256 << 20] * 2
    assert found["FSIZE"] == [1000, 1000] and found["NOFILE"] == [20, 20]
    assert found["CORE"] == found["MEMLOCK"] == found["MSGQUEUE"] == [0, 0]
    assert found["CPU"] == [7, 8]  # the hard limit's kill comes a second after the signal that can be ignored
    assert found["with parent"] == 9
    assert found["status"] == ["NoNewPrivs:\t1\n"]


def test_limits_hold(tmp_path):
    found = confined(f"""
c.confine(limits(), -1)
def flood():
    with open({str(tmp_path / "big")!r}, "wb", buffering=0) as file:
        while file.write(b"x" * 400): pass
found["memory"] = tried(lambda: bytearray(1 << 29))
found["file"] = tried(flood)
kept = []
found["files"] = tried(lambda: [kept.append(os.open("/dev/null", os.O_RDONLY)) for _ in range(99)])
found["opened"] = len(kept)
""")
    assert found["memory"] == "MemoryError"
    assert found["file"] == "EFBIG" and (tmp_path / "big").stat().st_size == 1000
    assert found["files"] == "EMFILE" and found["opened"] < 20


def test_landlock_leaves_pythons_library_and_scratch(tmp_path):
    abi = confinement.landlock_abi()
    if not abi:
        pytest.skip("this kernel has no Landlock")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "secret").write_text("x")
    for scratch in ("", str(tmp_path / "scratch")):
        found = confined(f"""
c.confine(limits(landlock="need", scratch={scratch!r}), c.landlock_ruleset({abi}, {scratch!r}))
found["library"] = tried(lambda: open(os.__file__).read(10))
found["library written"] = tried(lambda: open(os.__file__, "a"))
found["null"] = tried(lambda: open("/dev/null", "w").write("x"))
found["secret"] = tried(lambda: open({str(tmp_path / "secret")!r}).read())
found["new"] = tried(lambda: open({str(tmp_path / "new")!r}, "w"))
found["scratch"] = tried(lambda: open({str(tmp_path / "scratch" / "new")!r}, "w").write("x"))
found["listed"] = tried(lambda: os.listdir({str(tmp_path)!r}))
""")
        assert found["library"] == found["null"] == "done"
        assert found["secret"] == found["new"] == found["listed"] == found["library written"] == "EACCES"
        assert found["scratch"] == ("done" if scratch else "EACCES")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(platform.machine() not in seccomp.MACHINES, reason="no seccomp filter for this machine")
def test_seccomp_takes_processes_sockets_and_signals_away():
    found = confined("""
c.share_filter()
found["zygote forks"] = tried(lambda: os.fork() or os._exit(0))
c.confine(limits(seccomp=True), -1)
found["fork"] = tried(lambda: os.fork() or os._exit(0))
found["network"] = tried(lambda: socket.socket(socket.AF_INET))
found["signal"] = tried(lambda: os.kill(os.getppid(), 0))
found["own signal"] = tried(lambda: os.kill(os.getpid(), 0))
""")
    assert found["fork"] == "EPERM"
    assert found["network"] == "EAFNOSUPPORT"
    assert found["signal"] == "ESRCH"
    assert found["own signal"] == "done"
    assert found["zygote forks"] == "done"


def test_a_layer_that_is_refused_is_an_error():
    found = confined("""
try:
    c.confine(limits(landlock="need"), os.open("/dev/null", os.O_RDONLY))
except c.ConfinementError as error:
    found["error"] = str(error)
""")
    assert "landlock_restrict_self failed" in found["error"]
    assert issubclass(confinement.ConfinementError, OSError)
    if confinement.landlock_abi():
        with pytest.raises(confinement.ConfinementError, match="landlock_add_rule failed for /dev/null"):
            confinement._allow(-1, "/dev/null", 4)
    before = set(os.listdir("/proc/self/fd"))
    confinement._allow(-1, "/no/such/path", 4)  # a path that is not here needs no rule
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can leave root")
def test_root_is_left(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0)
    found = confined(f"""
found["before"] = tried(lambda: open({str(secret)!r}).read())
found["runs as"] = c.leave_root(65520)
found["user"] = os.getresuid() + os.getresgid()
found["groups"] = os.getgroups()
found["secret"] = tried(lambda: open({str(secret)!r}).read())
found["chown"] = tried(lambda: os.chown({str(secret)!r}, 65520, 65520))
""")
    assert found["secret"] == "EACCES"
    assert found["chown"] in ("EPERM", "EACCES")
    assert found["runs as"] in ("user 65520", "user 0 without capabilities")
    if found["runs as"] == "user 65520":
        assert found["user"] == [65520] * 6 and found["groups"] == []


def test_readable_directories_are_pythons_and_nobody_elses():
    found = confinement.readable_directories()
    assert sysconfig.get_path("stdlib") in found
    assert found == sorted(set(found)) and all(map(os.path.isdir, found))
    homes = {"/", "/home", "/root", "/tmp", "/etc", "/usr", "/var", os.path.expanduser("~"), os.getcwd()}
    assert not homes & set(found)
