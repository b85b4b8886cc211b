"""saving: checkpoints written beside training are whole, the right ones are kept, and a damaged one is passed over."""

import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import nnx

from s3ft_jax import checkpoints, sharding, training, tuning
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.param_digests import params_digest
from s3ft_jax.processes import Processes
from s3ft_jax.tuning.saving import best_step, newest_whole

CONFIG = DecoderConfig(16, 2, 8, 8, 2, 1, 4, 32, tie_embeddings=True)
OPTIMIZER = training.Optimizer()


def decoder() -> Decoder:
    return Decoder(CONFIG, rngs=nnx.Rngs(0))


def parts(mesh=None, optimizer=OPTIMIZER) -> training.Parts:
    found = training.take_apart(decoder(), "full")
    return found if mesh is None else training.Parts(found[0], *(sharding.shard_params(p, mesh) for p in found[1:]))


@jax.jit
def changed(state: training.TrainState, number: int) -> training.TrainState:
    """A state that is told apart from others by all its parameters."""
    return state._replace(step=jnp.int32(number), trainable=jax.tree.map(lambda p: p + number, state.trainable))


def states(*numbers: int, mesh=None, optimizer=OPTIMIZER):
    start = training.start(parts(mesh), optimizer)
    return {number: changed(start, number) for number in numbers}


def equal(left, right) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def test_which_checkpoint_is_the_newest_the_first_process_says(tmp_path, monkeypatch):
    """Another one may not see it yet, and would end the run alone."""
    monkeypatch.setattr(Processes, "first", lambda self, value, name: 7)
    assert tuning.Saver(epath.Path(tmp_path), decoder(), tuning.Saving(1), Processes(1, 2)).last == 7


def test_an_error_of_one_process_is_not_lost_at_a_barrier_that_the_others_do_not_reach(tmp_path):
    barriers = []

    class Counted(Processes):
        def wait(self, name):
            barriers.append(name)

    state, before = states(1)[1], []
    with (
        pytest.raises(ValueError, match="the judge is down"),
        tuning.Saver(epath.Path(tmp_path), decoder(), tuning.Saving(1), Counted()) as saver,
    ):
        saver.save(1, state)
        before += barriers
        raise ValueError("the judge is down")
    assert barriers == before
    assert checkpoints.finished(epath.Path(tmp_path)) == [1], "what was being written is whole"


def test_what_is_saved_is_the_state_as_it_was_though_its_buffers_are_used_up(tmp_path):
    folder, state = epath.Path(tmp_path), states(1)[1]
    expected = jax.tree.map(np.array, state)
    spoil = jax.jit(lambda state: jax.tree.map(lambda p: p * 0 - 7, state), donate_argnums=0)
    with tuning.Saver(folder, decoder(), tuning.Saving(1)) as saver:
        for number in range(1, 4):
            saver.save(number, state)
            state = changed(spoil(state), number)  # as the next step does, while the last one is being written
        saver.wait()
        restored, first = tuning.resume(parts(), OPTIMIZER, folder)
        assert first == 3 and checkpoints.finished(folder) == [2, 3], "two are kept while the run goes on"
    (tmp_path / "3").rename(tmp_path / "gone")
    (tmp_path / "2").rename(tmp_path / "1")
    restored, _ = tuning.resume(parts(), OPTIMIZER, folder)
    assert not equal(restored.trainable, expected.trainable) and float(restored.trainable["embedding"][...][0, 0]) == -6


def test_saving_goes_on_beside_the_program(tmp_path, monkeypatch):
    """``save`` returns while the file is still being finished; the next one waits for it."""
    go_on, order, finish = threading.Event(), [], checkpoints.finish

    def slow(*arguments):
        assert go_on.wait(30)
        order.append("written")
        return finish(*arguments)

    monkeypatch.setattr(checkpoints, "finish", slow)
    state = states(1)[1]
    with tuning.Saver(epath.Path(tmp_path), decoder(), tuning.Saving(1)) as saver:
        saver.save(1, state)
        order.append("back")
        assert checkpoints.finished(epath.Path(tmp_path)) == []
        go_on.set()
        saver.save(2, state)
        order.append("second")
        assert checkpoints.finished(epath.Path(tmp_path)) == [1]
    assert order == ["back", "written", "second", "written"]


def test_what_goes_wrong_while_writing_is_raised_by_the_next_save(tmp_path, monkeypatch):
    def full(*arguments):
        raise checkpoints.CheckpointError("the disk is full")

    state = states(1)[1]
    with tuning.Saver(epath.Path(tmp_path), decoder(), tuning.Saving(1)) as saver:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "finish", full)
            saver.save(1, state)
            with pytest.raises(checkpoints.CheckpointError, match="the disk is full"):
                saver.wait()
        saver.save(2, state)
    assert checkpoints.finished(epath.Path(tmp_path)) == [2]


