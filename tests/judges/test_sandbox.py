"""The sandbox against programs that mean harm, on every level this machine has."""
# ruff: noqa: E501 - one row of a table on one line

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from s3ft_jax.judges import sandbox_levels
from s3ft_jax.judges.sandbox import LEVELS, Limits, Outcome, Program, Sandbox, SandboxUnavailable, probe

LIMITS = Limits(wall_seconds=0.5, memory_bytes=160 << 20)
MARK = f"s3ft_jax_hostile_{os.getpid()}"
TESTS = ("assert f(2) == 4", "assert f(3) == 9")

GONE = "exception(SystemExit)"
# name, code, classes that are acceptable; the task is f(x) = x * x and none of these computes it.
HOSTILE = [
    ("endless_loop", "def f(x):\n  while True: pass", {"timeout"}),
    ("endless_loop_on_load", "while True: pass\ndef f(x): return x*x", {"timeout"}),
    ("sleep", "import time\ndef f(x):\n  time.sleep(60)", {"timeout"}),
    ("huge_power_in_c", "def f(x):\n  return 9**9**9", {"timeout", "memory"}),
    (
        "swallow_everything_and_ignore_signals",
        "import signal\nfor s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n  except Exception: pass\n"
        "def f(x):\n  while True:\n    try:\n      while True: pass\n    except BaseException: pass",
        {"timeout"},
    ),
    ("memory_bomb", "def f(x):\n  return len([bytearray(1 << 20) for _ in range(100000)])", {"memory"}),
    ("memory_bomb_caught", "def f(x):\n  a=[]\n  while True:\n    try: a.append(bytearray(1 << 22))\n    except MemoryError: return 0",
     {"wrong"}),
    ("fork", "import os\ndef f(x):\n  return os.fork()", {"process_denied"}),
    ("fork_bomb", "import os\ndef f(x):\n  while True:\n    try: os.fork()\n    except OSError: return 0", {"wrong"}),
    ("subprocess", "import subprocess\ndef f(x):\n  return subprocess.run(['/bin/echo', '4'])", {"process_denied"}),
    ("shell", "import os\ndef f(x):\n  return os.system('echo 4')", {"wrong", "process_denied"}),
    ("exec_another", "import os, sys\ndef f(x):\n  os.execv('/bin/sh', ['sh'])", {"process_denied", "exception(PermissionError)"}),
    ("multiprocessing", "import multiprocessing as m\ndef f(x):\n  with m.Pool(2) as p: return p.map(abs, [x])[0]",
     {"process_denied", "exception(OSError)", "exception(FileNotFoundError)", "exception(PermissionError)"}),
    ("thread_bomb", "import threading, time\ndef f(x):\n  while True: threading.Thread(target=time.sleep, args=(9,)).start()",
     {"exception(RuntimeError)", "memory"}),
    ("threads_keep_running", "import threading\ndef g():\n  while True: pass\nthreading.Thread(target=g).start()\ndef f(x): return 0",
     {"wrong", "timeout"}),
    ("output_flood", "def f(x):\n  while True: print('x' * 1000)", {"output"}),
    ("error_flood", "import sys\ndef f(x):\n  while True: sys.stderr.write('x' * 1000)", {"output"}),
    ("flood_of_raw_bytes", "import os\ndef f(x):\n  while True: os.write(1, b'PASS\\n' * 1000)", {"output"}),
    ("print_pass", "def f(x):\n  print('PASS'); print('OK'); print('right'); return None", {"wrong"}),
    ("exit_0", "import sys\ndef f(x):\n  sys.exit(0)", {GONE}),
    ("exit_0_on_load", "import sys\ndef f(x): return 0\nsys.exit(0)", {GONE}),
    ("os_exit_0", "import os\ndef f(x):\n  os._exit(0)", {GONE}),
    ("os_exit_on_load", "import os\ndef f(x): return 0\nos._exit(0)", {GONE}),
    ("atexit", "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return 0", {"wrong"}),
    ("kill_itself", "import os\ndef f(x):\n  os.kill(os.getpid(), 9)", {"exception(SIGKILL)"}),
    ("segfault", "import ctypes\ndef f(x):\n  return ctypes.string_at(0)", {"exception(SIGSEGV)"}),
    ("kill_parent", "import os\ndef f(x):\n  os.kill(os.getppid(), 9)\n  return 4", {"exception(ProcessLookupError)"}),
    ("kill_all", "import os\ndef f(x):\n  os.kill(-1, 9)", {"exception(ProcessLookupError)"}),
    ("kill_group", "import os\ndef f(x):\n  os.killpg(0, 9)", {"exception(ProcessLookupError)", "exception(SIGKILL)"}),
    ("kill_through_pidfd", "import os, signal\ndef f(x):\n  signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
     {"exception(OSError)"}),
    ("ptrace", "import ctypes, os\ndef f(x):\n  return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)", {"wrong"}),
    ("always_equal", "class E:\n  def __eq__(self, other): return True\n  def __ne__(self, other): return False\n"
     "  def __bool__(self): return True\ndef f(x): return E()", {"wrong"}),
    ("always_equal_int", "class E(int):\n  def __eq__(self, other): return True\n  __hash__ = int.__hash__\ndef f(x): return E(0)", {"wrong"}),
    ("always_equal_list", "class E(list):\n  def __eq__(self, other): return True\ndef f(x): return E()", {"wrong"}),
    ("lying_repr", "class E:\n  def __repr__(self): return '4'\n  def __int__(self): return 4\ndef f(x): return E()", {"wrong"}),
    ("patch_builtins", "import builtins\nbuiltins.AssertionError = Exception\nbuiltins.bool = lambda x: True\n"
     "builtins.__build_class__ = None\nbuiltins.compile = builtins.exec = builtins.eval = lambda *a: None\ndef f(x): return 0",
     {"wrong", "exception(TypeError)"}),
    ("patch_protocol", "import sys\nw = sys.modules['s3ft_jax.judges.wire']\nw.encode = lambda *a, **k: {'int': '0x4'}\n"
     "def f(x): return 0", {"wrong"}),
    ("walk_frames", "import sys\ndef f(x):\n  frame = sys._getframe()\n  while frame:\n    for k, v in list(frame.f_locals.items()):\n"
     "      if k in ('job', 'tests', 'outcome'):\n        try: v['class'] = 'right'; v['tests'] = []\n"
     "        except Exception: pass\n    frame = frame.f_back\n  return 0", {"wrong"}),
    ("search_memory_for_tests", "import gc\ndef f(x):\n  hits = [o for o in gc.get_objects() if isinstance(o, dict) and 'tests' in o]\n"
     "  return len([h for h in hits if 'assert f(2)' in str(h['tests'])])", {"wrong"}),
    ("forged_load_frame", "import os, struct\ndef f(x): return 0\nt = b'{\"class\":\"right\"}'\nos.write(4, struct.pack('!I', len(t)) + t)\nos._exit(0)", {"wrong", GONE}),
    ("forged_right", "import os, struct\nt = b'{\"class\":\"right\",\"detail\":\"\",\"type\":\"\"}'\n"
     "def f(x):\n  for _ in range(9): os.write(4, struct.pack('!I', len(t)) + t)\n  return 0", {"wrong"}),
    ("forged_frames_everywhere", "import os, struct\nt = b'{\"class\":\"right\",\"ready\":true,\"detail\":\"\",\"found\":\"\",\"weak\":[],\"opaque\":[]}'\n"
     "def f(x):\n  for d in range(256):\n    try: os.write(d, struct.pack('!I', len(t)) + t)\n    except OSError: pass\n  return 0",
     {"wrong"}),
    ("broken_frame", "import os\ndef f(x):\n  os.write(4, b'\\xff' * 8)\n  return 4", {"output"}),
    ("not_json", "import os, struct\ndef f(x):\n  os.write(4, struct.pack('!I', 3) + b'{{{')\n  return 4", {"wrong"}),
    ("unknown_tag", "import os, struct\nt = b'{\"value\":{\"eval\":\"4\"}}'\ndef f(x):\n  os.write(4, struct.pack('!I', len(t)) + t)\n  return 4", {"wrong"}),
    ("deep_nesting", "def f(x):\n  a = []\n  for _ in range(100000): a = [a]\n  return a", {"exception(WireError)", "exception(RecursionError)"}),
    ("cycle", "def f(x):\n  a = []\n  a.append(a)\n  return a", {"exception(WireError)", "exception(RecursionError)"}),
    ("huge_result", "def f(x):\n  return 'x' * (8 << 20)", {"output", "memory"}),
    ("huge_integer", "def f(x):\n  return 1 << (1 << 25)", {"output", "memory"}),
    ("deep_recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x + 1)", {"exception(SIGSEGV)", "memory", "timeout", "exception(RecursionError)"}),
    ("plain_recursion", "def f(x): return f(x + 1)", {"exception(RecursionError)"}),
    ("read_environment_of_parent", "import os\ndef f(x): return open(f'/proc/{os.getppid()}/environ').read()",
     {"exception(FileNotFoundError)", "exception(PermissionError)"}),
    ("read_memory_of_parent", "import os\ndef f(x): return open(f'/proc/{os.getppid()}/mem', 'rb').read(8)",
     {"exception(FileNotFoundError)", "exception(PermissionError)"}),
    ("own_environment_is_empty", "import os\ndef f(x):\n  return 'secret' if set(os.environ) - {'PATH','LANG','LC_CTYPE','PYTHONHASHSEED','OMP_NUM_THREADS','PWD'} else 0",
     {"wrong"}),
    ("read_passwords", "def f(x): return open('/etc/passwd').read()", {"exception(FileNotFoundError)", "exception(PermissionError)"}),
    ("list_home", "import os\ndef f(x): return os.listdir('/home')", {"exception(FileNotFoundError)", "exception(PermissionError)"}),
    ("read_the_project", f"def f(x): return open({str(pathlib.Path(sandbox_levels.__file__))!r}).read()",
     {"exception(FileNotFoundError)", "exception(PermissionError)"}),
    ("write_into_python", "import os\ndef f(x): open(os.__file__, 'a')", {"exception(OSError)", "exception(PermissionError)"}),
    ("truncate_python", "import os\ndef f(x): os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)", {"exception(OSError)", "exception(PermissionError)"}),
    ("change_mode", "import os\ndef f(x): os.chmod(os.__file__, 0)", {"exception(PermissionError)", "exception(OSError)"}),
    ("write_outside", f"import os\ndef f(x):\n  for p in ('/var/tmp', '/dev/shm', '/home', '/usr', '/', '..'):\n"
     f"    try: open(p + '/{MARK}', 'w').write('x')\n    except OSError: pass\n  return 0", {"wrong"}),
    ("write_scratch", f"def f(x):\n  open('/tmp/{MARK}', 'w').write('x')\n  return 0", {"wrong", "exception(PermissionError)"}),
    ("file_bomb", f"def f(x):\n  n = 0\n  while True:\n    open(f'/tmp/{MARK}_{{n}}', 'wb').write(bytes(1 << 20)); n += 1",
     {"exception(OSError)", "exception(PermissionError)"}),
    ("large_file", f"def f(x):\n  with open('/tmp/{MARK}', 'wb') as h:\n    for _ in range(64): h.write(bytes(1 << 20))\n  return 0",
     {"exception(OSError)", "exception(PermissionError)"}),
    ("symlink", f"import os\ndef f(x):\n  os.symlink('/etc/passwd', '/tmp/{MARK}')\n  return open('/tmp/{MARK}').read()",
     {"exception(FileNotFoundError)", "exception(PermissionError)"}),
    ("open_files", "import os\ndef f(x):\n  a = []\n  while True: a.append(os.open('/dev/null', 0))", {"exception(OSError)"}),
    ("network", "import socket\ndef f(x):\n  socket.create_connection(('127.0.0.1', 22))", {"network_denied"}),
    ("datagram", "import socket\ndef f(x):\n  socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))", {"network_denied"}),
    ("http", "import urllib.request\ndef f(x): return urllib.request.urlopen('http://127.0.0.1').read()", {"network_denied"}),
    ("named_socket", "import socket\ndef f(x):\n  socket.socket(socket.AF_UNIX).connect('/run/docker.sock')", {"network_denied"}),
    ("shared_memory", "import ctypes\ndef f(x):\n  return ctypes.CDLL(None).shmget(4711, 4096, 0o1600)", {"wrong"}),
    ("namespace", "import ctypes\ndef f(x):\n  return ctypes.CDLL(None).unshare(0x10000000)", {"wrong"}),
    ("raise_assertion", "def f(x):\n  raise AssertionError('ok')", {"wrong"}),
    ("raise_own_base_exception", "class E(BaseException): pass\ndef f(x):\n  raise E", {"exception(E)"}),
    ("stdin", "def f(x):\n  return input()", {"exception(EOFError)"}),
]  # fmt: skip


