"""The one check of a horizon and a stride."""

from __future__ import annotations

import operator
from typing import Any


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
    stride = _static_integer(function, "stride", stride)
    if stride < 1:
        raise ValueError(f"{function}: stride must be >= 1, got {stride}.")
    if horizon is None:
        return None, stride
    horizon = _static_integer(function, "horizon", horizon)
    if horizon < 1:
        raise ValueError(f"{function}: horizon must be >= 1, got {horizon}.")
    if stride > horizon:
        raise ValueError(
            f"{function}: stride must be in 1..horizon ({horizon}), got {stride}; "
            "a larger stride would drop errors."
        )
    return horizon, stride


def _static_integer(function: str, name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{function}: {name} must be a static integer, got {value!r}.") from None
