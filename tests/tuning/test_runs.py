"""tuning: a run that dies goes on from its checkpoint, and the last step is always saved."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath
from flax import nnx

from s3ft_jax import checkpoints, training, tuning
from s3ft_jax.batches import Batch
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora

CONFIG = DecoderConfig(16, 1, 8, 8, 2, 1, 4, 32, tie_embeddings=True)


def batch(number: int) -> Batch:
    rng = np.random.default_rng(number)
    tokens = rng.integers(1, 16, (1, 2, 6)).astype(np.int32)
    positions = np.broadcast_to(np.arange(6, dtype=np.int32), tokens.shape)
    weights = np.ones(tokens.shape, np.float32)
    weights[..., 0] = 0
    return Batch(tokens, positions, np.ones_like(tokens), weights)


def run(folder, die_at=None, lora=None, base_digest="", watcher=None, **more):
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

    moving = training.Optimizer(), training.Schedule(1e-2, 5)
    settings = tuning.RunSettings("t", *moving, 0, num_steps=5, save_every=2, base_digest=base_digest, **more)
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
