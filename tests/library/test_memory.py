"""The gradient's temporary memory, as XLA plans it: beside `lax.scan`'s, and with fewer carries."""

import functools

import jax
import jax.numpy as jnp
import pytest

from tbptt_jax import truncated_scan

pytestmark = [pytest.mark.standard, pytest.mark.cpu]

BATCH, STEPS, STATE, HORIZON = 32, 128, 128, 20


def rnn(kernel, carry, x):
    carry = jnp.tanh(jnp.concatenate([x, carry], -1) @ kernel[:, :STATE])
    return carry, jnp.sum(carry**2)


def gru(kernel, carry, x):
    reset, update = jnp.split(jax.nn.sigmoid(jnp.concatenate([x, carry], -1) @ kernel), 2, -1)
    candidate = jnp.tanh(jnp.concatenate([x, reset * carry], -1) @ kernel[:, :STATE])
    carry = update * carry + (1.0 - update) * candidate
    return carry, jnp.sum(carry**2)


def wide_inside(kernel, carry, x):
    """A step that leaves much for its pullback."""
    for _ in range(8):
        carry = jnp.tanh(jnp.tanh(jnp.concatenate([x, carry], -1) @ kernel) @ kernel.T)[:, :STATE]
    return carry, jnp.sum(carry**2)


def megabytes(step, scan, steps=STEPS, batch=BATCH):
    """Of the gradient's program beside its arguments and results."""

    def loss(kernel, xs):
        return jnp.sum(scan(functools.partial(step, kernel), jnp.zeros((batch, STATE)), xs)[1])

    kernel = jax.ShapeDtypeStruct((2 * STATE, 2 * STATE), jnp.float32)
    xs = jax.ShapeDtypeStruct((steps, batch, STATE), jnp.float32)
    compiled = jax.jit(jax.grad(loss)).lower(kernel, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 1e6


@pytest.mark.parametrize("stride", [1, HORIZON])
@pytest.mark.parametrize("step", [rnn, gru], ids=["rnn", "gru"])
def test_it_is_at_most_that_of_the_scan(step, stride):
    truncated = functools.partial(truncated_scan, horizon=HORIZON, stride=stride)
    assert megabytes(step, truncated) <= megabytes(step, jax.lax.scan)


@pytest.mark.parametrize("stride", [1, HORIZON])
def test_a_checkpoint_inside_the_step_keeps_its_saving(stride):
    """A tile of steps is run again at once, where `lax.scan` runs one."""
    light, steps = jax.checkpoint(wide_inside), 2048
    truncated = functools.partial(truncated_scan, horizon=HORIZON, stride=stride)
    assert megabytes(light, truncated, steps) < 1.5 * megabytes(light, jax.lax.scan, steps)


@pytest.mark.parametrize("horizon", [HORIZON, None])
def test_fewer_carries_are_kept(horizon):
    kept = lambda carry_every: megabytes(
        rnn,
        functools.partial(truncated_scan, horizon=horizon, carry_every=carry_every),
        steps=16384,
        batch=1,
    )
    assert kept(64) < kept(1) / 4.0


def test_a_carry_of_few_numbers_is_kept_as_often_as_asked():
    """Though a tile of so few numbers has many steps."""

    def loss(w, xs, carry_every):
        step = lambda c, x: (jnp.sin(w * c + x), jnp.sum(c))
        scan = functools.partial(truncated_scan, horizon=5, carry_every=carry_every)
        return jnp.sum(scan(step, jnp.zeros(16), xs)[1])

    def kept(carry_every):
        args = jnp.ones(()), jnp.ones(2**16)
        gradient = jax.jit(jax.grad(loss), static_argnums=2).lower(*args, carry_every)
        return gradient.compile().memory_analysis().temp_size_in_bytes

    assert kept(256) < kept(1) / 6.0
