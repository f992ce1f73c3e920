"""Endless streams, chunk by chunk: every error reaches its whole horizon, across chunks too."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from tbptt_jax._scan import checked_options, scan_as
from tbptt_jax._step.handed_on import partition
from tbptt_jax._step.time_axis import take
from tbptt_jax._streams.checks import check_chunk
from tbptt_jax._streams.held import holding
from tbptt_jax._streams.state import StreamState
from tbptt_jax._trace.eligibility import advanced, attached
from tbptt_jax._trace.real_step import real_step

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def stream_scan(
    f: Callable[..., tuple[Carry, Y]],
    state: StreamState[Carry, X],
    xs: X | None = None,
    length: int | None = None,
    *,
    params: Any = None,
    last: bool = False,
) -> tuple[StreamState[Carry, X] | None, Y]:
    """`truncated_scan` over an endless sequence, a chunk at a time.

    Where `f` stays the same, the outputs of all chunks, and the gradient of any function of them
    for whatever `f` closes over, the inputs and the initial carry, are those of

        truncated_scan(f, init, all xs, horizon=horizon, stride=stride)

    however the stream is cut: each loss counts once, and its error reaches as far back as it would
    without the cut. Blocks of `stride` losses are counted from the stream's start. The gradient can
    be taken of all chunks together, or of each by itself. Then

    * those for parameters add up;
    * those for `state.xs` belong to the inputs of the steps before the chunk;
    * those for `state.carry` belong to the stream's initial carry, and are zero once no error
      reaches that. A stale state holds a carry for each of its steps: sum over them.

    A chunk's loss and its gradients for parameters, inputs and the initial carry are

        jax.value_and_grad(lambda params, state, xs: ..., argnums=(0, 1, 2), allow_int=True)

    If parameters change between chunks, the last steps before the chunk are run again with the
    current parameters, from the carry that entered the first of them; a stale state (see
    `init_stream`) keeps the carries instead. For second derivatives the state is a constant.

    With `init_stream(..., tail="trace", cell=f, params=params)` nothing is truncated: the gradient
    for `params` is that of full BPTT through the whole stream, whatever horizon, stride and chunks
    are, in memory that does not grow with its length:

        Σ full BPTT within the steps that are run + ε ∘ E,   Eₜ = aₜ ∘ Eₜ₋₁ + ∂f/∂params

    where ε is the error on the carry that enters the first of these steps, and the eligibility
    trace E is that carry's derivative by the parameters; aₜ, the derivative of a carry by the one
    before, must be elementwise. If parameters change between chunks, E sums derivatives that were
    taken with the parameters of their time, as in real-time recurrent learning. Only `params` have
    a trace: what else `f` closes over, the inputs (so what computes them) and the initial carry get
    the gradient of the steps that are run: the chunk's and `horizon - stride` before it.

    Pass randomness through the inputs, as keys or masks, so that a step that is run again is the
    same step. A chunk costs `horizon - stride` more steps than its own.

    Args:
      f: step function, `(carry, x) -> (carry, y)`, as in `truncated_scan`; where `params` is given,
        `(params, carry, x) -> (carry, y)`.
      state: state of the preceding steps; from `init_stream`, then from the chunk before.
      xs: [C, ...], the chunk's inputs. C is a multiple of the stride, except for the last chunk.
      length: C, for a stream without inputs. As in `jax.lax.scan`.
      params: first argument of `f`; needed with `tail="trace"`.
      last: whether the stream ends with this chunk, which may then end in a shorter block.

    Returns:
      The state for the next chunk, or None after the last, and the chunk's outputs, [C, ...].

    Raises:
      ValueError: `stream_scan: xs must be of the state's types, float32[C, 8], got int32[C, 8].`
      ValueError: `stream_scan: a chunk of 7 steps is not a multiple of the stride (3); only the
        last may be (last=True).`
      ValueError: `stream_scan: a last chunk of 2 steps is shorter than the state allows; give
        init_stream shortest_chunk=2.`
      ValueError: `stream_scan: xs and length must tell one number of steps, got [2, 3].`,
        `stream_scan: a chunk must have a step, got 0.`
      TypeError: `stream_scan: state must come from init_stream or from a chunk that was not the
        last, got NoneType.`
      TypeError: `stream_scan: f must be a function of (params, carry, x), got one of (carry, x).`
      TypeError: `stream_scan: a state with tail='trace' needs params, and f as (params, carry,
        x).`
      ValueError: `stream_scan: the state's trace is of another cell, carry or parameters; give
        init_stream those that stream_scan is given.`
      TypeError: `stream_scan: f returns a carry of float32[] where init_stream was given int32[];
        give it an initial carry of the types that f returns.`
      TypeError: `stream_scan: last must be True or False, and static under jax.jit
        (static_argnames), got JitTracer.`

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import init_stream, stream_scan
      >>> step = lambda w: lambda c, x: (w * c + x, w * c + x)
      >>> state = init_stream(0.0, jnp.ones(2), horizon=3)
      >>> def loss(w, state, xs):
      ...     state, ys = stream_scan(step(w), state, xs)
      ...     return jnp.sum(ys), state
      >>> for xs in jnp.ones((2, 2)):
      ...     grad, state = jax.grad(loss, has_aux=True)(0.5, state, xs)
      ...     print(grad)
      1.0
      4.75

      With a trace there is no horizon, and no step is run again:

      >>> cell = lambda w, c, x: (w * c + x, w * c + x)
      >>> xs = jnp.ones(2)
      >>> state = init_stream(0.0, xs, horizon=1, tail="trace", cell=cell, params=0.5)
      >>> def loss(w, state):
      ...     state, ys = stream_scan(cell, state, xs, params=w)
      ...     return jnp.sum(ys), state
      >>> for _ in range(3):
      ...     grad, state = jax.grad(loss, has_aux=True)(0.5, state)
      ...     print(grad)
      1.0
      4.75
      6.8125

    References:
      Williams and Peng, 1990. Sutskever, 2013, section 2.8.6. For the trace: Zucchet et al., 2023,
        Online learning of long-range dependencies.
    """
    num_new = check_chunk(f, state, xs, length, params, last)
    cell = lambda params: f if params is None else functools.partial(f, params)
    num_before, begins, kept = _grid(state, num_new)
    all_xs = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), state.xs, xs)
    first = take(state.carry, 0) if state.stale else state.carry
    parts = partition("stream_scan", cell(params), first, xs, length)
    start = _start(state, params, parts.rest(state.carry))
    holds, stored, carry = begins, None, start
    if state.stale:
        holds = jnp.arange(len(begins)) <= num_before
        stored = take(start, jnp.minimum(kept, state.history))
        carry = take(stored, 0)

    horizon = state.horizon if state.trace is None else None
    step = holding(parts.without(cell(params)), start)
    of_steps = begins, holds, stored, take(all_xs, kept)
    options = checked_options(carry, horizon, state.stride)
    left, (entered, ys) = scan_as("stream_scan", step, carry, of_steps, options)
    ys = jax.tree.map(lambda leaf: leaf[num_before:], ys)
    if last:
        return None, ys
    carry = parts.whole(_next_carry(state, entered, left), state.carry)
    if state.trace is not None:
        of_rest = lambda params, carry, x: parts.without(cell(params))(carry, x)
        at = slice(num_before - state.history, num_before - state.history + num_new)
        trace = _next_trace(state, of_rest, params, *take((entered, take(all_xs, kept)), at))
        state = dataclasses.replace(state, trace=trace)
    return _next_state(state, carry, all_xs, num_new), ys


def _start(state, params, carry):
    """The carry from which the chunk's scan starts; after the stream's start it is a constant."""
    cut = lambda leaf: jax.lax.select(
        state.num_steps <= state.history, leaf, jax.lax.stop_gradient(leaf)
    )
    start = jax.tree.map(cut, carry)
    return start if state.trace is None else attached("stream_scan", state.trace, params, start)


def _next_trace(state, cell, params, carries, xs):
    """The trace on the carry that enters the first of the steps to keep."""
    num_missing = state.history - jnp.minimum(state.num_steps, state.history)
    runs = jnp.arange(len(jax.tree.leaves(carries)[0]), dtype=jnp.int32) >= num_missing
    step = real_step(cell, params, take(carries, 0), take(xs, 0))
    return advanced("stream_scan", state.trace, step, carries, xs, runs)


def _next_carry(state, entered, left):
    """The carry that entered the first of the steps to keep, or all that did where stale."""
    carries = jax.tree.map(
        lambda each, end: jnp.concatenate([each, end[None]])[-(state.history + 1) :],
        entered,
        left,
    )
    return carries if state.stale else take(carries, 0)


def _next_state(state, carry, all_xs, num_new):
    return dataclasses.replace(
        state,
        carry=carry,
        xs=jax.tree.map(lambda leaf: leaf[num_new:], all_xs),
        # Capped, since a stream may have more steps than an int32 can count.
        num_steps=jnp.minimum(state.num_steps + num_new, state.history + 1),
    )


def _grid(state, num_new):
    """The steps that a chunk's scan runs: those that are kept, and the chunk's.

    The scan counts its blocks from its first step, so it starts a multiple of the stride before the
    chunk. What comes before the kept steps is the first of them once more; its results are not
    used.

    Returns:
      The number of steps before the chunk; [steps], whether a step's carry is the state's; and
      [steps], its place in the state's inputs followed by the chunk's.
    """
    num_before = -(-state.history // state.stride) * state.stride
    steps = jnp.arange(num_before + num_new, dtype=jnp.int32)
    first = num_before - jnp.minimum(state.num_steps, state.history)
    return num_before, steps <= first, jnp.maximum(steps, first) - (num_before - state.history)
