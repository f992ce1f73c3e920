"""Factors on the errors between steps: the definition with them."""

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
    problem, same = (
        weighted_problem("lstm", "[T, B]", wrap)
        for wrap in (with_boundary_factors, by_stop_gradient)
    )
    same = same._replace(carry_ct=jax.tree.map(jnp.zeros_like, same.carry_ct))
    expected = definition.truncated_gradients(*same, horizon=4, stride=stride)

    def loss(params, init, xs):
        state, total = init_stream(init, xs, horizon=4, stride=stride), 0.0
        for first in range(0, T, chunk):
            here = functools.partial(jax.tree.map, lambda leaf, a=first: leaf[a : a + chunk])
            f, is_last = functools.partial(problem.f, params), first + chunk >= T
            state, ys = stream_scan(f, state, here(xs), last=is_last)
            total += definition.inner(here(problem.ys_ct), ys)
        return total

    actual = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(problem.params, problem.init, problem.xs)
    assert largest_error((*actual[:2], actual[2][0]), (*expected[:2], expected[2][0])) < 1e-12


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


@pytest.mark.parametrize("horizon", [None, 3])
def test_results_do_not_depend_on_factors(horizon):
    step = with_boundary_factors(lambda c, x: (jnp.sin(c) + x, c))
    total = lambda xs: jnp.sum(truncated_scan(step, 1.0, xs, horizon=horizon)[1])
    xs_ct, factors_ct = jax.grad(total)((jnp.ones(6), jnp.full(6, 0.5)))
    np.testing.assert_array_equal(factors_ct, 0.0)
    assert xs_ct[0] != 0.0
