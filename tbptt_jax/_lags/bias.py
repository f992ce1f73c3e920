"""How much of a gradient a horizon cuts off, and the shortest horizon that cuts off little."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tbptt_jax._backward.norms import scale_of
from tbptt_jax._lags.spectrum import LagSpectrum
from tbptt_jax._step.arguments import check_integers, check_number, real_array, shown

NAME = "truncation_bias"
LONGEST = 2**31 - 1  # horizon, as int32 holds it
FEWEST = 3  # lags that a line is fitted to, so that it has a standard error


class TruncationBias(NamedTuple):
    """Bounds on the bias of truncated gradients, if errors decay as they were measured to."""

    horizons: jax.Array  #: [n], int32
    absolute: jax.Array  #: [n], of the difference from the full gradient, L2 norm; inf for no bound
    relative: jax.Array  #: [n], the same divided by the full gradient's norm; inf for no bound
    decay: jax.Array  #: [], β, factor by which errors shrink per step; nan if it cannot be told
    decay_error: jax.Array  #: [], its standard error
    constant: jax.Array  #: [], M, gradient of the parameters per error on the carry
    is_bounded: jax.Array  #: [], bool; where not, all bounds are inf


class AdaptiveHorizon(NamedTuple):
    """A horizon, and whether its bias is as small as was asked for."""

    horizon: jax.Array  #: [], int32
    is_below: jax.Array  #: [], bool; where not, no horizon is, and this is the longest


def truncation_bias(
    spectrum: LagSpectrum, *, horizons: Sequence[int], fit: tuple[int, int] | None = None
) -> TruncationBias:
    """Bounds on the bias of true truncated BPTT, by horizon, from the decay of its errors.

    Let φₖ be the norms of errors on the carry, gₖ the gradient's part at lag k, and ĝₕ the gradient
    with horizon h: `errors`, the parts and `cumulative_l2` of a `LagSpectrum`. If φₖ ≤ φ_τ β^(k-τ)
    from lag τ on, and ‖gₖ‖ ≤ M φₖ, the full gradient g is no further away than

        ‖ĝₕ - g‖ ≤ abs(h) = M φ_τ β^(h-τ) / (1 - β) for h ≥ τ
                   abs(h) = M (φₕ + ... + φ_τ₋₁ + φ_τ / (1 - β)) for h < τ
        ‖ĝₕ - g‖ / ‖g‖ ≤ rel(h) = abs(h) / maxₖ (‖ĝₖ‖ - abs(k)), over the measured k = 1..H

    since the denominator is a lower bound of ‖g‖. β is fitted by least squares to log φₖ over
    τ ≤ k ≤ `fit[1]`: these are bounds as far as the errors decay by that line.

    M stands for ‖∂cₛ/∂θ‖, how strongly the parameters of one step act on the carry. It is not
    measured as such: M = maxₖ ‖gₖ‖ / φₖ is the least constant that serves at the measured lags
    1 ≤ k < H. The bound without it is `absolute / constant`. The published code leaves M out and
    divides by the norm of errors on the carry, summed over lags; and it fits β to all lags.

    Where no error reaches the last lag, as with H > T, nothing lies beyond those measured: the
    bounds are M (φₕ + ... + φ_H₋₁), whatever β is, and 0 from there on. Elsewhere there is no bound
    where β ≥ 1, or cannot be told from fewer than three lags. Nor is there one where a norm is not
    finite or is negative, or where an error comes after a lag that none reaches. `relative` is inf
    too where the denominator is not positive.

    Args:
      spectrum: from `lag_spectrum`; for several batches, the mean of each of its arrays.
      horizons: n static integers >= 1, rising; they may be longer than H.
      fit: (τ, last), the lags to fit to, three at least; by default the second half of the H lags,
        with H >= 5. Zeros among them are left out.

    Returns:
      The bounds for each horizon, and what they are made of; for `jax.jit`.

    Raises:
      ValueError: `truncation_bias: fit must be lags 1 <= first, first + 2 <= last < H (40), got
        (30, 40).`
      ValueError: `truncation_bias: without fit, spectrum needs at least 5 lags, got 4.`
      ValueError: `truncation_bias: horizons must be one or more, each above the one before, at most
        2147483647, got (4, 2).`
      ValueError, TypeError: the horizons are not static integers; the spectrum is not real, not
        from `lag_spectrum`, or one for each of several batches.

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import lag_spectrum, truncation_bias
      >>> step = lambda w, c, x: (w * c + x, w * c + x)
      >>> loss_fn = lambda w, ys, _: jnp.mean(ys)
      >>> spectrum = lag_spectrum(step, loss_fn, horizon=10)(0.5, 0.0, jnp.ones(200), None)
      >>> bias = truncation_bias(spectrum, horizons=(4, 8))
      >>> print(f"decay {bias.decay:.2f}, relative bias {bias.relative}")
      decay 0.50, relative bias [0.06261919 0.0039137 ]

    References:
      Aicher, Foti and Fox, 2019, Adaptively truncating backpropagation through time to control
        gradient bias. UAI. arXiv 1905.07473
    """
    horizons = _check_horizons(horizons)
    first, last = _check_fit(spectrum, fit)
    errors, held, parts = (
        real_array(NAME, f"spectrum.{name}", getattr(spectrum, name)).astype(float)
        for name in ("errors", "cumulative_l2", "l2")
    )
    reaches = errors[1:] > 0
    constant = jnp.max(jnp.where(reaches, parts[1:] / jnp.where(reaches, errors[1:], 1), 0))
    decay, decay_error = _decay(errors, first, last)
    norms = jnp.stack([errors, held, parts])
    is_spectrum = jnp.all(jnp.isfinite(norms) & (norms >= 0)) & jnp.isfinite(constant)
    is_spectrum &= jnp.all((errors[2:] == 0) | (errors[1:-1] > 0))
    is_whole = errors[-1] == 0
    is_bounded = is_spectrum & (is_whole | (decay < 1))

    def absolute(horizons):
        """For each: all lags as measured, or those before τ and from there on by the line."""
        steps = jnp.maximum(horizons - first, 0).astype(float)
        beyond = errors[first] * decay**steps / jnp.where(decay < 1, 1 - decay, 1)
        by_line = _sum_from(horizons, errors[:first]) + beyond
        cut_off = jnp.where(is_whole, _sum_from(horizons, errors), by_line)
        return jnp.where(is_bounded, constant * cut_off, jnp.inf)

    at_least = jnp.max(held - absolute(1 + jnp.arange(len(held))))
    bounds = absolute(jnp.array(horizons))
    scale = scale_of(at_least)  # the reciprocal of a large number alone would be zero
    relative = bounds * scale / jnp.where(at_least > 0, at_least * scale, 1)
    relative = jnp.where(at_least > 0, relative, jnp.inf)
    return TruncationBias(
        jnp.array(horizons, jnp.int32), bounds, relative, decay, decay_error, constant, is_bounded
    )


def adaptive_horizon(bias: TruncationBias, *, tolerance: float) -> AdaptiveHorizon:
    """The shortest horizon whose relative bias is below a tolerance, or the longest there is.

        min { h : rel(h) < tolerance }

    The horizons are those that the bias was asked for; compile a training step for each of them,
    and choose one between epochs. Where no horizon's bias is below the tolerance, or none is
    bounded, it is the longest.

    Args:
      bias: from `truncation_bias`.
      tolerance: a number above 0. Below 1 the truncated gradient has a positive inner product with
        the full one.

    Returns:
      The horizon, and whether its bias is below the tolerance; for `jax.jit`.

    Raises:
      ValueError: `adaptive_horizon: tolerance must be above 0, got 0.`
      TypeError, ValueError: the tolerance is no static number; the bias is not from
        `truncation_bias`, or is a batch of such.

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import adaptive_horizon, lag_spectrum, truncation_bias
      >>> step = lambda w, c, x: (w * c + x, w * c + x)
      >>> loss_fn = lambda w, ys, _: jnp.mean(ys)
      >>> spectrum = lag_spectrum(step, loss_fn, horizon=10)(0.5, 0.0, jnp.ones(200), None)
      >>> bias = truncation_bias(spectrum, horizons=(2, 4, 8, 16))
      >>> print(adaptive_horizon(bias, tolerance=0.1).horizon)
      4

    References:
      As in `truncation_bias`.
    """
    if not isinstance(bias, TruncationBias):
        raise TypeError(
            "adaptive_horizon: bias must be a TruncationBias from truncation_bias, got "
            f"{type(bias).__name__}."
        )
    shapes = jnp.shape(bias.horizons), jnp.shape(bias.relative)
    if len(shapes[0]) != 1 or shapes[0] != shapes[1] or not shapes[0][0]:
        raise ValueError(
            "adaptive_horizon: bias must have horizons and relative of one shape [n], n >= 1, got "
            f"{list(shapes[0])}, {list(shapes[1])}; use jax.vmap for a batch of biases."
        )
    tolerance = check_number("adaptive_horizon", "tolerance", tolerance)
    if not tolerance > 0:
        raise ValueError(f"adaptive_horizon: tolerance must be above 0, got {tolerance}.")
    is_below = bias.relative < tolerance
    found = jnp.any(is_below)
    place = jnp.where(found, jnp.argmax(is_below), is_below.size - 1)
    return AdaptiveHorizon(bias.horizons[place], found)


def _sum_from(places, values):
    """For each place, the sum of the values from it on."""
    sums = jnp.append(jnp.cumsum(values[::-1])[::-1], 0.0)
    return sums[jnp.minimum(places, len(values))]


def _decay(errors, first, last):
    """β and its standard error, from the line through log φ at the lags first..last."""
    chosen = errors[first : last + 1]
    is_used = chosen > 0  # not where it is nan
    weights = is_used.astype(float)
    num = jnp.sum(weights)
    mean = lambda values: jnp.sum(weights * values) / jnp.maximum(num, 1)
    logs = jnp.log(jnp.where(is_used, chosen, 1))
    lags = first + jnp.arange(len(chosen), dtype=float)
    x, y = lags - mean(lags), logs - mean(logs)
    spread = jnp.sum(weights * x**2)
    slope = jnp.sum(weights * x * y) / jnp.where(spread > 0, spread, 1)
    residue = jnp.sum(weights * (y - slope * x) ** 2) / jnp.maximum(num - 2, 1)
    decay = jnp.exp(slope)
    decay_error = decay * jnp.sqrt(residue / jnp.where(spread > 0, spread, 1))
    is_told = (num >= FEWEST) & jnp.all(jnp.isfinite(chosen))
    otherwise = jnp.where(jnp.all(chosen == 0), 0.0, jnp.nan)
    return jnp.where(is_told, decay, otherwise), jnp.where(is_told, decay_error, otherwise)


def _check_horizons(horizons: Any) -> tuple[int, ...]:
    found = check_integers(NAME, "horizons", horizons)
    rises = all(a < b for a, b in itertools.pairwise(found))
    if not found or not rises or found[-1] > LONGEST:
        rule = f"horizons must be one or more, each above the one before, at most {LONGEST}"
        raise ValueError(f"{NAME}: {rule}, got {shown(found)}.")
    return found


def _check_fit(spectrum: Any, fit: Any) -> tuple[int, int]:
    if not isinstance(spectrum, LagSpectrum) or spectrum.errors is None:
        got = "one without errors" if isinstance(spectrum, LagSpectrum) else type(spectrum).__name__
        raise TypeError(f"{NAME}: spectrum must be a LagSpectrum from lag_spectrum, got {got}.")
    shapes = [jnp.shape(spectrum.errors), jnp.shape(spectrum.l2), jnp.shape(spectrum.cumulative_l2)]
    num = shapes[0][0] if shapes[0] else 0
    if shapes != [(num,)] * 3:
        raise ValueError(
            f"{NAME}: spectrum must have errors, l2 and cumulative_l2 of one shape [H], got "
            f"{', '.join(str(list(shape)) for shape in shapes)}; of several, take the mean."
        )
    if fit is None:
        if num < FEWEST + 2:
            raise ValueError(f"{NAME}: without fit, spectrum needs at least 5 lags, got {num}.")
        return num // 2, num - 1
    lags = check_integers(NAME, "fit", fit)
    if len(lags) != 2 or not lags[0] + FEWEST - 1 <= lags[1] < num:
        raise ValueError(
            f"{NAME}: fit must be lags 1 <= first, first + 2 <= last < H ({num}), got {lags}."
        )
    return lags
