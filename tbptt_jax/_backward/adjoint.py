"""Carrying errors back: from the cotangents of a scan's results to those of its inputs.

Steps are counted in execution order and time is the leading axis of every leaf. Only
floating-point and complex leaves carry errors; an error tree holds None in place of the others.

The transposed recurrence is linear. Let εₛ be the error on the carry that enters step s, Jₛ the
derivative of the carry that leaves it by the one that enters, and bₛ what the errors of step s
itself, that of its output and at the last step that of the carry, come to when pulled back through
the step. Then full BPTT solves εₛ = bₛ + Jₛᵀ εₛ₊₁, and the truncated error is, at stride 1, the
truncated Neumann series

    ε = Σ_{i < h-1} Aⁱ b,   (A ε)ₛ = Jₛᵀ εₛ₊₁

since bₛ has spent one of its h steps on its own, and the parameters' step takes another. A acts on
all steps at once: it is the pullback of the vmapped step, shifted by one.

Where ε is known, all steps' pullbacks to parameters and inputs are one. Elsewhere than on a CPU
all steps are taken at once; there a tile of them at a time, from the last to the first, which stays
in the cache: it is linearised, gets its errors and is pulled back. Where the forward pass kept the
carry of every m-th step alone, the m steps from there on are run again, and then are the tile, or
are cut into tiles.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tbptt_jax._backward.chains import Chains
from tbptt_jax._backward.cpu_tiles import on_cpu, tile_width, with_derivatives_of
from tbptt_jax._backward.entering import Entering
from tbptt_jax._backward.lag_weights import weighted
from tbptt_jax._backward.parts import Parts, pullback_of_parts
from tbptt_jax._backward.pieces import last_to_first
from tbptt_jax._backward.sweeps import Sweeps, SweepsOfPieces
from tbptt_jax._backward.sweeps_until import SweepsUntil
from tbptt_jax._backward.window_errors import Windows, WindowsOfPieces, maps_of_steps
from tbptt_jax._pullback.elementwise import elementwise
from tbptt_jax._pullback.linearised import linearised
from tbptt_jax._pullback.of_steps import differentiated_once, inexact, pullback
from tbptt_jax._step.time_axis import add, take

Step = Callable[[Any, Any, Any], tuple[Any, Any]]


class Schedule(NamedTuple):
    """How far errors go back, and in what pieces.

    Attributes:
      num_steps: T.
      horizon: how many steps an error reaches back, its own included; 1 <= horizon <= T.
      stride: how many consecutive losses share one pass; 1 <= stride <= horizon.
      segment: m, where the carry of every m-th step is kept.
      tol: where sweeps may end, at stride 1 and with segment 1; 0 for not before the horizon.
      for_derivatives: whether the sweeps must be a scan, which reverse mode can differentiate.
      parts: horizons of parts, at stride 1 and with segment 1, of which `horizon` is the longest.
    """

    num_steps: int
    horizon: int
    stride: int
    segment: int = 1
    tol: float = 0.0
    for_derivatives: bool = False
    parts: Parts | None = None


class BackwardState(NamedTuple):
    """What a piece of time hands to the piece before it.

    Attributes:
      entering: [...], the error on the carry that enters the last step so far, cut at its horizon.
      leaving: [...], the error on the carry that leaves that step.
      own: [...], the error of the last carry, before the last piece; then zero.
      constants_ct: the cotangent of the constants, of the steps so far.
      later: what `Entering` needs of the steps so far.
    """

    entering: Any
    leaving: Any
    own: Any
    constants_ct: Any
    later: Any


def truncated_pullback(
    step: Step,
    schedule: Schedule,
    constants: Any,
    kept: Any,
    xs: Any,
    carry_ct: Any,
    ys_ct: Any,
    weights: jax.Array | None = None,
) -> tuple[Any, Any, Any]:
    """Pulls the cotangents of a scan's results back to its inputs, `horizon` steps at most.

    Args:
      step: pure and vmappable function `(constants, carry, x) -> (carry, y)`.
      schedule: see there.
      constants: what every step reads.
      kept: [ceil(T / segment), ...], the carry that enters every `segment`-th step.
      xs: [T, ...], the input of each step.
      carry_ct: [...], the cotangent of the last carry.
      ys_ct: [T, ...], the cotangent of each output.
      weights: [horizon] or [horizon, B], of the lags; stride 1 alone.

    Returns:
      The cotangents of `constants`, of the initial carry, and of `xs`.
    """
    carry_ct, ys_ct = inexact((carry_ct, ys_ct))
    if schedule.parts and jax.tree.leaves(carry_ct):
        return pullback_of_parts(step, schedule.parts, constants, kept, xs, carry_ct, ys_ct)
    width = _width_of_tiles(schedule, carry_ct)
    segments = functools.partial(_backward, step, schedule, None, weights)
    tiles = functools.partial(_backward, step, schedule, width, weights)
    if schedule.tol:
        other = schedule._replace(for_derivatives=True)
        go = with_derivatives_of(functools.partial(_backward, step, other, None, None), segments)
    else:
        go = segments if width is None else on_cpu(tiles, segments)
    constants_ct, leaving, xs_ct = go(constants, kept, xs, carry_ct, ys_ct)
    first_step = lambda carry: step(constants, carry, take(xs, 0))
    own = weighted(take(ys_ct, 0), weights, 0, axis=0)
    (init_ct,) = pullback(first_step, take(kept, 0))((leaving, own))
    return constants_ct, init_ct, xs_ct


def whole_segment(
    step: Step, schedule: Schedule, at_least: int, constants: Any, carry: Any, x: Any
) -> int:
    """How many steps a segment has: whole blocks of the stride or of windows, or whole tiles.

    Args:
      step: as in `truncated_pullback`.
      schedule: its segment is not read.
      at_least: how many steps it has at least.
      constants: what every step reads.
      carry: the initial one; only shapes and dtypes are used.
      x: an input; as `carry`.
    """
    horizon, stride = schedule.horizon, schedule.stride
    if stride == 1 and horizon > 1 and elementwise(step, constants, carry, x):
        whole = horizon - 1
    else:
        width = _width_of_tiles(schedule, inexact(carry))
        whole = width if width and width <= at_least else stride
    return min(-(-at_least // whole) * whole, schedule.num_steps)


def _width_of_tiles(schedule, errors):
    return tile_width(errors, schedule.num_steps, schedule.horizon, schedule.stride)


def _backward(step, schedule, width, weights, constants, kept, xs, carry_ct, ys_ct):
    """In tiles of `width` steps; None for as many as a segment has, or for all.

    Returns:
      The cotangent of the constants, the error on the carry that leaves the first step, and the
      cotangents of the inputs.
    """
    first = take((kept, xs), 0)
    method = choose_method(step, schedule, width, weights, constants, *first)
    again = differentiated_once(step)

    def segment(state, start, size, steps):
        xs, ys_ct = steps
        keep = lambda carry, x: (again(constants, carry, x)[0], carry)
        carries = jax.lax.scan(keep, take(kept, start // schedule.segment), xs, length=size)[1]
        return within(state, start, size, (carries, xs, ys_ct))

    def within(state, start, size, steps):
        carries, xs, ys_ct = steps
        ahead = method.look_ahead(state.later, start, (carries, xs), ys_ct, state.own)
        body = functools.partial(_tile, step, method, weights, constants, ahead, start)
        state, xs_ct = last_to_first(body, state, steps, size, width)
        return state._replace(later=method.after(state.later, ahead)), xs_ct

    later = method.start(first, take(ys_ct, 0), carry_ct)
    nothing = jax.tree.map(jnp.zeros_like, inexact(constants))
    leaving = weighted(carry_ct, weights, 0, axis=0)
    state = BackwardState(leaving, leaving, carry_ct, nothing, later)
    if schedule.segment == 1:
        state, xs_ct = within(state, 0, schedule.num_steps, (kept, xs, ys_ct))
    else:
        state, xs_ct = last_to_first(
            segment, state, (xs, ys_ct), schedule.num_steps, schedule.segment
        )
    return state.constants_ct, state.leaving, xs_ct


def _tile(step, method, weights, constants, ahead, start, state, at, size, steps):
    """The state before a tile, and the cotangents of its inputs."""
    carries, xs, ys_ct = steps
    of_tile = (carries, xs), ys_ct, state.own
    later, entering = method.of_piece(state.later, ahead, start + at, *of_tile)
    leaving = jax.tree.map(
        lambda error, last: jnp.concatenate([error[1:], last[None]]), entering, state.entering
    )
    all_steps = jax.vmap(step, (None, 0, 0), axis_size=size)
    own = weighted(ys_ct, weights, 0)
    constants_ct, _, xs_ct = pullback(all_steps, constants, carries, xs)((leaving, own))
    return BackwardState(
        take(entering, 0),
        take(leaving, 0),
        jax.tree.map(jnp.zeros_like, state.own),
        add(state.constants_ct, constants_ct),
        later,
    ), xs_ct


def choose_method(
    step: Step,
    schedule: Schedule,
    width: int | None,
    weights: jax.Array | None,
    constants: Any,
    carry: Any,
    x: Any,
) -> Entering:
    """The method that finds the errors on the carries at the least cost.

    Args:
      step: as in `truncated_pullback`.
      schedule: see there.
      width: how many steps a tile has; None for as many as a segment has, or for all.
      weights: of the lags.
      constants: what every step reads.
      carry: that of some step; only shapes and dtypes are used.
      x: an input; as `carry`.
    """
    num_steps, horizon, stride = schedule.num_steps, schedule.horizon, schedule.stride
    segment = schedule.segment
    if horizon == 1 or not jax.tree.leaves(inexact(carry)):
        return Entering()
    piece = width or (None if segment in (1, num_steps) else segment)
    by_windows = weights is None and isinstance(num_steps, int)
    kind = elementwise(step, constants, carry, x) if by_windows else None
    if kind and (stride == 1 or piece is None):
        maps = functools.partial(maps_of_steps, step, kind, constants)
        if piece is None:
            return Windows(maps, kind, horizon - 1, stride)
        return WindowsOfPieces(maps, kind, horizon - 1, width, segment > 1)
    steps = linearised(step, constants, carry, x)
    if stride > 1:
        return Chains(steps, horizon - 1, stride, num_steps, piece, straddles=False)
    if schedule.tol:
        return SweepsUntil(steps, horizon - 2, schedule.tol, schedule.for_derivatives)
    if piece is None:
        return Sweeps(steps, horizon - 2, weights)
    return SweepsOfPieces(steps, horizon - 2, num_steps, weights)
