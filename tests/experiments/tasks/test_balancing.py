"""Influence balancing: gradients have the gain their errors reach; random truncation, no bias."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tasks import balancing
from experiments.tasks.balancing import BOUNDARIES, HORIZON, TRACE, Method

pytestmark = pytest.mark.standard

TASK = balancing.Task(num_units=5, num_positive=2, chunk=4, mean_reach=4)
LONG = 40


def gradients(method, keys, num_chunks=1):
    """[keys], the derivative by θ = 1 of a chunk's loss, `num_chunks` chunks after a steady state.

    It is divided by the derivative of that loss by the first unit.
    """
    start, loss = balancing.make_loss(TASK, method)
    theta, steady = 1.0, jnp.zeros(TASK.num_units)
    for _ in range(300):
        steady, _ = balancing.make_step(TASK)(theta, steady, None)

    def gradient(key):
        def chunk(carry, i):
            grad_fn = jax.value_and_grad(loss, has_aux=True)
            (value, carry), grad = grad_fn(theta, carry, jax.random.fold_in(key, i))
            return carry, (grad, value)

        _, (grads, values) = jax.lax.scan(chunk, start(theta, steady), jnp.arange(num_chunks))
        return grads[-1] / (TASK.final_gain * theta - 1.0), values[-1]

    grads, values = jax.jit(jax.vmap(gradient))(keys)
    np.testing.assert_allclose(values, (TASK.final_gain * theta - 1.0) ** 2 / 2.0, rtol=1e-5)
    return np.asarray(grads)


def test_gains_are_what_the_parameter_does_and_sum_to_the_final_gain():
    step, carry, seen = balancing.make_step(TASK), jnp.zeros(TASK.num_units), []
    for t in range(LONG):
        carry, first = step(float(t == 0), carry, None)
        seen.append(first)
    np.testing.assert_allclose(seen, balancing.gains(TASK, LONG), atol=1e-6)
    assert np.isclose(np.sum(balancing.gains(TASK, 200)), TASK.final_gain)


@pytest.mark.parametrize(
    "method", [Method(3), Method(6), Method(6, 6), Method(8, 4), Method(1, tail=TRACE)]
)
def test_gradient_has_the_gain_that_its_errors_reach(method):
    (grad,) = gradients(method, jax.random.split(jax.random.key(0), 1), 24)
    np.testing.assert_allclose(grad, balancing.expected_gain(TASK, method), rtol=1e-4)


@pytest.mark.parametrize("random", [BOUNDARIES, HORIZON])
def test_random_truncation_has_no_bias_and_its_error_would_show_one(random):
    keys = jax.random.split(jax.random.key(0), 20_000)
    grads = gradients(Method(LONG, random=random), keys, LONG // TASK.chunk)
    error = np.std(grads) / np.sqrt(len(keys))
    assert abs(np.mean(grads) - TASK.final_gain) < 4.0 * error
    assert error < 0.05 * abs(TASK.final_gain - balancing.expected_gain(TASK, Method(4)))


def test_random_horizon_has_a_heavy_tail_that_ends_at_the_longest():
    tail = balancing.horizon_tail(TASK, 40)
    assert np.isclose(tail.sum(), 1.0) and np.all(tail > 0.0)
    np.testing.assert_allclose(tail[4:].sum(), 0.25)


def test_steps_of_one_carry_and_of_many_are_the_same():
    carry = jnp.arange(1.0, 6.0)
    whole, _ = balancing.make_step(TASK)(0.3, carry, None)
    split, _ = balancing.make_split_step(TASK)(0.3, tuple(carry), None)
    np.testing.assert_allclose(jnp.stack(split), whole)
