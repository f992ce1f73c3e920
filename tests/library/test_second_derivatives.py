"""Second derivatives are the gradient's Jacobian: under rules of the step's own, and at zeros."""

import functools

import grids
import jax
import jax.numpy as jnp
import numpy as np
import own_rules
import pytest

from tbptt_jax import (
    init_stream,
    stream_scan,
    time_sharded_scan,
    truncated_linear_scan,
    truncated_scan,
    with_boundary_factors,
)

T, STATE = 8, 3
XS = np.linspace(-1.0, 1.0, T * STATE).reshape(T, STATE)
WEIGHTS = np.array([0.5, -0.8, 0.2, 0.7, 0.4, -0.3, -0.2, 0.6, 0.9])


def on_devices(f, init, xs, **options):
    mesh = jax.make_mesh((4,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))
    return time_sharded_scan(f, init, xs, mesh=mesh, **options)


def with_factors(weights):
    """A step that is given its factors with its input."""
    step = with_boundary_factors(lambda c, x: (lambda new: (new, new))(jnp.tanh(c @ weights) + x))
    return lambda carry, x: step(carry, (x, jnp.mean(x) + 0.5))


def with_rule(weights):
    return functools.partial(own_rules.scaled_error, weights)


@grids.over("step_with", [with_rule], [with_factors])
@pytest.mark.parametrize(
    "scan",
    [
        functools.partial(truncated_scan, horizon=4),
        functools.partial(truncated_scan, horizon=4, stride=2),
        functools.partial(truncated_scan, horizon=4, carry_every=3),
        functools.partial(truncated_scan, horizon=6, tol=0.3),
        functools.partial(truncated_scan, horizon=(4,)),
        functools.partial(truncated_scan, horizon=None),
        pytest.param(functools.partial(on_devices, horizon=4), marks=pytest.mark.devices(4)),
    ],
)
def test_the_jacobian_of_the_gradient_has_no_rule_applied_twice(scan, step_with):
    def loss(flat):
        f = step_with(flat.reshape(STATE, STATE))
        step = lambda carry, x: (lambda c, y: ((c,), y))(*f(carry[0], x))
        return jnp.sum(scan(step, (jnp.full(STATE, 0.3),), XS)[1] ** 2)

    assert_the_jacobian_of_the_gradient(loss, jnp.array(WEIGHTS))


def assert_the_jacobian_of_the_gradient(loss, at):
    """Held to central differences."""
    gradient, shifts = jax.jit(jax.grad(loss)), 1e-6 * jnp.eye(at.size)
    differences = [(gradient(at + s) - gradient(at - s)) / 2e-6 for s in shifts]
    actual = jax.jit(jax.hessian(loss))(at)
    np.testing.assert_allclose(actual, jnp.stack(differences, axis=1), atol=1e-7)


def in_stream(f, init, xs, **options):
    """A stream's second chunk; the state is a constant."""
    before = jnp.full((5, 2), 0.3)
    state, _ = stream_scan(f, init_stream(init, before, **options), before)
    return stream_scan(f, state, xs, last=True)


def in_linear_scan(f, init, xs, **options):
    return truncated_linear_scan(xs[:, 0], xs[:, 1], init, **options)


@grids.over("is_zero", ["errors"], ["factors"])
@pytest.mark.parametrize(
    "scan",
    [
        functools.partial(truncated_scan, horizon=4),
        functools.partial(truncated_scan, horizon=4, stride=2),
        functools.partial(truncated_scan, horizon=4, carry_every=3),
        functools.partial(in_linear_scan, horizon=4),
        functools.partial(in_linear_scan, horizon=None, parallel=True),
        functools.partial(in_stream, horizon=4),
        pytest.param(functools.partial(on_devices, horizon=4), marks=pytest.mark.devices(4)),
    ],
)
def test_a_zero_is_a_number_like_any_other(scan, is_zero):
    """Where the carry is elementwise; how gradients change with it is not lost."""
    xs = np.stack([np.linspace(0.4, 1.1, T), np.linspace(-1.0, 0.8, T)], axis=1)
    errors = np.linspace(-0.7, 1.3, T)
    if is_zero == "errors":
        errors[[2, 3, 4, T - 1]] = 0.0
    else:
        xs[2:5, 0] = 0.0

    def loss(flat):
        step = lambda carry, x: (x[0] * carry + x[1],) * 2
        ys = scan(step, jnp.array(0.0), flat[T:].reshape(T, 2))[1]
        return jnp.sum(flat[:T] * (ys + 0.5 * ys**2))

    assert_the_jacobian_of_the_gradient(loss, jnp.concatenate([errors, xs.ravel()]))
