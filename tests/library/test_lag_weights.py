"""Weights of lags: wᵢ times what each error contributes i steps back; random ones have no bias."""

import functools

import cells
import definition
import elementwise_cells
import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import T, largest_error, scan_gradients

from tbptt_jax import draw_lag_weights, lag_spectrum, truncated_scan

BATCH = cells.BATCH


def problem_of(name):
    return (elementwise_cells if name in elementwise_cells.CELLS else cells).problem(name, T)


@functools.cache
def up_to_lag(name, horizon, sample):
    """The definition's gradients for the errors of one sample."""
    problem = problem_of(name)
    is_sample = np.arange(BATCH) == sample

    def only(error, axis):
        mask = is_sample.reshape((1,) * axis + (-1,) + (1,) * (error.ndim - axis - 1))
        return jnp.where(mask, error, jnp.zeros_like(error))

    carry_ct = jax.tree.map(functools.partial(only, axis=0), problem.carry_ct)
    ys_ct = jax.tree.map(functools.partial(only, axis=1), problem.ys_ct)
    problem = problem._replace(carry_ct=carry_ct, ys_ct=ys_ct)
    return definition.truncated_gradients(*problem, horizon=horizon, stride=1)


def by_the_definition(name, weights):
    """Σᵢ wᵢ times the difference of the gradients with horizons i + 1 and i, for each sample."""
    total = None
    for sample, of_sample in enumerate(np.broadcast_to(weights, (BATCH, weights.shape[-1]))):
        changes = [*(of_sample[:-1] - of_sample[1:]), of_sample[-1]]
        for horizon, change in enumerate(changes, 1):
            part = up_to_lag(name, horizon, sample)
            part = jax.tree.map(lambda leaf, c=change: leaf * np.asarray(c, leaf.dtype), part)
            total = part if total is None else definition.add(total, part)
    return total


def weights_of(shape, horizon):
    weights = np.linspace(-0.7, 1.3, BATCH * horizon).reshape(horizon, BATCH).T
    return weights if shape == "[B, H]" else weights[0]


def weighted_gradients(problem, weights, **options):
    scan = functools.partial(truncated_scan, lag_weights=weights, **options)
    return scan_gradients(problem, weights.shape[-1], 1, scan)


@grids.over("width", [None], [2])
@grids.over("horizon", [4], [1, 2, T])
@pytest.mark.parametrize(
    "name, shape, carry_every",
    [("lstm", "[B, H]", 1), ("lstm", "[H]", 3), ("complex_rnn", "[H]", 1)],
)
def test_weights_multiply_the_contributions_of_lags(
    name, shape, carry_every, horizon, width, monkeypatch
):
    monkeypatch.setattr("tbptt_jax._backward.adjoint.tile_width", lambda *_: width)
    weights = weights_of(shape, horizon)
    actual = weighted_gradients(problem_of(name), weights, carry_every=carry_every)
    assert largest_error(actual, by_the_definition(name, weights)) < 1e-12


@pytest.mark.parametrize("carry_every", [1, 3])
def test_elementwise_carries_take_weights_too(carry_every):
    weights = weights_of("[B, H]", 4)
    actual = weighted_gradients(problem_of("gated_average"), weights, carry_every=carry_every)
    assert largest_error(actual, by_the_definition("gated_average", weights)) < 1e-12


@pytest.mark.parametrize("horizon", [1, 3, T, T + 2])
@pytest.mark.parametrize("name", ["counting_rnn", "two_layers"])
def test_ones_are_the_truncated_gradient(name, horizon):
    problem = problem_of(name)
    expected = scan_gradients(problem, horizon, 1)
    assert largest_error(weighted_gradients(problem, jnp.ones(horizon)), expected) < 1e-12


def test_one_lag_alone_is_its_part_of_the_spectrum():
    problem = problem_of("gru")
    problem = problem._replace(carry_ct=jax.tree.map(jnp.zeros_like, problem.carry_ct))
    loss_fn = lambda params, ys, errors: definition.inner(errors, ys)
    spectrum = jax.jit(lag_spectrum(problem.f, loss_fn, horizon=4, parts=True))
    parts = spectrum(problem.params, problem.init, problem.xs, problem.ys_ct).parts
    for lag in range(4):
        actual = weighted_gradients(problem, jnp.float64(np.arange(4) == lag))[0]
        assert largest_error(actual, jax.tree.map(lambda leaf, i=lag: leaf[i], parts)) < 1e-12


def test_reverse_counts_lags_in_the_order_of_execution():
    step = lambda c, x: (c + x, c + x)
    weights = jnp.array([1.0, 10.0, 100.0])

    def first_output(xs):
        return truncated_scan(step, 0.0, xs, reverse=True, horizon=3, lag_weights=weights)[1][0]

    np.testing.assert_array_equal(jax.grad(first_output)(jnp.ones(5)), [1.0, 10.0, 100.0, 0.0, 0.0])


PARAMS = np.array([1.1, 0.5])
NUM_DRAWS = 20_000


def last_output(params, horizon, weights=None):
    def step(c, x):
        new = jnp.tanh(params[0] * c + params[1] * x)
        return new, new

    xs, init = jnp.linspace(0.1, 0.4, 6), jnp.float64(0.1)
    return truncated_scan(step, init, xs, horizon=horizon, lag_weights=weights)[1][-1]


