"""Factors on the errors between steps: the definition with them; drawn ones have no bias."""

import functools

import cells
import definition
import elementwise_cells
import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error, scan_gradients

from tbptt_jax import (
    draw_boundary_factors,
    draw_lag_weights,
    init_stream,
    stream_scan,
    truncated_scan,
    with_boundary_factors,
)

T, BATCH = 7, cells.BATCH


def weighted_problem(name, shape, wrap):
    module = elementwise_cells if name in elementwise_cells.CELLS else cells
    problem = module.problem(name, T)
    factors = jnp.linspace(-0.5, 1.5, T * BATCH).reshape(T, BATCH)
    factors = (factors if shape == "[T, B]" else factors[:, 0]).at[3].set(0.0)

    def f(params, carry, inputs):
        return wrap(functools.partial(problem.f, params))(carry, inputs)

    return problem._replace(f=f, xs=(problem.xs, factors))


def by_stop_gradient(f):
    """The same factors, written with a sum of two parts of which one is a constant."""

    def part(leaf, factor):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        factor = factor.reshape(factor.shape + (1,) * (leaf.ndim - factor.ndim))
        factor = jnp.broadcast_to(factor, leaf.shape).astype(leaf.dtype)
        return leaf * factor + jax.lax.stop_gradient(leaf - leaf * factor)

    def step(carry, inputs):
        x, factor = inputs
        return f(jax.tree.map(lambda leaf: part(leaf, factor), carry), x)

    return step


@grids.over("horizon, stride", [(4, 3)], [(1, 1), (4, 1), (T, 1)])
@pytest.mark.parametrize(
    "name, shape",
    [
        ("lstm", "[T, B]"),
        ("two_layers", "[T]"),
        ("complex_rnn", "[T, B]"),
        ("gated_average", "[T]"),
    ],
)
def test_factors_multiply_the_errors_between_steps(name, shape, horizon, stride):
    expected = definition.truncated_gradients(
        *weighted_problem(name, shape, by_stop_gradient), horizon=horizon, stride=stride
    )
    actual = scan_gradients(weighted_problem(name, shape, with_boundary_factors), horizon, stride)
    np.testing.assert_array_equal(actual[2][1], 0.0)  # the factors do not change the results
    assert largest_error((*actual[:2], actual[2][0]), (*expected[:2], expected[2][0])) < 1e-12


@pytest.mark.parametrize("stride, chunk", [(1, 3), (2, 4)])
def test_factors_in_a_stream_cut_into_chunks(stride, chunk):
    problem = weighted_problem("lstm", "[T, B]", with_boundary_factors)
    problem = problem._replace(carry_ct=jax.tree.map(jnp.zeros_like, problem.carry_ct))
    expected = scan_gradients(problem, 4, stride)

    def loss(params, init, xs):
        state, total = init_stream(init, xs, horizon=4, stride=stride), 0.0
        for first in range(0, T, chunk):
            here = functools.partial(jax.tree.map, lambda leaf, a=first: leaf[a : a + chunk])
            f, is_last = functools.partial(problem.f, params), first + chunk >= T
            state, ys = stream_scan(f, state, here(xs), last=is_last)
            total += definition.inner(here(problem.ys_ct), ys)
        return total

    grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    assert largest_error(grad(problem.params, problem.init, problem.xs), expected) < 1e-12


def test_a_contribution_is_weighted_by_the_product_of_the_factors_between():
    """Linear, so by hand: yₜ = c₋₁ + Σₛ xₛ."""
    factors = np.array([0.5, 3.0, 2.0, 0.0, -1.0, 7.0])
    step = with_boundary_factors(lambda c, x: (c + x, c + x))

    def outputs(init, xs):
        return truncated_scan(step, init, (xs, factors), horizon=4)[1]

    of_init, of_xs = jax.jacrev(outputs, argnums=(0, 1))(1.0, jnp.ones(6))
    expected = np.array(
        [[np.prod(factors[s + 1 : t + 1]) * (0 <= t - s < 4) for s in range(6)] for t in range(6)]
    )
    np.testing.assert_allclose(of_xs, expected, rtol=1e-14)
    np.testing.assert_allclose(of_init, [0.5, 1.5, 3.0, 0.0, 0.0, 0.0], rtol=1e-14)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1.7])
