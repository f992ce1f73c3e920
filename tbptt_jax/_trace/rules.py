"""What operations make of sensitivities, by the names of the primitives.

A rule is given an equation and the values of its operands, some of them sensitivities. It returns
the result, a list where there are several, or None where it does not keep them small. The equation
is linear in the errors.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp

from tbptt_jax._trace.rows import cut, padded
from tbptt_jax._trace.sensitivity import Sensitivity, aligned, free, make, reshaped, spread


def _replaced(value, coefs):
    return Sensitivity(coefs, value.axes)


def _unary(eqn, value):
    return _replaced(value, eqn.primitive.bind(value.coefs, **eqn.params))


def _terms(eqn, values):
    """The operands of a sum; of those that take no errors all are zero, since it is linear."""
    shape = eqn.outvars[0].aval.shape
    given = [_to_shape(value, shape) for value in values if isinstance(value, Sensitivity)]
    given = aligned(*given)
    zero = jnp.zeros_like(given[0].coefs)
    terms = iter(given)
    return given[0], [next(terms).coefs if isinstance(v, Sensitivity) else zero for v in values]


def _sum(eqn, *values):
    like, terms = _terms(eqn, values)
    return _replaced(like, eqn.primitive.bind(*terms, **eqn.params))


def _select(eqn, which, *cases):
    if isinstance(which, Sensitivity):
        return None
    like, cases = _terms(eqn, cases)
    if jnp.ndim(which):
        which = jnp.broadcast_to(spread(which, like), like.coefs.shape)
    return _replaced(like, jax.lax.select_n(which, *cases))


def _mul(eqn, a, b):
    value, factor = (a, b) if isinstance(a, Sensitivity) else (b, a)
    return None if isinstance(factor, Sensitivity) else _scaled(eqn, jnp.multiply, value, factor)


def _div(eqn, value, divisor):
    is_linear = not isinstance(divisor, Sensitivity)
    return _scaled(eqn, jnp.divide, value, divisor) if is_linear else None


def _scaled(eqn, operation, value, factor):
    value = _to_shape(value, eqn.outvars[0].aval.shape)
    factor = jnp.asarray(factor, value.coefs.dtype)
    factor = spread(factor, value) if factor.ndim else factor
    return _replaced(value, operation(value.coefs, factor))


def _reordered(value, axes, order):
    """The value's axes in another order."""
    leaf_ndim, at, places = len(value.leaf_shape), 0, []
    for factors in value.axes:
        num = len(free([factors]))
        places.append(range(leaf_ndim + at, leaf_ndim + at + num))
        at += num
    coefs = value.coefs.transpose(*range(leaf_ndim), *(n for axis in order for n in places[axis]))
    return make(coefs, axes, leaf_ndim)


def _transpose(eqn, value):
    order = eqn.params["permutation"]
    return _reordered(value, [value.axes[axis] for axis in order], order)


def _reduce_sum(eqn, value):
    """A sum over places of the leaf is left for the end: the places are no longer told apart."""
    summed, leaf_ndim = eqn.params["axes"], len(value.leaf_shape)
    owners = [axis for axis, factors in enumerate(value.axes) for _ in free([factors])]
    places = tuple(leaf_ndim + i for i, axis in enumerate(owners) if axis in summed)
    coefs = jnp.sum(value.coefs, places)
    return make(coefs, [f for a, f in enumerate(value.axes) if a not in summed], leaf_ndim)


def _broadcast(eqn, value):
    return _broadcasted(value, eqn.params["shape"], eqn.params["broadcast_dimensions"])


def _to_shape(value, shape):
    """As sums and products broadcast their operands."""
    if value.shape == shape:
        return value
    return _broadcasted(value, shape, range(len(shape) - len(value.shape), len(shape)))


def _broadcasted(value, shape, into):
    into, leaf_ndim = list(into), len(value.leaf_shape)
    axes, sizes = [], []  # sizes: of the free factors, 1 where an axis is new
    for axis, size in enumerate(shape):
        old = into.index(axis) if axis in into else None
        is_old = old is not None and value.shape[old] == size
        axes.append(value.axes[old] if is_old else (-size,))
        sizes += free([value.axes[old]]) if is_old else [1]
    coefs = value.coefs.reshape(*value.leaf_shape, *sizes)
    coefs = jnp.broadcast_to(coefs, (*value.leaf_shape, *free(axes)))
    return make(coefs, axes, leaf_ndim)


