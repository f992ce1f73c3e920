"""Cutting and filling up an axis of a sensitivity's value.

Where several gates are one product, an axis of the value is a row of the leaf's places for each
gate. What takes whole rows keeps places apart; what cuts a row frees the axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tbptt_jax._trace.sensitivity import Sensitivity, free, freed, make


def padded(value: Sensitivity, axis: int, low: int, high: int) -> Sensitivity:
    """`low` zeros before an axis, and `high` after it."""

    def pad(coefs, at, low, high):
        config = [(low, high, 0) if n == at else (0, 0, 0) for n in range(coefs.ndim)]
        return jax.lax.pad(coefs, jnp.zeros((), coefs.dtype), config)

    return _in_rows(pad, value, axis, low, high) if low or high else value


def cut(value: Sensitivity, axis: int, start: int, end: int) -> Sensitivity:
    """The entries start..end-1 of an axis."""
    take = lambda coefs, at, start, end: jax.lax.slice_in_dim(coefs, start, end, axis=at)
    is_all = (start, end) == (0, value.shape[axis])
    return value if is_all else _in_rows(take, value, axis, start, end)


def _in_rows(operation: Callable, value: Sensitivity, axis: int, *bounds: int) -> Sensitivity:
    """`operation(coefs, at, *bounds)`, with the bounds counted in rows."""
    if any(bound % _row_size(value, axis) for bound in bounds):
        value = freed(value, axis)
    size, factors = _row_size(value, axis), value.axes[axis]
    has_rows = bool(factors) and factors[0] < 0
    at = len(value.leaf_shape) + len(free(value.axes[:axis]))
    coefs = value.coefs if has_rows else jnp.expand_dims(value.coefs, at)
    coefs = operation(coefs, at, *(int(bound) // size for bound in bounds))
    axes = list(value.axes)
    axes[axis] = (-coefs.shape[at], *factors[has_rows:])
    return make(coefs, axes, len(value.leaf_shape))


def _row_size(value, axis):
    factors = value.axes[axis]
    has_rows = bool(factors) and factors[0] < 0
    return math.prod(map(value.size, factors[has_rows:]))