def test_results_are_those_of_the_step(value):
    step = with_boundary_factors(lambda c, x: (c * x, (c, 1)))
    carry, ys = jax.lax.scan(step, value, (jnp.ones(3), jnp.zeros(3)))
    np.testing.assert_array_equal(carry, value)
    np.testing.assert_array_equal(ys[0], np.full(3, value))


def test_no_factor_applies_to_parameters_in_the_carry():
    step = with_boundary_factors(lambda c, x: ((c[0] + c[1] * x, c[1]), c[0] + c[1] * x))

    def total(weight, factors):
        init = jnp.float64(0.0), weight
        return jnp.sum(truncated_scan(step, init, (jnp.arange(4.0), factors), horizon=1)[1])

    grad = jax.grad(total)
    assert grad(jnp.float64(2.0), jnp.zeros(4)) == grad(jnp.float64(2.0), jnp.ones(4)) == 6.0


def test_gradients_have_derivatives_in_forward_mode_and_by_factors():
    step = with_boundary_factors(lambda c, x: (c * c + x, c))
    run = lambda c, factors: jax.lax.scan(step, c, (jnp.zeros(2), factors))[0]
    factors = jnp.array([3.0, 5.0])
    _, tangent = jax.jvp(lambda c: run(c, factors), (2.0,), (1.0,))
    assert tangent == 15.0 * 4.0 * 2.0**3
    by_factors = jax.grad(lambda factors: jax.grad(run)(2.0, factors))(factors)
    np.testing.assert_allclose(by_factors, [5.0 * 32.0, 3.0 * 32.0])


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


@pytest.mark.parametrize("probability", [1.0, -0.1, np.nan, np.array([0.0, 1.5])])
def test_wrong_probabilities_fail_in_one_line(probability):
    draw = lambda key: draw_boundary_factors(key, 2, cut_probability=probability)
    for each in (draw, jax.jit(draw)):
        with pytest.raises(ValueError, match=r"cut_probability must be in \[0, 1\)"):
            each(jax.random.key(0))


@pytest.mark.standard
def test_a_probability_that_is_rounded_to_one_fails():
    with pytest.raises(ValueError, match=r"cut_probability must be in \[0, 1\), got 1.0\.$"):
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


@pytest.mark.parametrize(
    "inputs, error, said",
    [
        ((1.0, np.ones(4, int)), TypeError, "factors must be real floating point, got int64."),
        ((1.0, np.ones(4)), ValueError, r"must begin with the factors' axes \[4\], got \[3\]."),
        (1.0, TypeError, r"the step's input must be a pair, \(x, factor\)"),
    ],
)
def test_wrong_factors_fail_in_one_line(inputs, error, said):
    step = with_boundary_factors(lambda c, x: (c + x, c))
    with pytest.raises(error, match=f"^with_boundary_factors: .*{said}"):
        step(jnp.ones(3), inputs)


@pytest.mark.parametrize("f", [lambda c, x: (c[0], None), lambda c, x: c, lambda c, x: c[0]])
def test_a_step_that_returns_another_structure_fails_as_in_lax_scan(f):
    for scan, step, xs in [
        (jax.lax.scan, f, jnp.ones(4)),
        (
            functools.partial(truncated_scan, horizon=2),
            with_boundary_factors(f),
            (jnp.ones(4), jnp.ones(4)),
        ),
    ]:
        with pytest.raises(TypeError, match="scan body"):
            scan(step, (0.0, 0.0), xs)


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


@pytest.mark.parametrize("horizon", [None, 3])
def test_results_do_not_depend_on_factors(horizon):
    step = with_boundary_factors(lambda c, x: (jnp.sin(c) + x, c))
    total = lambda xs: jnp.sum(truncated_scan(step, 1.0, xs, horizon=horizon)[1])
    xs_ct, factors_ct = jax.grad(total)((jnp.ones(6), jnp.full(6, 0.5)))
    np.testing.assert_array_equal(factors_ct, 0.0)
    assert xs_ct[0] != 0.0
