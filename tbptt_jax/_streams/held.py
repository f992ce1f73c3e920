"""Steps before a chunk, where a carry is the state's and not that of the step before."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from tbptt_jax._step.per_step import check_carry, pair


def holding(step, start):
    """The step from the carry that is held: `start`, or where all are stored the step's own."""

    def step_from_held(carry, inputs):
        begins, holds, stored, x = inputs
        held = start if stored is None else stored
        carry = jax.tree.map(functools.partial(_hold, begins, holds), held, carry)
        left, y = pair("stream_scan", "f", "(carry, y)", step(carry, x))
        check_carry("stream_scan", "f", left, carry)
        return left, (carry, y)

    return step_from_held


@jax.custom_jvp
def _hold_float(begins, holds, held, carry):
    return jax.lax.select(holds, held, carry)


@_hold_float.defjvp
def _hold_float_derivative(primals, tangents):
    return _hold_float(*primals), jax.lax.select(primals[0], *tangents[2:])


def _hold(begins, holds, held, carry):
    """`held` where set, else `carry`; the derivative is `carry`'s, except at the first step."""
    if jnp.issubdtype(carry.dtype, jnp.inexact):
        return _hold_float(begins, holds, held, carry)
    return jax.lax.select(holds, held, carry)
