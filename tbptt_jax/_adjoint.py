"""Carrying errors back: sweeps (stride 1) and chains (stride > 1).

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
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._linear import prepare

# What one sweep takes on a CPU: at least so many numbers of the carry's largest leaf, to be worth a
# call; so many rows, for products at full speed; so many steps, since of a window that moves by one
# step all others are in the cache.
WINDOW_NUMBERS = 2**15
WINDOW_ROWS = 256
WINDOW_STEPS = 8


def truncated_pullback(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    constants: Any,
    carries: Any,
    xs: Any,
    carry_error: Any,
    ys_error: Any,
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
      carry_error: [...], the cotangent of the last carry.
      ys_error: [T, ...], the cotangent of each output.
      num_steps: T.
      horizon: how many steps an error travels, its own included; 1 <= horizon < T.
      stride: how many consecutive losses share one pass; 1 <= stride <= horizon.

    Returns:
      The cotangents of `constants`, of the initial carry, and of `xs`.
    """
    ys_error = inexact(ys_error)
    errors = jax.tree.map(
        lambda carry, error: jnp.zeros_like(carry).at[-1].set(error),
        inexact(carries),
        inexact(carry_error),
    )
    if horizon > 1 and jax.tree.leaves(errors):
        entering = functools.partial(_entering_errors, step, horizon - 1, stride)
        entering = _with_windows_on_cpu(entering, _window_width(errors))
        entering = entering(constants, (carries, xs), inexact(carry_error), ys_error)
        errors = jax.tree.map(lambda leave, enter: leave.at[:-1].set(enter[1:]), errors, entering)
    all_steps = jax.vmap(step, (None, 0, 0), axis_size=num_steps)
    constants_error, _, xs_error = pullback(all_steps, constants, carries, xs)((errors, ys_error))
    first_step = lambda carry: step(constants, carry, take(xs, 0))
    (init_error,) = pullback(first_step, take(carries, 0))(take((errors, ys_error), 0))
    return constants_error, init_error, xs_error


def _entering_errors(step, num_pulls, stride, width, constants, inputs, carry_error, ys_error):
    """ε: what the errors come to on the carry that enters each step, `num_pulls` steps at most.

    `inputs` are the carry and the input of each step; `width` steps are worked on at a time, or all
    where it is None.
    """

    def pull(result, constants, inputs, error):
        carry, x = inputs
        return pullback(lambda carry: step(constants, carry, x)[result], carry)(error)[0]

    of_all, of_one, apply = prepare(
        functools.partial(pull, 0), constants, take(inputs, 0), carry_error
    )

    def ready(inputs_and_error):
        inputs, y_error = inputs_and_error
        return of_one(inputs), pull(1, constants, inputs, y_error)

    if width is None:
        of_each, own = jax.vmap(ready)((inputs, ys_error))
    else:
        of_each, own = jax.lax.map(ready, (inputs, ys_error), batch_size=width)
    at_last = apply(of_all, take(of_each, -1), carry_error)
    own = jax.tree.map(lambda own, error: own.at[-1].add(error), own, at_last)
    back = jax.vmap(functools.partial(apply, of_all))
    if stride > 1:
        return _chains(back, of_each, own, num_pulls - 1, stride)
    if width is None:
        return _sweeps(back, of_each, own, num_pulls - 1)
    return _sweep_windows(back, of_each, own, num_pulls - 1, width)


def _with_windows_on_cpu(fun, width):
    """`fun(width, ...)` on a CPU, `fun(None, ...)` elsewhere and for derivatives."""
    all_at_once = functools.partial(fun, None)
    if width is None:
        return all_at_once

    @jax.custom_jvp
    def either(*args):
        by_windows = functools.partial(fun, width)
        return jax.lax.platform_dependent(*args, cpu=by_windows, default=all_at_once)

    @either.defjvp
    def derivative(primals, tangents):
        return jax.jvp(all_at_once, primals, tangents)

    return either


def _sweeps(back, of_each, own, num_sweeps):
    """ε ← b;  so many times:  ε ← b + A ε.  A sweep carries the errors of all steps one back."""
    sweep = lambda _, errors: _add(own, back(of_each, of_next_step(errors)))
    return jax.lax.fori_loop(0, num_sweeps, sweep, own)


