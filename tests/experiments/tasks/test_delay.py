"""The delayed sequences have the entropy that is said, and no shorter past tells of them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tasks import delay

pytestmark = pytest.mark.standard


def stream(task, lag, num_chunks):
    """[steps, B]: the symbols of several chunks."""
    past = jax.random.randint(
        jax.random.key(1), (task.max_delay + 1, task.batch_size), 0, task.num_symbols
    )
    keys = jax.random.split(jax.random.key(2), num_chunks)
    body = lambda past, key: delay.next_symbols(task, lag, past, key)
    _, (symbols, targets) = jax.lax.scan(body, past, keys)
    symbols, targets = (np.asarray(x).reshape(-1, task.batch_size) for x in (symbols, targets))
    np.testing.assert_array_equal(symbols[1:], targets[:-1])
    return symbols


@pytest.mark.parametrize("num_symbols", [2, 5])
@pytest.mark.parametrize("lag", [1, 3, 4])
def test_next_symbol_depends_on_the_one_d_steps_back_alone(lag, num_symbols):
    task = delay.Task(4, num_symbols, copy_prob=0.6, batch_size=50, chunk=40)
    symbols = stream(task, lag, 50)
    chance = 1 / num_symbols
    for back in range(lag + 1):
        agree = np.mean(symbols[back + 1 :] == symbols[: len(symbols) - back - 1])
        expected = chance + (1 - chance) * task.copy_prob * (back == lag)
        assert abs(agree - expected) < 0.01, back


def test_entropy_is_that_of_the_step():
    for symbols, prob in ((2, 0.9), (5, 0.3), (3, 1.0)):
        task = delay.Task(4, symbols, copy_prob=prob)
        chances = np.full(symbols, (1 - prob) / symbols)
        chances[0] += prob
        expected = -sum(p * math.log(p) for p in chances if p)
        assert math.isclose(task.entropy, expected, abs_tol=1e-12)
        assert math.isclose(task.possible_gain, math.log(symbols) - expected)


def test_what_is_learnt_is_between_chance_and_the_entropy():
    """At delay 1 a horizon of 2 is enough, and parameters at random know nothing."""
    task = delay.Task(
        2, batch_size=8, state_size=8, chunk=4, milestones=(1500,), learning_rate=0.01
    )
    learn = lambda task, horizon: jax.jit(delay.make_learn(task, delay.Pass(horizon, 1)))(
        jnp.int32(1), jax.random.key(0)
    )
    assert 0.9 < learn(task, 2)[0] < 1.1
    assert learn(task._replace(milestones=(1,)), 2)[0] < 0.1


def test_each_parameter_is_taught_by_its_own_pass():
    """Its gradient is that of the pass that names it, alone; that of others is zero."""
    task = delay.Task(4, batch_size=2, state_size=3, chunk=6)
    short, long = delay.Pass(2, 1), delay.Pass(5, 1)
    mixed = short._replace(leaves=("recurrent", "readout")), long._replace(leaves=("input",))
    key = jax.random.key(0)

    def gradient(*passes):
        state = delay.start(task, key, *passes)
        loss_fn = delay.make_loss(task, *passes)

        def of_second_chunk(params):
            carry = loss_fn(params, state.carry, (jnp.int32(3), key))[1]
            return loss_fn(params, jax.lax.stop_gradient(carry), (jnp.int32(3), key))[0]

        return jax.jit(jax.value_and_grad(of_second_chunk))(state.params)

    (loss, found), (alone, of_short), (_, of_long) = (
        gradient(*passes) for passes in (mixed, (short,), (long,))
    )
    assert loss == alone
    assert np.abs(of_short["input"] - of_long["input"]).max() > 1e-3
    for leaf, gradients in {"recurrent": of_short, "readout": of_short, "input": of_long}.items():
        np.testing.assert_allclose(found[leaf], gradients[leaf], rtol=1e-5, atol=1e-7)
    assert not np.any(found["bias"]) and not np.any(found["readout_bias"])
