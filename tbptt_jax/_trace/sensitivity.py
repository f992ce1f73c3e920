"""Sensitivities: what a value takes of the errors on a leaf of the carry, without its zeros.

Of a value v that is linear in the errors e on a leaf, v[q] = Σₙ M[q, n] e[n]. Where an entry of v
takes the error of one place alone, as the cotangent of a kernel [M, N] under a carry [B, N] takes
v[m, n] = Σ_b x[b, m] e[b, n], most of M is 0: what is kept is x[b, m] for each n, not a matrix. The
sum over b is left for the end, so that such maps can be added up under different errors.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable

import jax
import jax.numpy as jnp


@functools.partial(jax.tree_util.register_dataclass, data_fields=["coefs"], meta_fields=["axes"])
@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """A linear map from errors on a leaf to a value.

    Attributes:
      coefs: [*the leaf's axes, *the free factors], in the order in which `axes` has them.
      axes: for each axis of the value its factors in row-major order. n >= 0 is the leaf's axis n:
        the map is 0 but where both are at the same place. -k is a free factor of k entries. A
        factor of one entry is left out. No two are the same axis of the leaf.
    """

    coefs: jax.Array
    axes: tuple[tuple[int, ...], ...]

    @property
    def leaf_shape(self) -> tuple[int, ...]:
        """The leaf's."""
        return self.coefs.shape[: self.coefs.ndim - len(free(self.axes))]

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's."""
        return tuple(math.prod(map(self.size, factors)) for factors in self.axes)

    def size(self, factor: int) -> int:
        """A factor's number of entries."""
        return self.leaf_shape[factor] if factor >= 0 else -factor


def flat(axes: Iterable[tuple[int, ...]]) -> list[int]:
    """All factors."""
    return [factor for factors in axes for factor in factors]


def free(axes: Iterable[tuple[int, ...]]) -> list[int]:
    """The sizes of the free factors."""
    return [-factor for factor in flat(axes) if factor < 0]


def make(coefs: jax.Array, axes: Iterable[Iterable[int]], leaf_ndim: int) -> Sensitivity:
    """A sensitivity from factors that may have one entry, or neighbours that are split or merged.

    Args:
      coefs: [*the leaf's axes, ...], in the order of the free factors.
      axes: see `Sensitivity`.
      leaf_ndim: how many axes the leaf has.
    """
    leaf_shape = coefs.shape[:leaf_ndim]
    is_one = lambda factor: (leaf_shape[factor] if factor >= 0 else -factor) == 1
    kept = tuple(tuple(f for f in factors if not is_one(f)) for factors in axes)
    return Sensitivity(coefs.reshape(*leaf_shape, *free(kept)), kept)


def of_steps(weights: jax.Array) -> Sensitivity:
    """v[t, n] = w[t, n] e[n]: one error, weighted for each step and place.

    Args:
      weights: [T, *the leaf's shape].
    """
    num_steps, *leaf_shape = weights.shape
    axes = [(-num_steps,), *((n,) for n in range(len(leaf_shape)))]
    return make(jnp.moveaxis(weights, 0, -1), axes, len(leaf_shape))


def spread(value: jax.Array, like: Sensitivity) -> jax.Array:
    """An array that broadcasts to the value's shape, in the order of `coefs`.

    Axes of the leaf that the value has not are of one entry.
    """
    value = jnp.broadcast_to(value, like.shape)
    factors, sizes = flat(like.axes), dict(enumerate(like.leaf_shape))
    value = value.reshape([like.size(factor) for factor in factors])
    leaf_first = lambda i: factors[i] if factors[i] >= 0 else len(sizes)
    value = value.transpose(sorted(range(len(factors)), key=leaf_first))
    of_leaf = [size if n in factors else 1 for n, size in sizes.items()]
    return value.reshape(*of_leaf, *free(like.axes))


def freed(sensitivity: Sensitivity, axis: int) -> Sensitivity:
    """The same map; the axis of the value is one free factor."""
    for factor in [f for f in sensitivity.axes[axis] if f >= 0]:
        sensitivity = _freed_factor(sensitivity, axis, factor)
    axes = list(sensitivity.axes)
    axes[axis] = (-sensitivity.shape[axis],)
    return make(sensitivity.coefs, axes, len(sensitivity.leaf_shape))


def _freed_factor(sensitivity, axis, factor):
    """The same map; an axis of the leaf among the factors is a free one, with zeros."""
    coefs, axes = sensitivity.coefs, list(sensitivity.axes)
    leaf_ndim, place = len(sensitivity.leaf_shape), axes[axis].index(factor)
    at = leaf_ndim + len(free([*axes[:axis], axes[axis][:place]]))
    size = coefs.shape[factor]
    shape = [size if n in (factor, at) else 1 for n in range(coefs.ndim + 1)]
    coefs = jnp.expand_dims(coefs, at) * jnp.eye(size, dtype=coefs.dtype).reshape(shape)
    axes[axis] = (*axes[axis][:place], -size, *axes[axis][place + 1 :])
    return Sensitivity(coefs, tuple(axes))


def all_freed(sensitivity: Sensitivity) -> Sensitivity:
    """The dense map, [*the leaf's shape, *the value's shape] but for axes of one entry."""
    return functools.reduce(freed, range(len(sensitivity.axes)), sensitivity)


def with_axes(sensitivity: Sensitivity, axes: tuple[tuple[int, ...], ...]) -> Sensitivity | None:
    """The same map with these factors; None where it has entries that they have not."""
    for axis, factors in enumerate(axes):
        if sensitivity.axes[axis] != factors:
            sensitivity = freed(sensitivity, axis)
    return sensitivity if sensitivity.axes == axes else None


def aligned(*sensitivities: Sensitivity) -> list[Sensitivity]:
    """The same maps with the same factors; the values are of one shape."""
    found = list(sensitivities)
    for axis in range(len(found[0].axes)):
        if any(one.axes[axis] != found[0].axes[axis] for one in found):
            found = [freed(one, axis) for one in found]
    return found


def reshaped(sensitivity: Sensitivity, shape: tuple[int, ...]) -> Sensitivity:
    """The value in another shape."""
    left, axes = flat(sensitivity.axes), []
    for size in shape:
        factors, have = [], 1
        while have < size:
            factor = left.pop(0)
            need, entries = size // have, sensitivity.size(factor)
            if need % entries and entries % need:
                return reshaped(_as_one_axis(all_freed(sensitivity)), shape)
            if need % entries and factor >= 0:
                (axis,) = (n for n, of in enumerate(sensitivity.axes) if factor in of)
                return reshaped(_freed_factor(sensitivity, axis, factor), shape)
            if need % entries:  # the factor is split
                left.insert(0, -(entries // need))
                factor, entries = -need, need
            factors.append(factor)
            have *= entries
        axes.append(tuple(factors))
    return make(sensitivity.coefs, axes, len(sensitivity.leaf_shape))


def _as_one_axis(dense):
    return make(dense.coefs, [(-math.prod(dense.shape),)], len(dense.leaf_shape))


def pulled(sensitivity: Sensitivity, errors: jax.Array) -> jax.Array:
    """The value: the map on errors, [*the leaf's shape]."""
    leaf = [*range(errors.ndim)]
    labels = iter(range(errors.ndim, sensitivity.coefs.ndim))
    out = [f if f >= 0 else next(labels) for f in flat(sensitivity.axes)]
    coefs, all_labels = sensitivity.coefs, [*range(sensitivity.coefs.ndim)]
    value = jnp.einsum(coefs, all_labels, errors.astype(coefs.dtype), leaf, out)
    return value.reshape(sensitivity.shape)
