"""Streams learnt with an update at every step: their targets, and full against truncated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.tasks import online

TASK = online.Task(2, state_size=4, num_steps=12, num_segments=3)
KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def promotion():
    """Of optax's updates; float64 stays."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def params(monkeypatch):
    """Parameters from which learning begins; the readout's zeros would hide the cell's gradient."""
    params = online.init_params(TASK.state_size, jax.random.key(0))
    params["readout"]["kernel"] = jnp.arange(1.0, 5.0)
    monkeypatch.setattr(online, "init_params", lambda state_size, key: params)
    return params


def change(params, horizon):
    """Of the parameters by one update at the last step, with the sum of all steps' gradients."""
    optimizer = optax.chain(optax.apply_every(TASK.num_steps), optax.sgd(1.0))
    learn = jax.jit(lambda key: online.learn(TASK, horizon, optimizer, key))
    after, losses = learn(KEY)
    return jax.tree.map(jnp.subtract, params, after), losses


def losses_of_steps(params):
    def step(carry, inputs):
        x, target = inputs
        carry = online.next_carry(params["cell"], carry, x)
        return carry, online.make_loss(TASK)(params["readout"], carry, target)

    steps = TASK.draw(jax.random.split(KEY)[1])
    return jax.lax.scan(step, jnp.zeros(TASK.state_size), steps)[1]


@pytest.mark.parametrize("horizon", [online.FULL, TASK.num_steps])
def test_recurrent_learning_is_the_gradient_without_truncation(params, horizon):
    actual, losses = change(params, horizon)
    expected = jax.grad(lambda params: jnp.sum(losses_of_steps(params)))(params)
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-9), actual, expected)
    segments = losses_of_steps(params).reshape(3, 4).mean(axis=1)
    np.testing.assert_allclose(losses, segments, rtol=1e-12)


def test_frozen_cell_stays_and_its_readout_learns(params):
    actual, _ = change(params, online.FROZEN)
    assert all(jnp.all(leaf == 0.0) for leaf in jax.tree.leaves(actual["cell"]))
    truncated, _ = change(params, 1)
    assert all(jnp.all(leaf != 0.0) for leaf in jax.tree.leaves(truncated["cell"]))
    for name, leaf in actual["readout"].items():
        np.testing.assert_allclose(leaf, truncated["readout"][name], rtol=1e-12)


def test_target_is_the_bit_a_delay_ago():
    inputs, targets = TASK.draw(KEY)
    assert inputs.shape == targets.shape == (12,)
    np.testing.assert_array_equal(targets[2:], inputs[:-2])


def test_target_is_the_next_value_of_a_sine_whose_period_shifts():
    inputs, targets = online.Task(None, state_size=4, num_steps=241).draw(KEY)
    np.testing.assert_array_equal(targets[:-1], inputs[1:])
    for values, period in ((inputs[:119], 30), (inputs[121:], 12)):
        np.testing.assert_allclose(values[period:], values[:-period], atol=1e-9)