def _sweep_windows(back, of_each, own, num_sweeps, width):
    """All sweeps of a few steps, then those of a few others: they stay in a CPU's cache.

    A window of errors moves one step back with each sweep, and arrives with its last. Those that
    would have to start beyond the last step start at the end, with sweeps that do not move. The
    errors take the place of the steps' own, which no later window reads.
    """
    num_steps = len(jax.tree.leaves(own)[0])
    num_windows = -(-num_steps // width)
    rightmost = num_steps - width

    def window(start):
        cut = lambda x: jax.lax.dynamic_slice_in_dim(x, start, width)
        return functools.partial(jax.tree.map, cut)

    def one_window(i, errors):
        first = jnp.maximum(rightmost - (num_windows - 1 - i) * width, 0)
        num_new = jnp.where(first == 0, num_steps - (num_windows - 1) * width, width)
        moves = jnp.minimum(num_sweeps, rightmost - first)
        stays = jnp.minimum(num_sweeps - moves, width - 1)

        def sweep(start, swept):
            at = window(start)
            return _add(at(errors), back(at(of_each), swept))

        swept = window(first + moves)(errors)
        stay = lambda _, swept: sweep(rightmost, of_next_step(swept))
        swept = jax.lax.fori_loop(0, stays, stay, swept)
        move = lambda j, swept: sweep(first + moves - 1 - j, swept)
        swept = jax.lax.fori_loop(0, moves, move, swept)
        swept = _where(jnp.arange(width) < num_new, swept, window(first)(errors))
        put = lambda e, s: jax.lax.dynamic_update_slice_in_dim(e, s, first, 0)
        return jax.tree.map(put, errors, swept)

    return jax.lax.fori_loop(0, num_windows, one_window, own)


def of_next_step(errors):
    """At each step the error of the next, and zero at the last."""
    return jax.tree.map(lambda e: jnp.concatenate([e[1:], jnp.zeros_like(e[:1])]), errors)


def _window_width(errors):
    """How many steps a window has on a CPU, or None where all are in one."""
    shape = max((leaf.shape for leaf in jax.tree.leaves(errors)), key=math.prod)
    num_steps, numbers = shape[0], math.prod(shape[1:])
    if numbers == 0:
        return None
    rows = numbers // math.prod(shape[1:][-1:])
    width = max(WINDOW_NUMBERS // numbers, -(-WINDOW_ROWS // rows), WINDOW_STEPS)
    num_windows = -(-num_steps // width)
    return -(-num_steps // num_windows) if num_windows > 1 else None


def _chains(back, of_each, own, num_pulls, stride):
    """A chain per block walks back from the block's end; all take their steps in lock-step.

    A chain picks up the errors of its own block's steps on its way. Errors of several chains at one
    step add up, since the pullback is linear in them.
    """
    num_steps = len(jax.tree.leaves(own)[0])
    first = np.arange(0, num_steps, stride)
    end = np.minimum(first + stride, num_steps) - 1

    def walk(i, state):
        chains, errors = state
        reached = end - i
        at = jnp.maximum(reached, 0)
        chains = back(take(of_each, at), chains)
        nothing = jax.tree.map(jnp.zeros_like, chains)
        chains = _add(chains, _where(reached >= first, take(own, at), nothing))
        chains = _where(reached >= 0, chains, nothing)
        return chains, jax.tree.map(lambda e, c: e.at[at].add(c), errors, chains)

    chains = take(own, end)
    errors = jax.tree.map(lambda e, c: jnp.zeros_like(e).at[end].set(c), own, chains)
    return jax.lax.fori_loop(1, num_pulls + 1, walk, (chains, errors))[1]


def pullback(fun, *args):
    """`jax.vjp` between leaves that carry errors: errors of results -> errors of arguments."""

    def inexact_fun(*inexact_args):
        return inexact(fun(*map(_merge, inexact_args, args)))

    return jax.vjp(inexact_fun, *map(inexact, args))[1]


def inexact(tree):
    """The floating-point and complex leaves; None in place of the others."""
    return jax.tree.map(
        lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else None, tree
    )


def _merge(inexact, tree):
    """`tree` with its floating-point and complex leaves replaced by those of `inexact`."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, inexact, tree, is_leaf=lambda x: x is None
    )


def take(tree, at):
    """Rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[at], tree)


def _where(mask, tree, other):
    """Rows of `tree` where the mask is set, and of `other` elsewhere."""

    def select(leaf, other):
        return jnp.where(mask.reshape(mask.shape + (1,) * (leaf.ndim - 1)), leaf, other)

    return jax.tree.map(select, tree, other)


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)
