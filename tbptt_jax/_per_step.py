"""What a loss function must return; the losses of all steps from the loss of one."""

from __future__ import annotations

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

    def loss_of_step(y, target):
        return real_scalar(function, loss_fn(params, y, target), " for each step")

    return jax.vmap(loss_of_step)(ys, targets)


def real_scalar(function: str, loss: Any, when: str = "") -> jax.Array:
    """Returns a loss that can be differentiated.

    Args:
      function: name of the public function, for the error.
      loss: what its loss_fn returned.
      when: it is called, for the error.

    Raises:
      TypeError: it is not a real scalar.
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(loss)]
    is_leaf = jax.tree.structure(loss) == jax.tree.structure(0)
    if not is_leaf or leaves[0].shape or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        got = ", ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in leaves) or repr(loss)
        raise TypeError(f"{function}: loss_fn must return a real scalar{when}, got {got}.")
    return leaves[0]
