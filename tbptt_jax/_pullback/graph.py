"""Builds nodes that are linear in the errors, in forms that cost less than the operations do.

* Known factors are multiplied with each other, not with each error: k₁ ∘ (k₂ ∘ a) = (k₁ k₂) ∘ a.
* A cut of a product is a product with a cut of its kernel.
* Pads that are added up are one concatenation.
* Transposes are handed on to the product that reads them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._pullback.nodes import (
    Concatenation,
    Cut,
    Node,
    Product,
    Shared,
    Sum,
    Transposed,
    Zeros,
)


def scale(a: Node, factor: Any) -> Node:
    """The node times a known factor of its shape, or one number."""
    if isinstance(a, Zeros):
        return a
    if isinstance(a, Concatenation):
        return _scale_in_pieces(a, factor)
    if isinstance(a, Transposed):
        factor = factor.transpose(np.argsort(a.order)) if np.ndim(factor) else factor
        return transpose(scale(a.operands[0], factor), a.order)
    return _sum([(factor if k is None else factor * k, term) for k, term in _terms(a)])


def add(a: Node, b: Node) -> Node:
    """The sum."""
    if isinstance(a, Zeros) or isinstance(b, Zeros):
        return b if isinstance(a, Zeros) else a
    if isinstance(a, Transposed) and isinstance(b, Transposed) and a.order == b.order:
        return transpose(add(a.operands[0], b.operands[0]), a.order)
    if isinstance(b, Concatenation) and not isinstance(a, Concatenation):
        a, b = b, a
    if isinstance(a, Concatenation):
        return _add_in_pieces(a, b)
    return _sum(_terms(a) + _terms(b))


def cut(a: Node, axis: int, start: int, stop: int) -> Node:
    """Entries start..stop-1 along an axis."""
    shape = (*a.shape[:axis], stop - start, *a.shape[axis + 1 :])
    if shape == a.shape:
        return a
    if isinstance(a, Zeros) or start == stop:
        return Zeros(shape, a.dtype)
    if isinstance(a, Sum):
        span = axis, start, stop
        return _sum([(_cut_known(k, *span), cut(term, *span)) for k, term in _terms(a)])
    if isinstance(a, Transposed):
        return transpose(cut(a.operands[0], a.order[axis], start, stop), a.order)
    if isinstance(a, Concatenation):
        return _cut_concatenation(a, axis, start, stop)
    if isinstance(a, Product):
        return _cut_product(a, axis, start, stop)
    if isinstance(a, Cut) and a.axis == axis:
        return cut(a.operands[0], axis, a.start + start, a.start + stop)
    return Cut(shape, a.dtype, (a,), axis=axis, start=start, stop=stop)


def concatenate(parts: Iterable[Node], axis: int) -> Node:
    """Nodes one after the other along an axis."""
    parts = [*parts]
    parts = [part for part in parts if part.shape[axis]] or parts[:1]
    if len(parts) == 1:
        return parts[0]
    shape, dtype = list(parts[0].shape), parts[0].dtype
    shape[axis] = sum(part.shape[axis] for part in parts)
    given = [part for part in parts if not isinstance(part, Zeros)]
    if not given:
        return Zeros(tuple(shape), dtype)
    orders = {part.order for part in given if isinstance(part, Transposed)}
    if len(orders) == 1 and all(isinstance(part, Transposed) for part in given):
        (order,) = orders
        inner = (transpose(part, np.argsort(order)) for part in parts)
        return transpose(concatenate(inner, order[axis]), order)
    return Concatenation(tuple(shape), dtype, tuple(parts), axis=axis)


def transpose(a: Node, order: Iterable[int]) -> Node:
    """The node, its axes in another order."""
    order = tuple(int(axis) for axis in order)
    if isinstance(a, Transposed):
        return transpose(a.operands[0], (a.order[axis] for axis in order))
    if order == tuple(range(len(order))):
        return a
    shape = tuple(a.shape[axis] for axis in order)
    if isinstance(a, Zeros):
        return Zeros(shape, a.dtype)
    return Transposed(shape, a.dtype, (a,), order=order)


def multiply(a: Node, axes: tuple[int, ...], kernel: Any, params: tuple, dtype: Any) -> Node:
    """See `Product`."""
    free = [axis for axis in range(len(a.shape)) if axis not in axes]
    shape = (*(a.shape[axis] for axis in free), *kernel.shape[len(axes) :])
    if isinstance(a, Zeros):
        return Zeros(shape, dtype)
    if isinstance(a, Transposed):
        inner = multiply(a.operands[0], tuple(a.order[i] for i in axes), kernel, params, dtype)
        of_operand = np.argsort(np.argsort([a.order[axis] for axis in free]))
        return transpose(inner, (*of_operand, *range(len(free), len(shape))))
    if isinstance(a, Concatenation) and a.axis in axes:
        a, kernel = _without_zeros(a, axes.index(a.axis), kernel)
    return Product(shape, dtype, (a,), (kernel,), axes=axes, params=params)


def share(a: Node) -> Node:
    """The same, to be read several times."""
    if isinstance(a, Transposed):
        return transpose(share(a.operands[0]), a.order)
    if isinstance(a, Concatenation):
        return concatenate(map(share, a.operands), a.axis)
    is_sum = isinstance(a, Sum) and len(a.known) > 1
    return Shared(a.shape, a.dtype, (a,)) if is_sum else a


def _terms(a):
    return list(zip(a.known, a.operands, strict=True)) if isinstance(a, Sum) else [(None, a)]


def _sum(terms):
    """Σ kᵢ ∘ aᵢ, where every node is there once, and zeros are not."""
    factors: dict[Node, Any] = {}
    for k, a in [term for term in terms if not isinstance(term[1], Zeros)]:
        if a in factors:
            one = jnp.ones((), a.dtype)
            k = (one if k is None else k) + (one if factors[a] is None else factors[a])
        factors[a] = k
    if not factors:
        return terms[0][1]
    first = next(iter(factors))
    if len(factors) == 1 and factors[first] is None:
        return first
    return Sum(first.shape, first.dtype, tuple(factors), tuple(factors.values()))


def _cut_known(known, axis, start, stop):
    """A cut of a known array; numbers and None stay."""
    return jax.lax.slice_in_dim(known, start, stop, axis=axis) if np.ndim(known) else known


def _bounds(a):
    """Where the parts of a concatenation start, and its end."""
    return [0, *itertools.accumulate(part.shape[a.axis] for part in a.operands)]


def _scale_in_pieces(a, factor):
    pieces = zip(a.operands, itertools.pairwise(_bounds(a)), strict=True)
    parts = (scale(part, _cut_known(factor, a.axis, *span)) for part, span in pieces)
    return concatenate(parts, a.axis)


def _add_in_pieces(a, b):
    """The sum of a concatenation and any node, in pieces that both are made of."""
    bounds = {*_bounds(a)}
    if isinstance(b, Concatenation) and b.axis == a.axis:
        bounds |= {*_bounds(b)}
    elif isinstance(b, Concatenation):
        return _sum([(None, a), (None, b)])
    spans = [(a.axis, *span) for span in itertools.pairwise(sorted(bounds))]
    return concatenate((add(cut(a, *span), cut(b, *span)) for span in spans), a.axis)


def _cut_concatenation(a, axis, start, stop):
    if axis != a.axis:
        return concatenate((cut(part, axis, start, stop) for part in a.operands), a.axis)
    parts = []
    for part, (first, end) in zip(a.operands, itertools.pairwise(_bounds(a)), strict=True):
        if max(first, start) < min(end, stop):
            parts.append(cut(part, axis, max(first, start) - first, min(end, stop) - first))
    return concatenate(parts, axis)


def _cut_product(a, axis, start, stop):
    (operand,), (kernel,) = a.operands, a.known
    free = [i for i in range(len(operand.shape)) if i not in a.axes]
    if axis < len(free):
        operand = cut(operand, free[axis], start, stop)
    else:
        kernel_axis = axis - len(free) + len(a.axes)
        kernel = jax.lax.slice_in_dim(kernel, start, stop, axis=kernel_axis)
    return multiply(operand, a.axes, kernel, a.params, a.dtype)


def _without_zeros(a, kernel_axis, kernel):
    """A concatenation and the kernel that sums over its axis, both without the zeros' places."""
    spans = [
        span
        for part, span in zip(a.operands, itertools.pairwise(_bounds(a)), strict=True)
        if not isinstance(part, Zeros)
    ]
    if len(spans) < len(a.operands):
        kernels = [_cut_known(kernel, kernel_axis, *span) for span in spans]
        kernel = jnp.concatenate(kernels, kernel_axis)
        a = concatenate((part for part in a.operands if not isinstance(part, Zeros)), a.axis)
    return a, kernel