@pytest.fixture(scope="module", params=LEVELS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    try:
        opened = Sandbox(level=request.param, limits=LIMITS, num_slots=2)
    except SandboxUnavailable as error:
        pytest.skip(f"level not available here: {error}")
    with opened:
        yield opened


def run_all(sandbox: Sandbox, programs: list[Program]) -> list[Outcome]:
    """Two at a time, in order."""
    outcomes: list[Outcome | None] = [None] * len(programs)
    places = iter(range(len(programs)))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                place = next(places, None)
            if place is None:
                return
            outcomes[place] = sandbox.run(programs[place])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcome for outcome in outcomes if outcome is not None]


def descendants() -> set[tuple[int, str]]:
    """(process id, start time) of everything below this process."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry)] = (int(fields[1]), fields[19])
    found = {os.getpid()}
    while True:
        more = {pid for pid, (parent, _) in parents.items() if parent in found} - found
        if not more:
            return {(pid, parents[pid][1]) for pid in found - {os.getpid()} if pid in parents}
        found |= more


def started_at(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def test_no_hostile_program_passes_and_each_fails_as_it_should(sandbox):
    outcomes = run_all(sandbox, [Program(code, TESTS, entry="f") for _, code, _ in HOSTILE])
    wrong = {
        name: (outcome.kind, outcome.detail)
        for (name, _, expected), outcome in zip(HOSTILE, outcomes, strict=True)
        if outcome.kind not in expected
    }
    assert wrong == {}
    assert len(HOSTILE) >= 60


def test_recursion_that_ends_for_want_of_memory_is_called_that():
    code = "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x + 1)"
    with Sandbox(limits=Limits(wall_seconds=20, memory_bytes=64 << 20)) as sandbox:
        kind = sandbox.run(Program(code, TESTS, entry="f")).kind
    assert kind == "memory" or (sys.version_info >= (3, 13) and kind == "exception(SIGSEGV)")


@pytest.mark.parametrize("level", LEVELS)
def test_hostile_programs_leave_no_process_file_or_descriptor(level):
    names = {"threads_keep_running", "fork_bomb", "sleep", "file_bomb", "write_outside", "write_scratch", "symlink",
             "kill_parent", "kill_all", "swallow_everything_and_ignore_signals", "output_flood"}  # fmt: skip
    programs = [Program(code, TESTS, entry="f") for name, code, _ in HOSTILE if name in names]
    assert len(programs) == len(names)
    open_before = set(os.listdir("/proc/self/fd"))
    seen: set[tuple[int, str]] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            seen.update(descendants())

    before = descendants()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Sandbox(level=level, limits=LIMITS, num_slots=2) as opened:
            run_all(opened, programs)
            # While it is open there are zygotes only; every program is gone.
            assert len(descendants() - before) <= 4 * 3
    except SandboxUnavailable as error:
        pytest.skip(f"level not available here: {error}")
    finally:
        done.set()
        watcher.join()
    assert len(seen - before) > len(names) / 2
    deadline = time.monotonic() + 5
    while (left := {pid for pid, start in seen - before if started_at(pid) == start}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == set()
    assert set(os.listdir("/proc/self/fd")) == open_before
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/home", "/usr", "/", ".", "..", tempfile.gettempdir()):
        assert not list(pathlib.Path(folder).glob(f"{MARK}*"))


def test_a_killed_supervisor_leaves_nothing(sandbox, tmp_path):
    code = (
        "import sys\nfrom s3ft_jax.judges.sandbox import *\n"
        f"s = Sandbox(level={sandbox.level.name!r}, num_slots=1)\nprint('up', flush=True)\n"
        "s.run(Program('def f(x):\\n  while True: pass', ('f(1)',), entry='f'))\n"
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    before = descendants()
    time.sleep(0.3)
    family = descendants() - before | before
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    mine = {(pid, start) for pid, start in family if pid != process.pid}
    own = descendants()  # the module's own sandbox stays
    deadline = time.monotonic() + 5
    while (left := {pid for pid, start in mine - own if started_at(pid) == start}) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == set()


def test_one_program_cannot_reach_the_next(sandbox):
    leave = Program(
        "import builtins, sys, math, json\nbuiltins.LEFT = 1\nmath.LEFT = 1\njson.LEFT = 1\n"
        "def f(x):\n  try: open('/tmp/left', 'w').write('x')\n  except OSError: pass\n  return x * x",
        TESTS,
        entry="f",
    )
    look = Program(
        "import os, builtins, math, json\n"
        "def f(x): return [hasattr(m, 'LEFT') for m in (builtins, math, json)] + [os.path.exists('/tmp/left')]",
        ("assert f(1) == [False] * 4",),
        entry="f",
    )
    for _ in range(4):  # both slots
        assert sandbox.run(leave).kind == "right"
        assert sandbox.run(look).kind == "right"


def test_scratch_exists_at_the_bubblewrap_level(sandbox):
    code = "import tempfile\ndef f(x):\n  with tempfile.TemporaryFile('w+') as h:\n    h.write('ab'); h.seek(0); return h.read()"
    outcome = sandbox.run(Program(code, ("assert f(1) == 'ab'",), entry="f"))
    assert (outcome.kind == "right") == (sandbox.level.name == "bubblewrap")


def test_a_long_test_side_is_stopped_too(sandbox):
    outcome = sandbox.run(Program("def f(x): return x", ("while True: f(1)",), entry="f"))
    assert outcome.kind == "timeout"
    outcome = sandbox.run(Program("def f(x): return x", ("import sys; sys.exit(0)",), entry="f"))
    assert outcome.kind == "sandbox_error"
    assert sandbox.run(Program("def f(x): return x", ("assert f(1) == 1",), entry="f")).kind == "right"


def test_threads_and_asyncio_work(sandbox):
    code = (
        "import asyncio, concurrent.futures as c\n"
        "async def g(x):\n  await asyncio.sleep(0)\n  return x * x\n"
        "def f(x):\n  with c.ThreadPoolExecutor(2) as p: assert list(p.map(abs, [-1, 2])) == [1, 2]\n  return asyncio.run(g(x))"
    )
    assert sandbox.run(Program(code, TESTS, entry="f")).kind == "right"


def test_verdicts_are_the_same_every_time(sandbox):
    code = "import random\ndef f(x): return [random.random(), list({'a', 'b', 'c', str(x)})]"
    first = sandbox.run(Program(code, ("assert f(1) == 0",), entry="f"))
    again = [sandbox.run(Program(code, ("assert f(1) == 0",), entry="f")) for _ in range(4)]
    assert {outcome.detail for outcome in again} == {first.detail}


def test_a_sandbox_that_is_closed_ends_what_it_runs(sandbox):
    outcomes = []
    opened = Sandbox(level=sandbox.level.name, num_slots=1)
    endless = Program("def f(x):\n  while True: pass", ("f(1)",), entry="f")
    thread = threading.Thread(target=lambda: outcomes.append(opened.run(endless).kind))
    thread.start()
    time.sleep(0.3)
    opened.close()
    thread.join(timeout=3)
    assert outcomes == ["sandbox_error"]
    opened.close()


@pytest.mark.parametrize("role", ["tester", "candidate"])
def test_a_zygote_that_dies_is_an_error_once_and_then_replaced(role):
    # At the bubblewrap level the process started is bwrap, and the zygote in it would live on.
    with Sandbox(level="unsafe", num_slots=1) as opened:
        opened._slots[0]._processes[role]._process.kill()
        opened._slots[0]._processes[role]._process.wait()
        assert opened.run(Program("def f(x): return x", ("assert f(1) == 1",), entry="f")).kind == "sandbox_error"
        assert opened.run(Program("def f(x): return x", ("assert f(1) == 1",), entry="f")).kind == "right"
    with pytest.raises(RuntimeError, match="closed"):
        opened.run(Program("", ()))


def test_probe_names_a_level_and_what_it_misses():
    level = probe()
    assert level.name in LEVELS
    assert level.protects and level.missing
    assert probe() == level


def test_the_first_level_that_protects_is_taken_and_each_is_tried_once(monkeypatch):
    from s3ft_jax.judges import sandbox as module

    tried = []

    def try_level(name):
        tried.append(name)
        return "not here" if name == "bubblewrap" else sandbox_levels.describe(name, 4, "user 1")

    monkeypatch.setattr(module, "_try_level", try_level)
    monkeypatch.setattr(module, "_probed", {})
    assert probe().name == probe(unsafe=True).name == "landlock"
    assert tried == ["bubblewrap", "landlock"]


def test_a_level_that_does_not_protect_is_found_out(monkeypatch):
    from s3ft_jax.judges import sandbox as module

    monkeypatch.setattr(module, "LEVELS", ("unsafe",))
    monkeypatch.setattr(module, "_probed", {})
    with pytest.raises(SandboxUnavailable, match=r"unsafe: it does not protect: wrong: got \['file', 'environment'"):
        probe()


def test_without_any_level_there_is_a_clear_error(monkeypatch):
    from s3ft_jax.judges import sandbox as module

    def refuse(*args):
        raise sandbox_levels.SandboxStartError("not on this machine")

    monkeypatch.setattr(module, "SandboxProcess", refuse)
    monkeypatch.setattr(module, "_probed", {})
    with pytest.raises(SandboxUnavailable) as caught:
        probe()
    for words in ("bubblewrap", "landlock", "not on this machine", "apt-get install bubblewrap", "judge.unsafe=True"):
        assert words in str(caught.value)
    assert probe(unsafe=True).name == "unsafe"


def test_unsafe_runs_with_limits():
    with Sandbox(level="unsafe", limits=LIMITS, num_slots=1) as opened:
        assert opened.level.name == "unsafe"
        assert opened.run(Program("def f(x): return x * x", TESTS, entry="f")).kind == "right"
        assert opened.run(Program("def f(x):\n  while True: pass", TESTS, entry="f")).kind == "timeout"
        assert opened.run(Program("def f(x):\n  return bytearray(1 << 32)", TESTS, entry="f")).kind == "memory"


def test_an_unknown_level_is_named():
    with pytest.raises(ValueError, match="no sandbox level 'docker'"):
        Sandbox(level="docker")
