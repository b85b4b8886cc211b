"""The mask rule, rotation, and grouped attention against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from s3ft_jax.models.attention import attend, cache_mask, rotate, segment_mask, within


def test_segment_mask_of_the_worked_example():
    segments = jnp.array([[1, 1, 1, 2, 2, 0]])
    positions = jnp.array([[0, 1, 2, 0, 1, 0]])
    expected = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]
    assert segment_mask(positions, segments)[0].astype(int).tolist() == expected


def test_cache_mask_shows_slots_up_to_the_position():
    assert cache_mask(jnp.array([[2, 3], [0, 1]]), 5).astype(int).tolist() == [
        [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]],
        [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]],
    ]


def test_a_window_of_two_shows_the_position_itself_and_the_one_before():
    positions = jnp.array([[0, 1, 2, 3]])
    seen = within(positions, positions, jnp.int32(2)) & segment_mask(positions, jnp.ones((1, 4), jnp.int32))
    assert seen[0].astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert bool(within(positions, positions, jnp.int32(0)).all())


def test_dimensions_beyond_the_rotated_ones_pass():
    heads = jnp.arange(6.0).reshape(1, 1, 1, 6)
    turned = rotate(heads, jnp.array([[3]]), jnp.array([0.5, 0.1]), 1.0)
    np.testing.assert_array_equal(turned[..., 4:], heads[..., 4:])
    np.testing.assert_allclose(turned[..., :4], rotate(heads[..., :4], jnp.array([[3]]), jnp.array([0.5, 0.1])))
    doubled = rotate(heads, jnp.array([[3]]), jnp.array([0.5, 0.1]), 2.0)
    np.testing.assert_allclose(doubled[..., :4], 2 * turned[..., :4], rtol=1e-6)
    np.testing.assert_array_equal(doubled[..., 4:], heads[..., 4:])


def test_rotate_turns_pairs_of_halves():
    heads = jnp.array([1.0, 0.0, 0.0, 2.0]).reshape(1, 1, 1, 4)  # pairs (1, 0) and (0, 2)
    turned = rotate(heads, jnp.array([[3]]), jnp.array([0.5, 0.1]))
    expected = [np.cos(1.5), -2 * np.sin(0.3), np.sin(1.5), 2 * np.cos(0.3)]
    np.testing.assert_allclose(turned.reshape(4), expected, atol=1e-6)


def test_rotated_products_depend_on_the_distance_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))
    frequencies = jnp.array([1.0, 0.3, 0.1, 0.01])

    def product(at_q, at_k):
        turned = rotate(q, jnp.array([[at_q]]), frequencies), rotate(k, jnp.array([[at_k]]), frequencies)
        return float(jnp.sum(turned[0] * turned[1]))

    assert abs(product(7, 3) - product(104, 100)) < 1e-4
    assert abs(product(7, 3) - product(8, 3)) > 1e-3


def test_rotate_keeps_the_dtype():
    assert rotate(jnp.ones((1, 2, 1, 4), jnp.bfloat16), jnp.zeros((1, 2), int), jnp.ones(2)).dtype == jnp.bfloat16


def test_attend_equals_plain_numpy():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)
    keys, values = rng.normal(size=(2, 2, 2, 5, 6)).astype(np.float32)
    mask = rng.random((2, 3, 5)) < 0.6
    mask[:, :, 0] = True
    expected = np.zeros_like(queries)
    for batch in range(2):
        for query in range(3):
            for head in range(4):
                scores = keys[batch, head // 2] @ queries[batch, query, head] / np.sqrt(6)
                weights = np.where(mask[batch, query], np.exp(scores), 0)
                expected[batch, query, head] = weights / weights.sum() @ values[batch, head // 2]
    np.testing.assert_allclose(attend(queries, keys, values, jnp.asarray(mask)), expected, atol=1e-5)


def test_a_query_that_sees_nothing_is_finite():
    mixed = attend(jnp.ones((1, 1, 2, 4)), jnp.ones((1, 1, 3, 4)), jnp.ones((1, 1, 3, 4)), jnp.zeros((1, 1, 3), bool))
    np.testing.assert_allclose(mixed, 1.0)


def test_scale_and_soft_cap_against_plain_numpy():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 1, 2, 1, 4)) * 3
    keys, values = k.swapaxes(1, 2), v.swapaxes(1, 2)
    found = attend(q, keys, values, jnp.ones((1, 2, 2), bool), scale=0.7, softcap=1.5)
    scores = 1.5 * np.tanh(0.7 * np.asarray(q)[0, :, 0] @ np.asarray(k)[0, :, 0].T / 1.5)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found[0, :, 0], weights @ np.asarray(v)[0, :, 0], rtol=1e-5)
