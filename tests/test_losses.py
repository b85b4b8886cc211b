"""losses: hand-computed examples of each variant, the shift, and chunks that change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from s3ft_jax.losses import Loss, next_token_loss, token_losses


def test_two_rows_by_hand():
    # vocabulary of 2; the "hidden" activations are the logits themselves
    logits = jnp.log(jnp.array([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4], [0.5, 0.5]]]))
    tokens = jnp.array([[0, 1, 0], [1, 1, 1]])
    weights = jnp.array([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    sums = next_token_loss(lambda h: h, logits, tokens, weights)
    # row 0: token 1 after position 0 (p 0.5), token 0 after position 1 (p 0.9); row 1: token 1 after position 1 (0.4)
    np.testing.assert_allclose(sums.cross_entropy, -(np.log(0.5) + np.log(0.9) + np.log(0.4)), rtol=1e-6)
    assert sums.objective == sums.cross_entropy and sums.weight == 3 and sums.kl == 0


# three trained tokens over a vocabulary of 3; rows of a model's and of a base's probabilities, and the token that came
MODEL = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
BASE = np.array([[0.4, 0.4, 0.2], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
CAME = np.array([0, 2, 1])
WEIGHTS = np.array([1.0, 0.5, 2.0])
SHIFT = 1.5  # added to the logits: changes no probability, but log Z


def by_hand(loss: Loss) -> float:
    """The sum over tokens, with numpy, from the formula at the head of losses.py."""
    total = 0.0
    for model, base, token, weight in zip(MODEL, BASE, CAME, WEIGHTS, strict=True):
        term = -(1 - loss.label_smoothing) * np.log(model[token]) - loss.label_smoothing * np.mean(np.log(model))
        term *= model[token] if loss.dft else 1.0
        term += loss.z_loss * SHIFT**2 + loss.kl * np.sum(base * np.log(base / model))
        total += weight * term
    return total


def sums(loss: Loss, **options):
    """The same by the room: one row of four places, whose first is the prompt's."""
    hidden, base = (jnp.log(jnp.array([[*rows, rows[0]]], jnp.float32)) + SHIFT for rows in (MODEL, BASE))
    tokens, weights = jnp.array([[0, *CAME]]), jnp.array([[0.0, *WEIGHTS]], jnp.float32)
    return next_token_loss(lambda h: h, hidden, tokens, weights, loss=loss, base=(lambda h: h, base), **options)


@pytest.mark.parametrize("chunk_tokens", [0, 1, 2])
@pytest.mark.parametrize(
    "loss",
    [
        Loss(),
        Loss(dft=True),
        Loss(label_smoothing=0.3),
        Loss(z_loss=0.1),
        Loss(kl=0.7),
        Loss(dft=True, label_smoothing=0.2, z_loss=0.01, kl=0.05),
    ],
    ids=str,
)
def test_every_variant_by_hand(loss, chunk_tokens):
    found = sums(loss, chunk_tokens=chunk_tokens)
    np.testing.assert_allclose(found.objective, by_hand(loss), rtol=1e-5)
    np.testing.assert_allclose(found.cross_entropy, by_hand(Loss()), rtol=1e-5)
    np.testing.assert_allclose(found.kl, np.sum(WEIGHTS[:, None] * BASE * np.log(BASE / MODEL)), rtol=1e-5)
    np.testing.assert_allclose(found.weight, 3.5)


def test_dft_by_numbers():
    # -0.5 log 0.5 - 0.5 x 0.7 log 0.7 - 2 x 0.3 log 0.3
    np.testing.assert_allclose(sums(Loss(dft=True)).objective, 0.346574 + 0.124836 + 0.722384, rtol=1e-5)


def test_no_gradient_goes_through_the_weight_of_dft_or_through_the_base():
    """DFT's gradient is that of cross-entropy with fixed weights; the base's logits get none."""
    logits = jnp.log(jnp.array(MODEL, jnp.float32))[None]
    logits = jnp.concatenate([logits, logits[:, :1]], axis=1)
    tokens = jnp.array([[0, *CAME]])

    def objective(logits, base, weights, loss):
        own = next_token_loss(lambda h: h, logits, tokens, weights, loss=loss, base=(lambda h: h, base))
        return own.objective

    ones = jnp.array([[0.0, 1.0, 1.0, 1.0]])
    by_probability = jnp.array([[0.0, *(row[token] for row, token in zip(MODEL, CAME, strict=True))]])
    dft = jax.grad(objective)(logits, logits, ones, Loss(dft=True))
    fixed = jax.grad(objective)(logits, logits, by_probability, Loss())
    np.testing.assert_allclose(dft, fixed, atol=1e-6)
    to_base = jax.grad(objective, argnums=1)(logits, logits + 1.0 * jnp.arange(3), ones, Loss(kl=1.0))
    assert not np.any(to_base)


def test_kl_pulls_towards_the_base():
    """At the base's own probabilities KL is 0 and flat; elsewhere its gradient is the difference of probabilities."""
    tokens, weights = jnp.array([[0, 1]]), jnp.array([[0.0, 1.0]])
    base = jnp.log(jnp.array([[[0.2, 0.3, 0.5]] * 2]))

    def kl(logits):
        return next_token_loss(lambda h: h, logits, tokens, weights, base=(lambda h: h, base)).kl

    value, gradient = jax.value_and_grad(kl)(base + 2.0)
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    gradient = jax.grad(kl)(jnp.zeros_like(base))[0, 0]
    np.testing.assert_allclose(gradient, np.full(3, 1 / 3) - np.array([0.2, 0.3, 0.5]), atol=1e-6)


@pytest.mark.parametrize("loss", [Loss(), Loss(dft=True, label_smoothing=0.1, z_loss=0.01, kl=0.3)], ids=str)
def test_chunks_give_the_same_loss_and_gradient(loss):
    keys = jax.random.split(jax.random.key(0), 4)
    hidden, head = jax.random.normal(keys[0], (3, 7, 4)), jax.random.normal(keys[1], (4, 11))
    tokens = jax.random.randint(keys[2], (3, 7), 0, 11)
    weights, base = jnp.ones((3, 7)), (lambda h: h @ jnp.ones((4, 11)), jax.random.normal(keys[3], (3, 7, 4)))

    def objective(head, chunk):
        options = {"chunk_tokens": chunk, "loss": loss, "base": base}
        return next_token_loss(lambda h: h @ head, hidden, tokens, weights, **options).objective

    whole, grad = jax.value_and_grad(objective)(head, 0)
    for chunk in (1, 4, 5, 100):
        value, chunk_grad = jax.value_and_grad(objective)(head, chunk)
        np.testing.assert_allclose(value, whole, rtol=1e-6)
        np.testing.assert_allclose(chunk_grad, grad, rtol=2e-5, atol=1e-5)


def test_token_losses_is_log_softmax():
    logits = jax.random.normal(jax.random.key(1), (5, 9)) * 30
    targets = jnp.arange(5)
    np.testing.assert_allclose(
        token_losses(logits, targets), -jax.nn.log_softmax(logits)[jnp.arange(5), targets], rtol=1e-5, atol=1e-5
    )
