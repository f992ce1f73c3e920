"""Modules of flax, Haiku and Equinox in the step: trained, and refused while they are made."""

import functools
import itertools

import definition
import jax
import jax.numpy as jnp
import pytest
from frameworks import needed
from gradients import largest_error

from tbptt_jax import init_stream, lag_spectrum, stream_scan, truncated_scan
from tbptt_jax import windowed_value_and_grad as windowed

B, N, T = 2, 4, 7
KEY = jax.random.key(0)
INIT = jnp.zeros((B, N), jnp.float32)


def xs():
    return jax.random.normal(jax.random.key(1), (T, B, 3), jnp.float32)


def flax_linen():
    nn = needed("flax.linen")
    cell = nn.GRUCell(N)
    params = cell.init(KEY, INIT, xs()[0])
    return cell.apply, params


def flax_nnx():
    nnx = needed("flax.nnx")
    graph, params = nnx.split(nnx.GRUCell(3, N, rngs=nnx.Rngs(0)))
    return lambda params, carry, x: nnx.merge(graph, params)(carry, x), params


def haiku():
    hk = needed("haiku")

    def step(carry, x):
        y, carry = hk.GRU(N)(x, carry)
        return carry, y

    cell = hk.without_apply_rng(hk.transform(step))
    return cell.apply, cell.init(KEY, INIT, xs()[0])


def equinox():
    eqx = needed("equinox")
    params, static = eqx.partition(eqx.nn.GRUCell(3, N, key=KEY), eqx.is_array)

    def cell(params, carry, x):
        carry = jax.vmap(eqx.combine(params, static))(x, carry)
        return carry, carry

    return cell, params


@pytest.mark.standard
@pytest.mark.parametrize("framework", [flax_linen, flax_nnx, haiku, equinox])
def test_a_cell_of_a_framework_has_the_gradient_of_the_definition(framework):
    cell, params = framework()
    carry, ys = jax.lax.scan(functools.partial(cell, params), INIT, xs())
    errors = jax.tree.map(jnp.cos, (carry, ys))

    def loss(params, init, xs):
        step = functools.partial(cell, params)
        return definition.inner(errors, truncated_scan(step, init, xs, horizon=3, stride=2))

    expected = definition.truncated_gradients(
        cell, params, INIT, xs(), *errors, horizon=3, stride=2
    )
    actual = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(params, INIT, xs())
    assert largest_error(actual, expected) < 1e-5


def scan(f, xs):
    return truncated_scan(f, INIT, xs, horizon=3)[1]


def full_scan(f, xs):
    return truncated_scan(f, INIT, xs, horizon=None)[1]


def stream(f, xs):
    return stream_scan(f, init_stream(INIT, xs, horizon=3), xs)[1]


def lags(f, xs):
    cell = lambda w, carry, x: (f(carry, x)[0], w * carry)
    return lag_spectrum(cell, lambda w, ys, _: jnp.sum(ys), horizon=3)(1.0, INIT, xs, None).l1


def windows(f, xs):
    cell = lambda w, carry, x: (f(carry, x)[0], w * carry)
    run = windowed(cell, lambda w, y, _: jnp.sum(y), horizon=3)
    return run(1.0, INIT, xs, jnp.zeros(T))[0][0]


def linen_init(run):
    nn = needed("flax.linen")

    class Model(nn.Module):
        @nn.compact
        def __call__(self, xs):
            cell = nn.GRUCell(N)
            if self.is_initializing() and not self.broken:
                cell(INIT, xs[0])
            return run(cell, xs)

        broken: bool = True

    return lambda broken: Model(broken=broken).init


def haiku_init(run):
    hk = needed("haiku")

    def model(xs, broken):
        cell = hk.GRU(N)
        if hk.running_init() and not broken:
            cell(xs[0], INIT)
        return run(lambda carry, x: cell(x, carry)[::-1], xs)

    return lambda broken: hk.transform(functools.partial(model, broken=broken)).init


def haiku_keys(run):
    """Keys are drawn inside the step, or before the scan, one for each step."""
    hk = needed("haiku")

    def model(xs, broken):
        def step(carry, inputs):
            x, key = inputs
            key = hk.next_rng_key() if broken else key
            return carry + jax.random.normal(key, carry.shape), x

        return run(step, (xs, jax.random.split(hk.next_rng_key(), T)))

    return lambda broken: hk.transform(functools.partial(model, broken=broken)).init


@pytest.mark.standard
@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "model, run",
    [
        *itertools.product((linen_init, haiku_init), (scan, full_scan, stream, lags, windows)),
        *itertools.product((haiku_keys,), (scan, full_scan, stream)),
    ],
)
def test_what_a_module_makes_inside_the_step_is_refused_and_outside_works(model, run, jit):
    init = model(run)
    transform = jax.jit if jit else lambda fun: fun
    with pytest.raises(ValueError, match="keeps a value of its first call for the next") as raised:
        transform(init(True))(KEY, xs())
    assert "call one step before the scan" in str(raised.value) and "\n" not in str(raised.value)
    jax.block_until_ready(transform(init(False))(KEY, xs()))


@pytest.mark.standard
@pytest.mark.parametrize("jit", [False, True])
def test_nnx_refuses_to_draw_inside_the_step_by_itself(jit):
    nnx = needed("flax.nnx")
    dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    transform = nnx.jit if jit else lambda fun: fun
    run = transform(lambda module, xs: scan(lambda c, x: (c + jnp.sum(module(x)), x), xs))
    with pytest.raises(Exception, match="different trace level"):
        run(dropout, xs())
