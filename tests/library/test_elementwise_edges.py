"""Elementwise carries where it is hard: overflow, dtypes, empty leaves, several devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from tbptt_jax import init_stream, stream_scan, truncated_linear_scan, truncated_scan

T = 40


def chaotic(w, c, x):
    """The product of its factors overflows float32 within the horizon."""
    c = jnp.sin(w * c + x)
    return c, c


def leaky(w, c, x):
    c = w * c + x
    return c, c


def two_precisions(w, carry, x):
    """As spiking neurons, whose spikes need few bits."""
    voltage, spiked = carry
    voltage = 0.9 * voltage + x - w * spiked.astype(voltage.dtype)
    spiked = jax.nn.sigmoid(voltage).astype(jnp.float32)
    return (voltage, spiked), voltage


def hidden(f):
    """`f`, whose carry's pullback holds an operation that is not known to keep places."""
    flip = functools.partial(jax.tree.map, lambda leaf: leaf[..., ::-1])
    return lambda w, c, x: f(w, flip(flip(c)), x)


def gradient(f, init, xs, weights, **schedule):
    def loss(w, init, xs):
        step = functools.partial(f, w)
        ys = truncated_scan(step, init, xs, **schedule)[1]
        return jnp.sum(weights[:, None] * ys)

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(jnp.ones((), xs.dtype) * 30, init, xs)


@pytest.mark.parametrize("width", [None, 8])
@pytest.mark.parametrize(
    "schedule", [{}, {"carry_every": 3}, {"stride": 7}], ids=["true", "carry_every", "stride"]
)
def test_errors_stay_finite_where_products_of_factors_overflow(schedule, width, monkeypatch):
    monkeypatch.setattr("tbptt_jax._backward.adjoint.tile_width", lambda *_: width)
    xs = jax.random.normal(jax.random.key(0), (T, 3), jnp.float32)
    init, weights = jnp.zeros(3, jnp.float32), (jnp.arange(T) < 3).astype(jnp.float32)
    run = lambda f, **schedule: gradient(f, init, xs, weights, horizon=T - 1, **schedule)
    expected = run(hidden(chaotic))
    chex.assert_tree_all_finite(expected)
    chex.assert_trees_all_close(run(chaotic, **schedule), expected, rtol=1e-4)


@pytest.mark.parametrize("schedule", [{}, {"carry_every": 3}, {"stride": 2}])
def test_coupled_leaves_may_differ_in_precision(schedule):
    xs = jax.random.normal(jax.random.key(0), (T, 3))
    init = jnp.zeros(3), jnp.zeros(3, jnp.float32)
    run = lambda f: gradient(f, init, xs, jnp.ones(T), horizon=5, **schedule)
    chex.assert_trees_all_close(run(two_precisions), run(hidden(two_precisions)), rtol=1e-6)


@pytest.mark.parametrize("schedule", [{}, {"carry_every": 3}, {"stride": 2}])
def test_a_carry_may_have_no_entries(schedule):
    xs = jnp.ones((T, 0))
    grads = gradient(leaky, jnp.zeros(0), xs, jnp.ones(T), horizon=5, **schedule)
    assert grads[0] == 0.0 and grads[2].shape == (T, 0)
    states = truncated_linear_scan(xs, xs, jnp.zeros(0), horizon=5, parallel=True)[1]
    assert states.shape == (T, 0)


@pytest.mark.devices(2)
@pytest.mark.parametrize("carry_every", [1, 4])
def test_batches_on_two_devices(carry_every):
    def loss(w, init, xs):
        scan = functools.partial(truncated_scan, horizon=5, carry_every=carry_every)
        return jnp.sum(scan(functools.partial(leaky, w), init, xs)[1] ** 2)

    assert_same_on_two_devices(loss)


@pytest.mark.devices(2)
def test_a_trace_of_batches_on_two_devices():
    def loss(w, init, xs):
        stream = init_stream(init, xs, horizon=2, tail="trace", cell=leaky, params=w)
        stream, _ = stream_scan(leaky, stream, xs, params=w)
        return jnp.sum(stream_scan(leaky, stream, xs, params=w)[1] ** 2)

    assert_same_on_two_devices(loss)


def assert_same_on_two_devices(loss):
    """A `jax.shard_map` over the batch has the gradient of the whole batch."""
    w, init, xs = jnp.float64(0.9), jnp.zeros((4, 3)), jnp.ones((T, 4, 3))
    batch, time_batch = PartitionSpec("data"), PartitionSpec(None, "data")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    local = lambda *args: jax.lax.psum(loss(*args), "data")
    in_specs = PartitionSpec(), batch, time_batch
    sharded = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=PartitionSpec())
    actual, expected = (jax.jit(jax.grad(f))(w, init, xs) for f in (sharded, loss))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
