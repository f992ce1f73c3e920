"""Sliding windows over affine maps, at a cost that does not depend on the window.

A step's pullback adds its own errors b to what it takes from the errors ε that leave it,
F: ε -> b + a ε. Where a acts entry by entry, what n steps in a row do to errors is again such a
map. A window of any length is the end of one block of maps of that length and the start of the
next, so scans within the blocks, one from each end, and one join give all windows with about three
compositions a map (van Herk; Gil and Werman).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# What a scan in sequence takes at a time, to be worth a step of a loop.
LANE_NUMBERS = 2**11


class Maps(NamedTuple):
    """Affine maps of k leaves, entry by entry; the leading axes of every array count the maps.

    Attributes:
      a: by (i, j) the factor of leaf j in leaf i; 0 where there is none. The pairs hold each leaf
        with itself, and (i, m) wherever they hold (i, j) and (j, m). `windows` takes a leading axis
        of 1 for factors that are the same in all maps.
      b: by leaf what is added.
    """

    a: dict[tuple[int, int], jax.Array]
    b: dict[int, jax.Array]


def apply(a: dict[tuple[int, int], jax.Array], values: dict[int, jax.Array]):
    """The linear part of maps on values."""
    terms = {i: [a[i, j] * values[j] for j in values if (i, j) in a] for i in values}
    return {i: functools.reduce(jnp.add, of_leaf) for i, of_leaf in terms.items()}


def _call(maps: Maps, values: dict[int, jax.Array]) -> dict[int, jax.Array]:
    """Maps on values."""
    moved = apply(maps.a, values)
    return {i: maps.b[i] + moved[i] for i in moved}


def compose(outer: Maps, inner: Maps) -> Maps:
    """Maps that apply `inner` first."""
    a = {}
    for i, m in outer.a:
        through = [j for j in outer.b if (i, j) in outer.a and (j, m) in inner.a]
        terms = [outer.a[i, j] * inner.a[j, m] for j in through]
        a[i, m] = functools.reduce(jnp.add, terms)
    return Maps(a, _call(outer, inner.b))


def identity(maps: Maps) -> Maps:
    """The maps that change nothing, in the shape of `maps`."""
    a = {(i, j): jnp.full_like(leaf, float(i == j)) for (i, j), leaf in maps.a.items()}
    return Maps(a, jax.tree.map(jnp.zeros_like, maps.b))


def windows(maps: Maps, length: int, stride: int, *, parallel: bool) -> dict[int, jax.Array]:
    """What the maps from each on come to, as far as a window reaches, applied to 0.

    With stride 1 the window of map s is `length` maps from s on. Else the maps are cut into blocks
    of `stride` from the first on, and a window ends with the last block whose end is in it; it is
    empty, and its value 0, where there is none. The last block may be shorter.

    Args:
      maps: [T, ...].
      length: of a window at most, at least 1.
      stride: length of a block, at most `length` + 1.
      parallel: whether maps are composed in a tree, of logarithmic depth, or one after the other.

    Returns:
      By leaf [T, ...].
    """
    if stride == 1 and not parallel:
        return _sliding_in_sequence(maps, min(length, _num(maps)))
    maps = _each_its_own(maps)
    if stride == 1:
        return _sliding(maps, length, parallel)
    num = _num(maps)
    blocks = _blocks(maps, stride, fill=identity(jax.tree.map(lambda leaf: leaf[:1], maps)))
    to_end = _scan(blocks, parallel, from_end=True)
    whole = jax.tree.map(lambda leaf: leaf[0], to_end)  # [blocks, ...]
    after = _num_blocks_after(num, length, stride)
    values = jax.tree.map(jnp.zeros_like, to_end.b)
    for number in np.unique(after[after >= 0]):
        found = _call(to_end, _blocks_after(whole, int(number), parallel))
        select = functools.partial(_select, after == number)
        values = jax.tree.map(select, found, values)
    return jax.tree.map(lambda leaf: _joined(leaf)[:num], values)


def _num_blocks_after(num: int, length: int, stride: int) -> np.ndarray:
    """[places, blocks]: how many whole blocks a window holds after its own, -1 for an empty one.

    That is one of two numbers, by the place in the block; where a shorter last block is within
    reach, it is all there are.
    """
    num_blocks = -(-num // stride)
    place, block = np.indices((stride, num_blocks))
    after = (length + place) // stride - 1
    reaches_end = block * stride + place >= num - length
    return np.where(reaches_end, num_blocks, after) if num % stride else after


def _blocks_after(whole: Maps, number: int, parallel: bool) -> dict[int, jax.Array]:
    """By leaf [1, blocks, ...]: so many maps after each of the blocks' maps, applied to 0."""
    if not number:
        return jax.tree.map(lambda leaf: jnp.zeros_like(leaf)[None], whole.b)
    values = _sliding(whole, number, parallel)
    return jax.tree.map(lambda leaf: _of_next(leaf, axis=0)[None], values)


