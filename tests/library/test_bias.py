"""Bounds on what a horizon cuts off, and the shortest horizon that cuts off little."""

import functools

import cells
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import (
    LagSpectrum,
    adaptive_horizon,
    lag_spectrum,
    truncation_bias,
)

HORIZONS = (1, 2, 3, 5, 8, 13, 21, 40)


def moving_average(w, carry, x):
    return w * carry + x, w * carry + x


def mean_loss(w, ys, _):
    return jnp.mean(ys)


@functools.cache
def average_spectrum(w, horizon=20, num_steps=40):
    run = jax.jit(lag_spectrum(moving_average, mean_loss, horizon=horizon))
    return run(jnp.array(w), jnp.array(0.0), jnp.ones(num_steps), None)


def made_of(errors):
    """A spectrum with these errors, and parts of twice their norm that all point one way."""
    errors = jnp.asarray(errors)
    parts = (2.0 * errors).at[0].set(1.0)
    return LagSpectrum(parts, parts, None, None, jnp.cumsum(parts), errors)


@pytest.mark.parametrize("w", [0.3, 0.9])
@pytest.mark.parametrize("fit", [None, (1, 19), (5, 9)])
def test_errors_that_decay_by_a_line_have_exactly_its_tail(w, fit):
    """M wʰ / (1 - w), before τ and after it, within the lags that were measured and beyond."""
    bias = truncation_bias(average_spectrum(w), horizons=HORIZONS, fit=fit)
    np.testing.assert_allclose(bias.decay, w, rtol=1e-10)
    np.testing.assert_allclose(bias.decay_error, 0.0, atol=1e-10)
    tail = bias.constant * w ** np.array(HORIZONS) / (1.0 - w)
    np.testing.assert_allclose(bias.absolute, tail, rtol=1e-9)
    assert bias.is_bounded and bias.horizons.tolist() == list(HORIZONS)


@pytest.mark.parametrize("w", [0.3, 0.8, -0.8])
def test_bounds_hold(w):
    """Against the gradients themselves, of a sequence with all its lags measured."""
    spectrum = average_spectrum(w, horizon=40)
    bias = truncation_bias(spectrum, horizons=range(1, 40), fit=(5, 20))
    full = jnp.sum(signed_parts(w))
    truncated = jnp.cumsum(signed_parts(w))[:-1]
    actual = np.abs(truncated - full)
    assert np.all(actual <= bias.absolute + 1e-15)
    assert np.all(actual / np.abs(full) <= bias.relative + 1e-15)


def signed_parts(w):
    run = lag_spectrum(moving_average, mean_loss, horizon=40, parts=True)
    return run(jnp.array(w), jnp.array(0.0), jnp.ones(40), None).parts


def test_bounds_hold_for_a_cell_that_mixes():
    problem = cells.problem("tanh_rnn", 24)
    params = jax.tree.map(lambda leaf: 0.3 * leaf, problem.params)
    loss_fn = lambda params, ys, errors: jnp.sum(ys["twice"] * errors["twice"])
    run = jax.jit(lag_spectrum(problem.f, loss_fn, horizon=24, batched=True, parts=True))
    found = run(params, problem.init, problem.xs, problem.ys_ct)
    bias = truncation_bias(found, horizons=range(1, 24), fit=(2, 16))
    assert bias.decay < 0.9
    flat = np.concatenate([leaf.reshape(24, -1) for leaf in jax.tree.leaves(found.parts)], axis=1)
    full = np.sum(flat, axis=0)
    actual = np.linalg.norm(np.cumsum(flat, axis=0)[:-1] - full, axis=1)
    assert np.all(actual <= bias.absolute)
    assert np.all(actual / np.linalg.norm(full) <= bias.relative)


def test_decay_and_its_error_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    lags = np.arange(30)
    errors = np.where(lags == 0, 0.0, np.exp(-0.2 * lags + rng.normal(size=30)))
    errors[-4:] = 0.0  # beyond the sequence's start
    bias = truncation_bias(made_of(errors), horizons=(4,), fit=(3, 29))
    x, y = lags[3:26], np.log(errors[3:26])
    (slope, _), covariance = np.polyfit(x, y, 1, cov="unscaled")
    residues = y - np.polyval(np.polyfit(x, y, 1), x)
    error = np.sqrt(covariance[0, 0] * np.sum(residues**2) / (len(x) - 2))
    np.testing.assert_allclose(bias.decay, np.exp(slope), rtol=1e-12)
    np.testing.assert_allclose(bias.decay_error, np.exp(slope) * error, rtol=1e-12)


def test_lags_before_the_fit_are_those_measured():
    errors = [0.0, 3.0, 5.0, 1.0, 0.5, 0.25, 0.125]
    bias = truncation_bias(made_of(errors), horizons=(1, 2, 3, 4), fit=(3, 6))
    assert bias.constant == 2.0
    np.testing.assert_allclose(bias.absolute, [20.0, 14.0, 4.0, 2.0], rtol=1e-12)
    at_least = 1.0 + 2.0 * 9.875 - 2.0 * 0.125
    np.testing.assert_allclose(bias.relative, np.array([20.0, 14.0, 4.0, 2.0]) / at_least)


@pytest.mark.parametrize("errors", [1.1 ** np.arange(12.0), np.ones(12), np.full(12, np.nan)])
def test_errors_that_do_not_decay_have_no_bound(errors):
    errors[0] = 0.0
    bias = truncation_bias(made_of(errors), horizons=(2, 4))
    assert not bias.is_bounded
    assert np.all(np.isinf(bias.absolute)) and np.all(np.isinf(bias.relative))
    assert adaptive_horizon(bias, tolerance=100.0) == (4, False)


