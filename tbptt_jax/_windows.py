"""The definition of truncated BPTT, vectorised: one horizon-long window per block of losses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._step.arguments import check_arrays, check_callable
from tbptt_jax._step.handed_on import partition
from tbptt_jax._step.per_step import described, losses_of_steps, pair
from tbptt_jax._step.schedule import check_schedule
from tbptt_jax._step.time_axis import take
from tbptt_jax._step.vmappable import refuse_bits_that_vmap_changes

NAME = "windowed_value_and_grad"
Params = TypeVar("Params")
Carry = TypeVar("Carry")
Xs = TypeVar("Xs")


def windowed_value_and_grad(
    cell: Callable[[Params, Carry, Xs], tuple[Carry, Any]],
    step_loss_fn: Callable[[Params, Any, Any], jax.Array],
    *,
    horizon: int | None,
    stride: int = 1,
) -> Callable[[Params, Carry, Xs, Any], tuple[tuple[jax.Array, Carry], tuple[Params, Carry, Xs]]]:
    """Truncated BPTT straight from its definition: each window is run and differentiated alone.

    For every block of `stride` losses, the `horizon` steps that end with the block's last are run
    again, all windows side by side; a stop_gradient mask over the window's steps cuts its first
    carry, unless that is `init` itself:

        ∇ Σₜ ℓₜ = Σ_blocks ∇ Σ_{t in block} ℓₜ(θ, init, x; constant carry before the window)

    Leaves of the carry that every step hands on unchanged are parameters, as in `truncated_scan`.

    It costs `horizon` / `stride` times the work and the memory of the sequence, forward as well.
    `truncated_scan` gives the same gradients at less cost; this is what it is tested against.

    Args:
      cell: pure step function, `(params, carry, x) -> (carry, y)`.
      step_loss_fn: pure loss of one step, `(params, y, target) -> []`, a scalar.
      horizon: how many steps back an error reaches, its own step included; a static integer >= 1,
        or None for no truncation.
      stride: how many consecutive losses share one window; a static integer in 1..horizon.

    Returns:
      A function `(params, init, xs, targets) -> ((loss, carry), grads)`, for `jax.jit`: `xs` and
      `targets` are [T, ...]; `loss` is the sum of the T losses; `carry` is the last step's;
      `grads` are the gradients for `(params, init, xs)`, of dtype float0 for integer and key
      leaves.

    Raises:
      ValueError, TypeError: for horizon and stride, as `truncated_scan` does.
      ValueError: the function that is returned, `windowed_value_and_grad: xs and targets must be
        [T, ...] with one T >= 1, got float32[4] and float32[3].`
      TypeError: the function that is returned, where a loss is not a real scalar.
      ValueError: the function that is returned, where `cell` draws from `rbg` keys, whose bits vmap
        changes, or keeps a value that was computed in an earlier trace of it, or reads or updates a
        mutable array (`jax.new_ref`).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import windowed_value_and_grad
      >>> step = lambda w, c, x: (w * c + x, w * c + x)
      >>> square = lambda w, y, target: (y - target) ** 2
      >>> run = windowed_value_and_grad(step, square, horizon=2)
      >>> (loss, carry), grads = run(0.5, 0.0, jnp.ones(3), jnp.zeros(3))
      >>> print(loss, carry)
      6.3125 1.75

    References:
      Williams and Peng, 1990. Sutskever, 2013, section 2.8.6.
    """
    horizon, stride = check_schedule(NAME, horizon, stride)
    check_callable(NAME, "cell", cell, "params", "carry", "x")
    check_callable(NAME, "step_loss_fn", step_loss_fn, "params", "y", "target")

    def value_and_grad(params, init, xs, targets):
        check_arrays(NAME, params=params, init=init, xs=xs, targets=targets)
        _check_steps(xs, targets)

        def losses_fn(params, init, xs):
            carry, ys = _outputs_of_windows(cell, params, init, xs, horizon, stride)
            return losses_of_steps(NAME, step_loss_fn, params, ys, targets), carry

        losses, pull, carry = jax.vjp(losses_fn, params, init, xs, has_aux=True)
        return (jnp.sum(losses), carry), pull(jnp.ones_like(losses))

    return value_and_grad


def _check_steps(xs, targets):
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves((xs, targets))}
    if not jax.tree.leaves(xs) or len(sizes) != 1 or sizes <= {(), (0,)}:
        raise ValueError(
            f"{NAME}: xs and targets must be [T, ...] with one T >= 1, got {described(xs)} and "
            f"{described(targets)}."
        )


def _outputs_of_windows(cell, params, init, xs, horizon, stride):
    """The last carry and the outputs [T, ...], each from the window of its own block."""
    f = lambda carry, x: pair(NAME, "cell", "(carry, y)", cell(params, carry, x))
    parts = partition(NAME, f, init, xs)
    step = parts.without(f)
    num_steps = jax.tree.leaves(xs)[0].shape[0]
    width = num_steps if horizon is None else min(horizon, num_steps)
    steps = np.arange(num_steps)
    block_end = np.minimum(steps[::stride] + stride, num_steps) - 1
    start = np.maximum(block_end - width + 1, 0)
    passes = (start[:, None] == 0) | (np.arange(width) > 0)

    def window_step(carry, inputs):
        x, passes = inputs
        carry = jax.tree.map(lambda c: jax.lax.select(passes, c, jax.lax.stop_gradient(c)), carry)
        return step(carry, x)

    first = parts.rest(init), take(xs, 0)
    refuse_bits_that_vmap_changes(NAME, jax.make_jaxpr(step)(*first))
    last, entering = jax.lax.scan(
        lambda c, x: (jax.lax.stop_gradient(step(c, x)[0]), c), parts.rest(init), xs
    )
    windows = take(xs, start[:, None] + np.arange(width))
    _, ys = jax.vmap(functools.partial(jax.lax.scan, window_step))(
        take(entering, start), (windows, passes)
    )
    block = steps // stride
    return parts.whole(last, init), jax.tree.map(lambda leaf: leaf[block, steps - start[block]], ys)