@pytest.mark.parametrize(
    ("best", "numbers", "kept", "tuned"),
    [
        ("", [0.5, 0.9, 0.7, 0.1], [3, 4], 4),
        ("validation_score", [0.5, 0.9, 0.9, 0.1], [2, 3, 4], 2),  # the earliest of equals
        ("validation_loss", [0.5, 0.1, 0.7, 0.9], [2, 3, 4], 2),
        ("validation_kl", [0.1, 0.2, 0.3, 0.4], [1, 3, 4], 1),
    ],
)
def test_the_newest_and_the_best_are_kept_and_in_the_end_the_tuned_model(tmp_path, best, numbers, kept, tuned):
    folder, made = epath.Path(tmp_path), states(1, 2, 3, 4)
    with tuning.Saver(folder, decoder(), tuning.Saving(1, best=best, provenance={"seed": 3})) as saver:
        for number, value in enumerate(numbers, 1):
            saver.save(number, made[number], {best: value} if best else {})
        saver.wait()
        assert checkpoints.finished(folder) == kept
        meta = saver.seal(made[4])
    assert checkpoints.finished(folder) == [tuned] and meta.step == tuned and meta.provenance == {"seed": 3}
    assert meta == checkpoints.read_meta(folder / str(tuned)) and checkpoints.find_damage(folder / str(tuned)) == ""
    assert meta.params_digest == params_digest(made[tuned].trainable)


def test_checkpoints_without_the_number_are_never_the_best(tmp_path):
    folder, made = epath.Path(tmp_path), states(1, 2, 3)
    with tuning.Saver(folder, decoder(), tuning.Saving(1, keep=9)) as saver:
        saver.save(1, made[1])
        saver.save(2, made[2], {"validation_score": 0.0})
        saver.save(3, made[3])
    assert best_step(folder, "validation_score") == 2 and best_step(folder, "validation_loss") == 0


def damage(folder: pathlib.Path) -> None:
    files = (path for path in (folder / "arrays").rglob("*") if path.is_file())
    path = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_used(tmp_path, capsys):
    folder, made = epath.Path(tmp_path), states(1, 2)
    with tuning.Saver(folder, decoder(), tuning.Saving(1)) as saver:
        for number, state in made.items():
            saver.save(number, state)
    damage(tmp_path / "2")
    state, first = tuning.resume(parts(), OPTIMIZER, folder)
    assert first == 1 and equal(state.trainable, made[1].trainable)
    said = " ".join(capsys.readouterr().out.split())
    assert "warning:" in said and "is not what was written" in said and "goes on from the one before it" in said
    assert (tmp_path / "2.damaged").exists() and checkpoints.finished(folder) == [1]
    damage(tmp_path / "1")
    state, first = tuning.resume(parts(), OPTIMIZER, folder)
    assert first == 0 and equal(state.trainable, training.start(parts(), OPTIMIZER).trainable)


def test_one_that_was_never_finished_is_no_damage(tmp_path):
    (tmp_path / "4").mkdir()
    told = []
    assert newest_whole(epath.Path(tmp_path), told.append) == 0 and not told


@pytest.mark.parametrize("name", training.OPTIMIZERS)
def test_a_state_is_restored_onto_another_mesh(tmp_path, name):
    """Saved over 2 x 2 x 2 devices, taken up by 1 x 8 x 1 and by one; the step then runs."""
    optimizer = training.Optimizer(name, ema_decay=0.9)
    state = states(1, mesh=sharding.make_mesh(2, 2, 2), optimizer=optimizer)[1]
    with tuning.Saver(epath.Path(tmp_path), decoder(), tuning.Saving(1)) as saver:
        saver.save(1, state)
    for mesh in (sharding.make_mesh(1, 8, 1), sharding.make_mesh(1, devices=jax.devices()[:1])):
        there, first = tuning.resume(parts(mesh), optimizer, epath.Path(tmp_path))
        assert first == 1 and equal(there, state)
        devices = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(there)}
        assert devices == {mesh.size}
        doubled = jax.jit(lambda state: jax.tree.map(lambda p: p + p, state))(there)
        assert int(doubled.step) == 2


def test_the_average_is_the_tuned_model_where_there_is_one(tmp_path):
    optimizer = training.Optimizer(ema_decay=0.5)
    state = states(1, optimizer=optimizer)[1]
    with tuning.Saver(epath.Path(tmp_path), decoder(), tuning.Saving(1)) as saver:
        saver.save(1, state)
        meta = saver.seal(state)
    assert meta.use == "average" and meta.params_digest == params_digest(state.average)
    loaded = nnx.state(checkpoints.load_decoder(epath.Path(tmp_path / "1")))
    assert equal(loaded, state.average) and not equal(loaded, state.trainable)
