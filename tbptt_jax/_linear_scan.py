"""`truncated_linear_scan`: first-order linear recurrences, forward in sequence or in parallel."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tbptt_jax._affine_windows import Maps, windows
from tbptt_jax._cpu_tiles import on_cpu
from tbptt_jax._schedule import check_schedule

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
      parallel: whether forward and backward compose steps in a tree (`jax.lax.associative_scan`),
        of depth log T and about twice the operations, or one after the other; None for what suits
        the platform, one after the other on a CPU.

    Returns:
      The last state, [...], and all states, [T, ...].

    Raises:
      ValueError, TypeError: for horizon and stride, as `truncated_scan` does.
      ValueError: `truncated_linear_scan: a and b must have one shape [T, ...], got (4, 2) and
        (4,).`
      TypeError: `truncated_linear_scan: a, b and init must have one floating-point or complex
        dtype, got float32, int32, float32.`

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
    a, b = map(jnp.asarray, (a, b))
    init = jnp.asarray(init, a.dtype if isinstance(init, (int, float, complex)) else None)
    _check_types(a, b, init)
    num_steps = len(a)
    if horizon is None or horizon >= num_steps:
        horizon, stride = num_steps + 1, 1  # every window reaches the end
    states = _with_pullback(parallel, horizon, stride)(a, b, init)
    return states[-1], states


def _check_types(a, b, init):
    if a.ndim == 0 or a.shape != b.shape or len(a) < 1:
        raise ValueError(
            f"{NAME}: a and b must have one shape [T, ...], got {a.shape} and {b.shape}."
        )
    if init.shape != a.shape[1:]:
        raise ValueError(f"{NAME}: init must have shape {a.shape[1:]}, got {init.shape}.")
    dtypes = [leaf.dtype.name for leaf in (a, b, init)]
    if len(set(dtypes)) > 1 or not jnp.issubdtype(a.dtype, jnp.inexact):
        raise TypeError(
            f"{NAME}: a, b and init must have one floating-point or complex dtype, got "
            f"{', '.join(dtypes)}."
        )


def _with_pullback(parallel, horizon, stride):
    """`(a, b, init) -> states` with its gradient rule."""
    states = _by_platform(_states, parallel)
    errors = _by_platform(functools.partial(_entering, horizon - 1, stride), parallel)
    run = jax.custom_vjp(states)

    def forward(a, b, init):
        found = states(a, b, init)
        return found, (a, jnp.concatenate([init[None], found[:-1]]))

    def backward(kept, states_ct):
        a, entered = kept
        leaving = states_ct
        if horizon > 1:
            leaving = leaving.at[:-1].add(errors(a, a * states_ct)[1:])
        return leaving * entered, leaving, leaving[0] * a[0]

    run.defvjp(forward, backward)
    return run


def _by_platform(fun, parallel):
    if parallel is None:
        return on_cpu(functools.partial(fun, False), functools.partial(fun, True))
    return functools.partial(fun, parallel)


def _entering(length, stride, parallel, a, b):
    """The errors on the state that enters each step, of the steps' own errors b."""
    (entering,) = windows(Maps({(0, 0): a}, {0: b}), length, stride).values()
    return entering


def _states(parallel, a, b, init):
    if parallel:
        compose = lambda first, then: (first[0] * then[0], then[0] * first[1] + then[1])
        from_first = b.at[0].add(a[0] * init)
        return jax.lax.associative_scan(compose, (a, from_first))[1]
    step = lambda x, ab: (ab[0] * x + ab[1],) * 2
    return jax.lax.scan(step, init, (a, b))[1]
