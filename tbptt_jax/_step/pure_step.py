"""A user's step as a pure function of leaves."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun


def pure_step(f, init, xs, length):
    """`f` as a function of leaves that closes over nothing.

    `f` is traced inside a `lax.scan`, so that errors and the promotion of weak types are
    `lax.scan`'s own. The function given to it is new at every call: JAX caches traces by function,
    and what `f` closes over may have changed. Leaves, not trees: a user's container need not
    bear what vmap and differentiation put into it.

    Returns:
      `step(constants, carry, x) -> (carry, y)` on lists of leaves, its constants, the leaves of
      `init`, and the structure of the scan's results.
    """
    traces = []

    @functools.wraps(f, updated=())
    def recorded(carry, x):
        jaxpr, shapes = jax.make_jaxpr(lambda *args: f(*args), return_shape=True)(carry, x)
        traces.append(jaxpr)
        leaves = jaxpr_as_fun(jaxpr)(*jax.tree.leaves((carry, x)))
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    results = jax.eval_shape(lambda: jax.lax.scan(recorded, init, xs, length))
    constants = traces[-1].consts
    jaxpr = traces[-1].replace(consts=[None] * len(constants))  # the gradient rule keeps no tracer
    carry_shapes = jax.tree.leaves(results[0])

    def step(constants, carry, x):
        leaves = jaxpr_as_fun(jaxpr.replace(consts=constants))(*carry, *x)
        return leaves[: len(carry_shapes)], leaves[len(carry_shapes) :]

    init_leaves = [
        _promote(leaf, shape)
        for leaf, shape in zip(jax.tree.leaves(init), carry_shapes, strict=True)
    ]
    return step, constants, init_leaves, jax.tree.structure(results)


def _promote(leaf: Any, shape: jax.ShapeDtypeStruct) -> Any:
    if jax.typeof(leaf).weak_type == shape.weak_type:
        return jnp.asarray(leaf)
    return jax.lax.convert_element_type(leaf, shape.dtype)
