"""Attention over a prefix tree: sequences that begin alike share a row, and what they share is in it once.

A row holds the tree's tokens, a parent before its children. A query sees the tokens on the way from the root to itself;
there is one at each position, so the rule is the cache's: the key of position s is seen iff s <= the query's position.
What differs from a cache is where the key lies. A branch (what one sequence adds to those before it) has a path, which
says the place of the token at each position:

    place            0   1   2   3   4   5   6        prompt p q; responses A B C, A B D and E F
    token            p   q   A   B   C   D   E        (tokens whose own logits nobody wants are not fed)
    position         0   1   2   3   4   4   2
    path, branch 0   0   1   2   3   4                p q A B C
    path, branch 1   0   1   2   3   5                D sees p q A B D
    path, branch 2   0   1   6                        E sees p q E

Keys are fetched along the path, a page of positions at a time, and summed up with a running maximum (Milakov and
Gimelshein, arXiv 1805.02867; Rabe and Staats, arXiv 2112.05682). So a token's sum has the same numbers in the same
order wherever it lies in whatever row: page s / PAGE holds position s, and pages beyond the query add exact zeros. The
memory needed grows with the row, not with its square.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from s3ft_jax.models.attention import within

QUERIES = 16
"""Queries of one block: neighbours on one branch, which fetch their keys together."""
BLOCKS = 16
"""Blocks that are computed at a time."""
PAGE = 64
"""Positions whose keys are fetched at a time."""


class Tree(NamedTuple):
    """Where the keys of each token lie; all int32. ``scoring.rows`` builds it. M blocks, A branches, S positions.

    Attributes:
      queries: [B, M, QUERIES], places in the row; unused entries repeat any place.
      branches: [B, M], the path of each block.
      paths: [B, A, S], the place of the token at each position; S is a multiple of ``PAGE``.
      pages: [B, M / BLOCKS], pages that hold all keys of so many blocks together.
      chunks: [B], how many of the M / BLOCKS are used; the first ones.
      homes: [B, T], the token's place in ``queries``, flattened; padding has any.
    """

    queries: jax.Array
    branches: jax.Array
    paths: jax.Array
    pages: jax.Array
    chunks: jax.Array
    homes: jax.Array


def attend_along_paths(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    positions: jax.Array,
    tree: Tree,
    *,
    window: int | jax.Array,
    scale: float,
    softcap: float,
) -> jax.Array:
    """Every token attends to those on its path up to itself.

    Args:
      queries: [B, T, N, H]. keys, values: [B, T, K, H].
      positions: [B, T] int32.
      tree: of the same rows.
      window: sliding window in tokens, 0: unlimited.
      scale, softcap: see ``attention.attend``.

    Returns:
      [B, T, N, H]. What stands at padding is finite and meaningless.
    """

    def one_row(row: tuple) -> jax.Array:
        own_queries, own_keys, own_values, own_positions, own = row
        pairs = jnp.concatenate([own_keys, own_values], axis=-1)  # fetched in one go

        def add_chunk(chunk: jax.Array, mixed: jax.Array) -> jax.Array:
            places, branches = (
                jax.lax.dynamic_slice_in_dim(array, chunk * BLOCKS, BLOCKS) for array in (own.queries, own.branches)
            )
            blocks = _blocks(
                own_queries[places], pairs, own_positions[places], own.paths, branches, own.pages[chunk],
                window=window, scale=scale, softcap=softcap,
            )  # fmt: skip
            return jax.lax.dynamic_update_slice_in_dim(mixed, blocks, chunk * BLOCKS, axis=0)

        empty = jnp.zeros((*own.queries.shape, *own_queries.shape[1:]), own_queries.dtype)
        mixed = jax.lax.fori_loop(0, own.chunks, add_chunk, empty)
        return mixed.reshape(-1, *own_queries.shape[1:])[own.homes]

    rows = (queries, keys, values, positions, tree)
    if queries.shape[0] == 1:
        return one_row(jax.tree.map(lambda array: array[0], rows))[None]
    return jax.lax.map(one_row, rows)


def _blocks(queries, pairs, positions, paths, branches, num_pages, *, window, scale, softcap) -> jax.Array:
    """Attention of some blocks.

    Args:
      queries: [M, Q, N, H]. pairs: [T, K, 2 H], keys and values side by side. positions: [M, Q].
      paths: [A, S]. branches: [M]. num_pages: scalar.

    Returns:
      [M, Q, N, H].
    """
    num_blocks, width, num_heads, head_dim = queries.shape
    num_kv_heads = pairs.shape[1]
    grouped = queries.reshape(num_blocks, width, num_kv_heads, -1, head_dim).transpose(0, 2, 3, 1, 4)
    stacked = grouped.reshape(num_blocks, num_kv_heads, -1, head_dim)
    lowest = jnp.finfo(jnp.float32).min

    def add_page(page: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        top, total, mixed = carry
        places = jax.lax.dynamic_slice_in_dim(paths, page * PAGE, PAGE, axis=1)[branches]
        keys, values = jnp.split(pairs[places], 2, axis=-1)  # [M, PAGE, K, H]
        scores = jnp.einsum("mkqh,mskh->mkqs", stacked, keys, preferred_element_type=jnp.float32)
        scores = scores.reshape(*grouped.shape[:-1], PAGE) * scale
        if softcap:
            scores = softcap * jnp.tanh(scores / softcap)
        at = page * PAGE + jnp.arange(PAGE, dtype=positions.dtype)
        mask = at <= positions[:, :, None]
        if not isinstance(window, int) or window:
            mask &= within(positions, at[None], jnp.asarray(window))
        mask = mask[:, None, None]
        scores = jnp.where(mask, scores, lowest)
        higher = jnp.maximum(top, jnp.max(scores, axis=-1, keepdims=True))
        weights = jnp.where(mask, jnp.exp(scores - higher), 0.0)
        shrink = jnp.exp(top - higher)
        added = jnp.einsum(
            "mkqs,mskh->mkqh",
            weights.reshape(*stacked.shape[:-1], PAGE).astype(values.dtype),
            values,
            preferred_element_type=jnp.float32,
        )
        total = total * shrink + jnp.sum(weights, axis=-1, keepdims=True)
        return higher, total, mixed * shrink + added.reshape(grouped.shape)

    column = (*grouped.shape[:-1], 1)
    start = (jnp.full(column, lowest), jnp.zeros(column), jnp.zeros(grouped.shape, jnp.float32))
    _, total, mixed = jax.lax.fori_loop(0, num_pages, add_page, start)
    # every query sees itself, so that only a block that was never computed has a total of 0
    mixed = (mixed / jnp.where(total == 0.0, 1.0, total)).astype(queries.dtype)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(num_blocks, width, num_heads, head_dim)
