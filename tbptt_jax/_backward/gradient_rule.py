"""The truncated gradient as the reverse-mode rule of a scan."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import checkify

from tbptt_jax._backward.adjoint import truncated_pullback
from tbptt_jax._pullback.linearity import check_linear
from tbptt_jax._pullback.of_steps import differentiated_once
from tbptt_jax._step.time_axis import executed, take
from tbptt_jax._step.vmappable import check_vmappable


def with_pullback(function, scan, step, schedule):
    """The scan of `step`, with `truncated_pullback` as its rule; `function` is for errors."""

    @jax.custom_vjp
    def run(constants, init, xs, weights):
        return scan(functools.partial(step, constants), init, xs)

    def forward(constants, init, xs, weights):
        of_step = functools.partial(differentiated_once(step), constants)
        last, ys, kept = scan.keeping_carries(of_step, init, xs, schedule.segment)
        check_step(function, step, constants, init, take(xs, 0))
        return (last, ys), (constants, kept, xs, weights)

    def backward(kept, errors):
        constants, kept, xs, weights = kept
        carry_ct, ys_ct = errors
        xs, ys_ct = executed((xs, ys_ct), scan.reverse)
        args = constants, kept, xs, carry_ct, ys_ct, weights
        constants_ct, init_ct, xs_ct = truncated_pullback(step, schedule, *args)
        nothing = jax.tree.map(jnp.zeros_like, weights)
        return constants_ct, init_ct, executed(xs_ct, scan.reverse), nothing

    run.defvjp(forward, backward)
    return run


def check_step(function: str, step: Any, constants: Any, carry: Any, x: Any) -> None:
    """Makes sure that all steps can be pulled back at once, for several losses at once.

    Args:
      function: name of the public function, for the error.
      step: `(constants, carry, x) -> (carry, y)`.
      constants: what it is given; only shapes and dtypes are used.
      carry: as `constants`.
      x: as `constants`.

    Raises:
      ValueError: they cannot.
    """
    one = jax.tree.map(lambda leaf: leaf[None], (carry, x))
    check_vmappable(function, jax.vmap(step, (None, 0, 0), axis_size=1), constants, *one)
    check_linear(function, step, constants, carry, x)


def checks_apart(scan, step, *args):
    """`step` without its `checkify` checks, and a function that makes those of all steps.

    `checkify` does not reach into a gradient rule, and what it has found before a function with
    such a rule takes the place of that rule's residuals (jax 0.12): call it after.
    """
    quiet = lambda *args: checkify.checkify(step, errors=checkify.user_checks)(*args)[1]
    constants, init, xs = args
    effects = lambda step: jax.make_jaxpr(step)(constants, init, take(xs, 0)).effects
    if effects(step) <= effects(quiet):
        return step, lambda: None

    def make_checks():
        constants, init, xs = jax.lax.stop_gradient(args)
        scan(functools.partial(step, constants), init, xs)

    return quiet, make_checks


def without_forward_mode(function, run, *args):
    """`run(*args)`; JAX's refusal of forward mode names the way out."""
    try:
        return run(*args)
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(
            f"{function}: forward-mode differentiation (jvp, jacfwd) is not possible, because a "
            "truncated gradient is not the derivative of the result; use jax.lax.scan."
        ) from None
