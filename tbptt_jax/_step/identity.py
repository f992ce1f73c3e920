"""Which of the arrays that a function returns are the very ones that it was given."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import jax
from jax.extend.core import Literal, jaxpr_as_fun

from tbptt_jax._step.jaxprs import CALLS, CHECKPOINTS, called_jaxpr
from tbptt_jax._step.per_step import keeps_structure

# While a step is traced: the arrays that copies and tracers stand for, by the id of these.
_STOOD_FOR: ContextVar[Mapping[int, Any]] = ContextVar("stood_for", default=MappingProxyType({}))


def call(f: Callable[..., Any], *args: Any) -> Any:
    """`f(*args)`; what `f` hands on is the very object that it was given, through `jax.jit` too."""
    return trace_and_call(f, *args)[0]


def call_on_changed(f: Callable[..., Any], change: Callable[[Any], Any], carry: Any, x: Any) -> Any:
    """`f(carry, x)` with the leaves of the carry changed, but for those that `f` hands on."""
    jaxpr, shapes = _trace(f, carry, x)
    if not keeps_structure(shapes, carry):  # the scan's own error says so
        return _call_traced(jaxpr, shapes, jax.tree.leaves((carry, x)))
    leaves, inputs = jax.tree.leaves(carry), jax.tree.leaves(x)
    sources = _sources(jaxpr, [*leaves, *inputs, *jaxpr.consts])
    handed_on = [leaf is source for leaf, source in zip(leaves, sources, strict=False)]
    leaves = [leaf if on else change(leaf) for leaf, on in zip(leaves, handed_on, strict=True)]
    return _call_traced(jaxpr, shapes, [*leaves, *inputs])


def trace_and_call(f: Callable[..., Any], *args: Any) -> tuple[Any, list[Any]]:
    """As `call`; the constants that `f` reads too."""
    jaxpr, shapes = _trace(f, *args)
    return _call_traced(jaxpr, shapes, jax.tree.leaves(args)), jaxpr.consts


def _trace(f, *args):
    @functools.wraps(f, updated=())
    def called(*traced):  # new: traces are cached by it
        with standing_for(traced, args):
            return f(*traced)

    return jax.make_jaxpr(called, return_shape=True)(*args)


@contextlib.contextmanager
def standing_for(values: Any, arrays: Any) -> Iterator[None]:
    """Inside, the leaves of `values` stand for those of `arrays`, see `is_same`."""
    known = _STOOD_FOR.get()
    pairs = zip(jax.tree.leaves(values), jax.tree.leaves(arrays), strict=True)
    token = _STOOD_FOR.set({**known, **{id(value): known.get(id(a), a) for value, a in pairs}})
    try:
        yield
    finally:
        _STOOD_FOR.reset(token)


def is_same(a: Any, b: Any) -> bool:
    """Whether both are one array, or stand for one."""
    known = _STOOD_FOR.get()
    return known.get(id(a), a) is known.get(id(b), b)


def _call_traced(jaxpr, shapes, inputs):
    sources = _sources(jaxpr, [*inputs, *jaxpr.consts])
    results = zip(sources, jaxpr_as_fun(jaxpr)(*inputs), strict=True)
    results = [result if source is None else source for source, result in results]
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def _sources(jaxpr, inputs) -> list[Any]:
    """For each result the very input that it is, if it is one.

    An array may come in twice, in the carry and as a constant: where a step chooses between the
    two, as after a reset to the carry that the scan starts with, it hands the array on.
    """
    known = dict(zip((*jaxpr.invars, *jaxpr.constvars), inputs, strict=False))
    source = lambda atom: None if isinstance(atom, Literal) else known.get(atom)
    for eqn in jaxpr.eqns:
        known |= zip(eqn.outvars, _sources_of(eqn, list(map(source, eqn.invars))), strict=True)
    return list(map(source, jaxpr.outvars))


def _sources_of(eqn, inputs):
    if called := called_jaxpr(eqn, CALLS | CHECKPOINTS):
        return _sources(called, inputs)
    if eqn.primitive.name == "shard_map":
        specs, placed = eqn.params["out_specs"], zip(inputs, eqn.params["in_specs"], strict=True)
        found = zip(_sources(eqn.params["jaxpr"], list(placed)), specs, strict=True)
        return [source[0] if source and source[1] == spec else None for source, spec in found]
    if eqn.primitive.name == "select_n":
        first, *others = inputs[1:]
        return [first if all(other is first for other in others) else None]
    return [None] * len(eqn.outvars)
