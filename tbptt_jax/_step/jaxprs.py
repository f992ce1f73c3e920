"""Equations of jaxprs, and the jaxprs in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Primitives that call a function, by name.
CALLS = {"jit", "pjit", "closed_call", "core_call"}  # and do nothing else
CHECKPOINTS = {"checkpoint", "remat", "remat2"}  # `jax.checkpoint`
RULED = {"custom_jvp_call", "custom_vjp_call"}  # with a derivative of their own


def inner_jaxprs(eqn: Any) -> list[Any]:
    """The jaxprs, closed or not, that are parameters of an equation, not within tuples."""
    return [value for value in eqn.params.values() if hasattr(value, "eqns")]


def called_jaxpr(eqn: Any, names: set[str]) -> Any | None:
    """The one jaxpr that an equation calls, where its primitive is one of these."""
    inner = inner_jaxprs(eqn) if eqn.primitive.name in names else []
    return inner[0] if len(inner) == 1 else None


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr and of those in it."""
    for eqn in jaxpr.eqns:
        yield eqn
        for param in eqn.params.values():
            for inner in param if isinstance(param, (tuple, list)) else (param,):
                if hasattr(inner, "eqns"):
                    yield from equations(inner)
