"""losses: a hand-computed example, the shift, and chunks that change nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from s3ft_jax.losses import next_token_loss, token_losses


def test_two_rows_by_hand():
    # vocabulary of 2; the "hidden" activations are the logits themselves
    logits = jnp.log(jnp.array([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]]]))
    tokens = jnp.array([[0, 1, 0], [1, 1, 1]])
    weights = jnp.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    sums = next_token_loss(lambda h: h, logits, tokens, weights)
    # row 0: token 1 after position 0 (p 0.5), token 0 after position 1 (p 0.9); row 1: token 1 after position 1 (0.4)
    np.testing.assert_allclose(sums.cross_entropy, -(np.log(0.5) + np.log(0.9) + np.log(0.4)), rtol=1e-6)
    assert sums.objective == sums.cross_entropy and sums.weight == 3 and sums.kl == 0


def test_chunks_give_the_same_loss_and_gradient():
    keys = jax.random.split(jax.random.key(0), 3)
    hidden, head = jax.random.normal(keys[0], (3, 7, 4)), jax.random.normal(keys[1], (4, 11))
    tokens = jax.random.randint(keys[2], (3, 7), 0, 11)
    weights = jnp.ones((3, 7))

    def loss(head, chunk):
        return next_token_loss(lambda h: h @ head, hidden, tokens, weights, chunk_tokens=chunk)[0]

    whole, grad = jax.value_and_grad(loss)(head, 0)
    for chunk in (1, 4, 5, 100):
        value, chunk_grad = jax.value_and_grad(loss)(head, chunk)
        np.testing.assert_allclose(value, whole, rtol=1e-6)
        np.testing.assert_allclose(chunk_grad, grad, rtol=2e-5, atol=1e-5)


def test_token_losses_is_log_softmax():
    logits = jax.random.normal(jax.random.key(1), (5, 9)) * 30
    targets = jnp.arange(5)
    np.testing.assert_allclose(
        token_losses(logits, targets), -jax.nn.log_softmax(logits)[jnp.arange(5), targets], rtol=1e-5, atol=1e-5
    )
