"""Weights of lags: what the error of a step contributes i steps back is multiplied by wᵢ."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from tbptt_jax._pullback.of_steps import inexact
from tbptt_jax._step.arguments import as_array, check_integer, check_key, real_array, shown
from tbptt_jax._step.schedule import check_excluded


def draw_lag_weights(
    key: jax.Array, probabilities: ArrayLike, *, batch: int | None = None
) -> jax.Array:
    """Weights of a random horizon, for `truncated_scan(lag_weights=)`; their mean is one.

        h drawn from `probabilities` over 1..H;   wᵢ = 1 / P(h > i) where i < h, else 0

    So the gradient with them has the mean of BPTT(H), that of full BPTT where H >= T, if only
    P(h = H) > 0. Each lag goes on to the next with probability P(h > i) / P(h > i - 1), which must
    be one that can be drawn: 1.4e-14 or more in float32. Draw anew for every gradient. Its variance
    grows with 1 / P(h > i).

    Args:
      key: PRNG key.
      probabilities: [H], P(h = 1), ..., P(h = H); they must not be traced.
      batch: B for one horizon for each sample; None for one horizon.

    Returns:
      [H] or [B, H], of the default float type.

    Raises:
      TypeError: `draw_lag_weights: probabilities must be static, got a traced array.`, and where
        they are not real, or the key is not one PRNG key.
      TypeError, ValueError: `draw_lag_weights: batch must be >= 1, got 0.`
      ValueError: `draw_lag_weights: probabilities must be [H], >= 0, of sum 1, the last > 0 with
        a finite 1 / P, and no P(h > i) below 1.4e-14 P(h > i - 1), got [1.0, 0.0].`

    Example:
      >>> import jax
      >>> from tbptt_jax import draw_lag_weights
      >>> print(draw_lag_weights(jax.random.key(0), [0.0, 0.0, 1.0]))
      [1. 1. 1.]
    """
    if isinstance(probabilities, Tracer):
        raise TypeError("draw_lag_weights: probabilities must be static, got a traced array.")
    check_key("draw_lag_weights", key)
    real_array("draw_lag_weights", "probabilities", probabilities)
    each = np.asarray(probabilities, np.float64)
    least = float(jnp.finfo(float).eps) ** 2  # what `bernoulli` can draw
    if each.ndim != 1 or not each.size or not _is_distribution(each, least):
        raise ValueError(
            "draw_lag_weights: probabilities must be [H], >= 0, of sum 1, the last > 0 with a "
            f"finite 1 / P, and no P(h > i) below {least:.2g} P(h > i - 1), got "
            f"{shown(each.tolist())}."
        )
    beyond = np.cumsum(each[::-1])[::-1]  # P(h > i), i = 0..H-1
    shape = () if batch is None else (check_integer("draw_lag_weights", "batch", batch),)
    of_samples = lambda each: jnp.broadcast_to(jnp.asarray(each, float), (*shape, len(each)))
    goes_on = jax.random.bernoulli(key, of_samples(beyond[1:] / beyond[:-1]), mode="high")
    at_all = jnp.ones((*shape, 1), bool)
    reaches = jnp.concatenate([at_all, jnp.cumprod(goes_on, axis=-1) > 0], axis=-1)
    return jnp.where(reaches, of_samples(beyond[0] / beyond), 0.0)


def _is_distribution(each, least):
    if not (np.all(each >= 0.0) and each[-1] >= jnp.finfo(float).tiny):
        return False
    beyond = np.cumsum(each[::-1])[::-1]
    return bool(np.isclose(beyond[0], 1.0) and np.all(beyond[1:] >= least * beyond[:-1]))


def check_lag_weights(weights: Any, horizon: int | None, stride: int) -> jax.Array | None:
    """Returns the weights with lags first, [H] or [H, B]; None where there are none.

    Args:
      weights: [H] or [B, H], or None.
      horizon: H.
      stride: must be 1.

    Raises:
      TypeError: not real floating point.
      ValueError: another shape or stride, or no horizon.
    """
    if weights is None:
        return None
    weights = as_array("truncated_scan", "lag_weights", weights)
    if not jnp.issubdtype(weights.dtype, jnp.floating):
        raise TypeError(
            f"truncated_scan: lag_weights must be real floating point, got {weights.dtype}."
        )
    if horizon is None:
        raise ValueError(
            "truncated_scan: lag_weights needs a horizon; for no truncation, the number of steps."
        )
    if weights.ndim not in (1, 2) or weights.shape[-1] != horizon:
        raise ValueError(
            "truncated_scan: lag_weights must be [horizon] or [B, horizon], got "
            f"{list(weights.shape)} with horizon {horizon}."
        )
    check_excluded("truncated_scan: lag_weights", stride=stride)
    return jnp.moveaxis(weights, -1, 0)


def check_samples(weights: jax.Array | None, carry: Any, ys: Any) -> None:
    """Makes sure that weights [H, B] fit a carry and outputs [T, ...].

    Raises:
      ValueError: a leaf has no leading axis B.
    """
    if weights is None or weights.ndim == 1:
        return
    batch = weights.shape[1]
    shapes = [leaf.shape for leaf in jax.tree.leaves(inexact(carry))]
    shapes += [leaf.shape[1:] for leaf in jax.tree.leaves(inexact(ys))]
    for shape in shapes:
        if shape[:1] != (batch,):
            raise ValueError(
                "truncated_scan: with lag_weights [B, horizon] all leaves of the carry and of an "
                f"output must begin with B = {batch}, got {list(shape)}."
            )


def weighted(errors: Any, weights: jax.Array | None, lag: Any, *, axis: int = 1) -> Any:
    """Errors times the weight of a lag; `errors` where there are no weights.

    Args:
      errors: leaves whose samples are along `axis`.
      weights: [H] or [H, B].
      lag: an index, may be traced.
      axis: 1 behind an axis of time, 0 without.
    """
    if weights is None:
        return errors
    weight = weights[lag]

    def of_leaf(leaf):
        behind = leaf.ndim - axis - weight.ndim
        return leaf * weight.reshape((1,) * axis + weight.shape + (1,) * behind).astype(leaf.dtype)

    return jax.tree.map(of_leaf, errors)
