"""Drawn factors on the errors between steps: what is drawn, and that it has no bias."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import (
    draw_boundary_factors,
    draw_lag_weights,
    truncated_scan,
    with_boundary_factors,
)

NUM_DRAWS = 20_000


def scalar_gradient(params, factors, horizon=None):
    """Of a recurrence whose gradient comes from far to a large part."""

    def loss(params):
        step = lambda c, x: (lambda new: (new, new))(jnp.tanh(params[0] * c + params[1] * x))
        _, ys = truncated_scan(
            with_boundary_factors(step),
            jnp.float64(0.1),
            (jnp.linspace(0.1, 0.4, 6), factors),
            horizon=horizon,
        )
        return ys[-1]

    return jax.grad(loss)(params)


def estimate(key, cut_probability):
    """Mean and standard error of the gradient over draws of the factors."""
    params = jnp.array([1.1, 0.5])
    draw = lambda key: draw_boundary_factors(key, 6, cut_probability=cut_probability)
    one = lambda key: scalar_gradient(params, draw(key))
    grads = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(key, NUM_DRAWS)))
    return grads.mean(0), np.linalg.norm(grads.std(0)) / np.sqrt(NUM_DRAWS)


def test_random_factors_give_the_full_gradient_on_average():
    full = scalar_gradient(jnp.array([1.1, 0.5]), jnp.ones(6))
    mean, error = estimate(jax.random.key(0), 0.25)
    assert error < 0.02 * np.linalg.norm(full)
    assert np.linalg.norm(mean - full) < 4.0 * error
    truncated = scalar_gradient(jnp.array([1.1, 0.5]), jnp.ones(6), horizon=4)
    assert np.linalg.norm(truncated - full) > 4.0 * error


def test_factors_are_zero_or_make_up_for_the_cuts():
    probability = jnp.array([[0.0], [0.5], [0.75]])
    draw = lambda key: draw_boundary_factors(key, (3, 1000), cut_probability=probability)
    factors = np.asarray(jax.jit(draw)(jax.random.key(1)))
    np.testing.assert_array_equal(factors[0], 1.0)
    assert set(np.unique(factors[1])) == {0.0, 2.0} and set(np.unique(factors[2])) == {0.0, 4.0}
    np.testing.assert_allclose(factors.mean(1), 1.0, atol=0.25)


@pytest.mark.standard
def test_a_factor_is_one_over_the_probability_that_it_is_drawn(monkeypatch):
    """In float32, where it is smaller than any number of draws would show."""
    drawn = {}

    def bernoulli(key, p, mode):
        drawn.update(p=p, mode=mode)
        return jnp.ones(p.shape, bool)

    monkeypatch.setattr(jax.random, "bernoulli", bernoulli)
    probability = jnp.array([0.0, 1e-9, 0.3, 1.0 - 2.0**-24])
    factors = draw_boundary_factors(jax.random.key(0), 4, cut_probability=probability)
    np.testing.assert_allclose(factors * drawn["p"], 1.0, rtol=1e-6)
    assert drawn["mode"] == "high"  # else what is below 1e-7 is not drawn as often


@pytest.mark.parametrize("probability", [1.0, -0.1, np.nan, np.array([0.0, 1.5])])
def test_wrong_probabilities_fail_in_one_line(probability):
    draw = lambda key: draw_boundary_factors(key, 2, cut_probability=probability)
    for each in (draw, jax.jit(draw)):
        with pytest.raises(ValueError, match=r"cut_probability must be in \[0, 1\)"):
            each(jax.random.key(0))


@pytest.mark.standard
def test_a_probability_that_is_rounded_to_one_fails():
    with pytest.raises(ValueError, match=r"in \[0, 1\), as float32, got 0.999999999\.$"):
        draw_boundary_factors(jax.random.key(0), 2, cut_probability=1.0 - 1e-9)


@pytest.mark.parametrize(
    "draw, of_what",
    [
        (draw_lag_weights, {"probabilities": [1.0]}),
        (draw_boundary_factors, {"shape": 2, "cut_probability": 0.5}),
    ],
)
@pytest.mark.parametrize("key", [0, None, "k", "raw of three", "two"])
def test_what_is_not_one_key_fails(draw, of_what, key):
    given = {"raw of three": np.zeros(3, np.uint32), "two": jax.random.split(jax.random.key(0))}
    name = draw.__name__
    with pytest.raises(TypeError, match=f"^{name}: key must be (an array|one PRNG key), got"):
        draw(given.get(key, key), **of_what)


def test_a_raw_key_is_one():
    raw = jax.random.PRNGKey(3)
    draw = functools.partial(draw_boundary_factors, shape=9, cut_probability=0.5)
    np.testing.assert_array_equal(draw(raw), draw(jax.random.key(3)))


def test_a_probability_per_step_is_that_of_each_sample():
    """However many samples there are, as many as steps too."""
    each = jnp.linspace(0.0, 0.9, 5)
    for batch in (1, 5, 6):
        draw = functools.partial(draw_boundary_factors, jax.random.key(2), (5, batch))
        in_columns = draw(cut_probability=jnp.broadcast_to(each[:, None], (5, batch)))
        np.testing.assert_array_equal(draw(cut_probability=each), in_columns)


def test_probabilities_per_sample_have_an_axis_of_time():
    factors = draw_boundary_factors(jax.random.key(3), (4, 2), cut_probability=[[0.0, 0.5]])
    np.testing.assert_array_equal(factors[:, 0], 1.0)
    assert set(np.unique(factors[:, 1])) <= {0.0, 2.0}


@pytest.mark.parametrize("shape", [4, np.int64(4), (4,), [4], np.array([4])], ids=repr)
def test_a_shape_is_one_integer_or_several(shape):
    assert draw_boundary_factors(jax.random.key(0), shape, cut_probability=0.5).shape == (4,)


@pytest.mark.parametrize(
    "shape, probability, error, said",
    [
        (4.0, 0.5, TypeError, "shape must be a static integer, got 4.0."),
        (None, 0.5, TypeError, "shape must be a static integer, got None."),
        (True, 0.5, TypeError, "shape must be a static integer, got True."),
        ("ab", 0.5, TypeError, "shape must be static integers, got 'ab'."),
        ((5, -1), 0.5, ValueError, "shape must be >= 0, got -1."),
        ((5, 2), "a", TypeError, "cut_probability must be an array, got str."),
        ((5, 2), None, TypeError, "cut_probability must be an array, got NoneType."),
        ((5, 2), 0.5j, TypeError, "cut_probability must be real, got complex128."),
        ((5, 2), False, TypeError, "cut_probability must be real, got bool."),
        (
            (5, 2),
            np.zeros(2),
            ValueError,
            "cut_probability must have the first axes of shape, [5, 2], got [2].",
        ),
        (
            (5,),
            np.zeros((5, 1)),
            ValueError,
            "cut_probability must have the first axes of shape, [5], got [5, 1].",
        ),
    ],
)
def test_what_cannot_be_drawn_fails_in_one_line(shape, probability, error, said):
    with pytest.raises(error) as raised:
        draw_boundary_factors(jax.random.key(0), shape, cut_probability=probability)
    assert str(raised.value) == f"draw_boundary_factors: {said}"
