"""A horizon for each part of the carry, and for each parameter in it."""

import functools
import re

import cells
import definition
import elementwise_cells
import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import T, largest_error, scan_gradients

from tbptt_jax import truncated_scan


def parts_gradients(problem, param_horizons, carry_horizons, **options):
    """For (params, init, xs), with the parameters in the carry."""

    def loss(params, init, xs):
        def step(carry, x):
            params, carry = carry
            carry, y = problem.f(params, carry, x)
            return (params, carry), y

        horizon = param_horizons, carry_horizons
        (_, last), ys = truncated_scan(step, (params, init), xs, horizon=horizon, **options)
        return definition.inner((problem.carry_ct, problem.ys_ct), (last, ys))

    grad = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)
    return jax.jit(grad)(problem.params, problem.init, problem.xs)


def in_turn(tree, horizons):
    """A horizon for each leaf."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [horizons[i % len(horizons)] for i in range(len(leaves))])


@grids.over("name", ["counting_rnn"], ["two_layers", "lstm", "complex_rnn"])
@pytest.mark.parametrize(
    ("of_params", "of_carry"),
    [((3,), (3,)), ((1, 4, 2), (3,)), ((3,), (1, 5)), ((2, 6, 1, T), (4, 2)), ((1,), (T + 2, 2))],
)
def test_each_part_has_its_horizon(name, of_params, of_carry):
    problem = cells.problem(name, T)
    horizons = in_turn(problem.params, of_params), in_turn(problem.init, of_carry)
    names = dict(zip(("param_horizons", "carry_horizons"), horizons, strict=True))
    expected = definition.gradients_of_parts(*problem, **names)
    assert largest_error(parts_gradients(problem, *horizons), expected) < 1e-12


@pytest.mark.parametrize("horizon", [1, 2, 4, T, None])
def test_one_horizon_for_all_parts_is_that_horizon(horizon):
    problem = cells.problem("gru", T)
    expected = scan_gradients(problem, horizon, 1)
    assert largest_error(parts_gradients(problem, horizon, horizon), expected) < 1e-12


def test_a_parameter_has_the_gradient_of_its_horizon():
    """Where the carry reaches as far: the leaf's gradient is that of BPTT(h)."""
    problem = cells.problem("gru", T)
    horizons = {"update": 2, "reset": {"kernels": [3, 5], "bias": None}, "candidate": 1}
    found = parts_gradients(problem, horizons, None)[0]
    of = {h: scan_gradients(problem, h, 1)[0] for h in (1, 2, 3, 5, None)}
    expected = {
        "update": of[2]["update"],
        "reset": {
            "kernels": [of[h]["reset"]["kernels"][i] for i, h in enumerate((3, 5))],
            "bias": of[None]["reset"]["bias"],
        },
        "candidate": of[1]["candidate"],
    }
    assert largest_error(found, expected) < 1e-12


def test_what_the_step_closes_over_and_its_inputs_have_the_longest_horizon():
    problem = cells.problem("two_layers", T)
    scan = lambda *args, horizon, stride: truncated_scan(*args, horizon=(horizon, 2))
    ends = dict(
        zip(
            ("param_horizons", "carry_horizons"),
            (jax.tree.map(lambda _: 5, problem.params), (5, 2)),
            strict=True,
        )
    )
    expected = definition.gradients_of_parts(*problem, **ends)
    assert largest_error(scan_gradients(problem, 5, 1, scan), expected) < 1e-12


@pytest.mark.parametrize("horizons", [({"a": 2, "b": 7}, 7), ({"a": 7, "b": 2}, 3)])
def test_each_place_of_one_array_has_its_own_horizon(horizons):
    """Two in the carry, and one that the step closes over."""
    xs = jax.random.normal(jax.random.key(1), (12,))

    def loss(a, b, outer):
        def step(carry, x):
            p, c = carry
            return (p, jnp.sin(c * p["a"] * 2.0 + p["b"] + outer * x)), c * p["b"]

        return jnp.sum(truncated_scan(step, ({"a": a, "b": b}, 0.1), xs, horizon=horizons)[1])

    of_all = jax.grad(lambda w: loss(w, w, w))(jnp.array(0.9))
    of_each = jax.grad(loss, argnums=(0, 1, 2))(*jnp.full(3, 0.9))
    np.testing.assert_allclose(of_all, sum(of_each), rtol=1e-12)


