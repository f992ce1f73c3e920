"""Gradients under test, each way of taking them, and how far two of them are apart."""

import chex
import definition
import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax import truncated_scan, windowed_value_and_grad

T = 7
RECURRENCES = ["tanh_rnn", "gru", "lstm", "counting_rnn", "two_layers", "complex_rnn"]


def make_gradients(f, horizon, stride, scan=truncated_scan):
    """Builds (params, init, xs, carry_ct, ys_ct) -> gradients for the first three, jitted."""

    def loss(params, init, xs, *cotangents):
        step = lambda carry, x: f(params, carry, x)
        return definition.inner(cotangents, scan(step, init, xs, horizon=horizon, stride=stride))

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), allow_int=True))


def scan_gradients(problem, horizon, stride, scan=truncated_scan):
    """Gradients for (params, init, xs) with the problem's cotangents on `scan`'s results."""
    return make_gradients(problem.f, horizon, stride, scan)(*problem[1:])


def windows_gradients(problem, horizon, stride):
    """The same from `windowed_value_and_grad`: the last carry's loss belongs to the last step."""
    steps = jnp.arange(len(jax.tree.leaves(problem.xs)[0]))

    def f(params, carry, x):
        carry, y = problem.f(params, carry, x)
        return carry, (carry, y)

    def step_loss_fn(params, results, target):
        step, ys_ct = target
        carry, y = results
        final = jnp.where(step == steps[-1], definition.inner(problem.carry_ct, carry), 0.0)
        return definition.inner(ys_ct, y) + final

    run = jax.jit(windowed_value_and_grad(f, step_loss_fn, horizon=horizon, stride=stride))
    return run(problem.params, problem.init, problem.xs, (steps, problem.ys_ct))[1]


def largest_error(actual, expected):
    """The maximum error relative to each array's max-norm; structures must agree."""
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    errors = [0.0]
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if e.dtype != jax.dtypes.float0:
            size = np.max(np.abs(e), initial=1e-300)
            errors.append(float(np.max(np.abs(a - e), initial=0.0) / size))
    return max(errors)
