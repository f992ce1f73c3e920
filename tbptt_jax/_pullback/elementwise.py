"""Elementwise carries: each entry of the new carry depends on the same entry of the old alone.

Leaky integrators, gated averages and diagonal state-space models are such. The step's pullback is
then k coefficients by k for each entry, where k leaves of the carry depend on one another. Whether
a step is of that kind is read off the equations of its pullback: each value is followed from the
errors on, and an operation that is not listed here makes it one that mixes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from tbptt_jax._pullback.of_steps import inexact, pullback
from tbptt_jax._step.jaxprs import CALLS, CHECKPOINTS, RULED, called_jaxpr

# Primitives by name. An entry of the result is linear in the entries at the same place.
SUMS = {"add", "sub", "add_any", "neg", "copy", "copy_p", "reduce_precision", "pvary", "pcast"}
CASTS = {"convert_element_type"}
OF_PARTS = {"real", "imag", "complex", "conj"}  # linear over the real numbers alone
# The entries keep their order where none is added or dropped.
RESHAPED = {"reshape", "squeeze", "expand_dims", "broadcast_in_dim", "reduce_sum"}
CALLING = CALLS | CHECKPOINTS | RULED
MOST_COUPLED = 4  # leaves; more make coefficients that cost more than sweeps


class Mixed(NamedTuple):
    """A value that depends on errors at other places, by this primitive."""

    primitive: str


class Elementwise(NamedTuple):
    """The carry's pullback, entry by entry.

    Attributes:
      groups: the leaves of the carry that carry errors, by number, in groups that depend on no
        other group. A complex leaf is two real ones where its pullback is not complex-linear.
      coupled: the pairs (i, j) where the error that enters on leaf i depends on that leaving on j,
        directly or through others; each leaf with itself.
      to_parts: from errors on the carry to its parts, and
      from_parts: back.
    """

    groups: list[list[int]]
    coupled: set[tuple[int, int]]
    to_parts: Callable[[Any], dict[int, jax.Array]]
    from_parts: Callable[[list[jax.Array]], Any]


def elementwise(
    step: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, x: Any
) -> Elementwise | None:
    """How the carry's entries couple; None where a step mixes them, or where sweeps are better.

    Sweeps are better where more than `MOST_COUPLED` leaves are coupled, where coupled leaves differ
    in dtype, and where a leaf has no entries.

    Args:
      step: `(constants, carry, x) -> (carry, y)`.
      constants: what it is given; only shapes and dtypes are used.
      carry: as `constants`.
      x: as `constants`.
    """
    kind = coupling(step, constants, carry, x)
    if isinstance(kind, Mixed) or max(map(len, kind.groups), default=0) > MOST_COUPLED:
        return None
    parts = jax.eval_shape(lambda carry: kind.to_parts(inexact(carry)), carry)
    if any(part.size == 0 for part in parts.values()):
        return None
    if any(len({parts[i].dtype for i in group}) > 1 for group in kind.groups):
        return None
    return kind


def coupling(
    step: Callable[[Any, Any, Any], tuple[Any, Any]], constants: Any, carry: Any, x: Any
) -> Elementwise | Mixed:
    """As `elementwise`, for any number of leaves; what mixes them, where a step does."""

    def pull(args, errors):
        constants, carry, x = args
        return pullback(lambda carry: step(constants, carry, x)[0], carry)(errors)[0]

    args = constants, carry, x
    errors = inexact(carry)
    jaxpr = jax.make_jaxpr(pull)(args, errors)
    num_errors = len(jax.tree.leaves(errors))
    sources: list[Any] = [frozenset()] * len(jaxpr.invars)
    sources[len(sources) - num_errors :] = [frozenset([i]) for i in range(num_errors)]
    is_complex_linear = [True]
    found = _walk(jaxpr, sources, is_complex_linear)
    mixed = next((source for source in found if isinstance(source, Mixed)), None)
    if mixed:
        return mixed
    leaves, structure = jax.tree.flatten(errors)
    split = [
        not is_complex_linear[0] and jnp.issubdtype(leaf.dtype, jnp.complexfloating)
        for leaf in leaves
    ]
    parts = [[*range(sum(split[:i]) + i, sum(split[: i + 1]) + i + 1)] for i in range(len(leaves))]
    pairs = {
        (a, b) for i, source in enumerate(found) for j in source for a in parts[i] for b in parts[j]
    }
    coupled = _closure(pairs, sum(map(len, parts)))
    groups = _groups(coupled, sum(map(len, parts)))
    shapes = [leaf.shape for leaf, two in zip(leaves, split, strict=True) for _ in range(1 + two)]
    if any(shapes[i] != shapes[group[0]] for group in groups for i in group):
        return Mixed("reshape")  # places agree, but factors would not be of one shape
    return Elementwise(
        groups,
        coupled,
        functools.partial(_to_parts, split),
        functools.partial(_from_parts, split, structure),
    )


def _to_parts(split, errors):
    parts = []
    for is_split, leaf in zip(split, jax.tree.leaves(errors), strict=True):
        parts += [leaf.real, leaf.imag] if is_split else [leaf]
    return dict(enumerate(parts))


def _from_parts(split, structure, parts):
    parts = iter(parts)
    leaves = [jax.lax.complex(next(parts), next(parts)) if s else next(parts) for s in split]
    return jax.tree.unflatten(structure, leaves)


def _closure(pairs, num):
    """The reflexive and transitive closure."""
    reach = np.eye(num, dtype=bool)
    for i, j in pairs:
        reach[i, j] = True
    for _ in range(num.bit_length()):
        reach = reach @ reach
    return {(int(i), int(j)) for i, j in np.argwhere(reach)}


def _groups(coupled, num):
    groups: list[list[int]] = []
    for i in range(num):
        joined = [g for g in groups if any((i, j) in coupled or (j, i) in coupled for j in g)]
        groups = [g for g in groups if g not in joined]
        groups.append(sorted({i, *(j for g in joined for j in g)}))
    return groups


def _walk(jaxpr, sources, is_complex_linear):
    """For each result the errors whose entries at the same place it depends on, or Mixed."""
    known = dict(zip(jaxpr.invars, sources, strict=True))
    known |= dict.fromkeys(jaxpr.constvars, frozenset())
    read = lambda atom: frozenset() if isinstance(atom, Literal) else known[atom]
    for eqn in jaxpr.eqns:
        found = _equation(eqn, [read(atom) for atom in eqn.invars], is_complex_linear)
        known |= zip(eqn.outvars, found, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _equation(eqn, sources, is_complex_linear):
    num = len(eqn.outvars)
    if not any(sources):
        return [frozenset()] * num
    name = eqn.primitive.name
    if called := called_jaxpr(eqn, CALLING):
        return _walk(called, sources, is_complex_linear)
    mixed = next((source for source in sources if isinstance(source, Mixed)), None)
    if mixed or num != 1 or not _keeps_places(eqn, name, sources):
        return [mixed or Mixed(name)] * num
    if name in OF_PARTS or (name in CASTS and _is_complex(eqn.invars[0])):
        is_complex_linear[0] = False
    return [frozenset().union(*sources)]


def _keeps_places(eqn, name, sources):
    if name in SUMS | OF_PARTS | CASTS:
        return jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.inexact)
    if name == "mul":
        return sum(map(bool, sources)) == 1
    if name == "div":
        return not sources[1]
    if name == "select_n":
        return not sources[0]
    return name in RESHAPED and _size(eqn.invars[0]) == _size(eqn.outvars[0])


def _size(atom):
    return np.prod([1, *atom.aval.shape])


def _is_complex(atom):
    return jnp.issubdtype(atom.aval.dtype, jnp.complexfloating)


def coefficients(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    kind: Elementwise,
    constants: Any,
    carry: Any,
    x: Any,
) -> dict[tuple[int, int], jax.Array]:
    """By (i, j) the factor of the error that leaves on part j in that which enters on part i."""
    pull = pullback(lambda carry: step(constants, carry, x)[0], carry)
    zeros = jax.tree.map(jnp.zeros_like, kind.to_parts(inexact(carry)))
    a = {}
    for place in range(max(map(len, kind.groups), default=0)):
        chosen = [group[place] for group in kind.groups if place < len(group)]
        ones = {i: jnp.ones_like(leaf) if i in chosen else leaf for i, leaf in zeros.items()}
        (column,) = pull(kind.from_parts(list(ones.values())))
        column = kind.to_parts(column)
        a |= {(i, j): column[i] for i, j in kind.coupled if j in chosen}
    return a
