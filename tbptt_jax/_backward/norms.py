"""Norms of trees, without squares that would be zero or infinite."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def norms_of(tree):
    """L1 and L2 of the whole tree, and of each leaf."""
    l1 = lambda leaf: jnp.sum(jnp.abs(leaf).astype(float))
    leaf_l1, leaf_l2 = jax.tree.map(l1, tree), jax.tree.map(_l2, tree)
    return jnp.sum(jnp.stack(jax.tree.leaves(leaf_l1))), l2_of(tree), leaf_l1, leaf_l2


def l2_of(tree):
    """The L2 norm of all leaves as one."""
    return _l2(jnp.stack(jax.tree.leaves(jax.tree.map(_l2, tree))))


def scale_of(tree):
    """A power of two near one over the largest entry, so that what is scaled is exact.

    It is 1 where all entries are zero.
    """
    sizes = [jnp.max(jnp.abs(leaf), initial=0).astype(float) for leaf in jax.tree.leaves(tree)]
    largest = jnp.max(jnp.stack(sizes))
    normal = jnp.finfo(largest.dtype).maxexp - 2  # smaller powers are flushed to zero
    exponent = jnp.clip(-jnp.frexp(largest)[1], -normal, normal)
    return jnp.ldexp(jnp.ones((), float), exponent)


def _l2(leaf):
    scale = jax.lax.stop_gradient(scale_of(leaf))
    squares = jnp.sum((jnp.abs(leaf).astype(float) * scale) ** 2)
    usual = (squares > 0.0) & jnp.isfinite(squares)
    root = jnp.sqrt(jnp.where(usual, squares, 1.0)) / scale
    return jnp.where(usual, root, squares)  # as they are: zero, inf or nan
