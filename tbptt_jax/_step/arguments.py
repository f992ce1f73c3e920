"""Checks of single arguments: static numbers, functions, arrays."""

from __future__ import annotations

import inspect
import numbers
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike


def check_number(function: str, name: str, value: Any) -> None:
    """Makes sure that an argument is a static real number.

    Args:
      function: name of the public function, for the error, here and below.
      name: the argument's, here and below.
      value: what it was given.

    Raises:
      TypeError: it is none, or a bool.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{function}: {name} must be a static number, got {shown(value)}.")


def check_integer(function: str, name: str, value: Any, least: int = 1) -> int:
    """Returns a static integer >= `least`.

    Raises:
      TypeError: not a static integer.
      ValueError: below.
    """
    if isinstance(value, Tracer):
        raise TypeError(
            f"{function}: {name} must be a static integer, got a traced value; make it static "
            "(static_argnames of jax.jit)."
        )
    try:
        if isinstance(value, bool):
            raise TypeError
        index = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{function}: {name} must be a static integer, got {shown(value)}."
        ) from None
    if index < least:
        raise ValueError(f"{function}: {name} must be >= {least}, got {index}.")
    return index


def check_integers(function: str, name: str, values: Any, least: int = 1) -> tuple[int, ...]:
    """Returns static integers >= `least`.

    Raises:
      TypeError: they are no sequence of static integers.
      ValueError: one is below.
    """
    if isinstance(values, (str, dict)) or not np.iterable(values):
        raise TypeError(f"{function}: {name} must be static integers, got {shown(values)}.")
    return tuple(check_integer(function, name, value, least) for value in values)


def check_callable(function: str, name: str, f: Any, *args: str) -> None:
    """Makes sure that an argument is a function of so many arguments.

    Args:
      function: see above.
      name: see above.
      f: what it was given.
      args: names of the arguments that `f` will be given.

    Raises:
      TypeError: it is none, or one of others.
    """
    if not callable(f):
        raise TypeError(f"{function}: {name} must be a function, got {type(f).__name__}.")
    try:
        signature = inspect.signature(f, follow_wrapped=False)
    except ValueError:  # some builtins have none
        return
    try:
        signature.bind(*args)
    except TypeError:
        raise TypeError(
            f"{function}: {name} must be a function of ({', '.join(args)}), got one of "
            f"({', '.join(signature.parameters)})."
        ) from None


def check_arrays(function: str, **trees: Any) -> None:
    """Makes sure that the leaves of arguments, given by name, are arrays or numbers.

    Raises:
      TypeError: one is not.
    """
    for name, tree in trees.items():
        for leaf in jax.tree.leaves(tree):
            if hasattr(leaf, "__jax_array__"):
                continue
            try:
                jax.typeof(leaf)
            except TypeError:
                raise TypeError(
                    f"{function}: {name} must hold arrays, got {shown(leaf)}."
                ) from None


def as_array(function: str, name: str, value: Any, dtype: DTypeLike | None = None) -> jax.Array:
    """Returns an argument as an array.

    Raises:
      TypeError: it is none.
    """
    try:
        return jnp.asarray(value, dtype)
    except (TypeError, ValueError):
        raise TypeError(
            f"{function}: {name} must be an array, got {type(value).__name__}."
        ) from None


def real_array(function: str, name: str, value: Any) -> jax.Array:
    """Returns an argument as an array of integers or floating-point numbers.

    Raises:
      TypeError: it is none.
    """
    array = as_array(function, name, value)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.integer, jnp.floating)):
        raise TypeError(f"{function}: {name} must be real, got {array.dtype}.")
    return array


def shown(value: Any) -> str:
    """A value in one line, or its type where that is long."""
    text = repr(value)
    return type(value).__name__ if "\n" in text or len(text) > 80 else text
