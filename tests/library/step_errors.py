"""How far the gradients of a step, whatever it is made of, are from the definition's."""

import functools
from typing import NamedTuple

import cells
import definition
import jax
import jax.numpy as jnp
from any_steps import PLAIN, N, float0_corners
from gradients import largest_error, make_gradients, scan_gradients
from jax.flatten_util import ravel_pytree
from own_rules import STEPS as WITH_RULES
from own_rules import surrogate_spike

from tbptt_jax import init_stream, stream_scan

STEPS = [*PLAIN, *WITH_RULES]
# Of steps whose carry is not one vector: what it is made of a vector.
CARRIES = {
    surrogate_spike: lambda state: (state, jnp.zeros(N)),
    float0_corners: lambda state: (state, jnp.int32(0), state, jnp.zeros((0, 3))),
}


@functools.cache
def problem(f, num_steps):
    """The step over `num_steps` random inputs, with random cotangents for all its results."""
    keys = jax.random.split(jax.random.key(1), 4)
    weights = 1.3 * jax.random.orthogonal(keys[0], N)
    carry = CARRIES.get(f, lambda state: state)(jax.random.normal(keys[1], (N,)))
    xs = jax.random.normal(keys[2], (num_steps, N))
    results = jax.lax.scan(lambda c, x: f(weights, c, x), carry, xs)
    return cells.Problem(f, weights, carry, xs, *cells.like(results, keys[3]))


@functools.cache
def full_gradients(f, num_steps):
    """Of `lax.scan`."""
    return scan_gradients(problem(f, num_steps), None, 1)


class Comparison(NamedTuple):
    """How far a step's gradients are from the definition's, and from those of `lax.scan`."""

    norm: float
    error: float
    error_of_stream: float
    difference_from_full: float


def compare(f, num_steps, horizon, stride):
    """For the parameters, the initial carry and the inputs; in a stream, which is one chunk."""
    whole = problem(f, num_steps)
    once = whole._replace(f=jax.jit(f))  # traced and compiled once for all its steps
    expected = definition.truncated_gradients(*once, horizon=horizon, stride=stride)
    gradients = make_gradients(f, horizon, stride)
    stateless = whole._replace(carry_ct=jax.tree.map(jnp.zeros_like, whole.carry_ct))

    def of_stream(params, xs):
        state = init_stream(whole.init, xs, horizon=horizon, stride=stride, shortest_chunk=1)
        _, ys = stream_scan(functools.partial(f, params), state, xs, last=True)
        return jnp.float64(0.0) + definition.inner(whole.ys_ct, ys)

    params, xs = jax.jit(jax.grad(of_stream, argnums=(0, 1)))(whole.params, whole.xs)
    of_outputs = gradients(*stateless[1:])
    return Comparison(
        float(jnp.linalg.norm(ravel_pytree((expected[0], expected[2]))[0])),
        largest_error(gradients(*whole[1:]), expected),
        largest_error((params, xs), (of_outputs[0], of_outputs[2])),
        largest_error(full_gradients(f, num_steps), expected),
    )
