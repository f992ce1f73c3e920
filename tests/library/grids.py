"""Parametrisations with cases of the grid, which the gate leaves out on the newest jax."""

import pytest


def over(names, usual, further):
    """As `pytest.mark.parametrize`, the `further` values marked `grid`."""
    values = [value if "," in names else (value,) for value in further]
    marked = [pytest.param(*value, marks=pytest.mark.grid) for value in values]
    return pytest.mark.parametrize(names, [*usual, *marked])
