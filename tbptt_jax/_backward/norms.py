"""Norms of trees, without the squares of small numbers, which would be zero."""

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


def _l2(leaf):
    sizes = jnp.abs(leaf).astype(float)
    largest = jnp.max(sizes, initial=0.0)
    usual = (largest > 0.0) & jnp.isfinite(largest)
    scaled = sizes / jnp.where(usual, largest, 1.0)
    squares = jnp.where(usual, jnp.sum(scaled**2), 1.0)
    return jnp.where(usual, largest * jnp.sqrt(squares), largest)  # as it is: zero, inf or nan
