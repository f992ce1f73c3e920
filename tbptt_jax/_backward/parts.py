"""A horizon for each part of the carry, and for each parameter in it."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tbptt_jax._pullback.linearised import linearised
from tbptt_jax._pullback.of_steps import merge, pullback
from tbptt_jax._step.arguments import check_integer, shown
from tbptt_jax._step.identity import standing_for
from tbptt_jax._step.time_axis import add, of_next_step, take

NAME = "truncated_scan"
WHOLE = sys.maxsize  # a horizon: no truncation


class Parts(NamedTuple):
    """The horizons of the leaves of a carry, and of constants, each at least 1."""

    carry: tuple[int, ...]
    constants: tuple[int, ...]


def horizons_of_leaves(horizon: Any, init: Any) -> Any:
    """As `init`, with the horizon of each leaf, `WHOLE` for None; None for a single horizon.

    Args:
      horizon: an integer or None, or a prefix of `init` with such.
      init: the carry.

    Raises:
      TypeError, ValueError: it is no prefix, or has others than static integers >= 1.
    """
    if jax.tree.structure(horizon, is_leaf=_is_none) == jax.tree.structure(0):
        return None

    def checked(own):
        return WHOLE if own is None else check_integer(NAME, "horizon", own)

    each = jax.tree.map(checked, horizon, is_leaf=_is_none)
    try:
        return jax.tree.map(lambda own, part: jax.tree.map(lambda _: own, part), each, init)
    except ValueError:
        raise ValueError(
            f"{NAME}: horizon must be a prefix of init, got {shown(horizon)}."
        ) from None


def apart(f: Callable[[Any, Any], Any], init: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    """`f`, and `init` with an array of its own in each place, since places of one array may differ.

    Where `f` is given an array of the old `init`, it runs on the new one, which stands for it.
    """

    def own(leaf):
        is_array = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)
        return jnp.copy(leaf) if is_array else leaf

    copies = jax.tree.map(own, init)

    @functools.wraps(f, updated=())
    def step(carry, x):
        of_copies = lambda leaf, first, copy: copy if leaf is first else leaf
        with standing_for(copies, init):
            return f(jax.tree.map(of_copies, carry, init, copies), x)

    return step, copies


def parts_of(
    horizons: Any, init: Any, rest: Callable[[Any], Any], constants: list[Any], num_steps: int
) -> Parts | None:
    """The horizons of a step's leaves; constants that are no leaves of `init` have the longest.

    Args:
      horizons: of `horizons_of_leaves`; None for None.
      init: the carry.
      rest: takes out of a carry the leaves that are handed on.
      constants: of the step, those leaves among them.
      num_steps: T.
    """
    if horizons is None:
        return None
    leaves, structure = jax.tree.flatten(init)
    each = [min(own, num_steps) for own in jax.tree.leaves(horizons)]
    changed = jax.tree.leaves(rest(jax.tree.unflatten(structure, range(len(leaves)))))
    handed_on = set(range(len(leaves))) - set(changed)
    longest = max(each, default=1)
    of_constants = {id(leaves[i]): each[i] for i in handed_on}
    return Parts(
        tuple(each[i] for i in changed),
        tuple(of_constants.get(id(constant), longest) for constant in constants),
    )


def pullback_of_parts(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    parts: Parts,
    constants: Any,
    carries: Any,
    xs: Any,
    carry_ct: Any,
    ys_ct: Any,
) -> tuple[Any, Any, Any]:
    """As `truncated_pullback` at stride 1, all steps at once.

    From sweep to sweep the sum ε of what has arrived is that of one horizon more. So a constant
    is pulled back to when its horizon is reached, and leaves of a carry stop travelling at theirs.

    Args:
      step: `(constants, carry, x) -> (carry, y)` on lists of leaves.
      parts: the horizons of the carry's leaves, and of the constants.
      constants: what every step reads.
      carries: [T, ...], the carry that enters each step.
      xs: [T, ...].
      carry_ct: [...], the cotangent of the last carry.
      ys_ct: [T, ...].
    """
    num_steps = len(jax.tree.leaves(carries)[0])
    first_carry, first_x = take((carries, xs), 0)
    steps = linearised(step, constants, first_carry, first_x)
    of_each, b = steps.of((carries, xs), ys_ct, carry_ct)

    def leaving(arrived):
        last = lambda leaf, error: jnp.concatenate([leaf[1:], error[None]])
        return jax.tree.map(last, arrived, carry_ct)

    def pulled_back(arrived, horizon):
        """The cotangents of the constants with this horizon, None for others, and of inputs."""
        own = [c if h == horizon else None for c, h in zip(constants, parts.constants, strict=True)]
        all_steps = jax.vmap(step, (None, 0, 0), axis_size=num_steps)
        run = lambda own, xs: all_steps(merge(own, constants), carries, xs)
        return pullback(run, own, xs)((leaving(arrived), ys_ct))

    errors = b, jax.tree.map(jnp.zeros_like, b)
    constants_ct, xs_ct = pulled_back(errors[1], 1)
    for reached, horizon in itertools.pairwise(sorted({1, *parts.carry, *parts.constants})):
        sweep = functools.partial(_sweep, steps, of_each, parts.carry, reached)
        errors = jax.lax.fori_loop(reached, horizon, sweep, errors)
        of_horizon, xs_ct = pulled_back(errors[1], horizon)
        both = zip(constants_ct, of_horizon, strict=True)
        constants_ct = [new if old is None else old for old, new in both]
    own = take((leaving(errors[1]), ys_ct), 0)
    (init_ct,) = pullback(lambda carry: step(constants, carry, first_x), first_carry)(own)
    return constants_ct, init_ct, xs_ct


def _sweep(steps, of_each, horizons, reached, _, errors):
    """One more step back; leaves whose horizon is reached travel no further."""
    coming, arrived = errors

    def goes_on(leaf, own):
        return leaf if leaf is None or own > reached else jnp.zeros_like(leaf)

    coming = list(map(goes_on, coming, horizons))
    return steps.back(of_each, of_next_step(coming)), add(arrived, coming)


def _is_none(leaf):
    return leaf is None
