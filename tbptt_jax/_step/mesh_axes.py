"""The axes of `jax.shard_map` over which arrays vary: the carry of a loop varies as its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def types_of(fun: Callable[..., Any], *args: Any) -> Any:
    """The types of the results.

    `jax.eval_shape` leaves out the mesh where `shard_map` is over some of its axes, and JAX refuses
    such a type with axes over which an array varies.
    """
    jaxpr, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
    return jax.tree.unflatten(jax.tree.structure(shapes), jaxpr.out_avals)


def varying(tree: Any) -> frozenset[str]:
    """The axes over which some leaf varies; none outside of `shard_map`."""
    types = map(jax.typeof, jax.tree.leaves(tree))
    return frozenset().union(*(each.manual_axis_type.varying for each in types))


def vary(axes: frozenset[str], tree: Any) -> Any:
    """The leaves, all of which vary over these axes."""

    def cast(leaf):
        lacking = tuple(sorted(axes - varying(leaf)))
        return jax.lax.pcast(leaf, lacking, to="varying")

    return jax.tree.map(cast, tree)
