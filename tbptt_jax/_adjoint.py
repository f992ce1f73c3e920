"""Carrying errors back: the series Σ Aⁱ b (stride 1), and chains (stride > 1).

Steps are counted in execution order and time is the leading axis of every leaf. Only
floating-point and complex leaves carry errors; an error tree holds None in place of the others.

The transposed recurrence is linear. Let εₛ be the error on the carry that enters step s, Jₛ the
derivative of the carry that leaves it by the one that enters, and bₛ what the errors of step s
itself, that of its output and at the last step that of the carry, come to when pulled back through
the step. Then full BPTT solves εₛ = bₛ + Jₛᵀ εₛ₊₁, and the truncated error is, at stride 1, the
truncated Neumann series

    ε = Σ_{i < h-1} Aⁱ b,   (A ε)ₛ = Jₛᵀ εₛ₊₁

since bₛ has spent one of its h steps on its own, and the parameters' step takes another. A acts on
all steps at once: it is the pullback of the vmapped step, shifted by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._cpu_tiles import on_cpu, on_cpu_in_tiles, sum_over_tiles, sweep_in_tiles
from tbptt_jax._elementwise import elementwise, errors_by_windows
from tbptt_jax._pullbacks import inexact, pullback, split
from tbptt_jax._simplified import carry_pullbacks
from tbptt_jax._time_axis import add, of_next_step, take, where


def truncated_pullback(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    constants: Any,
    carries: Any,
    xs: Any,
    carry_ct: Any,
    ys_ct: Any,
    *,
    num_steps: int,
    horizon: int,
    stride: int,
) -> tuple[Any, Any, Any]:
    """Pulls the cotangents of a scan's results back to its inputs, `horizon` steps at most.

    Args:
      step: pure and vmappable function `(constants, carry, x) -> (carry, y)`.
      constants: what every step reads.
      carries: [T, ...], the carry that enters each step.
      xs: [T, ...], the input of each step.
      carry_ct: [...], the cotangent of the last carry.
      ys_ct: [T, ...], the cotangent of each output.
      num_steps: T.
      horizon: how many steps an error reaches back, its own included; 1 <= horizon < T.
      stride: how many consecutive losses share one pass; 1 <= stride <= horizon.

    Returns:
      The cotangents of `constants`, of the initial carry, and of `xs`.
    """
    carry_ct, ys_ct = inexact((carry_ct, ys_ct))
    leaving = jax.tree.map(
        lambda carry, error: jnp.zeros_like(carry).at[-1].set(error), inexact(carries), carry_ct
    )
    if horizon > 1 and jax.tree.leaves(leaving):
        first = constants, take(carries, 0), take(xs, 0)
        entry_by_entry = isinstance(num_steps, int) and elementwise(step, *first)
        if entry_by_entry:
            entering = functools.partial(
                errors_by_windows, step, entry_by_entry, horizon - 1, stride
            )
            entering = on_cpu(functools.partial(entering, False), functools.partial(entering, True))
        else:

            def entering_errors(width, *args):
                return _entering_errors(step, horizon - 1, stride, width, *args)

            entering = on_cpu_in_tiles(entering_errors, leaving)
        entering = entering(constants, (carries, xs), carry_ct, ys_ct)
        leaving = jax.tree.map(lambda leave, enter: leave.at[:-1].set(enter[1:]), leaving, entering)
    pull = on_cpu_in_tiles(functools.partial(_to_inputs, step, num_steps), xs)
    constants_ct, xs_ct = pull(constants, carries, xs, leaving, ys_ct)
    first_step = lambda carry: step(constants, carry, take(xs, 0))
    (init_ct,) = pullback(first_step, take(carries, 0))(take((leaving, ys_ct), 0))
    return constants_ct, init_ct, xs_ct


def _to_inputs(step, num_steps, width, constants, *of_steps):
    """The cotangents of constants and inputs from the errors that leave each step."""

    def pull(*args):
        carries, xs, leaving, ys_ct, num_steps = args
        all_steps = jax.vmap(step, (None, 0, 0), axis_size=num_steps)
        constants_ct, _, xs_ct = pullback(all_steps, constants, carries, xs)((leaving, ys_ct))
        return constants_ct, xs_ct

    if width is None or width == num_steps:
        return pull(*of_steps, num_steps)
    return sum_over_tiles(pull, of_steps, num_steps, width)


def _entering_errors(step, num_pulls, stride, width, constants, inputs, carry_ct, ys_ct):
    """ε: what the errors come to on the carry that enters each step, `num_pulls` steps at most.

    `inputs` are the carry and the input of each step; `width` is that of a tile, None for no tiles.
    """

    def pullbacks(inputs):
        carry, x = inputs
        return carry_pullbacks(lambda carry: step(constants, carry, x), carry)

    jacobian = split(lambda inputs: pullbacks(inputs)[0], inputs)
    back_one = lambda of_one, error: jacobian.apply(of_one, error)[0]  # Jₛᵀ

    def linearised(inputs_and_error):
        inputs, y_ct = inputs_and_error
        of_new_carry, of_output = pullbacks(inputs)
        return jacobian.own(of_new_carry), of_output(y_ct)[0]

    at_a_time = functools.partial(jax.lax.map, linearised, batch_size=width)
    of_each, b = (jax.vmap(linearised) if width is None else at_a_time)((inputs, ys_ct))
    of_last = back_one(take(of_each, -1), carry_ct)
    b = jax.tree.map(lambda b, error: b.at[-1].add(error), b, of_last)
    back = jax.vmap(back_one)
    if stride > 1:
        return _chains(back, of_each, b, num_pulls - 1, stride)
    if width is not None:
        return sweep_in_tiles(back, of_each, b, num_pulls - 1, width)
    sweep = lambda _, errors: add(b, back(of_each, of_next_step(errors)))  # ε ← b + A ε
    return jax.lax.fori_loop(0, num_pulls - 1, sweep, b)


def _chains(back, of_each, b, num_pulls, stride):
    """A chain per block walks back from the block's end; all take their steps in lock-step.

    A chain picks up the errors of its own block's steps on its way. Errors of several chains at one
    step add up, since the pullback is linear in them.
    """
    num_steps = len(jax.tree.leaves(b)[0])
    first = np.arange(0, num_steps, stride)
    end = np.minimum(first + stride, num_steps) - 1

    def walk(i, state):
        chains, errors = state
        reached = end - i
        at = jnp.maximum(reached, 0)
        chains = back(take(of_each, at), chains)
        nothing = jax.tree.map(jnp.zeros_like, chains)
        chains = add(chains, where(reached >= first, take(b, at), nothing))
        chains = where(reached >= 0, chains, nothing)
        return chains, jax.tree.map(lambda e, c: e.at[at].add(c), errors, chains)

    chains = take(b, end)
    errors = jax.tree.map(lambda e, c: jnp.zeros_like(e).at[end].set(c), b, chains)
    return jax.lax.fori_loop(1, num_pulls + 1, walk, (chains, errors))[1]
