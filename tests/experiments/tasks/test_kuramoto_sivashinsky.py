"""The solver's order, symmetries and growth; the gradients are those of truncated scans."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tasks import kuramoto_sivashinsky as solvers
from tbptt_jax import truncated_scan

pytestmark = pytest.mark.standard

TASK = solvers.Task(
    length=12.0,
    num_points=12,
    step=1.0,
    finer_steps=8,
    spin_up=20,
    channels=2,
    width=3,
    unrolled=4,
    batch_size=3,
    num_updates=10,
)
KEYS = jax.random.split(jax.random.key(0), 4)


@pytest.fixture(scope="module")
def states():
    return solvers.reference(TASK, KEYS[0], 30, 4)


@pytest.fixture
def params():
    """Every layer is at work."""
    params = solvers.init_params(TASK, KEYS[1])
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(KEYS[2], len(leaves))
    draws = [0.3 * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, draws)


def test_small_waves_grow_at_their_own_rate():
    k = 2.0 * np.pi * np.arange(1, 4)[:, None] / TASK.length
    waves = 1e-4 * np.cos(k * TASK.length / TASK.num_points * np.arange(TASK.num_points))
    after = solvers.make_solver(TASK, TASK.num_points, 1.0)(jnp.asarray(waves, "f4"))
    np.testing.assert_allclose(after, np.exp(k**2 - k**4) * waves, atol=2e-8)


def test_error_falls_with_the_square_of_the_step(states):
    def after_one(num_steps):
        solve = solvers.make_solver(TASK, TASK.num_points, 1.0 / num_steps)
        return jax.lax.fori_loop(0, num_steps, lambda _, u: solve(u), states[0])

    exact = after_one(64)
    errors = [float(jnp.linalg.norm(after_one(n) - exact)) for n in (2, 4, 8)]
    assert errors[2] > 1e-4
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4.0, rtol=0.2)


def test_step_keeps_places_alike_and_corrects_nothing_at_first(states, params):
    step, u = solvers.make_step(TASK), states[0]
    moved, _ = step(params, jnp.roll(u, 5, axis=1), None)
    np.testing.assert_allclose(moved, jnp.roll(step(params, u, None)[0], 5, axis=1), atol=1e-5)
    alone = solvers.make_solver(TASK, TASK.num_points, TASK.step)(u)
    assert jnp.max(jnp.abs(step(params, u, None)[0] - alone)) > 0.1
    np.testing.assert_array_equal(
        step(solvers.init_params(TASK, KEYS[1]), u, None)[0], np.asarray(alone)
    )


def test_growth_around_rest_is_that_of_the_fastest_wave():
    k = 2.0 * np.pi * np.arange(6) / TASK.length
    found = solvers.growth(TASK, jnp.zeros((60, 2, TASK.num_points)), KEYS[3])
    np.testing.assert_allclose(found, np.max(k**2 - k**4), rtol=1e-3)


def test_gradients_are_those_of_truncated_scans(states, params):
    batch = solvers.draw(TASK, states, KEYS[3])
    step = solvers.make_step(TASK)

    def loss(params, horizon):
        unrolled = functools.partial(step, params)
        _, ys = truncated_scan(unrolled, batch[0], length=TASK.unrolled, horizon=horizon)
        return solvers.mean_square(ys, batch[1:])

    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    grad = jax.jit(jax.grad(loss), static_argnums=1)
    of = [flat(grad(params, horizon)) for horizon in (2, None)]
    found = jax.jit(solvers.make_gradients(TASK))(params, batch)
    at = np.array([1, 3])
    np.testing.assert_allclose(found.norm[at], np.linalg.norm(of, axis=1), rtol=1e-4)
    bias = np.linalg.norm(of - of[-1], axis=1) / np.linalg.norm(of[-1])
    np.testing.assert_allclose(found.bias[at], bias, rtol=1e-4, atol=1e-6)
    assert bias[0] > 0.1


def test_forecast_is_valid_until_its_error_is_large(states, params):
    _, ys = jax.lax.scan(functools.partial(solvers.make_step(TASK), params), states[0], length=9)
    own = jnp.concatenate([states[:1], ys])
    forecast = solvers.make_forecast(TASK)
    seen = forecast(params, own)
    np.testing.assert_allclose(seen.errors, 0.0, atol=1e-5)
    assert seen.valid == 9 * TASK.step
    size = float(jnp.sqrt(jnp.mean(own**2)))
    off = own.at[4:6, 0].add(3.0 * size)  # once lost, not valid again
    assert forecast(params, off).valid == TASK.step * (3 + 9 * 3) / 4
    blown = jax.tree.map(lambda x: x * 1e6, params)
    np.testing.assert_array_equal(forecast(blown, own).errors[-1], solvers.FAR)


@pytest.mark.parametrize("horizon", [1, 4])
def test_what_is_learnt_forecasts_better(states, horizon):
    task = TASK._replace(channels=4, batch_size=16, num_updates=200)
    train, forecast = jax.jit(solvers.make_train(task, horizon)), solvers.make_forecast(task)
    learnt = forecast(train(0.01, KEYS[1], states), states[:5])
    before = forecast(solvers.init_params(task, KEYS[1]), states[:5])
    assert learnt.errors[-1] < 0.8 * before.errors[-1]


def test_updates_that_are_not_finite_are_not_made(states):
    learnt = solvers.make_train(TASK, 2)(0.01, KEYS[1], jnp.full_like(states, 1e20))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(learnt))


def test_draws_are_rows_of_the_reference(states):
    batch = solvers.draw(TASK, states, KEYS[3])
    assert batch.shape == (TASK.unrolled + 1, TASK.batch_size, TASK.num_points)
    for row in np.swapaxes(batch, 0, 1):
        (start,), (stream,) = np.nonzero(np.all(states == row[0], axis=2))
        np.testing.assert_array_equal(states[start : start + len(row), stream], row)
