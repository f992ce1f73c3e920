"""Errors at strides above 1 where a step mixes them: a chain a block."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._backward.entering import Entering
from tbptt_jax._pullback.linearised import Linearised
from tbptt_jax._step.time_axis import add, take, where, zero_rows


@dataclasses.dataclass(frozen=True)
class Chains(Entering):
    """ε of a piece of whole blocks of `stride` steps; `width` is its length, None for all steps.

    A chain walks back from the block's end, `length` steps at most, and picks up the errors of its
    own block's steps on its way; all take their steps in lock-step. Errors of several chains at one
    step add up, since the pullback is linear in them.

    With `straddles` there is one piece, which may begin and end within a block. It lacks what the
    chains of blocks that end after it would bring: the errors that these do not reach are right.
    """

    steps: Linearised
    length: int
    stride: int
    num_steps: int
    width: int | None
    straddles: bool

    def start(self, inputs, y_ct, own):
        """Where the chains of the next blocks have come to: there are none."""
        num = 0 if self.width is None else -(-(self.length - 1) // self.stride)
        return zero_rows(num, own)

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        of_each, b = self.steps.of(inputs, ys_ct, own)
        size, num_passing = (len(jax.tree.leaves(tree)[0]) for tree in (b, later))
        begun = first % self.stride if self.straddles else 0
        num_ahead = self.stride - 1 if self.straddles else 0
        own = np.arange(0, size + num_ahead, self.stride) - begun
        next_blocks = size + self.stride * np.arange(num_passing)
        block = jnp.concatenate([own, next_blocks])
        exists = first + block < self.num_steps
        end = jnp.minimum(first + block + self.stride, self.num_steps) - 1 - first
        last = jnp.minimum(end[: len(own)], size - 1)
        start = jnp.concatenate([last, np.full(num_passing, size)])

        def walk(i, state):
            chains, errors = state
            reached = start - i
            at = jnp.maximum(reached, 0)
            walks = (reached >= 0) & (end - reached < self.length) & exists
            nothing = jax.tree.map(jnp.zeros_like, chains)
            picked_up = where(reached >= block, take(b, at), nothing)
            moved = add(self.steps.back(take(of_each, at), chains), picked_up)
            chains = where(walks, moved, chains)
            arrived = where(walks, moved, nothing)
            return chains, jax.tree.map(lambda e, c: e.at[at].add(c), errors, arrived)

        starts = (last >= own) & (end[: len(own)] - last < self.length)
        first_errors = where(starts, take(b, last), jax.tree.map(jnp.zeros_like, take(b, last)))
        chains = jax.tree.map(lambda *both: jnp.concatenate(both), first_errors, later)
        errors = jax.tree.map(lambda b, e: jnp.zeros_like(b).at[last].add(e), b, first_errors)
        num_walks = min(size - (num_passing == 0), self.length - 1)
        chains, errors = jax.lax.fori_loop(1, num_walks + 1, walk, (chains, errors))
        return jax.tree.map(lambda leaf: leaf[:num_passing], chains), errors
