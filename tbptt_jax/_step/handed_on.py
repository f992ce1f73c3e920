"""Leaves of the carry that every step hands on unchanged: they are parameters, as in `lax.scan`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.core import Tracer

from tbptt_jax._step.arguments import check_arrays, check_callable
from tbptt_jax._step.identity import trace_and_call
from tbptt_jax._step.per_step import keeps_structure, pair


class Partition(NamedTuple):
    """Takes the leaves that a step hands on out of its carry; else they are all identities.

    Attributes:
      without: makes of the step the step `(rest, x) -> (rest, y)` that closes over those leaves.
      rest: the other leaves of a carry.
      whole: `(rest, carry) -> carry`, with the leaves that are handed on taken from `carry`.
    """

    without: Callable[[Callable], Callable]
    rest: Callable[[Any], Any]
    whole: Callable[[Any, Any], Any]


def partition(
    function: str,
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: Any = None,
    *,
    runs_again: bool = True,
) -> Partition:
    """Finds the leaves of the carry that every step hands on unchanged.

    Args:
      function: name of the public function, for errors.
      f: step function, `(carry, x) -> (carry, y)`.
      init: initial carry.
      xs: [T, ...], inputs.
      length: As in `jax.lax.scan`.
      runs_again: whether steps are run more than once.

    Raises:
      TypeError: `f` is no function of a carry and an input; `init` or `xs` holds what is no array.
      ValueError: `f` keeps a value made in one trace for the next, or reads or updates a mutable
        array though steps are run again.
    """
    check_callable(function, "f", f, "carry", "x")
    check_arrays(function, init=init, xs=xs)
    handed_on = _handed_on(function, f, init, xs, length, runs_again)
    if not any(handed_on):  # then lax.scan's errors name the user's own tree
        return Partition(lambda f: f, lambda carry: carry, lambda rest, carry: rest)

    def rest(carry):
        leaves = jax.tree.leaves(carry)
        return [leaf for leaf, on in zip(leaves, handed_on, strict=True) if not on]

    def whole(rest, carry):
        leaves, structure = jax.tree.flatten(carry)
        return jax.tree.unflatten(structure, _merge(handed_on, leaves, rest))

    def without(f):
        def step(carry, x):
            carry, y = pair(function, "f", "(carry, y)", f(whole(carry, init), x))
            return rest(carry), y

        return step

    return Partition(without, rest, whole)


def _merge(which, leaves, others):
    """The leaves that are marked, and in the places of those that are not the others in turn."""
    others = iter(others)
    return [leaf if on else next(others) for leaf, on in zip(leaves, which, strict=True)]


def _handed_on(function, f, init, xs, length, runs_again) -> list[bool]:
    """Which leaves of the carry are those of `init` at every step.

    By induction: if a step that is given these leaves of `init` returns them, all steps do. To
    begin with it is assumed of all leaves; those that come back as others are dropped. `f` is
    traced twice at least, which shows whether it keeps values of a trace.
    """
    leaves, structure = jax.tree.flatten(init)
    assumed = [isinstance(leaf, jax.Array) for leaf in leaves]
    constants = []  # of each trace
    while True:
        found = [False] * len(leaves)

        def body(rest, x, assumed=assumed, found=found):
            @functools.wraps(f, updated=())
            def step(rest, x):
                return f(jax.tree.unflatten(structure, _merge(assumed, leaves, rest)), x)

            results, read = trace_and_call(step, rest, x)
            constants.append(read)
            _check_keeps_nothing(function, constants[0], read)
            if runs_again and any(map(_is_mutable, read)):
                raise ValueError(
                    f"{function}: the step reads or updates a mutable array (jax.new_ref), but "
                    "steps are run again for the gradient; keep its value in the carry."
                )
            if keeps_structure(results, init):
                same = (a is b for a, b in zip(leaves, jax.tree.leaves(results[0]), strict=True))
                found[:] = map(bool.__and__, assumed, same)
            return rest, None

        rest = [leaf for leaf, on in zip(leaves, assumed, strict=True) if not on]
        jax.eval_shape(functools.partial(jax.lax.scan, body, rest, xs, length))
        if len(constants) > 1 and (not any(found) or found == assumed):
            return found
        assumed = found


def _is_mutable(value):
    return "Ref" in type(jax.typeof(value)).__name__


def _check_keeps_nothing(function: str, before: list[Any], now: list[Any]) -> None:
    """Makes sure that a step reads no value that was computed in an earlier trace of it.

    A module that makes its parameters in the step, or draws from a sequence of keys of its own,
    keeps such values, which mean nothing outside of that trace.

    Args:
      function: name of the public function, for the error.
      before: the constants of the step's first trace.
      now: those of a later one.

    Raises:
      ValueError: it does.
    """
    known = set(map(id, before))
    for value in now:
        if isinstance(value, Tracer) and id(value) not in known:
            kind = f"{value.dtype}{list(value.shape)}"
            raise ValueError(
                f"{function}: the step keeps a value of its first call for the next one ({kind}), "
                "as a module does that makes parameters or draws keys inside a scan; call one step "
                "before the scan to make the parameters, and pass keys in xs."
            )
