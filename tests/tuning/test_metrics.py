"""metrics: one line per step whatever happens, and trackers that are told the same."""

import json
import struct
import sys
import types

import pytest
from etils import epath

from s3ft_jax.tuning.metrics import MetricsLog, TrackerError, check_trackers, open_trackers


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_after_the_checkpoint_are_dropped_on_resume(tmp_path):
    path = epath.Path(tmp_path / "run" / "metrics.jsonl")
    log = MetricsLog(path, 0)
    for step in (1, 2, 3):
        log.add({"step": step, "loss": 1.0, "tokens": 10.0})
    log.add({"step": 2, "validation_loss": 0.5})
    log.add({"step": 3, "validation_loss": 0.4})
    assert log.tokens == 30
    path.write_text(path.read_text() + '{"step": 4, "loss"')  # cut off by a kill
    log = MetricsLog(path, 2)
    assert log.tokens == 20 and log.measured == [{"step": 2, "validation_loss": 0.5}]
    log.add({"step": 3, "loss": 2.0, "tokens": 10.0})
    assert [(row["step"], row.get("loss")) for row in rows(path)] == [(1, 1.0), (2, 1.0), (2, None), (3, 2.0)]


def test_a_damaged_line_is_left_out_and_said(tmp_path, capsys):
    path = epath.Path(tmp_path / "metrics.jsonl")
    log = MetricsLog(path, 0)
    for step in (1, 2, 3):
        log.add({"step": step, "loss": 1.0, "tokens": 10.0})
    assert "warning" not in capsys.readouterr().out
    path.write_bytes(path.read_bytes().replace(b'"step": 2', b'"step\xff 2'))
    log = MetricsLog(path, 3)
    assert log.tokens == 20
    assert "metrics.jsonl: was damaged: step 2 cannot be read" in " ".join(capsys.readouterr().out.split())


class Seen:
    def __init__(self):
        self.told, self.closed = [], False

    def add(self, step, numbers):
        self.told.append((step, dict(numbers)))

    def close(self):
        self.closed = True


def test_trackers_are_told_new_lines_only(tmp_path):
    path, seen = epath.Path(tmp_path / "metrics.jsonl"), Seen()
    MetricsLog(path, 0).add({"step": 1, "loss": 1.0, "tokens": 4.0})
    log = MetricsLog(path, 1, [seen])
    log.add({"step": 2, "loss": 0.5, "tokens": 4.0})
    log.close()
    assert seen.told == [(2, {"loss": 0.5, "tokens": 4.0})] and seen.closed


def events(folder) -> list:
    """What TensorBoard would read: records of length, check, bytes, check (tensorflow/core/lib/io/record_writer.h)."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.iterdir()):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (size,) = struct.unpack("<Q", data[place : place + 8])
            found.append(Event.FromString(data[place + 12 : place + 12 + size]))
            place += size + 16
    return found


def test_tensorboard_gets_every_number_and_purges_what_a_kill_made_void(tmp_path):
    pytest.importorskip("tensorboardX")
    folder = epath.Path(tmp_path)
    (tracker,) = open_trackers(["tensorboard"], folder, 2, "t", "p", {})
    tracker.add(3, {"loss": 0.25, "tokens": 7.0})
    tracker.close()
    found = events(tmp_path / "tensorboard")
    values = {(event.step, value.tag): value.simple_value for event in found for value in event.summary.value}
    assert values == {(3, "loss"): 0.25, (3, "tokens"): 7.0}
    # SessionLog.START at step 3: TensorBoard forgets that step and later ones of earlier files
    assert [event.step for event in found if event.HasField("session_log")] == [3]


def test_a_resumed_run_goes_on_in_its_run_of_weights_and_biases(tmp_path, monkeypatch):
    begun, logged = [], []
    run = types.SimpleNamespace(
        define_metric=lambda *names, **options: None, log=logged.append, finish=lambda: logged.append("finished")
    )

    def init(**options):
        begun.append(options)
        return run

    generate_id = iter(["first", "second"]).__next__
    stub = types.SimpleNamespace(init=init, util=types.SimpleNamespace(generate_id=generate_id))
    monkeypatch.setitem(sys.modules, "wandb", stub)
    for first in (0, 5):
        (tracker,) = open_trackers(["wandb"], epath.Path(tmp_path / "run"), first, "train s3ft", "mine", {"seed": 1})
        tracker.add(first + 1, {"loss": 0.5})
        tracker.close()
    assert [options["id"] for options in begun] == ["first", "first"] and begun[0]["project"] == "mine"
    assert begun[0]["config"] == {"seed": 1} and begun[1]["resume"] == "allow"
    assert logged == [{"step": 1, "loss": 0.5}, "finished", {"step": 6, "loss": 0.5}, "finished"]


def test_a_tracker_that_cannot_be_had_says_why(monkeypatch):
    check_trackers(())
    with pytest.raises(TrackerError, match=r"train\.trackers: \['mlflow'\] not known; choose from tensorboard, wandb"):
        check_trackers(("mlflow",))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TrackerError, match=r"needs the package wandb: pip install 's3ft_jax\[wandb\]'"):
        check_trackers(("wandb",))
