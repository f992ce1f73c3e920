"""Trees whose leaves have time, in execution order, as their leading axis."""

import jax
import jax.numpy as jnp


def executed(tree, reverse):
    """Converts between the order in memory and the order of execution."""
    return jax.tree.map(lambda leaf: leaf[::-1], tree) if reverse else tree


def zero_rows(num, tree):
    """`num` rows of zeros, of the type of each leaf, in `jax.shard_map` too."""
    rows = lambda leaf: jnp.broadcast_to(jnp.zeros_like(leaf), (num, *leaf.shape))
    return jax.tree.map(rows, tree)


def take(tree, at):
    """Rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[at], tree)


def of_next_step(tree):
    """At each step the rows of the next, and zero at the last."""
    return jax.tree.map(lambda x: jnp.concatenate([x[1:], jnp.zeros_like(x[:1])]), tree)


def where(mask, tree, other):
    """Rows of `tree` where the mask is set, and of `other` elsewhere."""

    def select(leaf, other):
        return jnp.where(mask.reshape(mask.shape + (1,) * (leaf.ndim - 1)), leaf, other)

    return jax.tree.map(select, tree, other)


def add(a, b):
    """Sums leaf by leaf."""
    return jax.tree.map(jnp.add, a, b)
