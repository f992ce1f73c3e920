"""Checks of a horizon, a stride, and what goes with them."""

from __future__ import annotations

from typing import Any

from tbptt_jax._step.arguments import check_integer, check_number


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
    stride = check_integer(function, "stride", stride)
    if horizon is None:
        return None, stride
    horizon = check_integer(function, "horizon", horizon)
    if stride > horizon:
        raise ValueError(
            f"{function}: stride must be in 1..horizon ({horizon}), got {stride}; "
            "a larger stride would drop errors."
        )
    return horizon, stride


def check_tol(tol: Any, stride: int, carry_every: int, has_weights: bool) -> float:
    """Returns where the sweeps of `truncated_scan` may end, in [0, 1).

    Args:
      tol: a number; not 0 where something else excludes it.
      stride: as checked.
      carry_every: as checked.
      has_weights: whether there are weights of lags.

    Raises:
      TypeError: not a static number.
      ValueError: out of range, or excluded.
    """
    tol = check_number("truncated_scan", "tol", tol)
    if not 0.0 <= tol < 1.0:
        raise ValueError(f"truncated_scan: tol must be in [0, 1), got {tol}.")
    if tol:
        check_ones("truncated_scan: tol", stride=stride, carry_every=carry_every)
    if tol and has_weights:
        raise ValueError("truncated_scan: tol does not go with lag_weights; drop one.")
    return tol


def check_ones(what: str, **options: int) -> None:
    """Refuses options above 1, which `what` does not go with."""
    for name, value in options.items():
        if value > 1:
            raise ValueError(f"{what} needs {name}=1, got {value}.")
