"""A cell as a step on real leaves: what a trace is kept of.

A complex leaf of the carry is two real ones, so that every error has one factor for each leaf,
whatever the step does to real and imaginary parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from tbptt_jax._pullback.of_steps import inexact
from tbptt_jax._step.mesh_axes import vary, varying
from tbptt_jax._step.static_leaves import is_number


class RealStep(NamedTuple):
    """A step and what it is given; nothing is differentiated through it."""

    call: Callable[[Any, Any, Any], tuple[Any, Any]]  # (trained, leaves, x) -> (leaves, ())
    trained: list[jax.Array]
    leaves: list[Any]
    x: Any


def real_step(
    cell: Callable[[Any, Any, Any], tuple[Any, Any]], params: Any, carry: Any, x: Any
) -> RealStep:
    """A cell without its output, on the real leaves of its carry.

    Args:
      cell: `(params, carry, x) -> (carry, y)`; what it closes over is a constant.
      params: parameters; those that are no floating-point or complex arrays are constants.
      carry: what enters a step; only shapes and dtypes are used.
      x: a step's input; as `carry`.
    """

    def step(trained, leaves, x):
        return to_real(cell(with_trained(params, trained), from_real(leaves, carry), x)[0])

    trained, leaves, x = jax.lax.stop_gradient((trained_leaves(params), to_real(carry), x))
    trained = vary(varying(inexact(leaves)), trained)  # in `shard_map` each device has its trace
    args = trained, leaves, x
    jaxpr, shapes = jax.make_jaxpr(step, return_shape=True)(*args)
    jaxpr = jaxpr.replace(consts=jax.lax.stop_gradient(jaxpr.consts))

    def call(trained, leaves, x):
        results = jaxpr_as_fun(jaxpr)(*jax.tree.leaves((trained, leaves, x)))
        return jax.tree.unflatten(jax.tree.structure(shapes), results), ()

    return RealStep(call, *args)


def trained_leaves(params: Any) -> list[jax.Array]:
    """The floating-point and complex arrays."""
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(params) if _is_trained(leaf)]


def trained_names(params: Any) -> list[str]:
    """The names of those, for errors."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    keystr = jax.tree_util.keystr
    return [f"params{keystr(path)}" for path, leaf in leaves if _is_trained(leaf)]


def with_trained(params: Any, trained: list[jax.Array]) -> Any:
    """The parameters with other floating-point and complex arrays."""
    new = iter(trained)
    return jax.tree.map(lambda leaf: next(new) if _is_trained(leaf) else leaf, params)


def _is_trained(leaf):
    return is_number(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def to_real(tree: Any) -> list[Any]:
    """All leaves, complex ones as two."""
    leaves = []
    for leaf in jax.tree.leaves(tree):
        leaves += [leaf.real, leaf.imag] if _is_complex(leaf) else [leaf]
    return leaves


def from_real(leaves: list[Any], like: Any) -> Any:
    """The inverse of `to_real`, on a tree of the structure and types of `like`."""
    left = iter(leaves)
    join = lambda leaf: jax.lax.complex(next(left), next(left)) if _is_complex(leaf) else next(left)
    return jax.tree.map(join, like)


def _is_complex(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.complexfloating)
