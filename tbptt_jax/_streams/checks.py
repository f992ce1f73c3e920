"""Whether a chunk fits the state of its stream."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from tbptt_jax._step.arguments import as_array, check_callable, check_integer, shown
from tbptt_jax._streams.state import StreamState


def check_chunk(
    f: Any, state: StreamState, xs: Any, length: int | None, params: Any, last: bool
) -> int:
    """The chunk's number of steps, if it fits the state.

    Args:
      f: as in `stream_scan`.
      state: as in `stream_scan`.
      xs: as in `stream_scan`.
      length: as in `stream_scan`.
      params: as in `stream_scan`.
      last: as in `stream_scan`.

    Raises:
      TypeError, ValueError: as `stream_scan`.
    """
    _check_call(f, state, params, last)
    _check_types(state.xs, xs)
    num_steps = _num_steps(xs, length)
    if num_steps % state.stride and not last:
        raise ValueError(
            f"stream_scan: a chunk of {num_steps} steps is not a multiple of the stride "
            f"({state.stride}); only the last may be (last=True)."
        )
    if num_steps < state.horizon - state.history:
        raise ValueError(
            f"stream_scan: a last chunk of {num_steps} steps is shorter than the state allows; "
            f"give init_stream shortest_chunk={num_steps}."
        )
    return num_steps


def _check_call(f, state, params, last):
    """The state is one of a stream, and the other arguments are of the kinds that it needs."""
    if not isinstance(state, StreamState):
        raise TypeError(
            "stream_scan: state must come from init_stream or from a chunk that was not the "
            f"last, got {type(state).__name__}."
        )
    if not isinstance(last, bool):
        raise TypeError(
            "stream_scan: last must be True or False, and static under jax.jit (static_argnames), "
            f"got {shown(last)}."
        )
    if state.trace is not None and params is None:
        raise TypeError(
            "stream_scan: a state with tail='trace' needs params, and f as (params, carry, x)."
        )
    bound = () if params is None else ("params",)
    check_callable("stream_scan", "f", f, *bound, "carry", "x")
    if not 1 <= state.horizon - state.history <= state.stride:
        raise ValueError(
            f"stream_scan: a state that keeps {state.history} steps has no horizon of "
            f"{state.horizon} and stride of {state.stride}; both are set by init_stream."
        )


def _num_steps(xs, length):
    """The one number of steps that the inputs and `length` tell."""
    lengths = {np.shape(leaf)[0] for leaf in jax.tree.leaves(xs)}
    if length is not None:
        lengths.add(check_integer("stream_scan", "length", length))
    if len(lengths) != 1:
        raise ValueError(
            "stream_scan: xs and length must tell one number of steps, got "
            f"{sorted(lengths) or None}."
        )
    (num_steps,) = lengths
    if num_steps < 1:
        raise ValueError("stream_scan: a chunk must have a step, got 0.")
    return num_steps


def _check_types(old, new):
    """The chunk's inputs are of the state's structure, shapes and dtypes."""
    if jax.tree.structure(old) != jax.tree.structure(new):
        if old is None:
            raise ValueError("stream_scan: init_stream was given no xs; give it a chunk of inputs.")
        raise ValueError(
            f"stream_scan: xs must have the state's structure, {jax.tree.structure(old)}, got "
            f"{jax.tree.structure(new)}."
        )
    kind = lambda leaf: f"{jax.typeof(leaf).dtype}[C{''.join(f', {n}' for n in leaf.shape[1:])}]"
    for kept, leaf in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
        leaf = as_array("stream_scan", "xs", leaf)
        if not leaf.ndim or kind(kept) != kind(leaf):
            given = kind(leaf) if leaf.ndim else f"{leaf.dtype}[]"
            raise ValueError(
                f"stream_scan: xs must be of the state's types, {kind(kept)}, got {given}."
            )
