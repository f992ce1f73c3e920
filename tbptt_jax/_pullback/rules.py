"""What operations make of nodes that are linear in the errors, by the names of the primitives.

A rule is given an equation and the values of its operands, nodes or known arrays, and returns its
results; None where it has no simpler form for them.
"""

from __future__ import annotations

import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from tbptt_jax._pullback.graph import add, concatenate, cut, multiply, scale, transpose
from tbptt_jax._pullback.nodes import Applied, Node, Zeros

# Linear in the errors where these do not choose: of such an operation nothing is known but that.
APPLIED = set(
    "select_n broadcast_in_dim reshape squeeze expand_dims reduce_sum cumsum rev copy copy_p div "
    "convert_element_type reduce_precision dot_general conv_general_dilated slice pad".split()
)


def apply(eqn, *values) -> list[Node] | None:
    """The operation as it is; None where it is not listed, or not linear."""
    nodes = [value for value in values if isinstance(value, Node)]
    is_linear = {
        "select_n": not isinstance(values[0], Node),
        "div": len(values) == 2 and not isinstance(values[1], Node),
    }.get(eqn.primitive.name, eqn.primitive.name in APPLIED)
    if not is_linear or len(eqn.outvars) != 1:
        return None
    shape, dtype = eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype
    if all(isinstance(node, Zeros) for node in nodes):
        return [Zeros(shape, dtype)]
    if len(nodes) > 1 and eqn.primitive.name != "select_n":
        return None
    are_nodes = tuple(isinstance(value, Node) for value in values)
    known = tuple(value for value in values if not isinstance(value, Node))
    bind = functools.partial(eqn.primitive.bind, **eqn.params)
    return [Applied(shape, dtype, tuple(nodes), known, bind=bind, are_nodes=are_nodes)]


def _mul(eqn, a, b):
    node, factor = (a, b) if isinstance(a, Node) else (b, a)
    if isinstance(factor, Node) or eqn.outvars[0].aval.shape != node.shape:
        return None
    return [scale(node, jnp.asarray(factor))]


def _neg(eqn, a):
    return [scale(a, jnp.full((), -1, a.dtype))]


def _add(eqn, a, b):
    return [add(a, b)] if isinstance(a, Node) and isinstance(b, Node) else None


def _sub(eqn, a, b):
    return _add(eqn, a, *_neg(eqn, b)) if isinstance(b, Node) else None


def _slice(eqn, a):
    if any(stride != 1 for stride in eqn.params["strides"] or ()):
        return None
    spans = zip(eqn.params["start_indices"], eqn.params["limit_indices"], strict=True)
    for axis, span in enumerate(spans):
        a = cut(a, axis, *span)
    return [a]


def _split(eqn, a):
    bounds = itertools.pairwise([0, *itertools.accumulate(eqn.params["sizes"])])
    return [cut(a, eqn.params["axis"], *span) for span in bounds]


def _concatenate(eqn, *parts):
    if not all(isinstance(part, Node) for part in parts):
        return None
    return [concatenate(parts, eqn.params["dimension"])]


def _pad(eqn, a, value):
    config = eqn.params["padding_config"]
    is_zero = isinstance(eqn.invars[1], Literal) and not np.any(eqn.invars[1].val)
    if not is_zero or any(low < 0 or high < 0 or inside for low, high, inside in config):
        return None

    def zeros(size, axis):
        return Zeros((*a.shape[:axis], size, *a.shape[axis + 1 :]), a.dtype)

    for axis, (low, high, _) in enumerate(config):
        a = concatenate([zeros(low, axis), a, zeros(high, axis)], axis)
    return [a]


def _transpose(eqn, a):
    return [transpose(a, eqn.params["permutation"])]


def _dot_general(eqn, a, b):
    params = dict(eqn.params)
    axes, batch_axes = params.pop("dimension_numbers")
    both = isinstance(a, Node) and isinstance(b, Node)
    if both or batch_axes != ((), ()) or params.get("out_sharding") is not None:
        return None
    if isinstance(a, Node):
        return [_product(eqn, a, b, axes, params)]
    if isinstance(params["precision"], tuple):
        params["precision"] = params["precision"][::-1]
    product = _product(eqn, b, a, axes[::-1], params)
    ndim, num_last = len(product.shape), np.ndim(a) - len(axes[0])
    first = ndim - num_last  # of the kernel's axes
    return [transpose(product, [*range(first, ndim), *range(first)])]


def _product(eqn, node, kernel, axes, params):
    """Of a node and a kernel, whose other axes come last."""
    of_node, of_kernel = axes
    kernel = jnp.moveaxis(kernel, of_kernel, range(len(of_kernel)))
    params = tuple(sorted(params.items()))
    return multiply(node, tuple(of_node), kernel, params, eqn.outvars[0].aval.dtype)


RULES = {
    "mul": _mul,
    "neg": _neg,
    "add": _add,
    "add_any": _add,
    "sub": _sub,
    "slice": _slice,
    "split": _split,
    "concatenate": _concatenate,
    "pad": _pad,
    "transpose": _transpose,
    "dot_general": _dot_general,
}
