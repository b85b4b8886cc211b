"""checkpoints: whole or not at all, rebuilt from themselves, and a misfit names both sides."""

import dataclasses
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import nnx

from s3ft_jax import checkpoints, sharding
from s3ft_jax.models.config import DecoderConfig, Rope
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import Lora
from s3ft_jax.param_digests import params_digest

CONFIG = DecoderConfig(32, 2, 16, 24, 4, 2, 4, 64, ropes=(Rope(theta=500.0),), tie_embeddings=True)


@pytest.fixture
def saved(tmp_path):
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0))
    folder = epath.Path(tmp_path / "3")
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")
    checkpoints.save(
        folder,
        trees={"trainable": nnx.state(decoder), "extra": {"count": np.arange(3)}},
        config=CONFIG,
        lora=None,
        step=3,
        provenance={"source": "here"},
        tokenizer=epath.Path(tmp_path / "tok"),
    )
    return decoder, folder


def test_a_checkpoint_rebuilds_its_model(saved):
    decoder, folder = saved
    again = checkpoints.load_decoder(folder)
    assert again.config == CONFIG
    for left, right in zip(jax.tree.leaves(nnx.state(decoder)), jax.tree.leaves(nnx.state(again)), strict=True):
        np.testing.assert_array_equal(left, right)
    meta = checkpoints.read_meta(folder)
    assert meta.params_digest == params_digest(nnx.state(again))
    assert meta.step == 3 and meta.provenance == {"source": "here"}
    assert (folder / "tokenizer" / "tokenizer.json").read_text() == "{}"
    np.testing.assert_array_equal(
        checkpoints.restore_tree(folder, "extra", {"count": np.zeros(3, int)})["count"], [0, 1, 2]
    )


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_parameters_go_straight_to_their_places_in_the_stored_dtype_or_another(tmp_path, dtype):
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    stored = nnx.state(decoder)
    checkpoints.save(
        epath.Path(tmp_path / "0"), trees={"trainable": stored}, config=CONFIG, lora=None, step=0, provenance={}
    )
    mesh = sharding.make_mesh(2, 2, 2)
    state = nnx.state(checkpoints.load_decoder(epath.Path(tmp_path / "0"), mesh, dtype))
    places = jax.tree.leaves(sharding.param_shardings(stored, mesh))
    for before, after, place in zip(jax.tree.leaves(stored), jax.tree.leaves(state), places, strict=True):
        assert after.dtype == (dtype or jnp.bfloat16) and after.sharding == place
        np.testing.assert_array_equal(before.astype(after.dtype), after)


def test_an_unfinished_checkpoint_does_not_count(saved):
    _, folder = saved
    assert checkpoints.newest(folder.parent) == 3
    (folder / checkpoints.MARK).unlink()
    assert checkpoints.newest(folder.parent) == 0
    with pytest.raises(checkpoints.CheckpointError, match=r"no finished checkpoint here"):
        checkpoints.read_meta(folder)


def test_another_architecture_lists_both_sides(saved):
    _, folder = saved
    other = checkpoints.abstract_decoder(CONFIG, Lora(2, 4.0, 0.0, ("q",)))
    with pytest.raises(checkpoints.CheckpointError, match=r"missing \['blocks/q/lora_a', 'blocks/q/lora_b'\]"):
        checkpoints.restore_tree(folder, "trainable", nnx.state(other))
    wider = checkpoints.abstract_decoder(DecoderConfig(33, 2, 16, 24, 4, 2, 4, 64, tie_embeddings=True), None)
    with pytest.raises(checkpoints.CheckpointError, match=r"other shape \['embedding'\]"):
        checkpoints.restore_tree(folder, "trainable", nnx.state(wider))


def test_meta_comes_back_equal():
    meta = checkpoints.CheckpointMeta(CONFIG, Lora(2, 4.0, 0.1, ("q", "v")), 5, {"a": 1}, "abc")
    assert checkpoints.CheckpointMeta.from_json(meta.to_json()) == meta
    meta = checkpoints.CheckpointMeta(CONFIG, Lora(2, 4.0, rank_stabilized=True), 5, {}, "abc", base_digest="def")
    assert checkpoints.CheckpointMeta.from_json(meta.to_json()) == meta


def test_a_checkpoint_says_which_base_it_belongs_to(tmp_path):
    meta = checkpoints.CheckpointMeta(CONFIG, Lora(), 5, {}, "abc", base_digest="def")
    (tmp_path / checkpoints.MARK).write_text(meta.to_json())
    checkpoints.check_base(epath.Path(tmp_path), "def")
    with pytest.raises(checkpoints.CheckpointError, match="trained on the base def, but the base here is 012"):
        checkpoints.check_base(epath.Path(tmp_path), "012")
    with pytest.raises(checkpoints.CheckpointError, match=r"base here is \(none: full parameters\)"):
        checkpoints.check_base(epath.Path(tmp_path), "")


def test_old_checkpoints_are_removed(tmp_path):
    for step in (2, 4, 10):
        (tmp_path / str(step)).mkdir()
        (tmp_path / str(step) / checkpoints.MARK).write_text("{}")
    (tmp_path / "12").mkdir()  # unfinished
    assert checkpoints.finished(epath.Path(tmp_path)) == [2, 4, 10]
    checkpoints.keep_only(epath.Path(tmp_path), [2, 10])
    assert checkpoints.finished(epath.Path(tmp_path)) == [2, 10] and (tmp_path / "12").exists()


def largest_file(folder):
    return max(
        (path for path in (folder / "arrays").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )


def test_damage_is_found_and_named(saved):
    _, folder = saved
    assert checkpoints.find_damage(folder) == ""
    path = largest_file(pathlib.Path(folder))
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    name = f"arrays/{path.relative_to(folder / 'arrays')}"
    assert checkpoints.find_damage(folder) == f"{name} is not what was written"
    with pytest.raises(
        checkpoints.CheckpointError, match=r"damaged: arrays/.* is not what was written\. Put the old files back"
    ):
        checkpoints.load_decoder(folder)
    path.write_bytes(whole[:-1])
    assert checkpoints.find_damage(folder) == f"{name} is not what was written"
    path.unlink()
    assert checkpoints.find_damage(folder) == f"{name} is missing"
    shutil.rmtree(folder / "arrays")
    assert "is missing, and" in checkpoints.find_damage(folder) and "more files" in checkpoints.find_damage(folder)
    (folder / checkpoints.MARK).write_text("{")
    assert checkpoints.find_damage(folder).startswith("checkpoint.json cannot be read")


def test_the_mark_is_the_old_one_or_the_new_one(saved, monkeypatch):
    _, folder = saved
    meta = checkpoints.read_meta(folder)

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(folder), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.write_meta(folder, dataclasses.replace(meta, step=9))
    assert checkpoints.read_meta(folder) == meta and checkpoints.find_damage(folder) == ""


def test_a_full_disk_is_refused_before_orbax_writes(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    checkpoints.check_space(epath.Path(tmp_path), 4 << 20)
    with pytest.raises(checkpoints.CheckpointError, match="the disk is full: a checkpoint needs 6 MiB, 5 MiB are free"):
        checkpoints.check_space(epath.Path(tmp_path), 5 << 20)
    checkpoints.check_space(epath.Path("gs://bucket/run"), 1 << 60)  # a bucket has no end
