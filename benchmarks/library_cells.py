"""Recurrent cells as their libraries write them, each as a pure step with its parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp


class Cell(NamedTuple):
    """A recurrent layer, or a stack of them.

    Attributes:
      step: `(params, carry, x) -> (carry, y)`.
      params: its parameters.
      init: the first carry.
    """

    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    params: Any
    init: Any


def article(batch: int, inputs: int, state: int) -> Cell:
    """R2RT's cell, tanh([x, h] W + b)."""

    def step(params, h, x):
        kernel, bias = params
        h = jnp.tanh(jnp.concatenate([x, h], axis=-1) @ kernel + bias)
        return h, h

    size = inputs + state
    kernel = jax.random.normal(jax.random.key(0), (size, state)) / size**0.5
    return Cell(step, (kernel, jnp.zeros(state)), jnp.zeros((batch, state)))


def linen(name: str, batch: int, inputs: int, state: int, layers: int = 1) -> Cell:
    """Layers of a cell of `flax.linen`."""
    cell = getattr(nn, name)(state)
    key = jax.random.key(0)
    carries, params = [], []
    for size in [inputs, *[state] * (layers - 1)]:
        x = jnp.zeros((batch, size))
        carries.append(cell.initialize_carry(key, x.shape))
        params.append(cell.init(key, carries[-1], x))

    def step(params, carries, x):
        new = []
        for weights, carry in zip(params, carries, strict=True):
            carry, x = cell.apply(weights, carry, x)
            new.append(carry)
        return new, x

    return Cell(step, params, carries)


def haiku(name: str, batch: int, inputs: int, state: int) -> Cell:
    """A core of Haiku, which returns its output first."""
    run = hk.without_apply_rng(hk.transform(lambda x, h: getattr(hk, name)(state)(x, h)))
    start = hk.transform(lambda: getattr(hk, name)(state).initial_state(batch))
    init = start.apply({}, None)
    params = run.init(jax.random.key(0), jnp.zeros((batch, inputs)), init)
    return Cell(lambda params, carry, x: run.apply(params, x, carry)[::-1], params, init)


def equinox(name: str, batch: int, inputs: int, state: int) -> Cell:
    """A cell of Equinox, which takes one sample."""
    cell = getattr(eqx.nn, name)(inputs, state, key=jax.random.key(0))
    zeros = jnp.zeros((batch, state))
    is_lstm = name == "LSTMCell"

    def step(cell, carry, x):
        carry = jax.vmap(cell)(x, carry)
        return carry, carry[0] if is_lstm else carry

    return Cell(step, cell, (zeros, zeros) if is_lstm else zeros)
