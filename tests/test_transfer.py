"""transfer: the same numbers on another mesh, layer by layer; over several processes see tests/processes."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from s3ft_jax import transfer
from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.sharding import ShardingError, make_mesh, param_shardings, shard_params

CONFIG = DecoderConfig(105, 2, 16, 32, 4, 2, 4, 32, qkv_bias=True, out_bias=True)  # 105 divides by neither 2 nor 8


def test_parameters_that_train_are_moved_to_the_chips_that_sample():
    params = nnx.state(Decoder(CONFIG, rngs=nnx.Rngs(0)))
    meshes = None, make_mesh(4, 1, 2), make_mesh(1, 1, 2, jax.devices()[:2])
    others = make_mesh(2, 2, 2), make_mesh(1, 8, 1, jax.devices()[::-1]), make_mesh(8)
    for before, mesh in itertools.product(others, meshes):
        moved = transfer.moved(shard_params(params, before), mesh)
        jax.tree.map(np.testing.assert_array_equal, moved, params)
        places = {leaf.sharding for leaf in jax.tree.leaves(moved)}
        if mesh is None:
            assert all(place.device_set == {jax.devices()[0]} for place in places)
        else:
            assert places == set(jax.tree.leaves(param_shardings(params, mesh)))
    stays = shard_params(params, make_mesh(4, 1, 2))
    for leaf, there in zip(*map(jax.tree.leaves, (stays, transfer.moved(stays, make_mesh(4, 1, 2)))), strict=True):
        assert leaf is there, "no second copy"


def test_a_mesh_that_leaves_chips_idle_cannot_be_moved_from_in_several_processes(monkeypatch):
    transfer.check_movable(make_mesh(4))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    transfer.check_movable(make_mesh(8))
    with pytest.raises(ShardingError, match=r"train\.validate\.score in 2 processes: .* meshes takes 4 of 8 chips"):
        transfer.check_movable(make_mesh(4))
