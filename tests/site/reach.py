"""Which error reaches which step, as `truncated_scan` has it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax import truncated_scan


@functools.cache
def reached(T: int, horizon: int, stride: int) -> np.ndarray:
    """[T, T]: whether the error of each step, a row, reaches the input of each step, a column."""

    def outputs(xs):
        add = lambda carry, x: (carry + x, carry + x)
        return truncated_scan(add, jnp.zeros(()), xs, horizon=horizon, stride=stride)[1]

    return np.asarray(jax.jit(jax.jacrev(outputs))(jnp.zeros(T))) != 0.0
