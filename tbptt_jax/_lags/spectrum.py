"""How far back gradients reach: a gradient split by lag, the horizon that holds most of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tbptt_jax._backward.norms import l2_of, norms_of, scale_of
from tbptt_jax._lags.cell_backward import Backward, backward
from tbptt_jax._pullback.of_steps import inexact
from tbptt_jax._step.arguments import check_flags, check_integer, check_number, real_array
from tbptt_jax._step.time_axis import add, of_next_step

NAME = "lag_spectrum"


class LagSpectrum(NamedTuple):
    """A gradient by lag, H lags, lag 0 first; None stands for a leaf that is not floating point."""

    l1: jax.Array  #: [H], L1 norm of each part
    l2: jax.Array  #: [H], L2 norm of each part
    leaf_l1: Any  #: as the parameters, [H] in place of each leaf
    leaf_l2: Any  #: the same of the L2 norms
    cumulative_l2: jax.Array  #: [H], L2 norm of the sum of the parts so far, a truncated gradient
    errors: jax.Array | None = None  #: [H], φ, L2 norms of errors on the carry; 0 at lag 0
    parts: Any = None  #: as the parameters, leaves [H, ...], where asked for


def lag_spectrum(
    cell: Callable[[Any, Any, Any], tuple[Any, Any]],
    sequence_loss_fn: Callable[[Any, Any, Any], jax.Array],
    *,
    horizon: int,
    batched: bool = False,
    parts: bool = False,
) -> Callable[[Any, Any, Any, Any], LagSpectrum]:
    """The parameters' gradient, split by how many steps back from its loss a part arises.

    Let θₛ be the parameters as step s reads them, all equal. The part at lag k collects, from the
    error of every output yₜ, what it comes to at the step k before its own:

        gₖ = Σₜ (∂yₜ / ∂θₜ₋ₖ)ᵀ ∂L/∂yₜ,   and g₀ also holds what L itself reads of θ

    The gradient of true truncated BPTT with horizon h is g₀ + ... + gₕ₋₁, for every h; with all T
    lags it is that of full BPTT. All parts come from one set of `horizon` sweeps, each one pullback
    of all T steps: about 2 `horizon` times the work of the forward pass.

    The same sweeps tell how large the errors are on their way. Let cₛ be the carry that leaves step
    s, of one sample where there are several; N, how many outputs have an error at all, and Nₖ, how
    many of them have a step k before their own:

        φₖ = N / Nₖ · Σ ‖(∂yₜ / ∂cₜ₋ₖ)ᵀ ∂L/∂yₜ‖, over t ≥ k and samples, for k ≥ 1

    Where L is the mean of a loss over steps and samples, φₖ is the mean norm of that loss's errors
    on the carry. `truncation_bias` reads it.

    Args:
      cell: pure step function, `(params, carry, x) -> (carry, y)`; must be vmappable.
      sequence_loss_fn: pure loss of a sequence, `(params, ys, targets) -> []`, a scalar.
      horizon: H, how many lags to tell apart; a static integer >= 1. Parts beyond T - 1 are zero.
      batched: whether the first axis of the carry's leaves is one of samples; norms of errors are
        then those of each sample.
      parts: whether to return the parts themselves too, as large as H gradients.

    Returns:
      A function `(params, init, xs, targets) -> LagSpectrum`, for `jax.jit`. `xs` and `ys` are
      [T, ...]. The norms are in default precision or better.

    Raises:
      TypeError, ValueError: `lag_spectrum: horizon must be >= 1, got 0.`
      TypeError: the function that is returned, where the loss is not a real scalar.
      ValueError: the function that is returned, where `xs` is not [T, ...], no parameter is
        floating point, or `batched` and the carry's leaves have not one first axis.
      ValueError: the function that is returned, where `cell` cannot be vmapped, draws from `rbg`
        keys, whose bits vmap changes, has a gradient rule that is not linear in the errors, keeps a
        value that was computed in an earlier trace of it, or reads or updates a mutable array.

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
    horizon = check_integer(NAME, "horizon", horizon)
    check_flags(NAME, batched=batched, parts=parts)

    def spectrum(params, init, xs, targets):
        run = backward(NAME, cell, sequence_loss_fn, params, init, xs, targets)
        if batched:
            _check_batched(run)
        no_own, no_ys_ct = jax.tree.map(jnp.zeros_like, (run.own, run.ys_ct))

        def sweep(state, per_loss):
            """The part at one lag, and the errors at the next."""
            (own, *errors), so_far = state
            part, entering, _ = run.pull(tuple(errors))
            part = add(part, own)
            so_far = add(so_far, part)
            found = LagSpectrum(
                *norms_of(part),
                l2_of(so_far),
                per_loss * _sum_of_norms(errors[0], batched),
                part if parts else None,
            )
            return ((no_own, of_next_step(entering), no_ys_ct), so_far), found

        no_carry_ct = jax.tree.map(jnp.zeros_like, inexact(run.carries))
        first = (run.own, no_carry_ct, run.ys_ct), no_own
        return jax.lax.scan(sweep, first, _per_loss(run, horizon))[1]

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
    fraction = check_number("effective_horizon", "fraction", fraction)
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"effective_horizon: fraction must be in (0, 1], got {fraction}.")
    if jax.tree.structure(spectrum) != jax.tree.structure(0):
        got = type(spectrum).__name__
        raise TypeError(
            f"effective_horizon: spectrum must be an array, l1 or l2 of a LagSpectrum, got {got}."
        )
    norms = real_array("effective_horizon", "spectrum", spectrum)
    if norms.ndim != 1 or not norms.size:
        shape = list(norms.shape)
        raise ValueError(f"effective_horizon: spectrum must be [H] with H >= 1, got {shape}.")
    held = jnp.cumsum(norms.astype(float) * scale_of(norms))  # a sum of large norms may overflow
    # Not `held < ...`: where a norm is nan, no lag holds enough.
    short = jnp.sum(~(held >= fraction * held[-1]), dtype=jnp.int32)
    return jnp.minimum(1 + short, norms.size)


def _check_batched(run: Backward):
    shapes = [leaf.shape[1:] for leaf in jax.tree.leaves(inexact(run.carries))]
    if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"{NAME}: batched needs leaves of the carry with one first axis, got {shapes}."
        )


def _sum_of_norms(errors, batched):
    """Over steps, and samples, of the norms of errors on the carry, leaves [T, ...]."""
    norm = jax.vmap(jax.vmap(l2_of)) if batched else jax.vmap(l2_of)
    return jnp.sum(norm(errors)) if jax.tree.leaves(errors) else jnp.zeros(())


def _per_loss(run: Backward, horizon):
    """[H]: N / Nₖ; 0 where no loss has a step so far back."""
    has_error = lambda leaf: jnp.any(leaf != 0, axis=range(1, leaf.ndim))
    num_steps = len(jax.tree.leaves(run.xs)[0])
    of_leaves = [has_error(leaf) for leaf in jax.tree.leaves(run.ys_ct)]
    of_steps = functools.reduce(jnp.logical_or, of_leaves, jnp.zeros(num_steps, bool))
    from_here_on = jnp.cumsum(of_steps[::-1].astype(float))[::-1]
    counts = jnp.pad(from_here_on, (0, horizon))[:horizon]
    return jnp.where(counts > 0, counts[0] / jnp.maximum(counts, 1), 0)
