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


def check_tol(tol: Any, stride: int, carry_every: int, lag_weights: Any) -> float:
    """Returns where the sweeps of `truncated_scan` may end, in [0, 1).

    Args:
      tol: a number; not 0 where something else excludes it.
      stride: as checked.
      carry_every: as checked.
      lag_weights: None for none.

    Raises:
      TypeError: not a static number.
      ValueError: out of range, or excluded.
    """
    tol = check_number("truncated_scan", "tol", tol)
    if not 0.0 <= tol < 1.0:
        raise ValueError(f"truncated_scan: tol must be in [0, 1), got {tol}.")
    if tol:
        ones = {"stride": stride, "carry_every": carry_every}
        check_excluded("truncated_scan: tol", lag_weights=lag_weights, **ones)
    return tol


def check_excluded(what: str, *, tol: float = 0.0, lag_weights: Any = None, **ones: int) -> None:
    """Refuses options that `what` excludes: a tol, weights of lags, and `ones` that are above 1."""
    for name, value in ones.items():
        if value > 1:
            raise ValueError(f"{what} needs {name}=1, got {value}.")
    if tol:
        raise ValueError(f"{what} needs tol=0, got {tol}.")
    if lag_weights is not None:
        raise ValueError(f"{what} does not go with lag_weights; drop one.")