def _sliding(maps: Maps, length: int, parallel: bool) -> dict[int, jax.Array]:
    """By leaf [T, ...]: `length` maps from each on, or as many as there are, applied to 0."""
    num = _num(maps)
    if not parallel:
        return _sliding_in_sequence(maps, min(length, num))
    nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[:1]), maps)
    blocks = _blocks(maps, min(length, num), fill=nothing)
    to_end = _scan(blocks, parallel, from_end=True)
    values = to_end.b
    if num > length:
        # Of the next block as many maps as are missing: none at the first place.
        up_to = _scan(blocks, parallel, from_end=False).b
        before = lambda leaf: jnp.concatenate([jnp.zeros_like(leaf[:1]), leaf[:-1]])
        values = _call(to_end, jax.tree.map(lambda leaf: _of_next(before(leaf), axis=1), up_to))
    return jax.tree.map(lambda leaf: _joined(leaf)[:num], values)


def _sliding_in_sequence(maps: Maps, length: int) -> dict[int, jax.Array]:
    """`_sliding` by two scans over time, of which a row is in the cache; small rows side by side.

    The first scan goes forward and tells of each map what its block comes to up to there. The
    second goes back: of each map to its block's end, joined at once with the first one's result
    where the window ends. Time is cut into lanes of whole blocks that are scanned side by side.
    """
    num = _num(maps)
    numbers = max(leaf[0].size for leaf in jax.tree.leaves(maps.b))
    num_lanes = min(max(LANE_NUMBERS // max(numbers, 1), 1), -(-num // length))
    size = num if num_lanes == 1 else -(-num // (num_lanes * length)) * length
    alike = {pair: leaf for pair, leaf in maps.a.items() if len(leaf) < num}
    own = Maps({pair: leaf for pair, leaf in maps.a.items() if pair not in alike}, maps.b)
    nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[:1]), own)
    lanes = _blocks(own, size, fill=nothing)
    everything = lambda own: Maps(alike | own.a, own.b)
    one = identity(_each_its_own(everything(jax.tree.map(lambda leaf: leaf[0], lanes))))
    places = jnp.arange(size, dtype=jnp.int32)

    def up_to(so_far, place_and_maps):
        place, maps = place_and_maps
        so_far = compose(_where(place % length == 0, one, so_far), everything(maps))
        return so_far, so_far.b

    def to_end(so_far, place_and_maps):
        place, maps = place_and_maps
        so_far = compose(everything(maps), _where(place % length == length - 1, one, so_far))
        return so_far, _call(so_far, beyond(place))

    def beyond(place):
        """What the next block's first maps come to, as many as the window holds of them."""
        in_lane = (place // length + 1) * length < size
        end = place + length - 1
        end = jnp.where(in_lane, jnp.minimum(end, size - 1), jnp.maximum(end - size, 0))
        row = jax.tree.map(lambda leaf: leaf[end], ends)
        row = _where(in_lane, row, jax.tree.map(lambda leaf: _of_next(leaf, axis=0), row))
        return _where(place % length == 0, jax.tree.map(jnp.zeros_like, row), row)

    ends = jax.lax.scan(up_to, one, (places, lanes))[1]
    values = jax.lax.scan(to_end, one, (places, lanes), reverse=True)[1]
    return jax.tree.map(lambda leaf: _joined(leaf)[:num], values)


def _where(condition, tree, other):
    return jax.tree.map(functools.partial(jnp.where, condition), tree, other)


def _scan(blocks: Maps, parallel: bool, *, from_end: bool) -> Maps:
    """[places, blocks, ...]: a block's maps from each place to its end, or up to each place."""
    if parallel:
        combine = (lambda later, earlier: compose(earlier, later)) if from_end else compose
        return jax.lax.associative_scan(combine, blocks, reverse=from_end)

    def one(so_far, maps):
        so_far = compose(maps, so_far) if from_end else compose(so_far, maps)
        return so_far, so_far

    first = identity(jax.tree.map(lambda leaf: leaf[0], blocks))
    return jax.lax.scan(one, first, blocks, reverse=from_end)[1]


def _num(maps):
    return len(jax.tree.leaves(maps.b)[0])


def _each_its_own(maps: Maps) -> Maps:
    """With every factor spelt out for every map."""
    num = _num(maps)
    spelt = lambda leaf: jnp.broadcast_to(leaf, (num, *leaf.shape[1:]))
    return Maps(jax.tree.map(spelt, maps.a), maps.b)


def _blocks(maps: Maps, size: int, fill: Maps) -> Maps:
    """[T, ...] as [places, blocks, ...]; `fill`, [1, ...], fills up the last block."""
    missing = -_num(maps) % size

    def cut(leaf, fill):
        filled = jnp.concatenate([leaf, jnp.repeat(fill, missing, axis=0)]) if missing else leaf
        return filled.reshape(-1, size, *leaf.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(cut, maps, fill)


def _joined(leaf):
    return leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])


def _of_next(leaf, axis):
    """In each place what is in the next, and zero in the last."""
    rest = jax.lax.slice_in_dim(leaf, 1, None, axis=axis)
    return jnp.concatenate(
        [rest, jnp.zeros_like(jax.lax.slice_in_dim(leaf, 0, 1, axis=axis))], axis
    )


def _select(mask, new, old):
    return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - 2)), new, old)
