"""Wrappers of a step function: resets at a document's first step, masks for padding."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from tbptt_jax._step.arguments import as_array, check_arrays, check_callable, shown
from tbptt_jax._step.identity import call, is_same
from tbptt_jax._step.per_step import described, input_pair, pair

WIDER = {
    jnp.integer: jnp.number,
    jnp.floating: jnp.inexact,
    jnp.complexfloating: jnp.complexfloating,
}

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def with_resets(
    f: Callable[[Carry, X], tuple[Carry, Y]], init: Carry
) -> Callable[[Carry, tuple[X, jax.Array]], tuple[Carry, Y]]:
    """A step that starts anew from `init` where a flag says so, and cuts gradients there.

        f'(c, (x, reset)) = f(init where reset, else c; x)

    Under `truncated_scan`, `stream_scan` or `jax.lax.scan` no error crosses a reset. At stride 1
    the gradients are therefore those of the documents run one by one, each from `init`, which gets
    its gradient from all of them. At larger strides blocks are not aligned to documents: one block
    may span two. The derivatives of a document's steps must be finite, as in `jax.lax.scan`: zero
    times infinity is nan. Apply `with_mask` first, `with_resets(with_mask(f), init)`, or resets on
    masked steps are lost.

    Args:
      f: step function, `(carry, x) -> (carry, y)`.
      init: the carry that a document starts with; its leaves broadcast to those of the carry, and
        None stands for leaves that are not reset. A leaf that `f` hands on unchanged, a parameter
        in the carry, stays one where `init` holds None, or the very array that the scan starts
        with; for a stream, which starts with a copy, let it hold None. Where parameters have
        horizons of their own, apply `jax.jit` and `jax.checkpoint` to `f`, not to what is returned.

    Returns:
      The step function `(carry, (x, reset)) -> (carry, y)`. `reset` is a bool array whose axes are
      the first of every leaf of the carry: [B] for a batch of streams, [] for one.

    Raises:
      ValueError: the step, `with_resets: the carry's leaves must begin with the flags' axes [4],
        got [3, 8].`, and where `init` does not broadcast.
      TypeError: the step, `with_resets: flags must be bool, got int32.`, and where `init` is not of
        the carry's structure or dtypes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import truncated_scan, with_resets
      >>> total = with_resets(lambda c, x: (c + x, c + x), 0.0)
      >>> resets = jnp.array([False, False, True, False])
      >>> print(truncated_scan(total, 0.0, (jnp.ones(4), resets), horizon=3)[1])
      [1. 2. 1. 2.]
    """
    check_callable("with_resets", "f", f, "carry", "x")
    check_arrays("with_resets", init=init)

    def step(carry, inputs):
        x, reset = input_pair("with_resets", "resets", inputs)
        start = _or_carry(init, carry)
        _check_structure("with_resets: init", start, carry)
        started = jax.tree.map(functools.partial(_start, "with_resets"), start, carry)
        left = call(f, _where("with_resets", "carry", reset, started, carry), x)
        return pair("with_resets", "f", "(carry, y)", left)

    return step


def with_mask(
    f: Callable[[Carry, X], tuple[Carry, Y]], fill: Any = 0
) -> Callable[[Carry, tuple[X, jax.Array]], tuple[Carry, Y]]:
    """A step that does nothing where it is masked: the carry stays, and the output is zero.

        f'(c, (x, valid)) = f(c, x) where valid, else (c, 0)

    A masked step may hold anything, NaN too: it takes part in no output and in no gradient, since
    `f` sees `fill` in its place. A loss that is the step's output is zero there; any other must be
    given the mask as its weights. A masked step still counts as one of the horizon's.

    Args:
      f: step function, `(carry, x) -> (carry, y)`.
      fill: a number that stands in for what is masked, in each leaf's dtype; `f` and its derivative
        must be finite there.

    Returns:
      The step function `(carry, (x, valid)) -> (carry, y)`. `valid` is a bool array whose axes are
      the first of every leaf of the carry, of the input and of the output: [B] for a batch of
      sequences, [] for one. PRNG keys in inputs and outputs stay as they are.

    Raises:
      TypeError: `with_mask: fill must be a number, got float32[3].`
      ValueError: the step, `with_mask: the input's leaves must begin with the flags' axes [4], got
        [3, 8].`
      TypeError: the step, `with_mask: flags must be bool, got float32.`, and where `f` returns a
        carry of other types than it is given.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import truncated_scan, with_mask
      >>> total = with_mask(lambda c, x: (c + x, c + x))
      >>> xs, valid = jnp.array([1.0, jnp.nan, 1.0]), jnp.array([True, False, True])
      >>> print(truncated_scan(total, 0.0, (xs, valid), horizon=2)[1])
      [1. 0. 2.]
    """
    check_callable("with_mask", "f", f, "carry", "x")
    check_arrays("with_mask", fill=fill)
    if jax.tree.structure(fill) != jax.tree.structure(0) or jnp.ndim(fill):
        raise TypeError(f"with_mask: fill must be a number, got {described(fill)}.")

    def step(carry, inputs):
        x, valid = input_pair("with_mask", "valid", inputs)
        where = functools.partial(_where, "with_mask", flags=valid)
        results = call(f, carry, where("input", tree=x, other=_filled(x, fill)))
        left, y = pair("with_mask", "f", "(carry, y)", results)
        _check_structure("with_mask: the carry that f returns", left, carry)
        return where("carry", tree=left, other=carry), where("output", tree=y, other=_filled(y, 0))

    return step


def _or_carry(init, carry):
    """`init` with the carry's leaves in place of None; `init` where it is of another structure."""
    leaves, structure = jax.tree.flatten(init, is_leaf=lambda leaf: leaf is None)
    try:
        parts = structure.flatten_up_to(carry)
    except ValueError:
        return init
    leaves = [part if leaf is None else leaf for leaf, part in zip(leaves, parts, strict=True)]
    return jax.tree.unflatten(structure, leaves)


