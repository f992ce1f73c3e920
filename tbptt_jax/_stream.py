"""Endless streams, chunk by chunk: every error travels its whole horizon, across the seams too."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._handed_on import partition
from tbptt_jax._per_step import losses_of_steps
from tbptt_jax._scan import truncated_scan
from tbptt_jax._schedule import check_positive
from tbptt_jax._stream_window import Window
from tbptt_jax._time_axis import take

Params = TypeVar("Params")
Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def stream_scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    window: Window[Carry, X],
    xs: X | None = None,
    length: int | None = None,
    *,
    last: bool = False,
) -> tuple[Window[Carry, X] | None, Y]:
    """`truncated_scan` over an endless sequence, a chunk at a time.

    Where `f` stays the same, the outputs of all chunks, and the gradient of any function of them
    for whatever `f` closes over, the inputs and the initial carry, are those of

        truncated_scan(f, init, all xs, horizon=horizon, stride=stride)

    however the stream is cut: each loss counts once, and its error travels as far as it would
    without the cut. Blocks of `stride` losses are counted from the stream's start. The gradient can
    be taken of all chunks together or of each by itself; those for parameters then add up, those
    for `window.xs` belong to the inputs of the steps before the chunk, and those for `window.carry`
    to the stream's initial carry (they are zero once that is beyond reach; a stale window holds a
    carry for each of its steps, and the gradient is the sum over them).

    If parameters change between chunks, the window before the chunk and the chunk are one run with
    the parameters of the day from the window's first carry; a stale window (see `init_window`)
    keeps the states instead. For second derivatives the window is a constant, however its carry
    came about. Randomness belongs into the inputs, as keys or masks, so that a step that is run
    again is the same step. A window costs `horizon - stride` more steps for each chunk.

    Args:
      f: step function, `(carry, x) -> (carry, y)`. As in `truncated_scan`.
      window: what is known of the steps before; from `init_window`, then from the chunk before.
      xs: [C, ...], the chunk's inputs. C is a multiple of the stride, but for the last chunk.
      length: C, for a stream without inputs. As in `jax.lax.scan`.
      last: whether the stream ends with this chunk, which may then end in a shorter block.

    Returns:
      The window of the next chunk, or None after the last, and the chunk's outputs, [C, ...].

    Raises:
      ValueError: `stream_scan: xs must be of the window's types, float32[C, 8], got int32[C, 8].`
      ValueError: `stream_scan: a chunk of 7 steps is not a multiple of the stride (3); only the
        last may be (last=True).`
      ValueError: `stream_scan: a last chunk of 2 steps is shorter than the window allows; give
        init_window shortest_chunk=2.`
      TypeError: `stream_scan: window must come from init_window or from a chunk that was not the
        last, got NoneType.`
      TypeError: `stream_scan: last must be True or False, and static under jax.jit
        (static_argnames), got JitTracer.`

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import init_window, stream_scan
      >>> step = lambda w: lambda c, x: (w * c + x, w * c + x)
      >>> window = init_window(0.0, jnp.ones(2), horizon=3)
      >>> def loss(w, window, xs):
      ...     window, ys = stream_scan(step(w), window, xs)
      ...     return jnp.sum(ys), window
      >>> for xs in jnp.ones((2, 2)):
      ...     grad, window = jax.grad(loss, has_aux=True)(0.5, window, xs)
      ...     print(grad)
      1.0
      4.75

    References:
      Williams and Peng, 1990. Sutskever, 2013, section 2.8.6.
    """
    num_new = _check_chunk(window, xs, length, last)
    num_before, begins, kept = _grid(window, num_new)
    all_xs = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), window.xs, xs)
    first = take(window.carry, 0) if window.stale else window.carry
    parts = partition(f, first, xs, length)
    step_of_rest = parts.without(f)
    at_start = window.num_steps <= window.history
    # Later than at the stream's start, the window's carry is a constant.
    constant = lambda leaf: _select(at_start, leaf, jax.lax.stop_gradient(leaf))
    start = jax.tree.map(constant, parts.rest(window.carry))
    holds, stored, carry = begins, None, start
    if window.stale:
        holds = jnp.arange(len(begins)) <= num_before
        stored = take(start, jnp.minimum(kept, window.history))
        carry = take(stored, 0)

    def step(carry, inputs):
        begins, holds, stored, x = inputs
        held = start if stored is None else stored
        carry = jax.tree.map(functools.partial(_hold, begins, holds), held, carry)
        left, y = step_of_rest(carry, x)
        return left, (carry, y)

    left, (entered, ys) = truncated_scan(
        step,
        carry,
        (begins, holds, stored, take(all_xs, kept)),
        horizon=window.horizon,
        stride=window.stride,
    )
    ys = jax.tree.map(lambda leaf: leaf[num_before:], ys)
    if last:
        return None, ys
    carry = parts.whole(_next_carry(window, entered, left), window.carry)
    return _next_window(window, carry, all_xs, num_new), ys


def _next_carry(window, entered, left):
    """The carry that entered the first of the steps to keep, or all that did where stale."""
    carries = jax.tree.map(
        lambda each, end: jnp.concatenate([each, end[None]])[-(window.history + 1) :],
        entered,
        left,
    )
    return carries if window.stale else take(carries, 0)


def _next_window(window, carry, all_xs, num_new):
    return dataclasses.replace(
        window,
        carry=carry,
        xs=jax.tree.map(lambda leaf: leaf[num_new:], all_xs),
        # Capped, since a stream may have more steps than an int32 can count.
        num_steps=jnp.minimum(window.num_steps + num_new, window.history + 1),
    )


def _grid(window, num_new):
    """The steps that a chunk's scan runs: those of the window, and the chunk's.

    The scan counts its blocks from its first step, so it starts a multiple of the stride before the
    chunk. What comes before the window's first step is that step once more; its results are not
    used.

    Returns:
      The number of steps before the chunk; [steps], whether a step's carry is the window's; and
      [steps], its place in the window's inputs followed by the chunk's.
    """
    num_before = -(-window.history // window.stride) * window.stride
    steps = jnp.arange(num_before + num_new, dtype=jnp.int32)
    first = num_before - jnp.minimum(window.num_steps, window.history)
    return num_before, steps <= first, jnp.maximum(steps, first) - (num_before - window.history)


def stream_value_and_grad(
    f: Callable[[Params, Carry, Any], tuple[Carry, Y]],
    loss_fn: Callable[[Params, Y, Any], jax.Array],
) -> Callable[..., tuple[tuple[jax.Array, tuple[Window | None, Y]], tuple[Params, Window, Any]]]:
    """The losses of one chunk of a stream, and their truncated gradients.

    Args:
      f: pure step function, `(params, carry, x) -> (carry, y)`.
      loss_fn: pure loss of one step, `(params, y, target) -> []`, a scalar. A loss of all outputs
        at once, as `linear_softmax_cross_entropy` computes it, is written with `stream_scan`.

    Returns:
      A function `(params, window, xs, targets, last=False) -> ((loss, (window, ys)), grads)`, for
      `jax.jit` with `static_argnames="last"`. `xs` and `targets` are [C, ...]; `loss` is the sum of
      the C losses; `window` and `ys` are `stream_scan`'s; `grads` are the gradients for
      `(params, window, xs)`, of dtype float0 for integer and key leaves. Those for `window.xs`
      belong to the inputs of the steps before the chunk, those for `window.carry` to the stream's
      initial carry.

    Raises:
      ValueError, TypeError: the function that is returned, as `stream_scan` does, and where a loss
        is not a real scalar.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import init_window, stream_value_and_grad
      >>> step = lambda w, c, x: (w * c + x, w * c + x)
      >>> square = lambda w, y, target: (y - target) ** 2
      >>> run = jax.jit(stream_value_and_grad(step, square), static_argnames="last")
      >>> window = init_window(0.0, jnp.ones(2), horizon=2)
      >>> (loss, (window, ys)), grads = run(0.5, window, jnp.ones(2), jnp.zeros(2))
      >>> print(loss, ys)
      3.25 [1.  1.5]
    """

    def run(params, window, xs, targets, last=False):
        def chunk_loss(params, window, xs):
            window, ys = stream_scan(functools.partial(f, params), window, xs, last=last)
            losses = losses_of_steps("stream_value_and_grad", loss_fn, params, ys, targets)
            return jnp.sum(losses), (window, ys)

        grad = jax.value_and_grad(chunk_loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
        return grad(params, window, xs)

    return run


def _check_chunk(window, xs, length, last) -> int:
    """The chunk's number of steps, if it fits the window."""
    if not isinstance(window, Window):
        raise TypeError(
            "stream_scan: window must come from init_window or from a chunk that was not the "
            f"last, got {type(window).__name__}."
        )
    if not isinstance(last, bool):
        raise TypeError(
            "stream_scan: last must be True or False, and static under jax.jit (static_argnames), "
            f"got {last!r}."
        )
    _check_types(window.xs, xs)
    lengths = {np.shape(leaf)[0] for leaf in jax.tree.leaves(xs)}
    if length is not None:
        lengths.add(check_positive("stream_scan", "length", length))
    if len(lengths) != 1:
        raise ValueError(
            "stream_scan: xs and length must tell one number of steps, got "
            f"{sorted(lengths) or None}."
        )
    (num_steps,) = lengths
    if num_steps < 1:
        raise ValueError("stream_scan: a chunk must have a step, got 0.")
    if num_steps % window.stride and not last:
        raise ValueError(
            f"stream_scan: a chunk of {num_steps} steps is not a multiple of the stride "
            f"({window.stride}); only the last may be (last=True)."
        )
    if num_steps < window.horizon - window.history:
        raise ValueError(
            f"stream_scan: a last chunk of {num_steps} steps is shorter than the window allows; "
            f"give init_window shortest_chunk={num_steps}."
        )
    return num_steps


