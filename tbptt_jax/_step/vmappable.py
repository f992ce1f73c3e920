"""Whether steps can run all at once, and are then what they are alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from tbptt_jax._step.jaxprs import equations

# Primitives that vmap changes, and the keys with which it does.
CHANGED = {
    "random_bits": ("key<rbg>", "key<urbg>"),
    "random_split": ("key<urbg>",),
    "random_fold_in": ("key<urbg>",),
}


def check_vmappable(function: str, all_steps: Callable[..., Any], *args: Any) -> None:
    """Makes sure that all steps can run at once, and that each is then what it was alone.

    Args:
      function: name of the public function, for the error.
      all_steps: the vmapped step.
      args: what it will be given.

    Raises:
      ValueError: it cannot be traced, or draws from keys whose bits vmap changes.
    """
    try:
        jaxpr = jax.make_jaxpr(all_steps)(*args)
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"{function}: the step must be vmappable, since the backward runs all steps at once; "
            f"got {type(error).__name__}: {said}"
        ) from error
    refuse_bits_that_vmap_changes(function, jaxpr)


def refuse_bits_that_vmap_changes(function: str, jaxpr: Any) -> None:
    """Makes sure that a step draws beside others what it draws alone.

    Keys of threefry, JAX's default, do. XLA's own generator, behind the `rbg` and `unsafe_rbg` keys
    that are usual on TPUs, draws one array for a whole batch, from the first of its keys.

    Args:
      function: name of the public function, for the error.
      jaxpr: the step's.

    Raises:
      ValueError: the step draws from such keys.
    """
    for eqn in equations(jaxpr):
        keys = CHANGED.get(eqn.primitive.name, ())
        drawn = eqn.primitive.name == "rng_bit_generator"
        if drawn or any(str(getattr(var.aval, "dtype", "")) in keys for var in eqn.invars):
            raise ValueError(
                f"{function}: the step draws from rbg keys, whose bits change when all steps run "
                "at once; use threefry keys, or draw before the scan and pass the numbers in xs."
            )
