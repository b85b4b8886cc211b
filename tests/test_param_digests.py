"""param_digests: one changed bit is seen, and where an array lies is not."""

import jax
import numpy as np

from s3ft_jax import param_digests
from s3ft_jax.param_digests import params_digest


def test_the_digest_sees_one_changed_bit():
    tree = {"a": np.zeros(4, np.float32), "b": np.ones(2, np.float32)}
    other = {"a": np.zeros(4, np.float32), "b": np.array([1, np.nextafter(np.float32(1), 2)], np.float32)}
    assert params_digest(tree) != params_digest(other)
    assert params_digest(tree) == params_digest(dict(reversed(tree.items())))


def test_the_digest_sees_every_piece_and_not_where_an_array_lies(monkeypatch):
    monkeypatch.setattr(param_digests, "_PIECE", 64)
    rows = np.arange(70, dtype=np.float32).reshape(10, 7)  # two rows a piece
    tree = {
        "matrix": rows,
        "number": np.float32(3),
        "wide": np.ones((2, 40), np.float32),
        "none": np.ones((0, 3), np.float32),
    }
    digest = params_digest(tree)
    assert params_digest(jax.tree.map(jax.numpy.asarray, tree)) == digest
    mesh = jax.sharding.Mesh(jax.devices()[:2], "a")
    split = jax.device_put(rows, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("a")))
    assert params_digest(tree | {"matrix": split}) == digest
    for place in range(10):
        changed = rows.copy()
        changed[place, 3] += 1
        assert params_digest(tree | {"matrix": changed}) != digest
    assert params_digest(tree | {"matrix": rows.reshape(7, 10)}) != digest
