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

from tbptt_jax._step.zero_factors import as_product


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
    terms = {i: [_moved(a[i, j], values[j]) for j in values if (i, j) in a] for i in values}
    return {i: functools.reduce(jnp.add, of_leaf) for i, of_leaf in terms.items()}


def call(maps: Maps, values: dict[int, jax.Array]) -> dict[int, jax.Array]:
    """Maps on values."""
    moved = apply(maps.a, values)
    return {i: maps.b[i] + moved[i] for i in moved}


def compose(outer: Maps, inner: Maps) -> Maps:
    """Maps that apply `inner` first."""
    a = {}
    for i, m in outer.a:
        through = [j for j in outer.b if (i, j) in outer.a and (j, m) in inner.a]
        terms = [_product(outer.a[i, j], inner.a[j, m]) for j in through]
        a[i, m] = functools.reduce(jnp.add, terms)
    return Maps(a, call(outer, inner.b))


@as_product
def _moved(a, value):
    """A · value; no error stays none where a product of factors has overflowed."""
    return jnp.where(value == 0, 0, a * value)


@as_product
def _product(a, b):
    """A · b, 0 where a factor is, though a product of others has overflowed."""
    return jnp.where((a == 0) | (b == 0), 0, a * b)


def identity(maps: Maps) -> Maps:
    """The maps that change nothing, in the shape of `maps`."""
    a = {(i, j): jnp.full_like(leaf, float(i == j)) for (i, j), leaf in maps.a.items()}
    return Maps(a, jax.tree.map(jnp.zeros_like, maps.b))


def windows(maps: Maps, length: int, stride: int) -> dict[int, jax.Array]:
    """What the maps from each on come to, as far as a window reaches, applied to 0.

    With stride 1 the window of map s is `length` maps from s on. Else the maps are cut into blocks
    of `stride` from the first on, and a window ends with the last block whose end is in it; it is
    empty, and its value 0, where there is none. The last block may be shorter.

    Args:
      maps: [T, ...].
      length: of a window at most, at least 1.
      stride: length of a block, at most `length` + 1.

    Returns:
      By leaf [T, ...].
    """
    maps = each_its_own(maps)
    if stride == 1:
        return _sliding(maps, length)
    num = _num(maps)
    blocks = _blocks(maps, stride, fill=identity(jax.tree.map(lambda leaf: leaf[:1], maps)))
    to_end = _scan(blocks, from_end=True)
    whole = jax.tree.map(lambda leaf: leaf[0], to_end)  # [blocks, ...]
    after = _num_blocks_after(num, length, stride)
    values = jax.tree.map(jnp.zeros_like, to_end.b)
    for number in np.unique(after[after >= 0]):
        found = call(to_end, _blocks_after(whole, int(number)))
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


def _blocks_after(whole: Maps, number: int) -> dict[int, jax.Array]:
    """By leaf [1, blocks, ...]: so many maps after each of the blocks' maps, applied to 0."""
    if not number:
        return jax.tree.map(lambda leaf: jnp.zeros_like(leaf)[None], whole.b)
    values = _sliding(whole, number)
    return jax.tree.map(lambda leaf: _of_next(leaf, axis=0)[None], values)


def _sliding(maps: Maps, length: int) -> dict[int, jax.Array]:
    """By leaf [T, ...]: `length` maps from each on, or as many as there are, applied to 0."""
    num = _num(maps)
    nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[:1]), maps)
    blocks = _blocks(maps, min(length, num), fill=nothing)
    to_end = _scan(blocks, from_end=True)
    values = to_end.b
    if num > length:
        # Of the next block as many maps as are missing: none at the first place.
        up_to = _scan(blocks, from_end=False).b
        before = lambda leaf: jnp.concatenate([jnp.zeros_like(leaf[:1]), leaf[:-1]])
        values = call(to_end, jax.tree.map(lambda leaf: _of_next(before(leaf), axis=1), up_to))
    return jax.tree.map(lambda leaf: _joined(leaf)[:num], values)


def _scan(blocks: Maps, *, from_end: bool) -> Maps:
    """[places, blocks, ...]: a block's maps from each place to its end, or up to each place."""
    combine = (lambda later, earlier: compose(earlier, later)) if from_end else compose
    return jax.lax.associative_scan(combine, blocks, reverse=from_end)


def _num(maps):
    return len(jax.tree.leaves(maps.b)[0])


def each_its_own(maps: Maps) -> Maps:
    """With every factor spelt out for every map."""
    if not maps.b:
        return maps
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
