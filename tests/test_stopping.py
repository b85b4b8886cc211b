"""stopping: SIGTERM ends a program in order, with one exit code, whatever the main thread is doing."""

import os
import signal
import subprocess
import sys
import textwrap
import time

from s3ft_jax.stopping import EXIT_CODE, Stopped

BEGIN = """
import sys, time
from s3ft_jax import stopping
stopping.GRACE_S = 0.5
stopping.install()
stopping.install()  # a second time changes nothing
def main():
"""
END = """
try:
    main()
except stopping.Stopped:
    print("stopped")
    sys.exit(stopping.EXIT_CODE)
"""


def stopped(body: str, wait_for: str = "ready", number: int = signal.SIGTERM, before: str = "") -> tuple[int, str, str]:
    """Run ``body``, send a signal once it has said "ready"; exit code, output and errors."""
    code = before + BEGIN + textwrap.indent(textwrap.dedent(body), "    ") + END
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == wait_for
    time.sleep(0.1)
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    return process.returncode, out, errors


def test_a_program_that_runs_python_stops_at_once_and_cleans_up():
    code, out, _ = stopped("""
        try:
            print("ready")
            time.sleep(60)
        finally:
            print("cleaned up")
    """)
    assert (code, out.split("\n")) == (EXIT_CODE, ["cleaned up", "stopped", ""])


def test_nothing_takes_it_for_a_failure_of_its_own():
    assert not issubclass(Stopped, Exception)
    code, out, _ = stopped("""
        try:
            print("ready")
            time.sleep(60)
        except Exception:
            print("swallowed")
    """)
    assert (code, out) == (EXIT_CODE, "stopped\n")


SLOW_GARBAGE = """
class Slow:
    def __del__(self):
        print("ready")
        time.sleep(1)
thing = Slow()
del thing
time.sleep(60)
"""


def test_a_signal_that_comes_while_garbage_is_collected_is_not_lost():
    """Python prints and drops what is raised there."""
    code, out, errors = stopped(SLOW_GARBAGE)
    assert (code, out, errors) == (EXIT_CODE, "stopped\n", "")


def test_nor_is_one_that_comes_while_python_drops_it():
    """The second signal finds the main thread in the hook that noticed the loss of the first."""
    slow_hook = """
        class SlowOnce:
            def __init__(self):
                self.inner, self.calls = stopping._lost, 0
                self.get = self.inner.get
            def put(self, item):
                self.calls += 1
                self.inner.put(item)
                if self.calls == 1:
                    time.sleep(0.5)
        stopping._lost = SlowOnce()
    """
    code, out, errors = stopped(textwrap.dedent(slow_hook) + SLOW_GARBAGE)
    assert (code, out, errors) == (EXIT_CODE, "stopped\n", "")


def importing(tmp_path, seconds: float) -> str:
    """A body that imports a module which takes so long and, as jaxlib does, makes a failure of whatever it is told."""
    (tmp_path / "slow.py").write_text(
        "import time\ntry:\n"
        f"    print('ready')\n    until = time.monotonic() + {seconds}\n"
        "    while time.monotonic() < until:\n        time.sleep(0.01)\n"
        "except BaseException as error:\n    raise ImportError('failed to import') from error\n"
    )
    return f"sys.path.insert(0, {str(tmp_path)!r})\nimport slow\nprint('imported')\ntime.sleep(60)\n"


def test_a_signal_that_comes_while_a_module_is_imported_waits_for_its_end(tmp_path):
    patient = "stopping.GRACE_S = 20\n" + importing(tmp_path, 1.0)
    code, out, errors = stopped(patient)
    assert (code, out, errors) == (EXIT_CODE, "imported\nstopped\n", "")


def test_but_not_for_longer_than_for_anything_else(tmp_path):
    code, out, errors = stopped(importing(tmp_path, 60.0))
    assert (code, out) == (EXIT_CODE, "") and "in work that cannot be interrupted" in errors


def test_nor_does_ctrl_c_break_an_import(tmp_path):
    body = (
        "try:\n" + textwrap.indent(importing(tmp_path, 1.0), "    ") + "except KeyboardInterrupt:\n    print('asked')\n"
    )
    # whoever runs the tests in the background may have it ignored, and Python then leaves it so
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code, out, errors = stopped(body, number=signal.SIGINT, before=heard)
    assert (code, out, errors) == (0, "imported\nasked\n", "")


def test_ctrl_c_is_left_alone_where_it_is_ignored():
    code, out, _ = stopped(
        """
        print("ready")
        time.sleep(1)
        print("went on")
        """,
        number=signal.SIGINT,
        before="import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n",
    )
    assert (code, out) == (0, "went on\n")


def test_deferred_work_comes_to_its_end_first():
    code, out, _ = stopped("""
        with stopping.deferred() as stop:
            print("ready")
            while not stop.requested:
                time.sleep(0.01)
            print("last step, saved")
        print("never reached")
    """)
    assert (code, out) == (EXIT_CODE, "last step, saved\nstopped\n")


def test_a_block_that_was_not_asked_to_stop_goes_on():
    code, out, _ = stopped("""
        with stopping.deferred() as stop:
            pass
        print("ready")
        time.sleep(60)
    """)
    assert (code, out) == (EXIT_CODE, "stopped\n")


def test_a_main_thread_deep_in_a_library_is_ended_after_the_last_file_is_written():
    """hashlib here: like a compiler it runs no Python for a long time and lets other threads run."""
    begin = time.monotonic()
    code, out, errors = stopped("""
        import hashlib
        def write():
            print("file is whole")
        with stopping.finishing(write):
            print("ready")
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)
    """)
    assert (code, out) == (EXIT_CODE, "file is whole\n") and time.monotonic() - begin < 20
    assert "stopped by SIGTERM in work that cannot be interrupted" in errors and "Traceback" not in errors


def test_the_command_line_ends_with_the_code(tmp_path):
    """``s3ft``, while it waits for the lock that another run holds or reads its config: here, a config that sleeps."""
    config = tmp_path / "slow.py"
    config.write_text("import time\ndef get_config(arg=None):\n    print('ready', flush=True)\n    time.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "s3ft_jax", "prepare", f"--config={config}", f"--workdir={tmp_path / 'run'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == EXIT_CODE == os.EX_TEMPFAIL
    assert errors == "error: stopped by SIGTERM; the same command goes on where it was\n"
