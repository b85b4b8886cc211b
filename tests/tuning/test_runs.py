"""tuning: a run that dies goes on from its checkpoint, and the last step is always saved."""

import contextlib
import json

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath
from flax import nnx

from s3ft_jax import checkpoints, progress, stopping, training, tuning
from s3ft_jax.batches import Batch
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora
from s3ft_jax.param_digests import params_digest

CONFIG = DecoderConfig(16, 1, 8, 8, 2, 1, 4, 32, tie_embeddings=True)


def batch(number: int) -> Batch:
    rng = np.random.default_rng(number)
    tokens = rng.integers(1, 16, (1, 2, 6)).astype(np.int32)
    positions = np.broadcast_to(np.arange(6, dtype=np.int32), tokens.shape)
    weights = np.ones(tokens.shape, np.float32)
    weights[..., 0] = 0
    return Batch(tokens, positions, np.ones_like(tokens), weights)


def run(folder, die_at=None, lora=None, base_digest="", watcher=None, optimizer=training.Optimizer(), **more):  # noqa: B008
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    if lora is not None:
        decoder.add_adapters(lora, nnx.Rngs(1))
        decoder.round_kernels("int8")
    parts = training.take_apart(decoder, "full" if lora is None else "lora")

    def batches_from(first):
        for number in range(first, 5):
            if number == die_at:
                raise KeyboardInterrupt
            yield batch(number)

    moving = optimizer, training.Schedule(1e-2, 5)
    saving = tuning.Saving(2, base_digest=base_digest, **more)
    settings = tuning.RunSettings("t", *moving, saving, 0, num_steps=5)
    return tuning.tune(parts, epath.Path(folder), batches_from, settings, watcher=watcher)


def test_a_run_that_dies_ends_with_the_same_bits(tmp_path):
    straight, meta, tokens = run(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "dying", die_at=3)
    assert checkpoints.newest(epath.Path(tmp_path / "dying")) == 2
    resumed, again, counted = run(tmp_path / "dying")
    assert again.params_digest == meta.params_digest and counted == tokens == 50
    for left, right in zip(jax.tree.leaves(straight), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_last_step_is_saved_and_a_finished_run_does_nothing(tmp_path):
    _, meta, _ = run(tmp_path)
    assert meta.step == 5 and checkpoints.newest(epath.Path(tmp_path)) == 5
    _, again, _ = run(tmp_path)
    assert again == meta


def test_a_run_of_adapters_on_int8_kernels_dies_and_ends_with_the_same_bits(tmp_path):
    lora = {"lora": Lora(2, 4.0, 0.5, ("q", "down")), "base_digest": "abc"}
    straight, meta, _ = run(tmp_path / "straight", **lora)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "dying", die_at=3, **lora)
    resumed, again, _ = run(tmp_path / "dying", **lora)
    assert again.params_digest == meta.params_digest and meta.base_digest == "abc"
    for left, right in zip(jax.tree.leaves(straight), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(left, right)
    with ocp.StandardCheckpointer() as checkpointer:
        trees = checkpointer.metadata(epath.Path(tmp_path / "straight/5/arrays")).item_metadata.tree
    stored = [name for tree in trees.values() for name in tree if "blocks" in name or "embedding" in name]
    # what learns and its optimizer state: two matrices of two projections, and two moments of each
    assert len(stored) == 4 + 2 * 4 and all("lora_" in name for name in stored)


def test_adapters_of_another_base_are_refused(tmp_path):
    lora = Lora(2, 4.0, 0.0, ("q",))
    run(tmp_path, lora=lora, base_digest="abc")
    with pytest.raises(checkpoints.CheckpointError, match="trained on the base abc, but the base here is def"):
        run(tmp_path, lora=lora, base_digest="def")


class Watching:
    """Measures what it is told to, and ends the run at a step."""

    def __init__(self, values, end_at=0):
        self.values, self.end_at, self.seen = values, end_at, []

    def due(self, number):
        return number in self.values

    def look(self, number, state, before):
        self.seen.append((number, int(state.step), [row["validation_loss"] for row in before]))
        return {"validation_loss": self.values[number]}, "told to" if number == self.end_at else ""


def test_a_watcher_sees_what_was_measured_before_also_before_a_kill(tmp_path):
    watcher = Watching({1: 0.5, 3: 0.4, 5: 0.6})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, die_at=4, watcher=watcher)
    _, meta, tokens = run(tmp_path, watcher=watcher)
    assert watcher.seen == [(1, 1, []), (3, 3, [0.5]), (5, 5, [0.5, 0.4])] and tokens == 50
    assert meta.step == 5 and meta.numbers == {"validation_loss": 0.6}
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row.get("validation_loss")) for row in rows if "tokens" not in row] == [
        (1, 0.5), (3, 0.4), (5, 0.6),
    ]  # fmt: skip
    assert [row["step"] for row in rows if "tokens" in row] == [1, 2, 3, 4, 5]


def test_the_best_by_a_watcher_is_the_tuned_model(tmp_path):
    state, meta, _ = run(tmp_path, watcher=Watching({1: 0.5, 3: 0.4, 5: 0.6}), best="validation_loss")
    assert int(state.step) == 5 and meta.step == 3 and checkpoints.finished(epath.Path(tmp_path)) == [3]


