"""Adapters: equal to the base at the start, trained through the scan, merged without change."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from s3ft_jax.models.config import DecoderConfig
from s3ft_jax.models.decoder import Decoder
from s3ft_jax.models.lora import PROJECTIONS, Adapter, Lora, LoraError, choose_targets, merged

CONFIG = DecoderConfig(
    vocab_size=17,
    num_layers=3,
    model_dim=16,
    mlp_dim=24,
    num_heads=4,
    num_kv_heads=2,
    head_dim=4,
    max_positions=64,
    qkv_bias=True,
)
LORA = Lora(rank=3, alpha=6.0, dropout=0.5, targets=PROJECTIONS)
TOKENS = jnp.array([[3, 1, 4, 1, 5, 9, 2, 6]])
POSITIONS, SEGMENTS = jnp.arange(8)[None], jnp.ones((1, 8), jnp.int32)


def adapted(lora: Lora = LORA, b_scale: float = 0.0) -> tuple[Decoder, Decoder]:
    """A base, and the same base with adapters whose b is random of this scale."""
    base = Decoder(CONFIG, rngs=nnx.Rngs(0))
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(1), lora=lora)
    nnx.update(decoder, nnx.split(base)[1])
    for number, name in enumerate(lora.targets):
        layer = getattr(decoder.blocks, name)
        layer.lora_b[...] = b_scale * jax.random.normal(jax.random.key(number), layer.lora_b.shape)
    return base, decoder


@jax.jit
def logits_of(decoder: Decoder, key: jax.Array | None = None) -> jax.Array:
    return decoder.unembed(decoder.hidden(TOKENS, POSITIONS, SEGMENTS, dropout_key=key)[0])


def test_with_b_zero_the_model_is_the_base_exactly():
    base, decoder = adapted()
    np.testing.assert_array_equal(logits_of(base), logits_of(decoder))


def test_merged_equals_unmerged():
    base, decoder = adapted(b_scale=0.3)
    before = logits_of(decoder)
    assert float(jnp.max(jnp.abs(before - logits_of(base)))) > 1e-2
    decoder.merge_adapters()
    assert float(jnp.max(jnp.abs(before - logits_of(decoder)))) <= 1e-6 * max(1.0, float(jnp.max(jnp.abs(before))))
    shapes = [jax.tree.map(jnp.shape, nnx.split(d)[1]) for d in (base, decoder)]
    assert shapes[0] == shapes[1], "after merging the state is a plain model's"


def test_gradients_reach_every_adapter_of_every_layer_and_nothing_else():
    _, decoder = adapted(b_scale=0.3)
    graphdef, adapters, frozen = nnx.split(decoder, Adapter, ...)

    def loss(adapters):
        return jnp.sum(jax.nn.log_softmax(logits_of(nnx.merge(graphdef, adapters, frozen)))[..., 0])

    gradients = jax.jit(jax.grad(loss))(adapters)
    leaves = nnx.to_flat_state(gradients)
    assert len(leaves) == 2 * len(PROJECTIONS)
    for path, gradient in leaves:
        assert bool(jnp.all(jnp.max(jnp.abs(gradient.get_value()), axis=(1, 2)) > 0)), path


def test_dropout_acts_only_with_a_key_and_follows_it():
    _, decoder = adapted(b_scale=0.3)
    plain = logits_of(decoder)
    np.testing.assert_array_equal(plain, logits_of(decoder))
    one, again, other = (logits_of(decoder, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert float(jnp.max(jnp.abs(one - plain))) > 1e-3
    assert float(jnp.max(jnp.abs(one - other))) > 1e-3
    _, without = adapted(dataclasses.replace(LORA, dropout=0.0), b_scale=0.3)
    np.testing.assert_array_equal(logits_of(without), logits_of(without, jax.random.key(0)))


def test_scale_is_alpha_over_rank_and_merging_adds_the_product():
    rng = np.random.default_rng(0)
    kernel, a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 4, 5), (2, 4, 3), (2, 3, 5)))
    assert LORA.scale == 2.0
    np.testing.assert_allclose(merged(kernel, a, b, 2.0), kernel + 2.0 * a @ b, atol=1e-6)


def test_only_the_targets_get_adapters():
    decoder = Decoder(CONFIG, rngs=nnx.Rngs(0), lora=Lora(targets=("q", "down")))
    paths = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.split(decoder, Adapter, ...)[1])}
    assert paths == {"blocks.q.lora_a", "blocks.q.lora_b", "blocks.down.lora_a", "blocks.down.lora_b"}


def test_rank_stabilized_scale_falls_with_the_root_of_the_rank():
    # arXiv 2312.03732, section 3: gamma = alpha / sqrt(r)
    assert [Lora(rank, 8.0, rank_stabilized=True).scale for rank in (1, 4, 64)] == [8.0, 4.0, 1.0]
    assert [Lora(rank, 8.0).scale for rank in (1, 4, 64)] == [8.0, 2.0, 0.125]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (("v", "q"), ("q", "v")),
        (("all",), PROJECTIONS),
        (("*",), PROJECTIONS),
        (("attention",), ("q", "k", "v", "o")),
        (("?",), ("q", "k", "v", "o")),
        (("mlp",), ("gate", "up", "down")),
        (("[qk]", "d*", "q"), ("q", "k", "down")),
    ],
)
def test_patterns_stand_for_projections(patterns, chosen):
    assert choose_targets(patterns, PROJECTIONS) == chosen


def test_patterns_take_what_the_model_has():
    gpt2, mixture = ("q", "k", "v", "o", "up", "down"), ("q", "k", "v", "o")
    assert choose_targets(("all",), gpt2) == gpt2
    assert choose_targets(("mlp",), gpt2) == ("up", "down")
    assert choose_targets(("all",), mixture) == mixture


@pytest.mark.parametrize(
    ("patterns", "available", "message"),
    [
        ((), PROJECTIONS, "empty; choose from"),
        (("q_proj",), PROJECTIONS, "'q_proj' is Hugging Face's name, here it is q; choose from"),
        (("q", "qkv_proj"), PROJECTIONS, "'qkv_proj' is Hugging Face's name, here it is q,k,v"),
        (("all-linear",), PROJECTIONS, "here it is all;"),
        (("x*",), PROJECTIONS, r"'x\*' stands for nothing this model has"),
        (("gate",), ("q", "up"), r"'gate' stands for nothing this model has; choose from \['q', 'up'\]"),
        (("q", "mlp"), ("q", "k", "v", "o"), "'mlp' stands for nothing .* Experts have no adapters"),
    ],
)
def test_a_pattern_that_names_nothing_is_refused(patterns, available, message):
    with pytest.raises(LoraError, match=message):
        choose_targets(patterns, available)


def test_a_model_without_the_target_says_what_it_has():
    decoder = nnx.eval_shape(lambda: Decoder(dataclasses.replace(CONFIG, gated_mlp=False), rngs=nnx.Rngs(0)))
    with pytest.raises(LoraError, match=r"no \['gate'\]; choose from \['q', 'k', 'v', 'o', 'up', 'down'\]"):
        decoder.add_adapters(Lora(targets=("q", "gate")), nnx.Rngs(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ("q", "qkv")}, r"\['qkv'\]; choose from"),
        ({"targets": ()}, "empty"),
        ({"rank": 0}, "lora.rank must be at least 1, found 0"),
        ({"dropout": 1.0}, r"lora.dropout must be in \[0, 1\), found 1.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Lora(**settings)
