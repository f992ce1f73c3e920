"""Whether a run can fit into this machine's memory, asked before it begins."""

import math
import os
from typing import Any

import jax

from experiments.record.errors import UserError

COPIES = 2  # of the state at least: that which is kept, and that which is updated


def check_fits(state: Any) -> None:
    """Refuses a state that the memory of the machine cannot hold; an accelerator has its own.

    Args:
      state: a pytree of arrays, or of their shapes.

    Raises:
      UserError: it is too large.
    """
    leaves = jax.tree.leaves(state)
    needed = COPIES * sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if jax.default_backend() == "cpu" and needed > there:
        raise UserError(
            f"parameters and optimizer need {needed / 1e9:,.1f} GB, and this machine has "
            f"{there / 1e9:,.1f} GB; choose a smaller --embed_size, --state_size or --vocab_size."
        )
