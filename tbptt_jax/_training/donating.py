"""`jax.jit` for steps that change a state, which donates arrays that are shared too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer


def donating(function: str, step: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit(step, donate_argnums=0)`, which copies what it cannot donate.

    An array that stands in the state twice (one array of zeros for h and c, parameters that an
    optimizer keeps), or in the other arguments too, would be donated twice or read after that.

    Args:
      function: name of the public function, for the error.
      step: `(state, ...) -> ...`.

    Raises:
      ValueError: the step, where the state was donated before.
    """
    compiled = jax.jit(step, donate_argnums=0)

    def call(state, *args):
        if any(map(_is_deleted, jax.tree.leaves(state))):
            raise ValueError(
                f"{function}: state has been donated to an earlier call; use what that returned, "
                "or donate=False."
            )
        seen = {_buffer(leaf) for leaf in jax.tree.leaves(args)}

        def own(leaf):
            buffer = _buffer(leaf)
            if buffer in seen:
                return jnp.copy(leaf)
            seen.add(buffer)
            return leaf

        return compiled(jax.tree.map(own, state), *args)

    return call


def _is_deleted(leaf):
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and leaf.is_deleted()


def _buffer(leaf):
    """What tells the memory of an array from that of others."""
    is_plain = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)
    if is_plain and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended) and not leaf.is_deleted():
        shard = leaf.addressable_data(0)
        return shard.device, shard.unsafe_buffer_pointer()
    return id(leaf)
