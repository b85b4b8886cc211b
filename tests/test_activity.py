"""activity: where a process stands, and a watch that says so when nothing moves."""

import threading
import time

from s3ft_jax import activity
from s3ft_jax.progress import progress, say


def test_progress_and_lines_are_movements(monkeypatch):
    say("\n  sample own: 24 responses")
    assert activity.standing()[0] == "sample own: 24 responses"
    with progress("train sft", 10) as ticker:
        ticker.advance(3)
        assert activity.standing()[0] == "train sft: 3/10" and activity.standing()[1] < 5
    monkeypatch.setattr(activity, "_since", time.monotonic() - 300)
    assert activity.describe().endswith(" (5 min ago)")


def test_a_watch_says_where_every_thread_is(capsys):
    def hang_here(stop):
        stop.wait(20)

    stop = threading.Event()
    thread = threading.Thread(target=hang_here, args=(stop,), name="stuck")
    thread.start()
    activity.moved("train s3ft: 37/200")
    watch = activity.watch(0.3, lambda: ["process 1 (b): judge own"])
    time.sleep(1.2)
    watch.set()
    stop.set()
    thread.join()
    said = capsys.readouterr().err
    assert 2 <= said.count("nothing has moved for") <= 4, "once in each limit"
    assert "the last was: train s3ft: 37/200\nprocess 1 (b): judge own\n" in said
    assert "thread stuck:" in said and "in hang_here" in said and "thread MainThread:" in said


def test_a_watch_is_silent_while_something_moves(capsys):
    watch = activity.watch(0.5)
    for number in range(10):
        activity.moved(f"step {number}")
        time.sleep(0.1)
    watch.set()
    assert "nothing has moved" not in capsys.readouterr().err
