"""Errors at stride 1 by sweeps that end as soon as little is left to carry back."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from tbptt_jax._entering import Entering
from tbptt_jax._linearised import Linearised
from tbptt_jax._norms import l2_of
from tbptt_jax._time_axis import add, of_next_step


@dataclasses.dataclass(frozen=True)
class SweepsUntil(Entering):
    """ε of all steps at once, Σ Aⁱ b up to the first i where ‖Aⁱ b‖ ≤ tol ‖Σ‖.

    A while loop, which reverse mode does not differentiate. With `for_derivatives` all sweeps are
    run, and those after the end change nothing.
    """

    steps: Linearised
    num_sweeps: int
    tol: float
    for_derivatives: bool

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        of_each, b = self.steps.of(inputs, ys_ct, own)

        def goes_on(errors):
            travelling, arrived = errors
            return l2_of(travelling) > self.tol * l2_of(arrived)  # not where they are nan

        def sweep(errors):
            travelling, arrived = errors
            travelling = self.steps.back(of_each, of_next_step(travelling))
            return travelling, add(arrived, travelling)

        def sweep_or_stay(errors, _):
            is_on = goes_on(jax.lax.stop_gradient(errors))
            either = lambda new, old: jnp.where(is_on, new, old)
            return jax.tree.map(either, sweep(errors), errors), None

        if self.for_derivatives:
            errors = jax.lax.scan(sweep_or_stay, (b, b), length=self.num_sweeps)[0]
        else:
            is_left = lambda state: (state[0] < self.num_sweeps) & goes_on(state[1])
            one_more = lambda state: (state[0] + 1, sweep(state[1]))
            errors = jax.lax.while_loop(is_left, one_more, (0, (b, b)))[1]
        return later, errors[1]
