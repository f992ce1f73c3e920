"""Sweeps on a CPU, a tile of a few steps at a time: they stay in its cache."""

from __future__ import annotations

import math
from typing import Any

import jax

# What one sweep of a tile takes: at least so many numbers of the carry's largest leaf, to be worth
# a call; so many rows, for products at full speed; so many steps, since of a tile that moves by one
# step all others are in the cache.
TILE_NUMBERS = 2**15
TILE_ROWS = 128
TILE_STEPS = 8


def on_cpu(fun, other):
    """`fun` on a CPU, `other` elsewhere and for derivatives."""
    either = lambda *args: jax.lax.platform_dependent(*args, cpu=fun, default=other)
    return with_derivatives_of(other, either)


def with_derivatives_of(other, fun):
    """`fun`, with `other`, which computes the same, for derivatives."""

    @jax.custom_jvp
    def run(*args):
        return fun(*args)

    @run.defjvp
    def derivative(primals, tangents):
        return jax.jvp(other, primals, tangents)

    return run


def tile_width(carry: Any, num_steps: int, horizon: int, stride: int) -> int | None:
    """How many steps a tile has, whole blocks of `stride`; None where one holds all `num_steps`.

    Args:
      carry: the leaves that carry errors.
      num_steps: T.
      horizon: how many steps an error reaches back.
      stride: how many consecutive losses share one backward pass.
    """
    shapes = [leaf.shape for leaf in jax.tree.leaves(carry)]
    if not all(isinstance(size, int) for shape in (*shapes, (num_steps,)) for size in shape):
        return None  # of jax.export
    shape = max(shapes, key=math.prod, default=(0,))
    numbers = math.prod(shape)
    if numbers == 0:
        return None
    rows = numbers // math.prod(shape[-1:])
    width = max(TILE_NUMBERS // numbers, -(-TILE_ROWS // rows), TILE_STEPS)
    num_filled = max(num_steps - horizon + 1, width) if stride == 1 else num_steps  # evenly
    num_tiles = -(-num_filled // width)
    width = -(-num_filled // (num_tiles * stride)) * stride
    return width if width < num_steps else None
