"""Errors at stride 1 where a step mixes them: each sweep takes all errors one step back."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from tbptt_jax._entering import Entering
from tbptt_jax._linearised import Linearised
from tbptt_jax._time_axis import add, of_next_step, where


@dataclasses.dataclass(frozen=True)
class Sweeps(Entering):
    """ε of all steps at once."""

    steps: Linearised
    num_sweeps: int

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        of_each, b = self.steps.of(inputs, ys_ct, own)
        sweep = lambda _, errors: add(b, self.steps.back(of_each, of_next_step(errors)))  # b + A ε
        return later, jax.lax.fori_loop(0, self.num_sweeps, sweep, b)


@dataclasses.dataclass(frozen=True)
class SweepsOfPieces(Entering):
    """ε of a piece of `width` steps, or of fewer at the end.

    The piece's errors start `num_sweeps` steps later and move one step back with each sweep. So the
    linearised steps of the later pieces are kept, in a ring that is written twice, one copy behind
    the other: any so many consecutive steps lie in one stretch of it.
    """

    steps: Linearised
    num_sweeps: int
    num_steps: int
    width: int

    @property
    def _size(self) -> int:
        """Of the ring: whole pieces."""
        return (-(-self.num_sweeps // self.width) + 1) * self.width

    def start(self, inputs, y_ct, own):
        one = jax.tree.map(lambda leaf: leaf[None], (inputs, y_ct))
        shapes = jax.eval_shape(self.steps.of, *one, own)
        zeros = lambda leaf: jnp.zeros((2 * self._size, *leaf.shape[1:]), leaf.dtype)
        return jax.tree.map(zeros, shapes)

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        piece = self.steps.of(inputs, ys_ct, own)
        numbers = jnp.arange(len(jax.tree.leaves(piece)[0]))

        def keep(ring, rows):
            for copy in (0, self._size):
                at = first % self._size + copy
                ring = jax.lax.dynamic_update_slice_in_dim(ring, rows, at, 0)
            return ring

        ring = jax.tree.map(keep, later, piece)

        def moved(by):
            at = (first + by) % self._size
            cut = lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, at, len(numbers))
            return jax.tree.map(cut, ring)

        def sweep(i, swept):
            by = self.num_sweeps - 1 - i
            of_each, b = moved(by)
            are_steps = first + by + numbers < self.num_steps
            return where(are_steps, add(b, self.steps.back(of_each, swept)), b)

        return ring, jax.lax.fori_loop(0, self.num_sweeps, sweep, moved(self.num_sweeps)[1])
