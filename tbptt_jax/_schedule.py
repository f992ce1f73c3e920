"""Checks of static integers: a horizon and its stride, a size."""

from __future__ import annotations

import operator
from typing import Any

from jax.core import Tracer


def check_schedule(function: str, horizon: Any, stride: Any) -> tuple[int | None, int]:
    """Returns a static (horizon, stride), 1 <= stride <= horizon where there is a horizon.

    Args:
      function: name of the public function, for the error.
      horizon: integer, or None for no truncation.
      stride: integer.

    Raises:
      TypeError: not a static integer.
      ValueError: out of range.
    """
    stride = check_positive(function, "stride", stride)
    if horizon is None:
        return None, stride
    horizon = check_positive(function, "horizon", horizon)
    if stride > horizon:
        raise ValueError(
            f"{function}: stride must be in 1..horizon ({horizon}), got {stride}; "
            "a larger stride would drop errors."
        )
    return horizon, stride


def check_positive(function: str, name: str, value: Any) -> int:
    """Returns a static integer >= 1.

    Args:
      function: name of the public function, for the error.
      name: the argument's.
      value: what it was given.

    Raises:
      TypeError: not a static integer.
      ValueError: below 1.
    """
    if isinstance(value, Tracer):
        raise TypeError(
            f"{function}: {name} must be a static integer, got a traced value; make it static "
            "(static_argnames of jax.jit)."
        )
    try:
        if isinstance(value, bool):
            raise TypeError
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{function}: {name} must be a static integer, got {value!r}.") from None
    if value < 1:
        raise ValueError(f"{function}: {name} must be >= 1, got {value}.")
    return value
