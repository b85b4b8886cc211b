"""dropout: the share that is kept, no pattern in it, and the same mask however it is cut up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from s3ft_jax import sharding
from s3ft_jax.models.dropout import keep_mask


def masks(keep=0.9, shape=(4, 64, 128), keys=8, seed=0):
    split = jax.random.split(jax.random.key(seed), keys)
    return np.stack([np.asarray(keep_mask(key, keep, shape)) for key in split])


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.99])
def test_so_many_are_kept_in_all_and_along_every_axis(keep):
    found = masks(keep)
    spread = np.sqrt(keep * (1 - keep))
    assert abs(found.mean() - keep) < 5 * spread / np.sqrt(found.size)
    for axis in range(4):
        means = found.mean(axis=tuple(other for other in range(4) if other != axis))
        expected = spread / np.sqrt(found.size / found.shape[axis])
        assert abs(means - keep).max() < 5 * expected, f"axis {axis}"
        assert 0.5 < means.std() / expected < 1.7 or found.shape[axis] < 16, f"neither too even nor uneven: axis {axis}"


def test_neighbours_and_keys_know_nothing_of_each_other():
    found = masks(0.5) * 2.0 - 1.0  # +-1, mean 0
    for axis in range(4):
        for far in (1, 2, 3, 16):
            if far < found.shape[axis]:
                one, other = (
                    np.take(found, range(far, found.shape[axis]), axis),
                    np.take(found, range(found.shape[axis] - far), axis),
                )
                assert abs((one * other).mean()) < 5 / np.sqrt(one.size), (axis, far)
    keys = [jax.random.wrap_key_data(jnp.asarray(words, jnp.uint32)) for words in ((0, 0), (0, 1), (1, 0), (1, 1))]
    near = np.stack([keep_mask(key, 0.5, (64, 256)) for key in keys]) * 2.0 - 1.0
    products = np.corrcoef(near.reshape(4, -1)) - np.eye(4)
    assert abs(products).max() < 5 / np.sqrt(64 * 256), "also where keys differ by one bit"


def test_the_whole_and_the_nothing():
    assert keep_mask(jax.random.key(0), 1.0, (3, 5)).mean() == 1.0
    assert keep_mask(jax.random.key(0), 1e-9, (3, 5)).mean() == 0.0


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2), (1, 1, 8)])
def test_a_mesh_draws_the_same_and_each_device_its_own_part(sizes):
    key, shape = jax.random.key(3), (8, 16, 64)
    mesh = sharding.make_mesh(*sizes)
    place = NamedSharding(mesh, PartitionSpec(sharding.ROWS, None, "tensor"))

    def drop(inputs):
        return jnp.where(keep_mask(key, 0.9, inputs.shape), inputs, 0.0)

    inputs = jnp.ones(shape)
    program = jax.jit(drop, out_shardings=place).lower(jax.device_put(inputs, place)).compile()
    np.testing.assert_array_equal(program(jax.device_put(inputs, place)), jax.jit(drop)(inputs))
    # of a generator's draw (jax.random, rbg) the whole stands there, however the result is cut
    assert "[8,16,64]" not in program.as_text(), "each device makes its own part"
