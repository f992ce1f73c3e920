"""The axes of `jax.shard_map` over which arrays vary: the carry of a loop varies as its results."""

from __future__ import annotations

from typing import Any

import jax


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
