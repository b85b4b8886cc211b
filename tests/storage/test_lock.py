"""lock: one process at a time, and none for ever; in a bucket see test_lease.py."""

import errno
import subprocess
import sys

import pytest
from etils import epath

from s3ft_jax.storage import publish
from s3ft_jax.storage.lock import Locked, claim, hold

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


def test_where_there_are_no_locks_nothing_is_held_and_it_is_said_once(tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    (tmp_path / "x").write_text("")
    with hold(tmp_path / "x"), hold(tmp_path / "x"):
        pass
    said = f"warning: no locks here ({tmp_path}: No locks available): nothing keeps two commands from"
    assert capsys.readouterr().err.count(said) == 1


def test_the_file_is_open_to_be_written_without_which_nfs_has_no_lock(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("fcntl.flock", lambda file, how: asked.append(file.writable()))
    (tmp_path / "x").write_text("as it was")
    with hold(tmp_path / "x"):
        assert asked == [True] and (tmp_path / "x").read_text() == "as it was"


def test_a_claim_writes_when_nobody_else_works_and_holds_what_it_wrote(tmp_path):
    file = epath.Path(tmp_path / "x")
    for number in range(2):
        with claim(file, lambda number=number: publish(file, b"%d" % number)):
            assert file.read_bytes() == b"%d" % number
            with pytest.raises(Locked), claim(file, lambda: file.write_text("another")):
                pass
            assert file.read_bytes() == b"%d" % number
