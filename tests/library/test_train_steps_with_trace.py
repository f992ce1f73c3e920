"""Training steps on a stream with tail="trace": the same calls, the gradient of the whole past."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced_cells
from frameworks import needed

from tbptt_jax import (
    LearnerState,
    init_stream,
    make_online_loop,
    make_train_loop,
    make_train_step,
    stream_scan,
)

optax = needed("optax")
pytestmark = pytest.mark.standard  # optax does not bear strict promotion
T, STRIDE = 12, 3


def cell(params, carry, x):
    carry, y = traced_cells.min_gru(params, carry, x)
    return carry, jnp.sum(y, axis=-1)


def square(params, y, target):
    return jnp.mean((y - target) ** 2)


def chunk_loss(params, stream, chunk):
    xs, targets = chunk
    stream, ys = stream_scan(cell, stream, xs, params=params)
    return jnp.mean((ys - targets) ** 2), stream


def start(optimizer, horizon=STRIDE):
    keys = jax.random.split(jax.random.key(0), 5)
    n = traced_cells.STATE
    params = {
        "kernel": jax.random.normal(keys[0], (traced_cells.EMBED, 2 * n)),
        "bias": jnp.zeros(2 * n),
        "readout": jax.random.normal(keys[1], (n, 2)),
    }
    xs = jax.random.normal(keys[2], (T, traced_cells.BATCH, traced_cells.EMBED))
    targets = jax.random.normal(keys[3], (T, traced_cells.BATCH))
    stream = init_stream(
        jnp.zeros((traced_cells.BATCH, n)),
        xs,
        horizon=horizon,
        stride=STRIDE,
        tail="trace",
        cell=cell,
        params=params,
    )
    return LearnerState(params, optimizer.init(params), stream), (xs, targets)


def chunks(source):
    return jax.tree.map(lambda leaf: leaf.reshape(-1, STRIDE, *leaf.shape[1:]), source)


def test_updates_with_frozen_parameters_add_up_to_full_bptt():
    """At rate 0 the momentum of `optax.trace` is the sum of the chunks' gradients."""
    optimizer = optax.chain(optax.trace(decay=1.0), optax.scale(0.0))
    state, source = start(optimizer)
    final, _ = jax.lax.scan(make_train_step(chunk_loss, optimizer), state, chunks(source))

    def whole(params):
        xs, targets = source
        _, ys = jax.lax.scan(functools.partial(cell, params), state.carry.carry, xs)
        return T / STRIDE * jnp.mean((ys - targets) ** 2)

    chex.assert_trees_all_close(final.opt_state[0].trace, jax.grad(whole)(state.params), rtol=1e-4)


@pytest.mark.parametrize("horizon", [STRIDE, 5])
def test_loops_are_the_step_repeated(horizon):
    optimizer = optax.adam(0.03)
    state, source = start(optimizer, horizon)
    train_step = make_train_step(chunk_loss, optimizer, donate=False)
    expected, losses = jax.lax.scan(train_step, state, chunks(source))
    train_loop = make_train_loop(
        chunk_loss, optimizer, lambda source, i: jax.tree.map(lambda x: x[i], source), donate=False
    )
    online_loop = make_online_loop(
        cell, square, optimizer, lambda source, t: jax.tree.map(lambda x: x[t], source)
    )
    for found, metrics in (
        train_loop(state, chunks(source), 0, T // STRIDE),
        online_loop(state, source, 0, T // STRIDE),
    ):
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(metrics.loss, jnp.mean(losses.loss), rtol=1e-5)


def test_state_that_was_saved_goes_on_as_if_it_had_not_been():
    """Its arrays are all that is to be kept; the rest comes from `init_stream`."""
    optimizer = optax.adam(0.03)
    state, source = start(optimizer, 5)
    fresh = jax.tree.structure(start(optimizer, 5)[0])
    train_step = make_train_step(chunk_loss, optimizer, donate=False)
    first, second, *_ = zip(*chunks(source), strict=True)
    state, _ = train_step(state, first)
    restored = jax.tree.unflatten(fresh, [np.array(leaf) for leaf in jax.tree.leaves(state)])
    chex.assert_trees_all_equal(train_step(restored, second)[0], train_step(state, second)[0])
