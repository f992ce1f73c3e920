"""Eligibility traces: how the carry depends on the parameters through all steps that are past.

Where a step mixes no entries of its carry, Eₜ = ∂cₜ/∂θ obeys Eₜ = aₜ ∘ Eₜ₋₁ + ∂fₜ/∂θ, and the error
that arrives on a carry, times its trace, is the gradient of all steps before. Over a chunk

    E ← (Πₜ aₜ) ∘ E + Σₛ (Π_{t>s} aₜ) ∂fₛ/∂θ,

where the sum is one pullback of all steps at once, under errors that are the products, and keeps
the places of a leaf apart (see `sensitivity.py`).
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from tbptt_jax._backward.affine_windows import apply
from tbptt_jax._pullback.elementwise import Elementwise, Mixed, coefficients, coupling
from tbptt_jax._pullback.of_steps import inexact, pullback
from tbptt_jax._trace.followed import followed
from tbptt_jax._trace.real_step import RealStep, from_real, to_real, trained_leaves
from tbptt_jax._trace.sensitivity import Sensitivity, aligned, flat, of_steps, pulled, with_axes

# By real leaf of the carry, by parameter; None where a parameter never reaches a leaf.
Trace = list[list[Sensitivity | None]]
LARGEST_DENSE = 2**24  # entries of the trace of a parameter that may enter every entry of a leaf


def init_trace(function: str, step: RealStep, names: list[str]) -> Trace:
    """The trace at a stream's start, all zeros.

    Args:
      function: name of the public function, for errors.
      step: the cell.
      names: those of the parameters, for errors.

    Raises:
      ValueError: the cell mixes the entries of its carry, or would need the whole matrix of a large
        parameter.
    """
    kind = _coupling(function, step)
    leaves = jax.tree.leaves(inexact(step.leaves))

    def two_steps():
        twice = lambda tree: jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tree)
        weights = [{j: twice(leaves[j]) for j in _reach(kind, i)} for i in range(len(leaves))]
        direct = _direct(step, twice(step.leaves), twice(step.x), weights)
        # A leaf's trace takes those of all leaves that it depends on.
        return [
            [_one_like(direct[j][p] for j in _reach(kind, i)) for p in range(len(names))]
            for i in range(len(leaves))
        ]

    shapes = jax.eval_shape(two_steps) if leaves else []
    return [
        [_zeros(function, *args, leaf) for args in zip(of_leaf, names, step.trained, strict=True)]
        for of_leaf, leaf in zip(shapes, leaves, strict=True)
    ]


def _one_like(found):
    """The first of several, with factors that all of them have."""
    found = [one for one in found if one is not None]
    return aligned(*found)[0] if found else None


def _zeros(function, one, name, param, leaf):
    if one is None:
        return None
    shape, is_dense = one.coefs.shape, math.prod(one.shape) > 1 and max(flat(one.axes)) < 0
    if is_dense and math.prod(shape) > LARGEST_DENSE:
        raise ValueError(
            f"{function}: {name} may enter every entry of the carry, and its trace would be "
            f"{param.dtype}{list(shape)}; read it before the cell, in xs, where its gradient is "
            "truncated, or use tail='cut'."
        )
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.promote_types(param.dtype, leaf.dtype)
    return Sensitivity(jnp.zeros(shape, dtype), one.axes)


def advanced(
    function: str, trace: Trace, step: RealStep, carries: Any, xs: Any, runs: jax.Array
) -> Trace:
    """The trace some steps later. Nothing is differentiated through it.

    Args:
      function: name of the public function, for errors.
      trace: on the carry that enters the first of the steps.
      step: the cell.
      carries: [C, ...], the carry that enters each step.
      xs: [C, ...], inputs.
      runs: [C], False for a step before the stream's start.

    Raises:
      ValueError: the cell mixes the entries of its carry, or is another than the trace is of.
    """
    trace, carries, xs = jax.lax.stop_gradient((trace, to_real(carries), xs))
    kind = _coupling(function, step)
    if not kind.groups:
        return trace
    past, weights = _products(step, kind, carries, xs, runs)
    direct = _direct(step, carries, xs, weights)

    def advanced_one(i, p):
        before = [(trace[j][p], a) for j, a in past[i].items()]
        terms = [_scaled(one, a) for one, a in before if one is not None]
        terms += [] if direct[i][p] is None else [direct[i][p]]
        return _sum_like(function, trace[i][p], terms)

    return [[advanced_one(i, p) for p in range(len(of_leaf))] for i, of_leaf in enumerate(trace)]


def _scaled(one, a):
    a = a.reshape(a.shape + (1,) * (one.coefs.ndim - a.ndim))
    return Sensitivity(one.coefs * a.astype(one.coefs.dtype), one.axes)


def _sum_like(function, like, terms):
    terms = [with_axes(term, like.axes) if like else None for term in terms]
    if any(term is None for term in terms):
        raise ValueError(_another_cell(function))
    coefs = [term.coefs.astype(like.coefs.dtype) for term in terms if term and like]
    return Sensitivity(functools.reduce(jnp.add, coefs), like.axes) if like else None


def _another_cell(function):
    return (
        f"{function}: the state's trace is of another cell, carry or parameters; give init_stream "
        "those that stream_scan is given."
    )


def _coupling(function, step) -> Elementwise:
    """How the leaves couple."""
    kind = coupling(step.call, step.trained, step.leaves, step.x)
    if isinstance(kind, Mixed):
        raise ValueError(
            f"{function}: tail='trace' needs a cell that mixes no entries of its carry, got one "
            f"that does (`{kind.primitive}`); use tail='cut'."
        )
    return kind


def _reach(kind, i):
    """The leaves on which an error of leaf i may arrive after one or more steps back."""
    return [j for j, later in sorted(kind.coupled) if later == i]


def _products(step, kind, carries, xs, runs):
    """What an error that leaves the last step comes to: before the first, and after each.

    Returns:
      By leaf on which the error leaves, by leaf on which it enters or leaves: factors, [...] and
      [C, ...].
    """
    of_step = lambda carry, x: coefficients(step.call, kind, step.trained, carry, x)
    a = jax.vmap(of_step)(carries, xs)

    def back(leaving, step):
        a, runs = step
        entering = [apply(a, of_leaf) for of_leaf in leaving]
        entering = jax.tree.map(lambda new, old: new.astype(old.dtype), entering, leaving)
        return entering, jax.tree.map(lambda leaf: jnp.where(runs, leaf, 0), leaving)

    leaves = [leaf[0] for leaf in jax.tree.leaves(inexact(carries))]
    one = lambda i, j: jnp.full_like(leaves[j], float(i == j))
    ends = [{j: one(i, j) for j in _reach(kind, i)} for i in range(len(leaves))]
    return jax.lax.scan(back, ends, (a, runs), reverse=True)


def _direct(step, carries, xs, weights):
    """By leaf, by parameter: the steps' own part of a trace, None where there is none."""
    errors = jax.tree.leaves(inexact(carries))
    all_steps = jax.vmap(step.call, (None, 0, 0), axis_size=len(errors[0]))
    pull = pullback(lambda trained: all_steps(trained, carries, xs)[0], step.trained)
    structure = jax.tree.structure(inexact(carries))
    jaxpr = jax.make_jaxpr(lambda errors: pull(jax.tree.unflatten(structure, errors))[0])(errors)

    def of_leaf(weights):
        given = [
            of_steps(weights[j]) if j in weights else jnp.zeros_like(error)
            for j, error in enumerate(errors)
        ]
        found = followed(jaxpr, given)
        return [one if isinstance(one, Sensitivity) else None for one in found]

    return [of_leaf(of_steps_) for of_steps_ in weights]


