"""Checks of single arguments: static numbers, functions, arrays.

Each is given the name of the public function and that of the argument. It raises TypeError, or
ValueError for a value out of range, in one line that begins with both.
"""

from __future__ import annotations

import inspect
import itertools
import numbers
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike


def check_number(function: str, name: str, value: Any) -> float:
    """Returns a static real number; a bool is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{function}: {name} must be a static number, got {shown(value)}.")
    return float(value)


def check_flags(function: str, **flags: Any) -> None:
    """Refuses flags, given by name, that are neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{function}: {name} must be True or False, got {shown(value)}.")


def check_integer(function: str, name: str, value: Any, least: int = 1) -> int:
    """Returns a static integer >= `least`."""
    rule = f"{function}: {name} must be a static integer, got"
    if isinstance(value, Tracer):
        advice = "make it static (static_argnames of jax.jit)"
        raise TypeError(f"{rule} a traced value; {advice}.")
    try:
        index = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        index = None
    if index is None:
        raise TypeError(f"{rule} {shown(value)}.")
    if index < least:
        raise ValueError(f"{function}: {name} must be >= {least}, got {index}.")
    return index


def check_integers(function: str, name: str, values: Any, least: int = 1) -> tuple[int, ...]:
    """Returns a sequence of static integers >= `least`."""
    if isinstance(values, str) or not np.iterable(values):
        raise TypeError(f"{function}: {name} must be static integers, got {shown(values)}.")
    return tuple(check_integer(function, name, value, least) for value in values)


def check_callable(function: str, name: str, f: Any, *args: str) -> None:
    """Refuses what is no function of arguments with the roles `args`."""
    rule = f"{function}: {name} must be a function"
    if not callable(f):
        raise TypeError(f"{rule}, got {type(f).__name__}.")
    try:
        signature = inspect.signature(f, follow_wrapped=False)
    except ValueError:  # some builtins have none
        return
    try:
        signature.bind(*args)
    except TypeError:
        taken = ", ".join(signature.parameters)
        raise TypeError(f"{rule} of ({', '.join(args)}), got one of ({taken}).") from None


def check_arrays(function: str, **trees: Any) -> None:
    """Refuses leaves that are neither arrays nor numbers, in arguments given by name."""
    for name, tree in trees.items():
        for leaf in itertools.filterfalse(_is_array, jax.tree.leaves(tree)):
            raise TypeError(f"{function}: {name} must hold arrays, got {shown(leaf)}.")


def as_array(function: str, name: str, value: Any, dtype: DTypeLike | None = None) -> jax.Array:
    """Returns an argument as an array."""
    error = TypeError(f"{function}: {name} must be an array, got {type(value).__name__}.")
    if not all(map(_is_array, jax.tree.leaves(value))):
        raise error
    try:
        return jnp.asarray(value, dtype)
    except (TypeError, ValueError):
        raise error from None


def real_array(function: str, name: str, value: Any) -> jax.Array:
    """Returns an argument as an array of integers or floating-point numbers."""
    array = as_array(function, name, value)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.integer, jnp.floating)):
        raise TypeError(f"{function}: {name} must be real, got {array.dtype}.")
    return array


def _is_array(leaf):
    if hasattr(leaf, "__jax_array__"):
        return True
    try:
        jax.typeof(leaf)
    except TypeError:
        return False
    return True


def check_key(function: str, key: Any) -> None:
    """Refuses what is not one PRNG key, typed or raw."""
    array = as_array(function, "key", key)
    try:
        is_typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        is_one = (array if is_typed else jax.random.wrap_key_data(array)).ndim == 0
    except (TypeError, ValueError):
        is_one = False
    if not is_one:
        got = f"{array.dtype}{list(array.shape)}"
        raise TypeError(f"{function}: key must be one PRNG key, got {got}.")


def shown(value: Any) -> str:
    """A value in one line, or its type where that is long."""
    text = repr(value)
    return type(value).__name__ if "\n" in text or len(text) > 80 else text