@pytest.mark.parametrize("num_lags", [1, 3, 4])
def test_fewer_lags_than_five_have_no_second_half_to_fit_to(num_lags):
    errors = 0.5 ** np.arange(5.0)
    assert truncation_bias(made_of(errors), horizons=(2,)).is_bounded
    said = f"without fit, spectrum needs at least 5 lags, got {num_lags}"
    with pytest.raises(ValueError, match=rf"^truncation_bias: {said}\.$"):
        truncation_bias(made_of(errors[:num_lags]), horizons=(2,))
    if num_lags == 4:
        assert truncation_bias(made_of(errors[:4]), horizons=(2,), fit=(1, 3)).is_bounded


def test_two_lags_tell_no_decay():
    errors = made_of([0.0, 1.0, 0.5, 0.25, 0.0, 0.0])
    assert np.isnan(truncation_bias(errors, horizons=(3,), fit=(2, 5)).decay)


@pytest.mark.parametrize("num_steps", range(4, 12))
def test_nothing_lies_beyond_a_lag_that_no_error_reaches(num_steps):
    """With more lags than steps the whole gradient is measured, however it decays."""
    horizons = 1, 2, 6, 11, 12, 40
    spectrum = average_spectrum(1.5, horizon=12, num_steps=num_steps)
    bias = truncation_bias(spectrum, horizons=horizons)
    errors = np.asarray(spectrum.errors)
    tails = [np.sum(errors[horizon:]) for horizon in horizons]
    assert bias.is_bounded and bias.constant > 0.0
    np.testing.assert_allclose(bias.absolute, bias.constant * np.array(tails), rtol=1e-12)
    assert adaptive_horizon(bias, tolerance=1e-9).horizon == min(
        h for h in horizons if h >= num_steps
    )


def test_nothing_is_cut_off_where_no_error_comes():
    """A line of delays: what leaves its end has no effect."""
    step = lambda w, c, x: (jnp.concatenate([w * x[None], c[:-1]]), c[-1])
    run = lag_spectrum(step, mean_loss, horizon=8)
    spectrum = run(jnp.array(0.5), jnp.zeros(2), jnp.ones(30), None)
    bias = truncation_bias(spectrum, horizons=(1, 2, 3, 20), fit=(3, 7))
    assert bias.decay == 0.0 and bias.absolute[:2].min() > 0.0
    np.testing.assert_array_equal(bias.absolute[2:], 0.0)
    assert adaptive_horizon(bias, tolerance=1e-6) == (3, True)


@pytest.mark.parametrize(
    ("tolerance", "horizon", "is_below"),
    [(3.0, 2, True), (2.0, 4, True), (0.31, 4, True), (0.1, 8, True), (0.05, 8, False)],
)
def test_adaptive_horizon_is_the_shortest_below_the_tolerance(tolerance, horizon, is_below):
    relative = jnp.array([2.0, 0.3, 0.05])
    bias = truncation_bias(average_spectrum(0.9), horizons=(2, 4, 8))._replace(relative=relative)
    choose = jax.jit(adaptive_horizon, static_argnames="tolerance")
    assert choose(bias, tolerance=tolerance) == (horizon, is_below)


@pytest.mark.parametrize("size", [1e-30, 3e37])
def test_the_size_of_the_loss_does_not_count(size):
    """In float32, where one over a large gradient's norm would be zero."""

    def bias(size):
        loss_fn = lambda w, ys, _: jnp.float32(size) * jnp.mean(ys)
        run = lag_spectrum(moving_average, loss_fn, horizon=10)
        args = jnp.float32(0.5), jnp.float32(0.0), jnp.ones(200, jnp.float32), None
        return truncation_bias(run(*args), horizons=(1, 2, 4, 8))

    with jax.enable_x64(False):
        actual, expected = bias(size), bias(1.0)
    np.testing.assert_allclose(actual.relative, expected.relative, rtol=1e-5)
    assert expected.relative[0] > 0.4 and expected.relative[-1] > 0.003


def test_the_same_under_jit_and_vmap():
    spectra = [average_spectrum(w) for w in (0.5, 0.9, 1.1)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *spectra)
    run = jax.jit(jax.vmap(lambda spectrum: truncation_bias(spectrum, horizons=HORIZONS)))
    for i, spectrum in enumerate(spectra):
        one = truncation_bias(spectrum, horizons=HORIZONS)
        for a, b in zip(jax.tree.leaves(run(both)), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
@pytest.mark.parametrize(
    "field, lag",
    [("l2", 0), ("l2", 3), ("errors", 0), ("errors", 2), ("errors", 15), ("cumulative_l2", 1)],
)
def test_what_is_not_finite_has_no_bound(field, lag, value):
    spectrum = average_spectrum(0.5)
    wrong = spectrum._replace(**{field: getattr(spectrum, field).at[lag].set(value)})
    bias = truncation_bias(wrong, horizons=HORIZONS)
    assert not bias.is_bounded
    assert np.all(np.isinf(bias.absolute)) and np.all(np.isinf(bias.relative))


@pytest.mark.parametrize(
    "field, lag, value",
    [("errors", 3, -1.0), ("errors", 15, 0.0), ("l2", 2, -1.0), ("cumulative_l2", 0, -1.0)],
)
def test_what_is_no_spectrum_has_no_bound(field, lag, value):
    """Norms below zero, and errors behind a lag that none reaches."""
    spectrum = average_spectrum(0.5)
    wrong = spectrum._replace(**{field: getattr(spectrum, field).at[lag].set(value)})
    assert not truncation_bias(wrong, horizons=HORIZONS).is_bounded
