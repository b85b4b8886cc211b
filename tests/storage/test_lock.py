"""lock: one process at a time, and none for ever."""

import errno
import subprocess
import sys

import pytest

from s3ft_jax.storage.lock import Locked, hold

CODE = (
    "import sys, time; from s3ft_jax.storage.lock import hold\n"
    "with hold(sys.argv[1]): print('held', flush=True); time.sleep(60)"
)


def test_another_process_is_kept_out_until_the_holder_ends_in_whatever_way(tmp_path):
    file = tmp_path / "x"
    file.write_text("")
    with hold(file):
        pass
    with subprocess.Popen([sys.executable, "-c", CODE, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Locked), hold(file):
            pass
        other.kill()
    with hold(file):
        pass


def test_where_there_are_no_locks_nothing_is_held(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    (tmp_path / "x").write_text("")
    with hold(tmp_path / "x"), hold(tmp_path / "x"), hold("gs://bucket/x"):
        pass
