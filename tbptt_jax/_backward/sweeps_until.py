"""Errors at stride 1 by sweeps that end as soon as little is left to carry back."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from tbptt_jax._backward.entering import Entering
from tbptt_jax._backward.norms import scale_of
from tbptt_jax._pullback.linearised import Linearised
from tbptt_jax._step.time_axis import add, of_next_step


@dataclasses.dataclass(frozen=True)
class SweepsUntil(Entering):
    """ε of all steps at once, Σ Aⁱ b up to the first i where ‖Aⁱ b‖ ≤ tol ‖Σ‖.

    Reverse mode does not differentiate a while loop. With `for_derivatives` all sweeps are run, and
    those after the end change nothing.
    """

    steps: Linearised
    num_sweeps: int
    tol: float
    for_derivatives: bool

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        of_each, b = self.steps.of(inputs, ys_ct, own)
        scale = scale_of(jax.lax.stop_gradient(b))  # so that squares of small numbers are not zero

        def is_left(errors):
            travelling, arrived = (_squared(part, scale) for part in errors)
            is_little = travelling <= self.tol**2 * arrived  # not where one is nan
            return ~is_little | jnp.isinf(arrived)

        def sweep(errors):
            travelling, arrived = errors
            travelling = self.steps.back(of_each, of_next_step(travelling))
            return travelling, add(arrived, travelling)

        def sweep_or_stay(errors, _):
            goes_on = is_left(jax.lax.stop_gradient(errors))
            either = lambda new, old: jnp.where(goes_on, new, old)
            return jax.tree.map(either, sweep(errors), errors), None

        if self.for_derivatives:
            errors, _ = jax.lax.scan(sweep_or_stay, (b, b), length=self.num_sweeps)
        else:
            goes_on = lambda state: (state[0] < self.num_sweeps) & is_left(state[1])
            one_more = lambda state: (state[0] + 1, sweep(state[1]))
            _, errors = jax.lax.while_loop(goes_on, one_more, (0, (b, b)))
        return later, errors[1]


def _squared(tree, scale):
    """The squared L2 norm of the tree times a scale: one pass, where `l2_of` takes two."""
    of_leaf = lambda leaf: jnp.sum(jnp.square(jnp.abs(leaf).astype(float) * scale))
    return sum(of_leaf(leaf) for leaf in jax.tree.leaves(tree))
