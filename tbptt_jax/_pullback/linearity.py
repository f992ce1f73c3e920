"""Refuses gradient rules that are proven not linear in the errors.

One backward pass carries the errors of several losses. What it finds is the sum of their gradients
only where every step's pullback is linear in the errors. What JAX derives itself is; a
`jax.custom_vjp` rule can be anything. The pullback's equations are walked with what is known of
each value; an operation that is not listed here decides nothing, and what is undecided passes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import Literal

from tbptt_jax._pullback.of_steps import inexact, pullback
from tbptt_jax._step.jaxprs import CALLS, CHECKPOINTS, RULED, called_jaxpr, equations
from tbptt_jax._step.mesh_axes import types_of


class Nonlinear(NamedTuple):
    """A value that is not linear in the errors, because of this primitive."""

    primitive: str


# What else may be known of a value: it is zero, it does not depend on finite errors, it is linear.
ZERO, FIXED, LINEAR, UNDECIDED = "zero", "fixed", "linear", "undecided"

# Primitives by name.
SUMS = set(
    "add sub add_any concatenate pad select_n dynamic_update_slice scatter-add complex".split()
)
ADDING = {"add", "sub", "add_any"}  # where what is fixed reaches every entry
REARRANGED = set(
    "neg reshape transpose broadcast_in_dim squeeze expand_dims slice dynamic_slice gather rev "
    "reduce_sum cumsum copy copy_p split real imag conj reduce_precision convert_element_type "
    "fft stop_gradient device_put".split()
)
PRODUCTS = {"mul", "dot_general", "conv_general_dilated"}
CURVED = set(
    "max min clamp abs sign round floor ceil sqrt rsqrt cbrt exp exp2 expm1 log log1p pow square "
    "integer_pow tanh logistic sin cos tan erf atan2 asinh reduce_max reduce_min reduce_prod "
    "top_k sort cummax cummin cumprod argmax argmin lt le gt ge".split()
)
CALLING = CALLS | CHECKPOINTS | RULED


def check_linear(function: str, step: Any, constants: Any, carry: Any, x: Any) -> None:
    """Makes sure that the pullback of a step is not known to be other than linear.

    Args:
      function: name of the public function, for the error.
      step: `(constants, carry, x) -> (carry, y)`.
      constants: what it is given; only shapes and dtypes are used.
      carry: as `constants`.
      x: as `constants`.

    Raises:
      ValueError: it is.
    """
    args = constants, carry, x
    found = equations(jax.make_jaxpr(step)(*args))
    if not any(eqn.primitive.name.startswith("custom_vjp") for eqn in found):
        return
    pull = lambda args, errors: pullback(step, *args)(errors)
    errors = inexact(types_of(step, *args))
    jaxpr = jax.make_jaxpr(pull)(args, errors)
    num_errors = len(jax.tree.leaves(errors))
    known = [FIXED] * (len(jaxpr.invars) - num_errors) + [LINEAR] * num_errors
    for state in _walk(jaxpr, known):
        if isinstance(state, Nonlinear):
            raise ValueError(
                f"{function}: a gradient rule in the step is not linear in the errors (it takes "
                f"`{state.primitive}` of them), but one pass carries the errors of several losses; "
                "clip the gradient after the scan, or in the optimizer."
            )


def _walk(jaxpr, inputs) -> list[Any]:
    """What is known of the results, given what is known of the inputs."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))
    known |= dict.fromkeys(jaxpr.constvars, FIXED)
    known |= zip(jaxpr.constvars, map(_of_constant, getattr(jaxpr, "consts", ())), strict=False)
    read = lambda atom: _of_constant(atom.val) if isinstance(atom, Literal) else known[atom]
    for eqn in jaxpr.eqns:
        known |= zip(eqn.outvars, _equation(eqn, [read(atom) for atom in eqn.invars]), strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _of_constant(value):
    is_here = not isinstance(value, Tracer) and getattr(value, "is_fully_addressable", True)
    is_number = is_here and jnp.issubdtype(jnp.result_type(value), jnp.number)
    return ZERO if is_number and not np.any(value) else FIXED


def _equation(eqn, states) -> list[Any]:
    name = eqn.primitive.name
    if called := called_jaxpr(eqn, CALLING):
        return _walk(called, states)
    if body := called_jaxpr(eqn, {"scan"}):
        return _scan(eqn, body, states)
    if name == "cond":
        branches = [_walk(branch, states[1:]) for branch in eqn.params["branches"]]
        joined = [_join(*results) for results in zip(*branches, strict=True)]
        return [_chosen_by(states[0], state) for state in joined]
    if name == "while":
        return _while(eqn, states)
    return [_one(name, eqn, states)] * len(eqn.outvars)


def _scan(eqn, body, states):
    """The body, until nothing more is found out about its carry: the arrays without a time axis."""
    same_rank = lambda outer, inner: outer.aval.ndim == inner.aval.ndim
    num_carry = sum(map(same_rank, eqn.outvars, body.outvars))
    end = sum(map(same_rank, eqn.invars, body.invars))
    first = end - num_carry
    while True:
        results = _walk(body, states)
        carry = list(map(_join, states[first:end], results))
        if carry == states[first:end]:
            return results
        states = [*states[:first], *carry, *states[end:]]


def _while(eqn, states):
    """As a scan; whether it goes on must not depend on the errors."""
    params = eqn.params
    test, body = params["cond_jaxpr"], params["body_jaxpr"]
    first = params["cond_nconsts"] + params["body_nconsts"]
    of_test, of_body = states[: params["cond_nconsts"]], states[params["cond_nconsts"] : first]
    carry = states[first:]
    while True:
        (goes_on,) = _walk(test, [*of_test, *carry])
        results = [_chosen_by(goes_on, state) for state in _walk(body, [*of_body, *carry])]
        joined = list(map(_join, carry, results))
        if joined == carry:
            return joined
        carry = joined


def _chosen_by(choice, state):
    """What is known of a value whose computation was chosen by another value."""
    return choice if isinstance(choice, Nonlinear) and state != ZERO else state


def _join(*states):
    """What is known of a value that may be any of these."""
    for state in states:
        if isinstance(state, Nonlinear):
            return state
    distinct = set(states)
    if len(distinct) == 1:
        return states[0]
    if distinct <= {ZERO, FIXED}:
        return FIXED
    return LINEAR if distinct <= {ZERO, LINEAR} else UNDECIDED


def _one(name, eqn, states):
    """What is known of the results of an operation."""
    if all(state in (ZERO, FIXED) for state in states):
        is_zero = name in SUMS | REARRANGED and all(state == ZERO for state in states)
        return ZERO if is_zero or (name in PRODUCTS and ZERO in states) else FIXED
    if UNDECIDED in states:
        return UNDECIDED
    listed = name in SUMS | REARRANGED | PRODUCTS | CURVED | {"div"}
    for state in states:
        if isinstance(state, Nonlinear):
            return state if listed else UNDECIDED
    if name in CURVED:
        return Nonlinear(name)
    if name in PRODUCTS:
        return LINEAR if states.count(LINEAR) == 1 else Nonlinear(name)
    if name == "convert_element_type" and not _is_inexact(eqn.outvars[0]):
        return Nonlinear(name)
    if name == "div":
        return LINEAR if states[1] != LINEAR else Nonlinear(name)
    if _guards_against_nan_or_inf(name, eqn):
        return FIXED
    if name in SUMS:
        operands = zip(eqn.invars, states, strict=True)
        fixed = [atom for atom, state in operands if state == FIXED and _is_inexact(atom)]
        if fixed and (name in ADDING or any(isinstance(atom, Literal) for atom in fixed)):
            return Nonlinear(name)
        return UNDECIDED if fixed else LINEAR
    return LINEAR if name in REARRANGED and all(map(_is_inexact, eqn.outvars)) else UNDECIDED


def _guards_against_nan_or_inf(name, eqn):
    """Whether a result is the same for all finite errors."""
    if name == "is_finite":
        return True
    if name not in ("eq", "ne"):
        return False
    a, b = eqn.invars
    return a is b or any(isinstance(v, Literal) and not np.isfinite(v.val) for v in (a, b))


def _is_inexact(atom):
    return jnp.issubdtype(getattr(atom.aval, "dtype", np.bool_), jnp.inexact)
