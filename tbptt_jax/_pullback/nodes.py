"""Arrays that are linear in the errors: how each is computed from others and from known arrays."""

from __future__ import annotations

import abc
import dataclasses
import itertools
import operator
from typing import Any

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """An array that is linear in the errors.

    Attributes:
      shape: its shape, and
      dtype: its type.
      operands: the nodes it is computed from, and
      known: the arrays it is computed from, which do not depend on the errors.
      number: nodes are numbered in the order in which they are made.
    """

    shape: tuple[int, ...]
    dtype: Any
    operands: tuple[Node, ...] = ()
    known: tuple[Any, ...] = ()
    number: int = dataclasses.field(default_factory=itertools.count().__next__, init=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Error(Node):
    """An error that is given."""


@dataclasses.dataclass(frozen=True, eq=False)
class Zeros(Node):
    """Zeros; they are computed by what reads them, of the same kind as its other operands."""


@dataclasses.dataclass(frozen=True, eq=False)
class Computed(Node, abc.ABC):
    """A node that is computed from others."""

    @abc.abstractmethod
    def compute(self, operands: list[jax.Array], known: list[Any]) -> jax.Array:
        """The array, from the values of its operands and known arrays."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sum(Computed):
    """Σ kᵢ ∘ aᵢ over the operands aᵢ and the known factors kᵢ, where None is one."""

    def compute(self, operands, known):
        """The sum, from left to right."""
        terms = [a if k is None else k * a for k, a in zip(known, operands, strict=True)]
        return sum(terms[1:], start=terms[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Shared(Computed):
    """A sum that several nodes read: it is computed once, not multiplied out in each of them."""

    def compute(self, operands, known):
        """The sum itself."""
        return operands[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Product(Computed):
    """The operand times a known kernel, summed over `axes` of the operand, the kernel's first ones.

    The operand's other axes come first in the result, the kernel's last.
    """

    axes: tuple[int, ...] = ()
    params: tuple[tuple[str, Any], ...] = ()

    def compute(self, operands, known):
        """The product."""
        contracted = self.axes, tuple(range(len(self.axes)))
        (operand,), (kernel,) = operands, known
        return jax.lax.dot_general(operand, kernel, (contracted, ((), ())), **dict(self.params))


@dataclasses.dataclass(frozen=True, eq=False)
class Concatenation(Computed):
    """The operands one after the other along an axis."""

    axis: int = 0

    def compute(self, operands, known):
        """The operands; zeros vary over the axes of `shard_map` as the others do."""
        like = next(value for value in operands if not isinstance(value, Zeros))
        one = jnp.zeros_like(jax.lax.slice_in_dim(like, 0, 1, axis=self.axis))
        parts = [
            jnp.broadcast_to(one, value.shape) if isinstance(value, Zeros) else value
            for value in operands
        ]
        return jnp.concatenate(parts, self.axis)


@dataclasses.dataclass(frozen=True, eq=False)
class Cut(Computed):
    """Entries start..stop-1 of the operand along an axis."""

    axis: int = 0
    start: int = 0
    stop: int = 0

    def compute(self, operands, known):
        """The entries."""
        return jax.lax.slice_in_dim(operands[0], self.start, self.stop, axis=self.axis)


@dataclasses.dataclass(frozen=True, eq=False)
class Transposed(Computed):
    """The operand, its axes in another order."""

    order: tuple[int, ...] = ()

    def compute(self, operands, known):
        """The transpose."""
        return jnp.transpose(operands[0], self.order)


@dataclasses.dataclass(frozen=True, eq=False)
class Applied(Computed):
    """What the primitive of an equation makes of nodes and known arrays.

    Attributes:
      bind: that primitive, with its parameters.
      are_nodes: of each of the equation's operands, whether it is a node.
    """

    bind: Any = None
    are_nodes: tuple[bool, ...] = ()

    def compute(self, operands, known):
        """The primitive's result."""
        like = next(value for value in operands if not isinstance(value, Zeros))
        filled = (jnp.zeros_like(like) if isinstance(v, Zeros) else v for v in operands)
        nodes, others = iter(filled), iter(known)
        return self.bind(*(next(nodes if is_node else others) for is_node in self.are_nodes))


def reachable(results: list[Node]) -> list[Node]:
    """These nodes and all that they are computed from, operands first."""
    found, left = {}, list(results)
    while left:
        one = left.pop()
        if one.number not in found:
            found[one.number] = one
            left += one.operands
    return sorted(found.values(), key=operator.attrgetter("number"))
