"""Pullbacks of one step, and of many: what all steps' pullbacks read alike is computed once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from tbptt_jax._step.jaxprs import CHECKPOINTS, equations
from tbptt_jax._step.time_axis import take

CHEAP = {"add", "sub", "mul", "neg"}  # by name: primitives that cost less than reading their result


def pullback(fun, *args):
    """`jax.vjp` between leaves that carry errors: errors of results -> errors of arguments."""

    def inexact_fun(*inexact_args):
        return inexact(fun(*map(merge, inexact_args, args)))

    return jax.vjp(inexact_fun, *map(inexact, args))[1]


def inexact(tree):
    """The floating-point and complex leaves; None in place of the others."""
    return jax.tree.map(
        lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else None, tree
    )


def merge(inexact, tree):
    """`tree` with its floating-point and complex leaves replaced by those of `inexact`."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, inexact, tree, is_leaf=lambda x: x is None
    )


def differentiated_once(step: Callable) -> Callable:
    """`step` for the forward pass of a `jax.custom_vjp`.

    What differentiates such a forward pass differentiates a gradient, for which the rules inside
    the step, a `jax.custom_vjp` or the factors of `with_boundary_factors`, have done their part: it
    finds what these rules compute forward. So it is where `jax.grad` goes through `jax.lax.scan`.
    """

    def without_rules(*args):
        of_inexact = lambda *new: step(*map(merge, new, args))
        return jax.vjp(of_inexact, *map(inexact, args))[0]

    run = jax.custom_jvp(step)
    run.defjvp(functools.partial(jax.jvp, without_rules))
    return run


def keeping_little(fun: Callable) -> Callable:
    """`fun`, whose pullback keeps what is costly, and computes sums and products of it again.

    Of the residuals f, 1 - f, f (1 - f) of a sigmoid f alone is kept. Without it the gradients of
    `benchmarks.recurrence` take as long, and 1.15 to 1.38 times the memory at its twelve shapes.
    `jax.checkpoint` does not take effects other than prints, repeats those at every application,
    and refuses complex residuals (jax 0.12): such functions stay, and those that have one inside:
    there a user has decided what is kept.
    """

    def kept(*args):
        jaxpr = jax.make_jaxpr(fun)(*args)
        eqns = list(equations(jaxpr))
        is_complex = any(_is_complex(var.aval) for eqn in eqns for var in eqn.outvars)
        has_its_own = any(eqn.primitive.name in CHECKPOINTS for eqn in eqns)
        if jaxpr.effects or is_complex or has_its_own:
            return fun(*args)
        policy = lambda primitive, *_, **__: primitive.name not in CHEAP
        return jax.checkpoint(fun, policy=policy, prevent_cse=False)(*args)

    return kept


def _is_complex(aval):
    return jnp.issubdtype(getattr(aval, "dtype", bool), jnp.complexfloating)


class Split(NamedTuple):
    """Pullbacks of many items: pullback(item)(error) = apply(of_one(item), error)."""

    of_one: Callable[[Any], list[jax.Array]]
    apply: Callable[[list[jax.Array], Any], Any]


def split(pullback_of: Callable[[Any], Callable], items: Any) -> Split:
    """Splits pullbacks into what depends on the item and what does not.

    `jax.vjp` returns a pytree. Its leaves that do not depend on the item (a kernel, say) are taken
    from the first item and are the same for all; only the others are `of_one`.

    Args:
      pullback_of: `item -> pullback`, a pytree that is a function of errors.
      items: [T, ...], all items.
    """
    structures = []

    def leaves_of(item):
        leaves, structure = jax.tree.flatten(pullback_of(item))
        structures.append(structure)
        return leaves

    of_item = _depend_on_item(leaves_of, items)
    shared = [s for s, own in zip(leaves_of(take(items, 0)), of_item, strict=True) if not own]

    def of_one(item):
        return [leaf for leaf, own in zip(leaves_of(item), of_item, strict=True) if own]

    def apply(of_one, error):
        own, alike = iter(of_one), iter(shared)
        leaves = [next(own if is_own else alike) for is_own in of_item]
        return jax.tree.unflatten(structures[-1], leaves)(error)

    return Split(of_one, apply)


def per_item(fun: Callable[[Any], Any], items: Any) -> Any:
    """`jax.vmap(fun)(items)`; results that do not depend on the item have a first axis of 1."""
    leaves_of = lambda item: jax.tree.leaves(fun(item))
    own = _depend_on_item(leaves_of, items)
    structure = jax.tree.structure(jax.eval_shape(fun, take(items, 0)))
    of_each, of_first = jax.vmap(leaves_of)(items), leaves_of(take(items, 0))
    leaves = [
        each if is_own else one[None]
        for each, one, is_own in zip(of_each, of_first, own, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


def _depend_on_item(leaves_of, items) -> list[bool]:
    """Which leaves depend on the item: those that `vmap` over the items maps."""
    mapped = []

    @custom_vmap
    def see(leaves, item):
        return leaves

    @see.def_vmap
    def _(axis_size, in_batched, leaves, item):
        mapped.append(in_batched[0])
        return leaves, in_batched[0]

    jax.eval_shape(jax.vmap(lambda item: see(leaves_of(item), item)), items)
    return mapped[-1]
