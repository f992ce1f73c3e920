"""How far back gradients reach: a gradient split by lag, the horizon that holds most of it."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tbptt_jax._handed_on import partition
from tbptt_jax._linearity import check_linear
from tbptt_jax._per_step import pair, real_scalar
from tbptt_jax._pullbacks import inexact, pullback
from tbptt_jax._schedule import check_positive
from tbptt_jax._time_axis import of_next_step, take
from tbptt_jax._vmappable import check_vmappable

NAME = "lag_spectrum"


class LagSpectrum(NamedTuple):
    """A gradient by lag, H lags, lag 0 first; None stands for a leaf that is not floating point."""

    l1: jax.Array  #: [H], L1 norm of each part
    l2: jax.Array  #: [H], L2 norm of each part
    leaf_l1: Any  #: as the parameters, [H] in place of each leaf
    leaf_l2: Any  #: the same of the L2 norms
    parts: Any = None  #: as the parameters, leaves [H, ...], where asked for


def lag_spectrum(
    cell: Callable[[Any, Any, Any], tuple[Any, Any]],
    sequence_loss_fn: Callable[[Any, Any, Any], jax.Array],
    *,
    horizon: int,
    parts: bool = False,
) -> Callable[[Any, Any, Any, Any], LagSpectrum]:
    """The parameters' gradient, split by how many steps back from its loss a part arises.

    Let θₛ be the parameters as step s reads them, all equal. The part at lag k collects, from the
    error of every output yₜ, what it comes to at the step k before its own:

        gₖ = Σₜ (∂yₜ / ∂θₜ₋ₖ)ᵀ ∂L/∂yₜ,   and g₀ also holds what L itself reads of θ

    The gradient of true truncated BPTT with horizon h is g₀ + ... + gₕ₋₁, for every h; with all T
    lags it is that of full BPTT. All parts come from one set of `horizon` sweeps, each one pullback
    of all T steps: about 2 `horizon` times the work of the forward pass.

    Args:
      cell: pure step function, `(params, carry, x) -> (carry, y)`; must be vmappable.
      sequence_loss_fn: pure loss of a sequence, `(params, ys, targets) -> []`, a scalar.
      horizon: H, how many lags to tell apart; a static integer >= 1. Parts beyond T - 1 are zero.
      parts: whether to return the parts themselves too, as large as H gradients.

    Returns:
      A function `(params, init, xs, targets) -> LagSpectrum`, for `jax.jit`. `xs` and `ys` are
      [T, ...]. The norms are in default precision or better.

    Raises:
      TypeError, ValueError: `lag_spectrum: horizon must be >= 1, got 0.`
      TypeError: the function that is returned, where the loss is not a real scalar.
      ValueError: the function that is returned, where `xs` is not [T, ...] or no parameter is
        floating point.
      ValueError: the function that is returned, where `cell` cannot be vmapped, or draws from `rbg`
        keys, whose bits vmap changes.

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import lag_spectrum
      >>> step = lambda w, c, x: (w * c + x, w * c + x)
      >>> last = lambda w, ys, _: ys[-1]
      >>> spectrum = lag_spectrum(step, last, horizon=4)(0.5, 0.0, jnp.ones(4), None)
      >>> print(spectrum.l1)
      [1.75 0.75 0.25 0.  ]

    References:
      Bengio, Simard and Frasconi, 1994, Learning long-term dependencies with gradient descent is
        difficult. IEEE Transactions on Neural Networks 5.
      Pascanu, Mikolov and Bengio, 2013, On the difficulty of training recurrent neural networks.
    """
    horizon = check_positive(NAME, "horizon", horizon)

    def spectrum(params, init, xs, targets):
        run = backward(NAME, cell, sequence_loss_fn, params, init, xs, targets)

        def sweep(errors, _):
            """The part at one lag, and the errors at the next."""
            own, *step_errors = errors
            part, entering, _ = run.pull(tuple(step_errors))
            part = jax.tree.map(jnp.add, part, own)
            nothing, no_ys_ct = jax.tree.map(jnp.zeros_like, (own, step_errors[1]))
            return (nothing, of_next_step(entering), no_ys_ct), LagSpectrum(
                *norms_of(part), part if parts else None
            )

        no_carry_ct = jax.tree.map(jnp.zeros_like, inexact(run.carries))
        return jax.lax.scan(sweep, (run.own, no_carry_ct, run.ys_ct), None, horizon)[1]

    return spectrum


def effective_horizon(spectrum: ArrayLike, *, fraction: float = 0.99) -> jax.Array:
    """The smallest horizon that holds `fraction` of the gradient's summed norm over lags.

        min { h : Σ_{i<h} ‖gᵢ‖ ≥ fraction · Σᵢ ‖gᵢ‖ }

    Args:
      spectrum: [H], norm of the gradient's part at each lag, lag 0 first: `l1` or `l2` of a
        `LagSpectrum`. Where the last lags still matter, H is too short to tell.
      fraction: share of the summed norm to hold; a static number in (0, 1].

    Returns:
      An int32 scalar in 1..H; 1 where all norms are zero, H where one is nan.

    Raises:
      ValueError: `effective_horizon: fraction must be in (0, 1], got 1.5.`
      ValueError: `effective_horizon: spectrum must be [H] with H >= 1, got [0].`
      TypeError: the fraction is traced or no number; the spectrum is complex or no array.

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import effective_horizon
      >>> print(effective_horizon(jnp.array([8.0, 4.0, 2.0, 1.0]), fraction=0.9))
      3
    """
    if not isinstance(fraction, numbers.Real):
        raise TypeError(f"effective_horizon: fraction must be a static number, got {fraction!r}.")
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"effective_horizon: fraction must be in (0, 1], got {fraction}.")
    if jax.tree.structure(spectrum) != jax.tree.structure(0):
        got = type(spectrum).__name__
        raise TypeError(
            f"effective_horizon: spectrum must be an array, l1 or l2 of a LagSpectrum, got {got}."
        )
    norms = jnp.asarray(spectrum)
    if jnp.iscomplexobj(norms):
        raise TypeError(f"effective_horizon: spectrum must be real norms, got {norms.dtype}.")
    if norms.ndim != 1 or not norms.size:
        shape = list(norms.shape)
        raise ValueError(f"effective_horizon: spectrum must be [H] with H >= 1, got {shape}.")
    held = jnp.cumsum(norms.astype(float))
    # Not `held < ...`: where a norm is nan, no lag holds enough.
    short = jnp.sum(~(held >= fraction * held[-1]), dtype=jnp.int32)
    return jnp.minimum(1 + short, norms.size)


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
    params = jax.tree.map(jnp.asarray, params)
    _check_lengths(function, params, xs)
    without, rest, _ = partition(function, functools.partial(cell, params), init, xs)
    step = lambda params, carry, x: without(functools.partial(cell, params))(carry, x)

    def keep_carry(carry, x):
        new_carry, y = pair(function, "cell", "(carry, y)", step(params, carry, x))
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
    if not shapes or not all(shape and shape[0] for shape in shapes):
        raise ValueError(f"{function}: xs must be [T, ...] with T >= 1, got {shapes}.")
    if not jax.tree.leaves(inexact(params)):
        raise ValueError(f"{function}: params must have a floating-point leaf, got none.")


def _loss_gradient(function, sequence_loss_fn, params, ys, targets):
    """The gradient of the loss for what it reads itself: the parameters and the outputs."""

    def loss(params, ys):
        return real_scalar(function, sequence_loss_fn(params, ys, targets), "sequence_loss_fn")

    one = jnp.ones_like(jax.eval_shape(loss, params, ys))
    return pullback(loss, params, ys)(one)


def norms_of(part):
    """L1 and L2 of the whole tree, and of each leaf."""
    l1 = lambda leaf: jnp.sum(jnp.abs(leaf).astype(float))
    leaf_l1, leaf_l2 = jax.tree.map(l1, part), jax.tree.map(_l2, part)
    of_leaves = lambda norms: jnp.stack(jax.tree.leaves(norms))
    return jnp.sum(of_leaves(leaf_l1)), _l2(of_leaves(leaf_l2)), leaf_l1, leaf_l2


def _l2(leaf):
    """The L2 norm, without the squares of small numbers, which would be zero at long lags."""
    sizes = jnp.abs(leaf).astype(float)
    largest = jnp.max(sizes, initial=0.0)
    usual = (largest > 0.0) & jnp.isfinite(largest)
    scaled = sizes / jnp.where(usual, largest, 1.0)
    squares = jnp.where(usual, jnp.sum(scaled**2), 1.0)
    return jnp.where(usual, largest * jnp.sqrt(squares), largest)  # as it is: zero, inf or nan
