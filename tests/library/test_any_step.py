"""What `lax.scan` can differentiate and `vmap` can run, `truncated_scan` and streams can."""

import functools

import any_steps
import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import step_errors
from jax.experimental import checkify, io_callback

from tbptt_jax import init_stream, stream_scan, truncated_scan

T = 7
OF_DIFFRAX = [pytest.param(f, marks=pytest.mark.needs("diffrax")) for f in any_steps.DIFFRAX]


@pytest.mark.filterwarnings("ignore:Complex dtype")
@grids.over("stride", [1], [2])
@pytest.mark.parametrize("f", [*step_errors.STEPS, *OF_DIFFRAX], ids=lambda f: f.__name__)
def test_any_step_has_the_gradient_of_the_definition(f, stride):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        found = step_errors.compare(f, T, 3, stride)
    assert found.error < 1e-12
    assert found.error_of_stream < 1e-12
    assert found.difference_from_full > 0.1


def checked(c, x):
    checkify.check(jnp.all(c < 5.0), "too large: {c}", c=c[0])
    c = 1.1 * c + x
    return c, c * c


@pytest.mark.parametrize("scan", [functools.partial(truncated_scan, horizon=3), None])
@pytest.mark.parametrize("size, message", [(1.0, None), (3.0, "too large: 5.64")])
def test_checks_are_reported_inside_and_around_the_gradient(scan, size, message):
    scan = scan or (lambda f, init, xs: stream_scan(f, init_stream(init, xs, horizon=3), xs))
    loss = lambda init, xs: jnp.sum(scan(checked, init, xs)[1])
    args = jnp.full(2, size), jnp.full((4, 2), 0.5)
    around, grads = jax.jit(checkify.checkify(jax.grad(loss)))(*args)

    def inside(*args):
        error, value = checkify.checkify(loss)(*args)
        return value, error

    same, error = jax.jit(jax.grad(inside, has_aux=True))(*args)
    np.testing.assert_array_equal(grads, same)
    for found in (around.get(), error.get()):
        assert found is None if message is None else found.startswith(message)


@pytest.mark.parametrize("horizon", [3, 6])
def test_effects_happen_four_times_for_a_step_but_six_for_the_first(horizon):
    seen = []

    def f(c, x):
        jax.debug.callback(lambda x: seen.append(int(x)), x)
        io_callback(lambda c: None, None, jax.lax.stop_gradient(c))
        c = jnp.sin(c) + x
        return c, c

    loss = lambda c: jnp.sum(truncated_scan(f, c, jnp.arange(8.0), horizon=horizon)[1])
    jax.jit(jax.grad(loss))(jnp.ones(2))
    jax.effects_barrier()
    assert np.bincount(seen).tolist() == [6] + [4] * 7