def test_random_horizons_give_the_full_gradient_on_average():
    full = jax.grad(last_output)(PARAMS, None)
    probabilities = np.array([0.2, 0.2, 0.2, 0.1, 0.1, 0.2])

    def one(key):
        return jax.grad(last_output)(PARAMS, 6, draw_lag_weights(key, probabilities))

    grads = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), NUM_DRAWS)))
    error = np.linalg.norm(grads.std(0)) / np.sqrt(NUM_DRAWS)
    assert error < 0.02 * np.linalg.norm(full)
    assert np.linalg.norm(grads.mean(0) - full) < 4.0 * error
    assert np.linalg.norm(jax.grad(last_output)(PARAMS, 4) - full) > 4.0 * error


def test_a_random_horizon_makes_up_for_those_that_end_before():
    draw = jax.jit(lambda key: draw_lag_weights(key, [0.5, 0.25, 0.25], batch=5000))
    weights = np.asarray(draw(jax.random.key(2)))
    assert {tuple(row) for row in weights} == {(1.0, 0.0, 0.0), (1.0, 2.0, 0.0), (1.0, 2.0, 4.0)}
    np.testing.assert_allclose(weights.mean(0), 1.0, atol=0.15)


@pytest.mark.standard
@pytest.mark.parametrize("batch", [None, 3])
def test_a_weight_is_one_over_the_probability_that_its_lag_is_reached(monkeypatch, batch):
    """In float32, of tails that no number of draws would show."""
    drawn = {}

    def bernoulli(key, p, mode):
        drawn.update(p=np.asarray(p, np.float64), mode=mode)
        return jnp.ones(p.shape, bool)

    monkeypatch.setattr(jax.random, "bernoulli", bernoulli)
    geometric = 0.1 * 0.9 ** np.arange(300)
    geometric[-1] = 1.0 - np.sum(geometric[:-1])
    for probabilities in (geometric, [1.0 - 1e-12, 1e-12]):
        weights = draw_lag_weights(jax.random.key(0), probabilities, batch=batch)
        reached = np.cumprod(np.insert(drawn["p"], 0, 1.0, axis=-1), axis=-1)
        np.testing.assert_allclose(np.float64(weights) * reached, np.ones(weights.shape), rtol=1e-4)
        assert drawn["mode"] == "high"  # else what is below 1e-7 is not drawn as often


def test_the_gradient_has_derivatives_by_the_weights():
    """It is linear in them."""
    grad = lambda weights: jax.grad(last_output)(PARAMS, 3, weights)
    weights = jnp.array([0.3, -0.2, 2.0])
    jacobian = jax.jacrev(grad)(weights)
    np.testing.assert_allclose(jacobian @ weights, grad(weights), rtol=1e-12)


@pytest.mark.parametrize(
    "probabilities",
    [[1.0, 0.0], [0.5, 0.6], [], [[1.0]], [-0.5, 1.5], [1.0, 1e-310], [0.5, 0.5, 1e-32]],
)
def test_wrong_distributions_of_horizons_fail_in_one_line(probabilities):
    with pytest.raises(ValueError, match=r"^draw_lag_weights: probabilities must be \[H\], >= 0"):
        draw_lag_weights(jax.random.key(0), probabilities)


@pytest.mark.parametrize(
    "weights, options, error, said",
    [
        (np.ones(3), {"horizon": 4}, ValueError, r"must be \[horizon\].*got \[3\] with horizon 4"),
        (
            np.ones(3),
            {"horizon": None},
            ValueError,
            "needs a horizon; for no truncation, the number",
        ),
        (np.ones(4, int), {"horizon": 4}, TypeError, "must be real floating point, got int64"),
        (np.ones(4), {"horizon": 4, "stride": 2}, ValueError, "needs stride=1, got 2"),
        (1j * np.ones(4), {"horizon": 4}, TypeError, "must be real floating point, got complex128"),
        ([None] * 4, {"horizon": 4}, TypeError, "must be an array, got list"),
    ],
)
def test_wrong_weights_fail_in_one_line(weights, options, error, said):
    with pytest.raises(error, match=f"^truncated_scan: lag_weights {said}"):
        truncated_scan(lambda c, x: (c, x), 0.0, jnp.ones(6), lag_weights=weights, **options)


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"batch": -1}, ValueError, "batch must be >= 1, got -1."),
        ({"batch": 2.0}, TypeError, "batch must be a static integer, got 2.0."),
        ({"batch": True}, TypeError, "batch must be a static integer, got True."),
        ({"batch": "a"}, TypeError, "batch must be a static integer, got 'a'."),
        ({"probabilities": "a"}, TypeError, "probabilities must be an array, got str."),
        ({"probabilities": [None, 1.0]}, TypeError, "probabilities must be an array, got list."),
        ({"probabilities": [0.5, 0.5j]}, TypeError, "probabilities must be real, got complex128."),
        ({"probabilities": [True]}, TypeError, "probabilities must be real, got bool."),
    ],
)
def test_horizons_that_cannot_be_drawn_fail_in_one_line(options, error, said):
    with pytest.raises(error) as raised:
        draw_lag_weights(jax.random.key(0), **{"probabilities": [0.5, 0.5]} | options)
    assert str(raised.value) == f"draw_lag_weights: {said}"


def test_results_do_not_depend_on_weights():
    total = lambda weights: last_output(PARAMS, 3, weights)
    np.testing.assert_array_equal(jax.grad(total)(jnp.array([0.3, -0.2, 2.0])), 0.0)


def test_weights_of_samples_need_samples():
    step = lambda c, x: (c + x, jnp.sum(c))

    def loss(init):
        weights = jnp.ones((3, 2))
        return jnp.sum(truncated_scan(step, init, jnp.ones(6), horizon=2, lag_weights=weights)[1])

    for run in (loss, jax.grad(loss)):
        with pytest.raises(ValueError, match=r"must begin with B = 3, got \[\]"):
            run(jnp.ones(3))
