"""Leaves that are compiled into a program, beside those that are traced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """A leaf that is compiled into a program: an activation function, a name."""

    value: Any


def is_array(leaf: Any) -> bool:
    """Whether it is an array of JAX or NumPy, or a scalar of NumPy."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))


def is_number(leaf: Any) -> bool:
    """Whether `jax.jit` traces it: arrays, and Python's numbers."""
    return is_array(leaf) or isinstance(leaf, (bool, int, float, complex))


def freeze(tree: Any, is_traced: Callable[[Any], bool] = is_number) -> Any:
    """`tree` with the leaves that are not traced made static."""
    return jax.tree.map(lambda leaf: leaf if is_traced(leaf) else Static(leaf), tree)


def thaw(tree: Any) -> Any:
    """The inverse of `freeze`."""
    is_static = lambda leaf: isinstance(leaf, Static)
    return jax.tree.map(
        lambda leaf: leaf.value if is_static(leaf) else leaf, tree, is_leaf=is_static
    )
