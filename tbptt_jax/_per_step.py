"""The losses of all steps from the loss of one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def losses_of_steps(
    function: str, loss_fn: Callable[[Any, Any, Any], jax.Array], params: Any, ys: Any, targets: Any
) -> jax.Array:
    """Vmaps `(params, y, target) -> []` over the steps.

    Args:
      function: name of the public function, for the error.
      loss_fn: pure loss of one step.
      params: what all steps share.
      ys: [T, ...], the outputs.
      targets: [T, ...].

    Returns:
      [T], floating point.

    Raises:
      TypeError: a loss is not a real scalar.
    """
    losses = jax.vmap(functools.partial(loss_fn, params))(ys, targets)
    if losses.ndim != 1 or not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(
            f"{function}: loss_fn must return a real scalar for each step, got "
            f"{losses.dtype}{list(losses.shape[1:])}."
        )
    return losses
