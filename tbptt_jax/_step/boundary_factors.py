"""Factors on the errors between steps: given ones, and random ones that truncate without bias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from tbptt_jax._step.arguments import (
    as_array,
    check_callable,
    check_integers,
    check_key,
    real_array,
)
from tbptt_jax._step.identity import call_on_changed
from tbptt_jax._step.per_step import input_pair

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def with_boundary_factors(
    f: Callable[[Carry, X], tuple[Carry, Y]],
) -> Callable[[Carry, tuple[X, jax.Array]], tuple[Carry, Y]]:
    """A step that multiplies the error on the carry that enters it by a factor.

        f'(c, (x, ξ)) = f(c, x),   ∂f'/∂c = ξ ∂f/∂c

    The results are those of `f`. What the error of step t contributes at step s is multiplied by

        ξₛ₊₁ ξₛ₊₂ ... ξₜ

    and what it contributes to the initial carry by ξ₀ ... ξₜ. Ones change nothing; a zero cuts the
    gradient before its step, if the error is finite there: zero times infinity is nan; a constant
    below one discounts each lag. It works under `truncated_scan` at every horizon and stride,
    `stream_scan` and `jax.lax.scan`. A leaf of the carry that `f` hands on unchanged is a
    parameter, and no factor applies to it.

    Args:
      f: step function, `(carry, x) -> (carry, y)`.

    Returns:
      The step function `(carry, (x, factor)) -> (carry, y)`. `factor` is a real array whose axes
      are the first of every floating-point or complex leaf of the carry: [B] for a batch of
      sequences, [] for one. `draw_boundary_factors` draws those of unbiased truncation. Results do
      not depend on the factors: the gradient for them is zero. Second derivatives are the Jacobian
      of the gradient with the factors.

    Raises:
      TypeError: `with_boundary_factors: f must be a function, got int.`
      TypeError: the step, `with_boundary_factors: factors must be real floating point, got int32.`
      ValueError: the step, `with_boundary_factors: the carry's leaves must begin with the factors'
        axes [4], got [3, 8].`

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import truncated_scan, with_boundary_factors
      >>> total = with_boundary_factors(lambda c, x: (c + x, c + x))
      >>> factors = jnp.array([1.0, 1.0, 0.0, 0.5])
      >>> last = lambda xs: truncated_scan(total, 0.0, (xs, factors), horizon=None)[1][-1]
      >>> print(jax.grad(last)(jnp.ones(4)))
      [0.  0.  0.5 1. ]

    References:
      Tallec and Ollivier, 2017, Unbiasing truncated backpropagation through time. arXiv 1705.08209.
    """
    check_callable("with_boundary_factors", "f", f, "carry", "x")

    def step(carry, inputs):
        x, factor = input_pair("with_boundary_factors", "factor", inputs)
        factor = as_array("with_boundary_factors", "factors", factor)
        if not jnp.issubdtype(factor.dtype, jnp.floating):
            raise TypeError(
                f"with_boundary_factors: factors must be real floating point, got {factor.dtype}."
            )
        return call_on_changed(f, lambda leaf: _with_factor(leaf, factor), carry, x)

    return step


def draw_boundary_factors(
    key: jax.Array, shape: int | Sequence[int], *, cut_probability: ArrayLike
) -> jax.Array:
    """Random factors for `with_boundary_factors` whose gradient is that of full BPTT on average.

        ξ = 0 with probability p, else 1 / (1 - p), independently;   E ξ = 1

    The product of the factors between two steps has mean 1 too. So the gradient with
    `horizon=None` has the mean of the full gradient, while an error reaches 1 / p steps back on
    average. Draw anew for every gradient. The cost is a larger variance: a contribution at lag k
    has its size multiplied by (1 - p)⁻ᵏ with probability (1 - p)ᵏ, hence its second moment by
    (1 - p)⁻ᵏ.

    Args:
      key: PRNG key.
      shape: [T] or [T, B], of the factors.
      cut_probability: p in [0, 1), a number, or an array whose axes are the first of the shape or
        of size 1: one [T] is that of each step, such as zeros where no cut may be. Traced values
        are not checked.

    Returns:
      The factors, of the default float type.

    Raises:
      ValueError: `draw_boundary_factors: cut_probability must be in [0, 1), as float32, got 1.0.`
      ValueError: `draw_boundary_factors: cut_probability must have the first axes of shape, [5, 2],
        got [2].`
      TypeError: the shape is not made of static integers, the probability is not real, the key is
        not one PRNG key.

    Example:
      >>> import jax
      >>> from tbptt_jax import draw_boundary_factors
      >>> print(draw_boundary_factors(jax.random.key(0), 4, cut_probability=0.0))
      [1. 1. 1. 1.]

    References:
      Tallec and Ollivier, 2017, Unbiasing truncated backpropagation through time. arXiv 1705.08209.
    """
    check_key("draw_boundary_factors", key)
    sizes = shape if np.iterable(shape) else (shape,)
    shape = check_integers("draw_boundary_factors", "shape", sizes, least=0)
    probability = _probabilities(cut_probability, shape)
    kept = 1.0 - probability
    is_kept = jax.random.bernoulli(key, kept, mode="high")  # however small it is
    return jnp.where(is_kept, 1.0 / kept, 0.0)


def _probabilities(given, shape):
    """Those of `shape`; axes that are not given are the last."""
    name = "draw_boundary_factors"
    each = real_array(name, "cut_probability", given).astype(float)
    known = () if isinstance(given, Tracer) else given
    rounded = np.asarray(known, each.dtype)
    for value, asked in zip(rounded.ravel(), np.ravel(known).tolist(), strict=True):
        if not 0.0 <= value < 1.0:
            raise ValueError(
                f"{name}: cut_probability must be in [0, 1), as {each.dtype}, got {asked}."
            )
    each = each.reshape(each.shape + (1,) * (len(shape) - each.ndim))
    try:
        return jnp.broadcast_to(each, shape)
    except ValueError:
        raise ValueError(
            f"{name}: cut_probability must have the first axes of shape, {list(shape)}, got "
            f"{list(np.shape(given))}."
        ) from None


def _with_factor(leaf: Any, factor: jax.Array) -> Any:
    leaf = jnp.asarray(leaf)
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf
    if leaf.shape[: factor.ndim] != factor.shape:
        raise ValueError(
            "with_boundary_factors: the carry's leaves must begin with the factors' axes "
            f"{list(factor.shape)}, got {list(leaf.shape)}."
        )
    factor = factor.reshape(factor.shape + (1,) * (leaf.ndim - factor.ndim))
    return _scaled_error(leaf, jnp.broadcast_to(factor, leaf.shape).astype(leaf.dtype))


@jax.custom_jvp
def _scaled_error(value, factor):
    """`value`, whose error is multiplied by `factor`; a derivative of that error has no factor."""
    return value


@_scaled_error.defjvp
def _(primals, tangents):
    value, factor = primals
    return value, factor * tangents[0]