def attached(function: str, trace: Trace, params: Any, carry: Any) -> Any:
    """`carry`, whose errors are errors of the parameters too, by its trace.

    Args:
      function: name of the public function, for the error.
      trace: that of the carry.
      params: the parameters.
      carry: what enters the first step that is run.

    Raises:
      ValueError: the trace is of other parameters, or of another carry.
    """
    leaves, trained = to_real(carry), trained_leaves(params)
    errors = inexact(leaves)
    if not _is_of(trace, trained, jax.tree.leaves(errors)):
        raise ValueError(_another_cell(function))
    errors = _attached(trained, errors, trace)
    leaves = [old if new is None else new for old, new in zip(leaves, errors, strict=True)]
    return from_real(leaves, carry)


def _is_of(trace, trained, errors):
    """Whether the trace has these parameters' and leaves' numbers and shapes."""
    if len(trace) != len(errors) or any(len(of_leaf) != len(trained) for of_leaf in trace):
        return False
    return all(
        one is None or (one.leaf_shape, one.shape) == (error.shape, jnp.shape(param))
        for of_leaf, error in zip(trace, errors, strict=True)
        for one, param in zip(of_leaf, trained, strict=True)
    )


@jax.custom_vjp
def _attached(trained, leaves, trace):
    return leaves


def _attached_forward(trained, leaves, trace):
    return leaves, (trained, trace)


def _attached_backward(kept, errors):
    trained, trace = kept
    trained_ct = [jnp.zeros_like(param) for param in trained]
    for of_leaf, error in zip(trace, jax.tree.leaves(errors), strict=True):
        for p, one in enumerate(of_leaf):
            if one is not None:
                value = pulled(one, error).astype(trained[p].dtype)
                trained_ct[p] += _ct_of(trained[p], value)
    return trained_ct, errors, jax.tree.map(jnp.zeros_like, trace)


def _ct_of(param, value):
    """`value` as a cotangent of `param`: summed over the devices that share it."""
    return jax.vjp(lambda param: param + jnp.zeros_like(value), param)[1](value)[0]


_attached.defvjp(_attached_forward, _attached_backward)
