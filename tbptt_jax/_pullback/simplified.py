"""Pullbacks to the carry that are applied often: the same linear map with less work.

The pullback of a cell as it is mostly written does more than it needs to. That of tanh([x, h] W)
multiplies by all rows of W and drops those of x; gates with kernels of their own are as many small
products; of a chain of factors each is multiplied with every error, though their product is known
before. So the pullback's equations are run on a graph in place of errors (`_linear_graph`), and
what the graph comes to is run on errors. An operation that is not listed leaves the pullback as JAX
makes it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

from tbptt_jax._pullback.graph import share
from tbptt_jax._pullback.merge import merge_products
from tbptt_jax._pullback.nodes import Computed, Error, Node, Zeros, reachable
from tbptt_jax._pullback.of_steps import inexact, keeping_little, pullback
from tbptt_jax._pullback.rules import RULES, apply
from tbptt_jax._step.jaxprs import CALLS, called_jaxpr, inner_jaxprs

DTYPES = {"float32", "float64", "bfloat16"}  # of float16 a product of factors may overflow


def repeated_pullback(fun: Callable[[Any], Any], carry: Any) -> Callable[[Any], Any]:
    """The pullback of `fun`, carry -> carry, to be applied often: a pytree as that of `jax.vjp`."""
    as_jax_makes_it = lambda: pullback(keeping_little(fun), carry)
    if jax.make_jaxpr(fun)(carry).effects:  # else they would happen once more
        return as_jax_makes_it()
    return simplified(pullback(fun, carry), inexact(carry)) or as_jax_makes_it()


def simplified(pull: Callable[[Any], Any], errors: Any) -> Callable[[Any], Any] | None:
    """The same linear function in less work; None where an operation is not listed.

    Args:
      pull: linear function of errors, a pytree that holds what it knows.
      errors: what it is given; only shapes and dtypes are used.
    """
    known, structure = jax.tree.flatten(pull)
    of_known = lambda known, errors: jax.tree.unflatten(structure, known)(errors)
    jaxpr, shapes = jax.make_jaxpr(of_known, return_shape=True)(known, errors)
    given = [Error(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(errors)]
    if not {str(node.dtype) for node in given} <= DTYPES or jaxpr.effects:
        return None
    results = _run(jaxpr, [*known, *given])
    if results is None or not all(_is_computed(result) for result in results):
        return None
    return _program(given, merge_products(results), jax.tree.structure(shapes))


def _is_computed(result):
    return isinstance(result, Node) and not isinstance(result, Zeros)


def _run(jaxpr, values) -> list[Any] | None:
    """The results, nodes where they are linear in the errors; None for an unknown operation."""
    num_readers = _num_readers(jaxpr)
    env = {}

    def write(variables, values):
        for variable, value in zip(variables, values, strict=True):
            is_shared = isinstance(value, Node) and num_readers[variable] > 1
            env[variable] = share(value) if is_shared else value

    write(jaxpr.invars, values)
    env.update(zip(jaxpr.constvars, getattr(jaxpr, "consts", ()), strict=False))
    read = lambda atom: atom.val if isinstance(atom, Literal) else env[atom]
    for eqn in jaxpr.eqns:
        if any(num_readers[variable] for variable in eqn.outvars):
            found = _equation(eqn, [read(atom) for atom in eqn.invars])
            if found is None:
                return None
            write(eqn.outvars, found)
    return [read(atom) for atom in jaxpr.outvars]


def _num_readers(jaxpr) -> collections.Counter:
    """How many equations and results read a variable, without equations that nothing reads."""
    is_variable = lambda atom: not isinstance(atom, Literal)
    counted = collections.Counter(filter(is_variable, jaxpr.outvars))
    for eqn in reversed(jaxpr.eqns):
        if any(counted[variable] for variable in eqn.outvars):
            counted.update(filter(is_variable, eqn.invars))
    return counted


def _equation(eqn, values) -> list[Any] | None:
    name = eqn.primitive.name
    if called := called_jaxpr(eqn, CALLS):
        return _run(called, values)
    if inner_jaxprs(eqn):
        return None
    if not any(isinstance(value, Node) for value in values):
        found = eqn.primitive.bind(*values, **eqn.params)
        return found if eqn.primitive.multiple_results else [found]
    found = RULES[name](eqn, *values) if name in RULES else None
    found = found or apply(eqn, *values)
    is_listed = found and all(str(node.dtype) in DTYPES for node in found)
    return found if is_listed else None


def _program(errors, results, structure) -> Callable[[Any], Any]:
    """The function of errors, a pytree whose leaves are the known arrays that it reads."""
    nodes = [node for node in reachable(results) if isinstance(node, Computed)]
    arrays = {id(array): array for node in nodes for array in node.known if array is not None}
    place = {key: i for i, key in enumerate(arrays)}
    slot = {node: i for i, node in enumerate([*errors, *nodes])}
    steps = [
        (
            dataclasses.replace(node, operands=(), known=()),
            [slot.get(operand, operand) for operand in node.operands],
            [None if array is None else place[id(array)] for array in node.known],
        )
        for node in nodes
    ]
    run = functools.partial(_compute, steps, [slot[result] for result in results], structure)
    return jax.tree_util.Partial(run, list(arrays.values()))


def _compute(steps, slots, structure, known, errors):
    values = jax.tree.leaves(errors)
    for node, operands, places in steps:
        given = [values[i] if isinstance(i, int) else i for i in operands]  # or `Zeros`
        factors = [None if i is None else known[i] for i in places]
        values.append(node.compute(given, factors))
    return jax.tree.unflatten(structure, [values[i] for i in slots])
