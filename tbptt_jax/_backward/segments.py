"""A forward pass that keeps the carries of some steps for the gradient, or of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tbptt_jax._step.time_axis import executed


def keeping_scan(num_steps: int | Any, reverse: bool, unroll: int | bool) -> Callable:
    """`jax.lax.scan` of functions of leaves, and the carries that enter every `segment`-th step."""
    length = num_steps if isinstance(num_steps, int) else None

    def run(f, init, xs, segment=None, *, rerun=False):
        if segment in (None, 1):
            keep = lambda carry, x: (lambda new, y: (new, (y, carry)))(*f(carry, x))
            body = f if segment is None or rerun else keep
            last, ys = jax.lax.scan(body, init, xs, length, reverse, unroll)
            return (last, *ys) if body is keep else (last, ys, None)
        xs = executed(xs, reverse)
        found = _scan_segments(f, init, xs, num_steps, segment, unroll=unroll, rerun=rerun)
        return found[0], executed(found[1], reverse), found[2]

    return run


def _scan_segments(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    num_steps: int,
    segment: int,
    *,
    unroll: int | bool,
    rerun: bool,
) -> tuple[Any, Any, Any]:
    """`jax.lax.scan(f, init, xs, num_steps)`, and the carry that enters each segment.

    Args:
      f: step function, `(carry, x) -> (carry, y)`.
      init: initial carry.
      xs: [T, ...], inputs.
      num_steps: T.
      segment: how many steps each has, but the last, which may have fewer.
      unroll: as in `jax.lax.scan`.
      rerun: whether the gradient runs each segment again instead of keeping what its steps left.

    Returns:
      The last carry, the outputs [T, ...] and the carries [ceil(T / segment), ...].
    """

    def steps(size):
        def run(carry, xs):
            last, ys = jax.lax.scan(f, carry, xs, size, unroll=unroll)
            return last, (ys, carry)

        return jax.checkpoint(run, prevent_cse=False) if rerun else run

    num_whole, rest = divmod(num_steps, segment)
    cut = lambda leaf: leaf[: num_steps - rest].reshape(num_whole, segment, *leaf.shape[1:])
    last, (ys, kept) = jax.lax.scan(steps(segment), init, jax.tree.map(cut, xs), num_whole)
    ys = jax.tree.map(lambda leaf: leaf.reshape(num_steps - rest, *leaf.shape[2:]), ys)
    if rest:
        entered = last
        last, (of_rest, _) = steps(rest)(entered, jax.tree.map(lambda x: x[num_steps - rest :], xs))
        ys = jax.tree.map(lambda *both: jnp.concatenate(both), ys, of_rest)
        kept = jax.tree.map(lambda k, e: jnp.concatenate([k, e[None]]), kept, entered)
    return last, ys, kept
