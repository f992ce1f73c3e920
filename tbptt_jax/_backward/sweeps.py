"""Errors at stride 1 where a step mixes them: each sweep takes all errors one step back."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from tbptt_jax._backward.entering import Entering
from tbptt_jax._backward.lag_weights import weighted
from tbptt_jax._pullback.linearised import Linearised
from tbptt_jax._step.time_axis import add, of_next_step, take, where, zero_rows


@dataclasses.dataclass(frozen=True)
class Sweeps(Entering):
    """ε of all steps at once; with lag weights Σ wᵢ₊₁ Aⁱ b, by the same sweeps."""

    steps: Linearised
    num_sweeps: int
    weights: jax.Array | None

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        of_each, b = self.steps.of(inputs, ys_ct, own)

        def sweep(i, errors):  # w b + A ε
            own = weighted(b, self.weights, self.num_sweeps - i)
            return add(own, self.steps.back(of_each, of_next_step(errors)))

        start = weighted(b, self.weights, self.num_sweeps + 1)
        return later, jax.lax.fori_loop(0, self.num_sweeps, sweep, start)


@dataclasses.dataclass(frozen=True)
class SweepsOfPieces(Entering):
    """ε of a piece of steps.

    The piece's errors start `num_sweeps` steps later and move one step back with each sweep. So the
    linearised steps of that reach are kept. The errors of the sequence's last steps, which would
    start beyond its end, are those of full BPTT where no lag has a weight: one walk finds them.
    """

    steps: Linearised
    num_sweeps: int
    num_steps: int
    weights: jax.Array | None

    def start(self, inputs, y_ct, own):
        """The linearised steps after the piece's last, and ε of the first of them."""
        inputs, ys_ct = jax.tree.map(lambda leaf: leaf[None], (inputs, y_ct))
        later = zero_rows(self.num_sweeps, take(self.steps.of(inputs, ys_ct, own), 0))
        return later, jax.tree.map(jnp.zeros_like, own)

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        later, after = later
        piece = self.steps.of(inputs, ys_ct, own)
        within_reach = jax.tree.map(lambda *both: jnp.concatenate(both), piece, later)
        swept = lambda: self._swept(within_reach, first)
        if self.weights is None:
            reaches_end = first + self.num_sweeps + 1 >= self.num_steps
            errors = jax.lax.cond(reaches_end, lambda: self._walked(piece, after), swept)
        else:
            errors = swept()
        later = jax.tree.map(lambda leaf: leaf[: self.num_sweeps], within_reach)
        return (later, take(errors, 0)), errors

    def _walked(self, piece, after):
        def back(after, one):
            (of_each, b), after = jax.tree.map(lambda leaf: leaf[None], (one, after))
            error = take(add(b, self.steps.back(of_each, after)), 0)
            return error, error

        return jax.lax.scan(back, after, piece, reverse=True)[1]

    def _swept(self, within_reach, first):
        size = len(jax.tree.leaves(within_reach)[0]) - self.num_sweeps

        def moved(by):
            cut = lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, by, size)
            return jax.tree.map(cut, within_reach)

        def sweep(i, swept):
            by = self.num_sweeps - 1 - i
            of_each, b = moved(by)
            b = weighted(b, self.weights, by + 1)
            are_steps = first + by + jnp.arange(size) < self.num_steps
            return where(are_steps, add(b, self.steps.back(of_each, swept)), b)

        start = weighted(moved(self.num_sweeps)[1], self.weights, self.num_sweeps + 1)
        return jax.lax.fori_loop(0, self.num_sweeps, sweep, start)
