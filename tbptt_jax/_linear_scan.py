"""`truncated_linear_scan`: first-order linear recurrences, forward in sequence or in parallel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tbptt_jax._backward.adjoint import Schedule, truncated_pullback
from tbptt_jax._backward.cpu_tiles import on_cpu
from tbptt_jax._backward.gradient_rule import without_forward_mode
from tbptt_jax._step.arguments import as_array, shown
from tbptt_jax._step.schedule import check_schedule

NAME = "truncated_linear_scan"


def truncated_linear_scan(
    a: ArrayLike,
    b: ArrayLike,
    init: ArrayLike,
    *,
    horizon: int | None,
    stride: int = 1,
    parallel: bool | None = None,
) -> tuple[jax.Array, jax.Array]:
    """A first-order linear recurrence whose gradient is truncated backpropagation through time.

        xₛ = aₛ xₛ₋₁ + bₛ,   s = 0..T-1,   x₋₁ = init,   entry by entry

    Its result and its gradient are those of

        truncated_scan(lambda x, ab: (ab[0] * x + ab[1],) * 2, init, (a, b), horizon=horizon, ...)

    but it may run forward in parallel too. The cost of the gradient does not depend on the horizon:
    about three compositions of affine maps a step. Across the chunks of a stream, take that step
    with `stream_scan`.

    Args:
      a: [T, ...], factors, floating point or complex.
      b: [T, ...], what is added; of the shape and dtype of `a`.
      init: [...], the state before the first step, of the same dtype.
      horizon: how many steps back an error reaches, its own step included; a static integer >= 1,
        or None for no truncation.
      stride: how many consecutive losses share one backward pass; a static integer in 1..horizon.
      parallel: whether the forward composes steps in a tree (`jax.lax.associative_scan`), of depth
        log T and about twice the operations, or takes one after the other; None for what suits the
        platform: one after the other on a CPU, a tree elsewhere. The backward always does what
        suits the platform.

    Returns:
      The last state, [...], and all states, [T, ...].

    Raises:
      ValueError, TypeError: for horizon and stride, as `truncated_scan` does.
      ValueError: `truncated_linear_scan: a and b must have one shape [T, ...] with T >= 1, got
        (4, 2) and (4,).`
      TypeError: `truncated_linear_scan: a must be an array, got dict.`
      TypeError: `truncated_linear_scan: a, b and init must have one floating-point or complex
        dtype, got float32, int32, float32.`
      TypeError: forward-mode differentiation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import truncated_linear_scan
      >>> def last(b, horizon):
      ...     return truncated_linear_scan(jnp.full(5, 0.5), b, 0.0, horizon=horizon)[0]
      >>> jax.grad(last)(jnp.ones(5), horizon=3)
      Array([0.  , 0.  , 0.25, 0.5 , 1.  ], dtype=float32)

    References:
      Blelloch, 1990, Prefix sums and their applications.
      Gu, Goel and Ré, 2022, Efficiently modeling long sequences with structured state spaces.
    """
    horizon, stride = check_schedule(NAME, horizon, stride)
    if not (parallel is None or isinstance(parallel, bool)):
        raise TypeError(f"{NAME}: parallel must be True, False or None, got {shown(parallel)}.")
    a, b, init = _arrays(a, b, init)
    num_steps = len(a)
    if horizon is None or horizon >= num_steps:
        horizon, stride = num_steps, 1
    run = _with_pullback(parallel, Schedule(num_steps, horizon, stride))
    states = without_forward_mode(NAME, run, a, b, init)
    return states[-1], states


def _arrays(a, b, init):
    """The arguments as arrays, `init` of the others' dtype if it is a Python number."""
    a, b = as_array(NAME, "a", a), as_array(NAME, "b", b)
    is_weak = isinstance(init, (int, float)) or (isinstance(init, complex) and a.dtype.kind == "c")
    init = as_array(NAME, "init", init, a.dtype if is_weak else None)
    if a.ndim == 0 or a.shape != b.shape or len(a) < 1:
        raise ValueError(
            f"{NAME}: a and b must have one shape [T, ...] with T >= 1, got {a.shape} and "
            f"{b.shape}."
        )
    if init.shape != a.shape[1:]:
        raise ValueError(f"{NAME}: init must have shape {a.shape[1:]}, got {init.shape}.")
    dtypes = [leaf.dtype.name for leaf in (a, b, init)]
    if len(set(dtypes)) > 1 or not jnp.issubdtype(a.dtype, jnp.inexact):
        raise TypeError(
            f"{NAME}: a, b and init must have one floating-point or complex dtype, got "
            f"{', '.join(dtypes)}."
        )
    return a, b, init


def _with_pullback(parallel, schedule):
    """`(a, b, init) -> states` with its gradient rule."""
    if parallel is None:
        states = on_cpu(_in_sequence, _in_parallel)
    else:
        states = _in_parallel if parallel else _in_sequence
    run = jax.custom_vjp(states)

    def forward(a, b, init):
        found = states(a, b, init)
        return found, (a, b, jnp.concatenate([init[None], found[:-1]]))

    def backward(kept, states_ct):
        a, b, entered = kept
        none = jnp.zeros_like(states_ct[0])
        step = lambda _, x, ab: _step(x, ab)
        _, init_ct, (a_ct, b_ct) = truncated_pullback(
            step, schedule, (), entered, (a, b), none, states_ct
        )
        return a_ct, b_ct, init_ct

    run.defvjp(forward, backward)
    return run


def _step(x, ab):
    x = ab[0] * x + ab[1]
    return x, x


def _in_sequence(a, b, init):
    return jax.lax.scan(_step, init, (a, b))[1]


def _in_parallel(a, b, init):
    compose = lambda first, then: (first[0] * then[0], then[0] * first[1] + then[1])
    return jax.lax.associative_scan(compose, (a, b.at[0].add(a[0] * init)))[1]