def _start(function, start, leaf):
    """The initial value in the carry's shape and dtype, if it has one there."""
    if is_same(start, leaf):
        return leaf
    given, start, dtype = start, jnp.asarray(start), jnp.asarray(leaf).dtype
    if start.dtype != dtype and not _is_number_of(dtype, start, given):
        got = shown(given) if isinstance(given, int) else start.dtype
        raise TypeError(f"{function}: init must be of the carry's dtype {dtype}, got {got}.")
    start = start if start.dtype == dtype else start.astype(dtype)  # keys have no astype
    shape = jnp.shape(leaf)
    if start.ndim > len(shape) or any(
        size not in (1, full) for size, full in zip(start.shape[::-1], shape[::-1], strict=False)
    ):
        raise ValueError(
            f"{function}: init's leaves must broadcast to the carry's, {list(shape)}, got "
            f"{list(start.shape)}."
        )
    return jnp.broadcast_to(start, shape)


def _is_number_of(dtype, number, given):
    """Whether a number without a dtype of its own keeps its value in this one."""
    if not jax.typeof(number).weak_type:
        return False
    if isinstance(given, int) and jnp.issubdtype(dtype, jnp.integer):
        return jnp.iinfo(dtype).min <= given <= jnp.iinfo(dtype).max
    return any(
        jnp.issubdtype(number.dtype, kind) and jnp.issubdtype(dtype, wider)
        for kind, wider in WIDER.items()
    )


def _check_structure(what, tree, carry):
    found, expected = jax.tree.structure(tree), jax.tree.structure(carry)
    if found != expected:
        raise TypeError(f"{what} must be of the carry's structure, {expected}, got {found}.")


def _filled(tree, value):
    """A tree of one value; keys, which have none, stay."""
    is_key = lambda leaf: jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else jnp.full_like(leaf, value), tree)


def _where(function, name, flags, tree, other):
    """Leaf by leaf, rows of `tree` where flags are set and of `other` elsewhere."""
    flags = as_array(function, "flags", flags)
    if flags.dtype != jnp.bool_:
        raise TypeError(f"{function}: flags must be bool, got {flags.dtype}.")

    def select(leaf, other):
        if leaf is other:  # handed on
            return leaf
        leaf, other = jnp.asarray(leaf), jnp.asarray(other)
        if leaf.shape != other.shape or leaf.dtype != other.dtype:
            raise TypeError(
                f"{function}: f must return the {name} with the types it was given, "
                f"{other.dtype}{list(other.shape)}, got {leaf.dtype}{list(leaf.shape)}."
            )
        if leaf.shape[: flags.ndim] != flags.shape:
            raise ValueError(
                f"{function}: the {name}'s leaves must begin with the flags' axes "
                f"{list(flags.shape)}, got {list(leaf.shape)}."
            )
        return jnp.where(flags.reshape(flags.shape + (1,) * (leaf.ndim - flags.ndim)), leaf, other)

    return jax.tree.map(select, tree, other)
