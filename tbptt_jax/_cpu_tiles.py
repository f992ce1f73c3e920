"""Sweeps on a CPU, a tile of a few steps at a time: they stay in its cache."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from tbptt_jax._time_axis import add, where

# What one sweep of a tile takes: at least so many numbers of the carry's largest leaf, to be worth
# a call; so many rows, for products at full speed; so many steps, since of a tile that moves by one
# step all others are in the cache.
TILE_NUMBERS = 2**15
TILE_ROWS = 256
TILE_STEPS = 8


def on_cpu_in_tiles(fun, errors):
    """`fun(width, ...)` on a CPU, `fun(None, ...)` elsewhere and for derivatives."""
    width = tile_width(errors)
    all_at_once = functools.partial(fun, None)
    return all_at_once if width is None else on_cpu(functools.partial(fun, width), all_at_once)


def on_cpu(fun, other):
    """`fun` on a CPU, `other` elsewhere and for derivatives."""

    @jax.custom_jvp
    def either(*args):
        return jax.lax.platform_dependent(*args, cpu=fun, default=other)

    @either.defjvp
    def derivative(primals, tangents):
        return jax.jvp(other, primals, tangents)

    return either


def tile_width(errors) -> int | None:
    """How many of the T steps of `errors`, [T, ...], a tile has; None where sizes are unknown."""
    shapes = [leaf.shape for leaf in jax.tree.leaves(errors)]
    if not all(isinstance(size, int) for shape in shapes for size in shape):  # jax.export's
        return None
    shape = max(shapes, key=math.prod)
    num_steps, numbers = shape[0], math.prod(shape[1:])
    if numbers == 0:
        return None
    rows = numbers // math.prod(shape[1:][-1:])
    width = max(TILE_NUMBERS // numbers, -(-TILE_ROWS // rows), TILE_STEPS)
    num_tiles = -(-num_steps // width)
    return -(-num_steps // num_tiles)


def sum_over_tiles(fun, trees, num_steps, width):
    """`fun(*tile, its number of steps) -> (part of a sum, rows)`, a tile after the other.

    Returns:
      The sum, and all rows.
    """
    num_tiles = num_steps // width
    cut = lambda leaf: leaf[: num_tiles * width].reshape(num_tiles, width, *leaf.shape[1:])
    rest = jax.tree.map(lambda leaf: leaf[num_tiles * width :], trees)

    def one_tile(total, tile):
        part, rows = fun(*tile, width)
        return add(total, part), rows

    tiles = jax.tree.map(cut, trees)
    first = jax.tree.map(lambda leaf: leaf[0], tiles)
    shapes = jax.eval_shape(lambda *tile: fun(*tile, width)[0], *first)
    total = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, rows = jax.lax.scan(one_tile, total, tiles)
    rows = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)
    if num_steps % width:
        part, last = fun(*rest, num_steps % width)
        total, rows = (
            add(total, part),
            jax.tree.map(lambda *both: jnp.concatenate(both), rows, last),
        )
    return total, rows


def sweep_in_tiles(back, of_each, b, num_sweeps, width):
    """All sweeps of one tile, then those of the next; the last steps have none.

    A tile of errors moves one step back with each sweep, and arrives with its last. What starts
    beyond the last step is cut by no horizon: these errors are full BPTT's, one walk back through
    `num_sweeps` steps. Errors take the place of the steps' own, b, which no later tile reads.
    """
    num_steps = len(jax.tree.leaves(b)[0])
    num_cut = num_steps - num_sweeps - 1
    num_tiles = -(-num_cut // width)
    width = -(-num_cut // num_tiles)

    def tile(start):
        cut = lambda x: jax.lax.dynamic_slice_in_dim(x, start, width)
        return functools.partial(jax.tree.map, cut)

    def one_tile(i, errors):
        first = jnp.maximum(num_cut - (num_tiles - i) * width, 0)
        num_new = jnp.where(first == 0, num_cut - (num_tiles - 1) * width, width)

        def sweep(j, swept):
            at = tile(first + num_sweeps - 1 - j)
            return add(at(errors), back(at(of_each), swept))

        swept = jax.lax.fori_loop(0, num_sweeps, sweep, tile(first + num_sweeps)(errors))
        swept = where(jnp.arange(width) < num_new, swept, tile(first)(errors))
        put = lambda e, s: jax.lax.dynamic_update_slice_in_dim(e, s, first, 0)
        return jax.tree.map(put, errors, swept)

    errors = jax.lax.fori_loop(0, num_tiles, one_tile, b)
    return _walk_back(back, of_each, errors, num_sweeps)


def _walk_back(back, of_each, b, num_walked):
    """b, with the errors of full BPTT in place of the last rows but one, so many."""
    num_steps = len(jax.tree.leaves(b)[0])

    def walk(i, errors):
        s = num_steps - 2 - i
        row = lambda tree, s: jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, s, 1), tree)
        new = add(row(errors, s), back(row(of_each, s), row(errors, s + 1)))
        put = lambda e, n: jax.lax.dynamic_update_slice_in_dim(e, n, s, 0)
        return jax.tree.map(put, errors, new)

    return jax.lax.fori_loop(0, num_walked, walk, b)