def _check_types(old, new):
    """The chunk's inputs are of the window's structure, shapes and dtypes."""
    if jax.tree.structure(old) != jax.tree.structure(new):
        raise ValueError(
            f"stream_scan: xs must have the window's structure, {jax.tree.structure(old)}, got "
            f"{jax.tree.structure(new)}."
        )
    kind = lambda leaf: f"{jax.typeof(leaf).dtype}[C{''.join(f', {n}' for n in leaf.shape[1:])}]"
    for kept, leaf in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
        leaf = jnp.asarray(leaf)
        if not leaf.ndim or kind(kept) != kind(leaf):
            given = kind(leaf) if leaf.ndim else f"{leaf.dtype}[]"
            raise ValueError(
                f"stream_scan: xs must be of the window's types, {kind(kept)}, got {given}."
            )


@jax.custom_jvp
def _hold_float(begins, holds, held, carry):
    return _select(holds, held, carry)


@_hold_float.defjvp
def _hold_float_derivative(primals, tangents):
    return _hold_float(*primals), _select(primals[0], *tangents[2:])


def _hold(begins, holds, held, carry):
    """`held` where set, else `carry`; the derivative is `carry`'s even so, but at a beginning."""
    if jnp.issubdtype(carry.dtype, jnp.inexact):
        return _hold_float(begins, holds, held, carry)
    return _select(holds, held, carry)


def _select(condition, on_true, on_false):
    """One of two arrays of any type, keys too, by a scalar."""
    return jax.lax.select(condition, on_true, on_false)
