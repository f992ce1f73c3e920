"""Products that could be one become one."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from tbptt_jax._pullback.graph import concatenate, multiply
from tbptt_jax._pullback.nodes import Cut, Node, Product, Sum, reachable


def merge_products(results: list[Node]) -> list[Node]:
    """The same results, by fewer products.

    A sum of products is one product: of all operands, one after the other, with all kernels, one
    below the other. Products of one operand are one product with their kernels side by side.
    """
    for rule in (_one_below_the_other, _unchanged, _side_by_side):
        results = _rebuilt(results, rule)
    return results


def _rebuilt(results, rule) -> list[Node]:
    """The results, each node replaced by what the rule makes of it; equal nodes are one."""
    nodes = reachable(results)
    replace = rule(nodes, results)
    replaced: dict[Node, Node] = {}
    known: dict[Any, Node] = {}
    for node in nodes:
        if node.operands:
            operands = tuple(replaced[operand] for operand in node.operands)
            new = dataclasses.replace(node, operands=operands)
            replaced[node] = replace(node, known.setdefault(_identity(new), new))
        else:
            replaced[node] = node
    return [replaced[node] for node in results]


def _identity(node):
    """Equal for nodes that compute the same."""
    alike = {"known": tuple(map(id, node.known)), "number": None}
    fields = (field.name for field in dataclasses.fields(node))
    return type(node), *(alike.get(name, getattr(node, name)) for name in fields)


def _unchanged(nodes, results) -> Callable[[Node, Node], Node]:
    return lambda old, new: new


def _kind(product: Product):
    """What products must have in common, beside shapes, to be one."""
    return product.axes, product.params, product.dtype, product.known[0].dtype


def _one_below_the_other(nodes, results) -> Callable[[Node, Node], Node]:
    num_readers = collections.Counter(results)
    for node in nodes:
        num_readers.update(node.operands)

    def replace(old, new):
        if not isinstance(old, Sum) or len(old.known) == 1:
            return new
        groups = collections.defaultdict(list)
        for k, before, term in zip(old.known, old.operands, new.operands, strict=True):
            is_one_axis = isinstance(term, Product) and len(term.axes) == 1
            alone = is_one_axis and num_readers[before] == 1
            groups[(id(k), *_sizes(term), _kind(term)) if alone else before].append((k, term))
        pairs = [(group[0][0], _below([term for _, term in group])) for group in groups.values()]
        factors, terms = zip(*pairs, strict=True)
        is_term = len(terms) == 1 and factors[0] is None
        return terms[0] if is_term else dataclasses.replace(new, operands=terms, known=factors)

    return replace


def _sizes(product):
    """Of the axes that are not summed over."""
    (operand,), (kernel,) = product.operands, product.known
    free = (size for axis, size in enumerate(operand.shape) if axis not in product.axes)
    return *free, *kernel.shape[1:]


def _below(terms):
    """One product for several, of which the sum is taken; or the one term."""
    if len(terms) == 1:
        return terms[0]
    first = terms[0]
    operand = concatenate((product.operands[0] for product in terms), first.axes[0])
    kernel = jnp.concatenate([product.known[0] for product in terms])
    return multiply(operand, first.axes, kernel, first.params, first.dtype)


def _side_by_side(nodes, results) -> Callable[[Node, Node], Node]:
    groups = collections.defaultdict(list)
    for node in nodes:
        if isinstance(node, Product) and node.known[0].ndim == len(node.axes) + 1:
            groups[node.operands[0], _kind(node)].append(node)
    group_of = {node: group for group in groups.values() if len(group) > 1 for node in group}
    made = {}

    def replace(old, new):
        if old not in group_of:
            return new
        group = group_of[old]
        kernels = [product.known[0] for product in group]
        if group[0] not in made:
            kernel = jnp.concatenate(kernels, -1)
            made[group[0]] = multiply(new.operands[0], new.axes, kernel, new.params, new.dtype)
        whole = made[group[0]]
        start = sum(kernel.shape[-1] for kernel in kernels[: group.index(old)])
        axis, stop = len(new.shape) - 1, start + new.shape[-1]
        return Cut(new.shape, new.dtype, (whole,), axis=axis, start=start, stop=stop)

    return replace
