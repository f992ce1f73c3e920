"""What a stream hands from one chunk to the next."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._pullback.linearity import check_linear
from tbptt_jax._step.arguments import (
    check_arrays,
    check_callable,
    check_flags,
    check_integer,
    shown,
)
from tbptt_jax._step.handed_on import partition
from tbptt_jax._step.per_step import check_carry, pair
from tbptt_jax._step.schedule import check_schedule
from tbptt_jax._trace.eligibility import Trace, init_trace
from tbptt_jax._trace.real_step import real_step, trained_leaves, trained_names, with_trained

Carry = TypeVar("Carry")
X = TypeVar("X")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["carry", "xs", "num_steps", "trace"],
    meta_fields=["horizon", "stride", "history", "stale"],
)
@dataclasses.dataclass(frozen=True)
class StreamState(Generic[Carry, X]):
    """The last steps of a stream, which one chunk hands to the next: a pytree from `init_stream`.

    Attributes:
      carry: the carry that enters the first of the last H steps; where `stale`, [H+1, ...], the
        carries that entered those steps and the next chunk when they were run.
      xs: [H, ...], the inputs of the last H steps; at the stream's start the first are not valid.
      num_steps: int32 scalar, the steps since the stream's start, counted up to H + 1.
      horizon: as in `truncated_scan`; static.
      stride: as in `truncated_scan`; static.
      history: H, how many steps are kept; static.
      stale: whether states are kept, not computed again; static.
      trace: with tail="trace" the derivative of `carry` by the parameters, for each real leaf of
        the carry and each parameter: arrays whose first axes are the leaf's.
    """

    carry: Carry
    xs: X
    num_steps: jax.Array
    horizon: int
    stride: int
    history: int
    stale: bool
    trace: Trace | None = None


def init_stream(
    init: Carry,
    xs: X | None = None,
    *,
    horizon: int,
    stride: int = 1,
    shortest_chunk: int | None = None,
    stale: bool = False,
    tail: str = "cut",
    cell: Callable[[Any, Carry, Any], tuple[Carry, Any]] | None = None,
    params: Any = None,
) -> StreamState[Carry, X]:
    """The state of a stream at its start.

    Args:
      init: the stream's initial carry, of the types that the step returns. It is copied, so that
        the state may be donated.
      xs: [C, ...], a chunk of its inputs or its `jax.ShapeDtypeStruct`s, or None where it has
        none; only types matter.
      horizon: how many steps back an error reaches, its own step included; a static integer >= 1.
        At 1 nothing is kept, as evaluation needs.
      stride: how many consecutive losses share one backward pass; a static integer in 1..horizon.
      shortest_chunk: length of the stream's last chunk if that may be below the stride; its errors
        reach further into the past, so that horizon - shortest_chunk steps are kept, not
        horizon - stride.
      stale: what the steps before a chunk are linearised at. False: they are run again from the
        carry that entered the first, with the current parameters. True: the carries are those
        computed when the steps were first run, as Williams and Peng store them; only the
        parameters are new.
      tail: what becomes of errors that reach beyond the steps that are run. "cut": nothing.
        "trace": they meet an eligibility trace, so that the gradient for `params` is that of full
        BPTT (see `stream_scan`).
      cell: for "trace", the step `(params, carry, x) -> (carry, y)`; must mix no entries of its
        carry.
      params: for "trace", the cell's parameters; only types matter.

    Returns:
      A state for `stream_scan`. Where the batch shrinks, cut every leaf along its batch axis:
      `dataclasses.replace(state, carry=carry[:B], xs=xs[:, :B])`, where stale `carry[:, :B]`, and
      of a trace `jax.tree.map(lambda leaf: leaf[:B], state.trace)`.

    Raises:
      ValueError, TypeError: for horizon and stride, as `truncated_scan` does.
      ValueError: `init_stream: a stream needs a finite horizon, got None.`
      ValueError: `init_stream: shortest_chunk must be in 1..stride (4), got 5.`
      ValueError: `init_stream: xs must be a chunk of inputs, [C, ...], got [].`
      TypeError: `init_stream: stale must be True or False, got 1.`
      ValueError: `init_stream: tail must be 'cut' or 'trace', got 'keep'.`
      TypeError: `init_stream: tail='trace' needs cell, a function, and params.`, and `init_stream:
        cell and params are for tail='trace', got tail='cut'.`
      ValueError: `init_stream: tail='trace' needs a floating-point parameter; params has none.`
      ValueError: `init_stream: tail='trace' runs the kept steps again; stale must be False.`
      ValueError: `init_stream: tail='trace' needs a cell that mixes no entries of its carry, got
        one that does (`dot_general`); use tail='cut'.`
      ValueError: `init_stream: params['embedding'] may enter every entry of the carry, and its
        trace would be float32[8, 100, 10000, 50]; read it before the cell, in xs, where its
        gradient is truncated, or use tail='cut'.`

    Example:
      >>> import jax.numpy as jnp
      >>> from tbptt_jax import init_stream
      >>> state = init_stream(jnp.zeros((8, 100)), jnp.zeros((5, 8), int), horizon=20)
      >>> state.xs.shape
      (19, 8)
    """
    steps, stride = check_schedule("init_stream", horizon, stride)
    if steps is None:
        raise ValueError("init_stream: a stream needs a finite horizon, got None.")
    history = steps - _shortest(stride, shortest_chunk)
    check_flags("init_stream", stale=stale)
    for leaf in jax.tree.leaves(xs):
        if not np.shape(leaf) or not np.shape(leaf)[0]:
            raise ValueError(
                f"init_stream: xs must be a chunk of inputs, [C, ...], got {list(np.shape(leaf))}."
            )
    check_arrays("init_stream", init=init)
    _check_tail(tail, cell, params, stale)
    rows = lambda num, leaf: jnp.broadcast_to(leaf, (num, *jnp.shape(leaf)))
    carry = jax.tree.map(_copy, init)
    first_x = jax.tree.map(_first_row, xs)
    trace = _first_trace(cell, params, carry, first_x) if tail == "trace" else None
    return StreamState(
        jax.tree.map(functools.partial(rows, history + 1), carry) if stale else carry,
        jax.tree.map(lambda leaf: rows(history, _first_row(leaf)), xs),
        jnp.int32(0),
        steps,
        stride,
        history,
        stale,
        trace,
    )


def _check_tail(tail, cell, params, stale):
    if tail not in ("cut", "trace"):
        raise ValueError(f"init_stream: tail must be 'cut' or 'trace', got {shown(tail)}.")
    if tail == "cut" and not (cell is None and params is None):
        raise TypeError("init_stream: cell and params are for tail='trace', got tail='cut'.")
    if tail == "trace" and (not callable(cell) or params is None):
        raise TypeError("init_stream: tail='trace' needs cell, a function, and params.")
    if tail == "trace":
        check_callable("init_stream", "cell", cell, "params", "carry", "x")
    if tail == "trace" and stale:
        raise ValueError(
            "init_stream: tail='trace' runs the kept steps again; stale must be False."
        )


def _first_trace(cell, params, carry, x):
    """Zeros, for the leaves that the cell does not hand on unchanged."""
    if not trained_leaves(params):
        raise ValueError(
            "init_stream: tail='trace' needs a floating-point parameter; params has none."
        )
    xs = jax.tree.map(lambda leaf: leaf[None], x)
    params = with_trained(params, trained_leaves(params))  # arrays of NumPy as JAX's
    parts = partition("init_stream", functools.partial(cell, params), carry, xs, 1)

    def of_rest(params, rest, x):
        left, y = pair(
            "init_stream",
            "cell",
            "(carry, y)",
            parts.without(functools.partial(cell, params))(rest, x),
        )
        check_carry("init_stream", "cell", left, rest)
        return left, y

    rest = parts.rest(carry)
    jax.eval_shape(functools.partial(jax.lax.scan, functools.partial(of_rest, params), rest, xs, 1))
    step = real_step(of_rest, params, rest, x)
    check_linear("init_stream", step.call, step.trained, step.leaves, step.x)
    return init_trace("init_stream", step, trained_names(params))


def _first_row(leaf):
    """That of a chunk, or of its type alone."""
    is_type = isinstance(leaf, jax.ShapeDtypeStruct)
    return jnp.zeros(leaf.shape[1:], leaf.dtype) if is_type else leaf[0]


def _shortest(stride, shortest_chunk):
    """The least number of steps that a chunk may have."""
    if shortest_chunk is None:
        return stride
    shortest = check_integer("init_stream", "shortest_chunk", shortest_chunk)
    if shortest > stride:
        raise ValueError(
            f"init_stream: shortest_chunk must be in 1..stride ({stride}), got {shortest}."
        )
    return shortest


def _copy(leaf):
    """The same values in an array of its own, without a weak type."""
    leaf = jnp.asarray(leaf)
    return jnp.copy(jax.lax.convert_element_type(leaf, leaf.dtype))