def _reshape(eqn, value):
    return reshaped(value, eqn.outvars[0].aval.shape)


def _dot(eqn, a, b):
    """A sum over places of the leaf is left for the end here too."""
    is_left = isinstance(a, Sensitivity)
    value, other = (a, b) if is_left else (b, a)
    if isinstance(other, Sensitivity):
        return None
    contracted, batch = (
        pair if is_left else pair[::-1] for pair in eqn.params["dimension_numbers"]
    )
    joined = dict(zip((*contracted[1], *batch[1]), (*contracted[0], *batch[0]), strict=True))
    axes = list(zip(value.axes, _labels(value), strict=True))
    other, labels, new = _by_factors(value, axes, joined, other)
    rest = [axis for n, axis in enumerate(axes) if n not in joined.values()]
    out = [axes[n] for n in batch[0]] + ([*rest, *new] if is_left else [*new, *rest])
    leaf_ndim = len(value.leaf_shape)
    free_labels = [label for _, labels in out for label in labels if label >= leaf_ndim]
    coefs = jnp.einsum(
        value.coefs,
        [*range(value.coefs.ndim)],
        other,
        labels,
        [*range(leaf_ndim), *free_labels],
        precision=eqn.params["precision"],
        preferred_element_type=eqn.outvars[0].aval.dtype,
    )
    return make(coefs, [factors for factors, _ in out], leaf_ndim)


def _by_factors(value, axes, joined, other):
    """The other operand by factors: itself, its labels, and the axes that are its own."""
    fresh = itertools.count(value.coefs.ndim)
    shape, labels, new = [], [], []
    for axis, size in enumerate(other.shape):
        factors, own = axes[joined[axis]] if axis in joined else ((-size,), [next(fresh)])
        shape += map(value.size, factors)
        labels += own
        if axis not in joined:
            new.append((factors, own))
    return other.reshape(shape), labels, new


def _labels(value):
    """For each axis of the value the axes of `coefs` that its factors are."""
    at = iter(range(len(value.leaf_shape), value.coefs.ndim))
    return [[f if f >= 0 else next(at) for f in factors] for factors in value.axes]


def _pad(eqn, value, filling):
    for axis, (low, high, interior) in enumerate(eqn.params["padding_config"]):
        if isinstance(filling, Sensitivity) or interior or low < 0 or high < 0:
            return None
        value = padded(value, axis, low, high)
    return value


def _slice(eqn, value):
    if any(stride != 1 for stride in eqn.params["strides"] or ()):
        return None
    bounds = zip(eqn.params["start_indices"], eqn.params["limit_indices"], strict=True)
    for axis, (start, end) in enumerate(bounds):
        value = cut(value, axis, start, end)
    return value


def _split(eqn, value):
    ends = itertools.accumulate(eqn.params["sizes"], initial=0)
    return [cut(value, eqn.params["axis"], *bounds) for bounds in itertools.pairwise(ends)]


def _concatenate(eqn, *values):
    """As a sum of pads."""
    axis, before, total = eqn.params["dimension"], 0, eqn.outvars[0].aval.shape
    terms = []
    for value in values:
        size = value.shape[axis]
        if isinstance(value, Sensitivity):
            terms.append(padded(value, axis, before, total[axis] - before - size))
        before += size
    terms = aligned(*terms)
    return _replaced(terms[0], functools.reduce(jnp.add, (term.coefs for term in terms)))


SAME = "neg convert_element_type real imag conj copy copy_p reduce_precision"
RULES = dict.fromkeys(SAME.split(), _unary)
RULES |= dict.fromkeys(("add", "sub", "add_any", "complex"), _sum)
RULES |= {
    "mul": _mul,
    "div": _div,
    "select_n": _select,
    "transpose": _transpose,
    "reduce_sum": _reduce_sum,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "dot_general": _dot,
    "pad": _pad,
    "slice": _slice,
    "split": _split,
    "concatenate": _concatenate,
}
