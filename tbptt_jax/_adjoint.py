"""Carrying errors back: sweeps (stride 1) and chains (stride > 1).

Steps are counted in execution order and time is the leading axis of every leaf. Only
floating-point and complex leaves carry errors; an error tree holds None in place of the others.

The transposed recurrence is linear. With (A v)ₛ = Jₛ₊₁ᵀ vₛ₊₁, E the cotangent of the last carry and
bₛ that of the output of step s+1 pulled back through step s+1, the error on the carry that leaves
each step is, at stride 1, the truncated Neumann series

    δ = Σ_{i < h} Aⁱ E + Σ_{i < h-1} Aⁱ b

since an output's error has spent one of its h steps on its own. A acts on all steps at once: it is
the pullback of the vmapped step, shifted by one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


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
    unroll: int | bool,
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
      unroll: as in `jax.lax.scan`, for the loop that carries errors back.

    Returns:
      The cotangents of `constants`, of the initial carry, and of `xs`.
    """
    carry_error, ys_error = _inexact(carry_error), _inexact(ys_error)

    def all_steps(constants, carries, xs):
        return jax.vmap(step, (None, 0, 0), axis_size=num_steps)(constants, carries, xs)

    if stride == 1:
        on_carries = functools.partial(all_steps, constants, xs=xs)
        errors = _sweeps(on_carries, carries, carry_error, ys_error, horizon, unroll)
    else:
        bound = functools.partial(step, constants)
        counts = num_steps, horizon, stride, unroll
        errors = _chains(bound, carries, xs, carry_error, ys_error, *counts)
    pull = _pullback(all_steps, constants, carries, xs)
    constants_error, carries_error, xs_error = pull((errors, ys_error))
    return constants_error, jax.tree.map(lambda leaf: leaf[0], carries_error), xs_error


def _sweeps(on_carries, carries, carry_error, ys_error, horizon, unroll):
    """δ ← E;  h - 1 times:  δ ← E + b + A δ.  A sweep carries the errors of all steps one back."""
    pull = _pullback(on_carries, carries)
    pull_carry = _pullback(lambda carries: on_carries(carries)[0], carries)

    def one_back(errors):
        return jax.tree.map(lambda e: jnp.concatenate([e[1:], jnp.zeros_like(e[:1])]), errors)

    last = _at_last_step(carries, carry_error)
    nothing = jax.tree.map(jnp.zeros_like, last)
    source = _add(last, one_back(*pull((nothing, ys_error))))

    def sweep(_, errors):
        return _add(source, one_back(*pull_carry(errors)))

    return jax.lax.fori_loop(0, horizon - 1, sweep, last, unroll=unroll)


def _chains(step, carries, xs, carry_error, ys_error, num_steps, horizon, stride, unroll):
    """A chain per block walks back from the block's end; all take their h - 1 steps in lock-step.

    A chain picks up the errors of its own block's outputs on its way, in the first `stride` steps.
    Errors of several chains at one step add up, since the pullback is linear in them.
    """
    first = np.arange(0, num_steps, stride)
    end = np.minimum(first + stride, num_steps) - 1

    def walk(i, state):
        chains, errors = state
        reached = end - i
        at = jnp.maximum(reached, 0)
        own = _where(reached >= first, _take(ys_error, at), 0)
        xs_at = _take(xs, at)
        pull = _pullback(
            lambda carries: jax.vmap(step, axis_size=len(end))(carries, xs_at), _take(carries, at)
        )
        (chains,) = pull((chains, own))
        chains = _where(reached > 0, chains, 0)
        before = jnp.maximum(reached - 1, 0)
        return chains, jax.tree.map(lambda e, c: e.at[before].add(c), errors, chains)

    last = _at_last_step(carries, carry_error)
    state = _take(last, end), last
    return jax.lax.fori_loop(0, horizon - 1, walk, state, unroll=unroll)[1]


def _at_last_step(carries, carry_error):
    """E: the last carry's error at the last step, zeros at the others."""
    return jax.tree.map(
        lambda carry, error: jnp.zeros_like(carry).at[-1].set(error), _inexact(carries), carry_error
    )


def _pullback(fun, *args):
    """`jax.vjp` between leaves that carry errors: errors of results -> errors of arguments."""

    def inexact_fun(*inexact_args):
        return _inexact(fun(*map(_merge, inexact_args, args)))

    return jax.vjp(inexact_fun, *map(_inexact, args))[1]


def _inexact(tree):
    """The floating-point and complex leaves; None in place of the others."""
    return jax.tree.map(
        lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else None, tree
    )


def _merge(inexact, tree):
    """`tree` with its floating-point and complex leaves replaced by those of `inexact`."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, inexact, tree, is_leaf=lambda x: x is None
    )


def _take(tree, at):
    return jax.tree.map(lambda leaf: leaf[at], tree)


def _where(mask, tree, other):
    def select(leaf):
        return jnp.where(mask.reshape(mask.shape + (1,) * (leaf.ndim - 1)), leaf, other)

    return jax.tree.map(select, tree)


def _add(a, b):
    return jax.tree.map(jnp.add, a, b)
