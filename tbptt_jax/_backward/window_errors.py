"""Errors of elementwise steps: sliding windows over the affine maps of its pullback."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax._backward.affine_windows import Maps, apply, call, compose, identity, windows
from tbptt_jax._backward.entering import Entering
from tbptt_jax._backward.pieces import first_to_last
from tbptt_jax._pullback.elementwise import Elementwise, coefficients
from tbptt_jax._pullback.of_steps import per_item, pullback
from tbptt_jax._step.time_axis import take, zero_rows


def maps_of_steps(
    step: Callable[[Any, Any, Any], tuple[Any, Any]],
    kind: Elementwise,
    constants: Any,
    inputs: Any,
    ys_ct: Any,
    own: Any,
) -> Maps:
    """Of each step F: the error on the carry that leaves it -> that on the one that enters.

    Args:
      step: `(constants, carry, x) -> (carry, y)`.
      kind: what `elementwise` tells of it.
      constants: what every step reads.
      inputs: [n, ...], the carry and the input of each step.
      ys_ct: [n, ...], the error of each output.
      own: [...], an error of the last step's carry that is its own.
    """

    def own_errors(inputs, y_ct):
        carry, x = inputs
        return kind.to_parts(pullback(lambda carry: step(constants, carry, x)[1], carry)(y_ct)[0])

    a = per_item(lambda inputs: coefficients(step, kind, constants, *inputs), inputs)
    b = jax.vmap(own_errors)(inputs, ys_ct)
    of_last = apply({pair: leaf[-1] for pair, leaf in a.items()}, kind.to_parts(own))
    return Maps(a, {i: leaf.at[-1].add(of_last[i]) for i, leaf in b.items()})


@dataclasses.dataclass(frozen=True)
class Windows(Entering):
    """ε of all steps at once, in parallel, from `length` pullbacks to the carry at most."""

    maps: Callable[[Any, Any, Any], Maps]
    kind: Elementwise
    length: int
    stride: int

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        entering = windows(self.maps(inputs, ys_ct, own), self.length, self.stride)
        return later, self.kind.from_parts([entering[i] for i in sorted(entering)])


@dataclasses.dataclass(frozen=True)
class WindowsOfPieces(Entering):
    """ε at stride 1 in two scans, of which a row is in the cache, with blocks of `length` maps.

    The first goes forward through a segment, and tells of each map what its block comes to up to
    there, `ends`. The second goes back, piece by piece: of each map to its block's end, joined at
    once with the first one's result where the window ends. A segment, but the last, has whole
    blocks; of the next one's `ends` it reads those of the first block.
    """

    maps: Callable[[Any, Any, Any], Maps]
    kind: Elementwise
    length: int
    width: int | None
    has_segments: bool

    def start(self, inputs, y_ct, own):
        inputs, ys_ct = jax.tree.map(lambda leaf: leaf[None], (inputs, y_ct))
        nothing = identity(take(self.maps(inputs, ys_ct, own), 0))
        num = self.length if self.has_segments else 0
        return Later(nothing, zero_rows(num, nothing.b))

    def look_ahead(self, later, first, inputs, ys_ct, own):
        num_steps = len(jax.tree.leaves(inputs)[0])
        nothing = identity(later.to_end)

        def up_to(so_far, place, maps):
            so_far = compose(_where(place % self.length == 0, nothing, so_far), maps)
            return so_far, so_far.b

        def piece(so_far, at, size, of_piece):
            inputs, ys_ct = of_piece
            of_last = _where(at + size == num_steps, own, jax.tree.map(jnp.zeros_like, own))
            return _in_turn(up_to, so_far, at, self.maps(inputs, ys_ct, of_last))

        return first, first_to_last(piece, nothing, (inputs, ys_ct), num_steps, self.width)[1]

    def of_piece(self, later, ahead, first, inputs, ys_ct, own):
        first_of_segment, ends = ahead
        num = len(ends[0])

        def beyond(place):
            """What the next block's first maps come to, as many as the window holds of them."""
            next_block = place - place % self.length + self.length
            end = jnp.minimum(place + self.length - 1, num - 1)
            here = jax.tree.map(lambda leaf: leaf[end], ends)
            there = jax.tree.map(jnp.zeros_like, here)
            if self.has_segments:
                there = jax.tree.map(lambda leaf: leaf[place % self.length - 1], later.ends)
            row = _where(next_block < num, here, there)
            return _where(place % self.length == 0, jax.tree.map(jnp.zeros_like, row), row)

        def to_end(so_far, place, maps):
            ends_block = place % self.length == self.length - 1
            so_far = compose(maps, _where(ends_block, identity(so_far), so_far))
            return so_far, call(so_far, beyond(place))

        maps = self.maps(inputs, ys_ct, own)
        to_here, entering = _in_turn(
            to_end, later.to_end, first - first_of_segment, maps, reverse=True
        )
        return later._replace(to_end=to_here), self.kind.from_parts(list(entering.values()))

    def after(self, later, ahead):
        ends = ahead[1]
        if self.has_segments:
            rows = np.minimum(np.arange(self.length), len(ends[0]) - 1)
            later = Later(identity(later.to_end), jax.tree.map(lambda leaf: leaf[rows], ends))
        return later


class Later(NamedTuple):
    """What a piece of time must know of the steps after it to complete its windows.

    Attributes:
      to_end: the composed map from the step after the piece to the end of that step's block.
      ends: [length, ...], from the first step of the next segment up to each step of its first
        block, the composed maps applied to 0.
    """

    to_end: Maps
    ends: dict[int, jax.Array]


def _in_turn(body, state, first, maps, reverse=False):
    """`state, row = body(state, place, map)` for each of some maps, the first at place `first`."""
    num = len(maps.b[0])
    alike = {pair: leaf[0] for pair, leaf in maps.a.items() if len(leaf) < num}
    own = Maps({pair: leaf for pair, leaf in maps.a.items() if pair not in alike}, maps.b)
    one = lambda state, place_and_map: body(
        state, place_and_map[0], Maps(alike | place_and_map[1].a, place_and_map[1].b)
    )
    return jax.lax.scan(one, state, (first + jnp.arange(num), own), reverse=reverse)


def _where(condition, tree, other):
    return jax.tree.map(functools.partial(jnp.where, condition), tree, other)
