"""`jax.lax.scan` that keeps the carries of some steps, or runs segments of steps again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tbptt_jax._step.time_axis import executed


class Scan(NamedTuple):
    """`jax.lax.scan(f, init, xs)` of functions of leaves.

    Attributes:
      num_steps: T; symbolic under `jax.export`.
      reverse: as in `jax.lax.scan`.
      unroll: as in `jax.lax.scan`.
    """

    num_steps: Any
    reverse: bool
    unroll: int | bool

    def __call__(self, f: Callable, init: Any, xs: Any) -> tuple[Any, Any]:
        """The last carry and the outputs, [T, ...]."""
        length = self.num_steps if isinstance(self.num_steps, int) else None
        return jax.lax.scan(f, init, xs, length, self.reverse, self.unroll)

    def keeping_carries(self, f: Callable, init: Any, xs: Any, every: int) -> tuple[Any, Any, Any]:
        """The carry that enters every `every`-th step too, [ceil(T / every), ...], as executed."""
        if every > 1:
            return self._in_segments(f, init, xs, every, lambda run: run)

        def keep(carry, x):
            new_carry, y = f(carry, x)
            return new_carry, (y, carry)

        last, (ys, kept) = self(keep, init, xs)
        return last, ys, executed(kept, self.reverse)

    def rematerialised(self, f: Callable, init: Any, xs: Any, every: int) -> tuple[Any, Any]:
        """Its gradient runs each segment of `every` steps again, not keeping what they left."""
        if every == 1:
            return self(f, init, xs)
        again = functools.partial(jax.checkpoint, prevent_cse=False)
        return self._in_segments(f, init, xs, every, again)[:2]

    def _in_segments(self, f, init, xs, size, wrap):
        """`wrap` is applied to the scan of each segment; the last may have fewer steps."""

        def steps(size):
            def run(carry, xs):
                last, ys = jax.lax.scan(f, carry, xs, size, unroll=self.unroll)
                return last, (ys, carry)

            return wrap(run)

        xs = executed(xs, self.reverse)
        num_whole, rest = divmod(self.num_steps, size)
        num_cut = self.num_steps - rest
        cut = lambda leaf: leaf[:num_cut].reshape(num_whole, size, *leaf.shape[1:])
        last, (ys, kept) = jax.lax.scan(steps(size), init, jax.tree.map(cut, xs), num_whole)
        ys = jax.tree.map(lambda leaf: leaf.reshape(num_cut, *leaf.shape[2:]), ys)
        if rest:
            entered = last
            last, (of_rest, _) = steps(rest)(entered, jax.tree.map(lambda x: x[num_cut:], xs))
            ys = jax.tree.map(lambda *both: jnp.concatenate(both), ys, of_rest)
            kept = jax.tree.map(lambda k, e: jnp.concatenate([k, e[None]]), kept, entered)
        return last, executed(ys, self.reverse), kept
