"""How fast norms fall from lag to lag."""

from collections.abc import Sequence

import numpy as np


def factor(norms: Sequence[float] | np.ndarray) -> float:
    """By how much norms, lag 0 first, fall a step: the geometric mean of the ratios."""
    return float(norms[0] / norms[-1]) ** (1 / (len(norms) - 1))
