"""A forward pass of a cell, and what the gradient of its loss is made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tbptt_jax._pullback.linearity import check_linear
from tbptt_jax._pullback.of_steps import inexact, merge, pullback
from tbptt_jax._step.arguments import check_arrays, check_callable
from tbptt_jax._step.handed_on import partition
from tbptt_jax._step.per_step import pair, real_scalar
from tbptt_jax._step.time_axis import take
from tbptt_jax._step.vmappable import check_vmappable


class Backward(NamedTuple):
    """A forward pass, and what its gradient is made of.

    Attributes:
      step: `(params, carry, x) -> (carry, y)`, without the leaves of the carry that are handed on.
      params: as arrays.
      xs: [T, ...], inputs.
      carries: [T, ...], the carry that enters each step.
      own: the gradient of the loss for the parameters that it reads itself.
      ys_ct: [T, ...], the error of each output.
      pull: `(carry_cts, ys_ct)`, errors on what leaves each step, -> those of `params`, `carries`
        and `xs`, summed over steps for the first.
    """

    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    params: Any
    xs: Any
    carries: Any
    own: Any
    ys_ct: Any
    pull: Callable[[Any], Any]


def backward(
    function: str,
    cell: Callable,
    sequence_loss_fn: Callable,
    params: Any,
    init: Any,
    xs: Any,
    targets: Any,
) -> Backward:
    """Runs a cell forward; the arguments are checked, and `function` named where they are wrong."""
    check_callable(function, "cell", cell, "params", "carry", "x")
    check_callable(function, "sequence_loss_fn", sequence_loss_fn, "params", "ys", "targets")
    check_arrays(function, params=params, xs=xs)
    params = jax.tree.map(jnp.asarray, params)
    _check_lengths(function, params, xs)

    def checked(params, carry, x):
        return pair(function, "cell", "(carry, y)", cell(params, carry, x))

    without, rest, _ = partition(function, functools.partial(checked, params), init, xs)
    step = lambda params, carry, x: without(functools.partial(checked, params))(carry, x)

    def keep_carry(carry, x):
        new_carry, y = step(params, carry, x)
        return new_carry, (carry, y)

    carries, ys = jax.lax.scan(keep_carry, rest(init), xs)[1]
    own, ys_ct = _loss_gradient(function, sequence_loss_fn, params, ys, targets)
    all_steps = jax.vmap(step, (None, 0, 0))
    check_vmappable(function, all_steps, params, carries, xs)
    check_linear(function, step, params, rest(init), take(xs, 0))
    pull = pullback(all_steps, params, carries, xs)
    return Backward(step, params, xs, carries, own, ys_ct, pull)


def _check_lengths(function, params, xs):
    """Something to sweep over, and something to take the gradient for."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(xs)]
    if not all(shape and shape[0] for shape in shapes) or len({shape[0] for shape in shapes}) != 1:
        raise ValueError(f"{function}: xs must be [T, ...] with one T >= 1, got {shapes}.")
    if not jax.tree.leaves(inexact(params)):
        raise ValueError(f"{function}: params must have a floating-point leaf, got none.")


def _loss_gradient(function, sequence_loss_fn, params, ys, targets):
    """The gradient of the loss for what it reads itself: the parameters and the outputs."""

    def loss(trained):
        params_and_ys = merge(trained, (params, ys))
        return real_scalar(function, sequence_loss_fn(*params_and_ys, targets), "sequence_loss_fn")

    return jax.grad(loss)(inexact((params, ys)))
