"""Errors at stride 1 where a step mixes them: each sweep takes all errors one step back."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from tbptt_jax._entering import Entering
from tbptt_jax._linearised import Linearised
from tbptt_jax._time_axis import add, of_next_step, take, where


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
    the other: any so many consecutive steps lie in one stretch of it. The errors of the sequence's
    last steps, which would start beyond its end, are those of full BPTT: one walk finds them.
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
        """The ring, and ε of the step after the piece's last."""
        one = jax.tree.map(lambda leaf: leaf[None], (inputs, y_ct))
        shapes = jax.eval_shape(self.steps.of, *one, own)
        zeros = lambda leaf: jnp.zeros((2 * self._size, *leaf.shape[1:]), leaf.dtype)
        return jax.tree.map(zeros, shapes), jax.tree.map(jnp.zeros_like, own)

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        ring, after = later
        piece = self.steps.of(inputs, ys_ct, own)
        ring = jax.tree.map(functools.partial(self._keep, first), ring, piece)
        errors = jax.lax.cond(
            first + self.num_sweeps + 1 >= self.num_steps,
            lambda: self._walked(piece, after),
            lambda: self._swept(ring, first, len(jax.tree.leaves(piece)[0])),
        )
        return (ring, take(errors, 0)), errors

    def _keep(self, first, ring, rows):
        for copy in (0, self._size):
            at = first % self._size + copy
            ring = jax.lax.dynamic_update_slice_in_dim(ring, rows, at, 0)
        return ring

    def _walked(self, piece, after):
        def back(after, one):
            of_one, b = one
            errors = add(b, self._back_one(of_one, after))
            return errors, errors

        return jax.lax.scan(back, after, piece, reverse=True)[1]

    def _back_one(self, of_one, error):
        one = jax.tree.map(lambda leaf: leaf[None], (of_one, error))
        return take(self.steps.back(*one), 0)

    def _swept(self, ring, first, size):
        def moved(by):
            at = (first + by) % self._size
            return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, at, size), ring)

        def sweep(i, swept):
            by = self.num_sweeps - 1 - i
            of_each, b = moved(by)
            are_steps = first + by + jnp.arange(size) < self.num_steps
            return where(are_steps, add(b, self.steps.back(of_each, swept)), b)

        return jax.lax.fori_loop(0, self.num_sweeps, sweep, moved(self.num_sweeps)[1])