def test_elementwise_carries_take_sweeps():
    problem = elementwise_cells.problem("gated_average", T)
    param_horizons = jax.tree.map(lambda _: 2, problem.params)
    carry_horizons = jax.tree.map(lambda _: 4, problem.init)
    expected = definition.gradients_of_parts(
        *problem, param_horizons=param_horizons, carry_horizons=carry_horizons
    )
    assert largest_error(parts_gradients(problem, param_horizons, 4), expected) < 1e-12


def test_the_other_direction_and_vmap_and_second_derivatives():
    kernels = 0.7 * jax.random.orthogonal(jax.random.key(0), 3, (2,))
    xs = jax.random.normal(jax.random.key(1), (T, 3))

    def step(carry, x):
        kernel, c = carry
        c = jnp.tanh(c @ kernel + x)
        return (kernel, c), c

    def loss(kernel, xs, **options):
        return jnp.sum(truncated_scan(step, (kernel, jnp.ones(3)), xs, **options)[1] ** 2)

    grad = lambda horizon: (
        lambda kernel, **options: jax.grad(loss)(kernel, xs, horizon=horizon, **options)
    )
    mixed, shorter = grad((3, 5)), grad(3)
    alone = jnp.stack([mixed(kernel) for kernel in kernels])
    np.testing.assert_allclose(jax.vmap(mixed)(kernels), alone, rtol=1e-12)
    np.testing.assert_allclose(
        alone, jnp.stack([shorter(kernel) for kernel in kernels]), rtol=1e-12
    )
    back = jax.grad(loss)(kernels[0], xs[::-1], horizon=(3, 5), reverse=True)
    np.testing.assert_allclose(back, alone[0], rtol=1e-12)
    change = 1e-6 * jnp.ones((3, 3))
    slope = (mixed(kernels[0] + change) - mixed(kernels[0] - change)) / 2.0
    _, along = jax.jvp(mixed, (kernels[0],), (change,))
    np.testing.assert_allclose(along, slope, rtol=1e-6)


def test_values_of_parameters_in_the_carry_are_returned_and_numpy_is_taken():
    params = {"w": np.full(3, 0.5)}
    step = lambda carry, x: ((carry[0], carry[0]["w"] * carry[1] + x), carry[1])
    run = functools.partial(truncated_scan, step, xs=np.ones((T, 3)), horizon=({"w": 2}, 4))
    (found, last), ys = run((params, np.zeros(3)))
    np.testing.assert_array_equal(found["w"], params["w"])
    assert last.shape == (3,) and ys.shape == (T, 3)


def test_no_carry_at_all_has_an_empty_prefix():
    step_of = lambda w: lambda c, x: (c, w * x)
    loss = lambda w: jnp.sum(truncated_scan(step_of(w), (), jnp.ones(T), horizon=())[1])
    assert jax.grad(loss)(0.5) == T


def test_a_carry_without_floats_has_no_use_for_horizons():
    step = lambda carry, x: ((carry[0], carry[1] + 1), carry[0] * x)
    loss = lambda w: jnp.sum(truncated_scan(step, (w, 0), jnp.ones(T), horizon=(2, 3))[1])
    assert jax.grad(loss)(0.5) == T


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"horizon": (2, 3, 4)}, ValueError, "must be a prefix of init, got (2, 3, 4)."),
        ({"horizon": {"w": 2}}, ValueError, "must be a prefix of init, got {'w': 2}."),
        ({"horizon": (2, 0)}, ValueError, "horizon must be >= 1, got 0."),
        ({"horizon": (2, 2.5)}, TypeError, "horizon must be a static integer, got 2.5."),
        ({"horizon": (2, 3), "stride": 2}, ValueError, "needs stride=1, got 2."),
        ({"horizon": (2, 3), "carry_every": 2}, ValueError, "needs carry_every=1, got 2."),
        ({"horizon": (2, 3), "tol": 0.1}, ValueError, "needs tol=0, got 0.1."),
        ({"horizon": (2, 3), "lag_weights": np.ones(3)}, ValueError, "lag_weights; drop one."),
    ],
)
def test_horizons_that_do_not_fit_are_refused(options, error, said):
    step = lambda carry, x: ((carry[0], carry[0] * carry[1] + x), carry[1])
    with pytest.raises(error, match=f"^truncated_scan: .*{re.escape(said)}$"):
        truncated_scan(step, (jnp.ones(3), jnp.zeros(3)), jnp.ones((T, 3)), **options)
