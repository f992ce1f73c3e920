"""Going through time in pieces of so many steps each; the last piece may be shorter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tbptt_jax._pullback.of_steps import inexact


def last_to_first(
    body: Callable[[Any, Any, int, Any], tuple[Any, Any]],
    state: Any,
    trees: Any,
    num_steps: int,
    width: int | None,
) -> tuple[Any, Any]:
    """`state, rows = body(state, first, size, piece)` for each piece, from the last to the first.

    Args:
      body: gets the number of a piece's first step, how many it has, and its rows of `trees`.
      state: what the last piece gets.
      trees: [T, ...].
      num_steps: T.
      width: how many steps a piece has; None for all.

    Returns:
      The state that the first piece returns, and all rows, [T, ...].
    """
    return _through(body, state, trees, num_steps, width, reverse=True)


def first_to_last(body, state, trees, num_steps, width):
    """As `last_to_first`, the other way."""
    return _through(body, state, trees, num_steps, width, reverse=False)


def _through(body, state, trees, num_steps, width, reverse):
    if width is None or width >= num_steps:
        return body(state, 0, num_steps, trees)
    num_whole, rest = divmod(num_steps, width)

    def piece(first, size):
        cut = lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, size)
        return jax.tree.map(cut, trees)

    def one(state_and_rows, first, size):
        state, rows = state_and_rows
        state, new = body(state, first, size, piece(first, size))
        put = lambda rows, new: jax.lax.dynamic_update_slice_in_dim(rows, new, first, 0)
        return state, jax.tree.map(put, rows, new)

    def whole_pieces(state_and_rows):
        each = lambda both, i: (one(both, i * width, width), None)
        return jax.lax.scan(each, state_and_rows, jnp.arange(num_whole), reverse=reverse)[0]

    def last_piece(state_and_rows):
        return one(state_and_rows, num_whole * width, rest) if rest else state_and_rows

    shapes = jax.eval_shape(lambda state: body(state, 0, width, piece(0, width))[1], state)
    number = _unknown_number(trees)

    def filled(leaf):
        shape = num_steps, *leaf.shape[1:]
        return jax.lax.full(shape, number, leaf.dtype, sharding=leaf.sharding)

    rows = jax.tree.map(filled, shapes)
    for stage in [last_piece, whole_pieces] if reverse else [whole_pieces, last_piece]:
        state, rows = stage((state, rows))
    return state, rows


def _unknown_number(trees):
    """A number whose value XLA cannot know.

    XLA lets several arrays of zeros share one buffer, and copies it when one of them is written in
    the loop. Every row is overwritten, so the value does not matter.
    """
    leaves = (leaf for leaf in jax.tree.leaves(inexact(trees)) if leaf.size)
    return next((jnp.sum(leaf[0].real) for leaf in leaves), 0.0)