def test_a_run_that_a_watcher_ended_stays_ended(tmp_path, monkeypatch):
    watcher = Watching({2: 0.5, 3: 0.4, 5: 0.3}, end_at=3)
    killed = monkeypatch.context()
    with killed as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tuning.Saver, "seal", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(tmp_path, watcher=watcher)
    state, meta, tokens = run(tmp_path, watcher=watcher)
    assert int(state.step) == 3 and meta.step == 3 and meta.ended == "told to" and tokens == 30
    assert [number for number, *_ in watcher.seen] == [2, 3]


@pytest.fixture
def requests(monkeypatch):
    """The requests to stop of all runs, which a test may make; tests/test_stopping.py sends real signals."""
    requests = []

    @contextlib.contextmanager
    def deferred():
        requests.append(stopping.Request())
        yield requests[-1]
        if requests[-1].requested:
            raise stopping.Stopped

    monkeypatch.setattr(stopping, "deferred", deferred)
    return requests


@pytest.mark.parametrize(("stop_at", "best"), [(3, 3), (5, 5), (1, 1)])
def test_a_look_that_a_stop_did_not_wait_for_is_made_up(tmp_path, requests, stop_at, best):
    class Stopping(Watching):
        def due(self, number):
            requests[-1].requested |= number == stop_at and len(requests) == 1
            return super().due(number)

    values = {1: 0.5, 3: 0.45, 5: 0.47} | {best: 0.4}
    watcher = Stopping(values)
    with pytest.raises(stopping.Stopped):
        run(tmp_path, watcher=watcher, best="validation_loss")
    assert [number for number, *_ in watcher.seen] == [number for number in (1, 3, 5) if number < stop_at]
    state, meta, _ = run(tmp_path, watcher=watcher, best="validation_loss")
    assert int(state.step) == 5 and meta.step == best and meta.numbers == {"validation_loss": 0.4}
    looks = [(1, 1, []), (3, 3, [values[1]]), (5, 5, [values[1], values[3]])]
    assert watcher.seen == looks
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "tokens" not in row] == [1, 3, 5]


def test_a_look_made_up_may_end_the_run_and_a_kill_in_it_changes_nothing(tmp_path, requests, monkeypatch):
    class Stopping(Watching):
        def due(self, number):
            requests[-1].requested |= number == 3 and len(requests) == 1
            return super().due(number)

    watcher = Stopping({1: 0.5, 3: 0.4, 5: 0.3}, end_at=3)
    with pytest.raises(stopping.Stopped):
        run(tmp_path, watcher=watcher)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tuning.Saver, "amend", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run(tmp_path, watcher=watcher)
    state, meta, tokens = run(tmp_path, watcher=watcher)
    assert int(state.step) == 3 and meta.ended == "told to" and tokens == 30
    assert watcher.seen == [(1, 1, []), (3, 3, [0.5]), (3, 3, [0.5])]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "tokens" not in row] == [1, 3]


def test_a_request_to_stop_saves_the_newest_state_at_once(tmp_path, requests, monkeypatch):
    class Asking(Watching):
        def due(self, number):
            requests[-1].requested |= number == 3 and len(requests) == 1
            return False

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "deferred", lambda: contextlib.nullcontext(stopping.Request()))
        straight, meta, _ = run(tmp_path / "straight")
    with pytest.raises(stopping.Stopped):
        run(tmp_path / "stopped", watcher=Asking({}))
    assert checkpoints.newest(epath.Path(tmp_path / "stopped")) == 3
    resumed, again, tokens = run(tmp_path / "stopped", watcher=Asking({}))
    assert again.params_digest == meta.params_digest and tokens == 50
    for left, right in zip(jax.tree.leaves(straight), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_run_with_an_average_dies_and_ends_with_the_same_bits(tmp_path):
    options = {"optimizer": training.Optimizer("muon", ema_decay=0.5)}
    straight, meta, _ = run(tmp_path / "straight", **options)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "dying", die_at=3, **options)
    _, again, _ = run(tmp_path / "dying", **options)
    assert again.params_digest == meta.params_digest == params_digest(straight.average)


def test_rates_are_of_the_steps_that_are_read_and_neither_the_compilers_nor_a_looks(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(tuning.runs.time, "monotonic", lambda: clock[0])
    settings = tuning.RunSettings(
        "t", training.Optimizer(), training.Schedule(1e-2, 40), tuning.Saving(2), 0, 40, step_flops=3e9, peak_flops=1e10
    )
    log = tuning.metrics.MetricsLog(epath.Path(tmp_path / "metrics.jsonl"), 0)
    with progress.progress("t", 40) as ticker:
        told = tuning.runs._Told(settings, ticker, log)

        def read(first, last, seconds):
            clock[0] += seconds
            told.add([{"step": step, "loss": 1.0, "tokens": 100.0} for step in range(first, last + 1)])

        read(1, 1, 60.0)  # compiled
        read(2, 11, 5.0)
        clock[0] += 90.0
        told.go_on()  # after a look
        read(12, 13, 1.0)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 14))
    assert "mfu" not in rows[0] and "tokens_per_second" not in rows[0]
    assert {(row["tokens_per_second"], round(row["mfu"], 6)) for row in rows[1:]} == {(200.0, 0.6)}
