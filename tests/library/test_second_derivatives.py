"""Second derivatives where the step has a gradient rule of its own: the gradient's Jacobian."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import own_rules
import pytest

from tbptt_jax import time_sharded_scan, truncated_scan, with_boundary_factors

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


@pytest.mark.parametrize("step_with", [with_factors, with_rule])
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
    """Held to central differences of the gradient."""

    def loss(flat):
        f = step_with(flat.reshape(STATE, STATE))
        step = lambda carry, x: (lambda c, y: ((c,), y))(*f(carry[0], x))
        return jnp.sum(scan(step, (jnp.full(STATE, 0.3),), XS)[1] ** 2)

    gradient, flat = jax.jit(jax.grad(loss)), jnp.array(WEIGHTS)
    shifts = 1e-6 * jnp.eye(flat.size)
    differences = [(gradient(flat + s) - gradient(flat - s)) / 2e-6 for s in shifts]
    actual = jax.jit(jax.hessian(loss))(flat)
    np.testing.assert_allclose(actual, jnp.stack(differences, axis=1), atol=1e-7)
