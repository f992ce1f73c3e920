"""Runs a pullback on sensitivities in place of errors.

An operation that has a rule keeps them small; any other is given the whole matrix, and the result
is the same.
"""

from __future__ import annotations

from typing import Any

import jax
from jax.extend.core import Literal

from tbptt_jax._step.jaxprs import CALLS, CHECKPOINTS, RULED, called_jaxpr
from tbptt_jax._trace.rules import RULES
from tbptt_jax._trace.sensitivity import Sensitivity, all_freed, make

CALLING = CALLS | CHECKPOINTS | RULED


def followed(jaxpr: Any, values: list[Any]) -> list[Any]:
    """The results of a pullback.

    Args:
      jaxpr: the pullback's.
      values: what it is given: arrays, and sensitivities in place of those that hold errors.

    Returns:
      A sensitivity for each result that takes errors, and an array, all zeros, for each other.
    """
    known = dict(zip(jaxpr.invars, values, strict=True))
    known |= zip(jaxpr.constvars, getattr(jaxpr, "consts", ()), strict=False)
    read = lambda atom: atom.val if isinstance(atom, Literal) else known[atom]
    for eqn in jaxpr.eqns:
        found = _equation(eqn, [read(atom) for atom in eqn.invars])
        known |= zip(eqn.outvars, found, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _equation(eqn, values):
    name = eqn.primitive.name
    if called := called_jaxpr(eqn, CALLING):
        return followed(called, values)
    if not any(isinstance(value, Sensitivity) for value in values):
        return _bind(eqn, values)
    found = RULES[name](eqn, *values) if name in RULES else None
    if found is None:
        return _on_all_entries(eqn, values)
    return found if isinstance(found, list) else [found]


def _bind(eqn, values):
    found = eqn.primitive.bind(*values, **eqn.params)
    return found if eqn.primitive.multiple_results else [found]


def _on_all_entries(eqn, values):
    """The operation on the results of errors that are 1 in one place."""
    dense = [all_freed(v) if isinstance(v, Sensitivity) else v for v in values]
    leaf_shape = next(v for v in dense if isinstance(v, Sensitivity)).leaf_shape
    in_axes = [0 if isinstance(value, Sensitivity) else None for value in dense]
    args = [
        value.coefs.reshape(-1, *value.shape) if isinstance(value, Sensitivity) else value
        for value in dense
    ]
    results = jax.vmap(lambda *args: _bind(eqn, args), in_axes)(*args)
    shapes = [result.shape[1:] for result in results]
    return [
        make(result.reshape(*leaf_shape, *shape), [(-n,) for n in shape], len(leaf_shape))
        for result, shape in zip(results, shapes, strict=True)
    ]
