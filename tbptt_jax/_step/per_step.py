"""What functions of users must return; the losses of all steps from the loss of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def losses_of_steps(
    function: str,
    step_loss_fn: Callable[[Any, Any, Any], jax.Array],
    params: Any,
    ys: Any,
    targets: Any,
) -> jax.Array:
    """Vmaps `(params, y, target) -> []` over the steps.

    Args:
      function: name of the public function, for the error.
      step_loss_fn: pure loss of one step.
      params: what all steps share.
      ys: [T, ...], the outputs.
      targets: [T, ...].

    Returns:
      [T], floating point.

    Raises:
      TypeError: a loss is not a real scalar.
    """

    def loss_of_step(y, target):
        return real_scalar(function, step_loss_fn(params, y, target), "step_loss_fn")

    return jax.vmap(loss_of_step)(ys, targets)


def real_scalar(function: str, loss: Any, loss_fn: str = "loss_fn") -> jax.Array:
    """Returns a loss that can be differentiated.

    Args:
      function: name of the public function, for the error.
      loss: what its loss function returned.
      loss_fn: the loss function's name, for the error.

    Raises:
      TypeError: it is not a real scalar.
    """
    is_leaf = jax.tree.structure(loss) == jax.tree.structure(0)
    array = jnp.asarray(loss) if is_leaf else None
    if array is None or array.shape or not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{function}: {loss_fn} must return a real scalar, got {described(loss)}.")
    return array


def pair(function: str, callable_: str, expected: str, value: Any) -> Any:
    """Returns what must be a pair.

    Args:
      function: name of the public function, for the error.
      callable_: name of the function that returned the value.
      expected: the pair in words.
      value: what was returned.

    Raises:
      TypeError: it is none.
    """
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(
            f"{function}: {callable_} must return a pair, {expected}, got {described(value)}."
        )
    return value


def keeps_structure(results: Any, carry: Any) -> bool:
    """Whether a step returned a pair that begins with a carry of the structure it was given."""
    is_pair = isinstance(results, (tuple, list)) and len(results) == 2
    return is_pair and jax.tree.structure(results[0]) == jax.tree.structure(carry)


def input_pair(function: str, name: str, inputs: Any) -> Any:
    """Returns the input of a wrapped step, which must be a pair.

    Args:
      function: name of the wrapper, for the error.
      name: the second of the pair.
      inputs: what the step was given.

    Raises:
      TypeError: it is none.
    """
    if not isinstance(inputs, (tuple, list)) or len(inputs) != 2:
        got = jax.tree.structure(inputs)
        raise TypeError(f"{function}: the step's input must be a pair, (x, {name}), got {got}.")
    return inputs


def described(tree: Any) -> str:
    """The types of a tree's arrays, in its structure."""

    def kind(leaf):
        if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
            return f"{leaf.dtype}{list(leaf.shape)}"
        return type(leaf).__name__

    kinds = jax.tree.map(kind, tree)
    return kinds if isinstance(kinds, str) else str(kinds).replace("'", "")


def check_carry(function: str, callable_: str, left: Any, carry: Any) -> None:
    """Makes sure that a step of a stream keeps the carry's types.

    Where its structure changes, `lax.scan` says so.

    Args:
      function: name of the public function, for the error.
      callable_: name of the step.
      left: the carry that it returned.
      carry: the one it was given.

    Raises:
      TypeError: a leaf is of another type.
    """
    if jax.tree.structure(left) != jax.tree.structure(carry):
        return
    for new, old in zip(jax.tree.leaves(left), jax.tree.leaves(carry), strict=True):
        new, old = _type(new), _type(old)
        if new != old:
            raise TypeError(
                f"{function}: {callable_} returns a carry of {new} where init_stream was given "
                f"{old}; give it an initial carry of the types that {callable_} returns."
            )


def _type(leaf):
    leaf = jnp.asarray(leaf)
    return f"{leaf.dtype}{list(leaf.shape)}"
