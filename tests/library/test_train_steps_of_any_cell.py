"""The training steps take every cell that the gradients take."""

import functools

import cells
import chex
import definition
import jax
import jax.numpy as jnp
import pytest
from frameworks import needed
from gradients import RECURRENCES

from tbptt_jax import LearnerState, init_stream, make_train_loop, make_train_step, stream_scan

optax = needed("optax")
RATE = 0.01


def rows(tree, start, stop):
    return jax.tree.map(lambda leaf: leaf[start:stop], tree)


@pytest.mark.parametrize("name", RECURRENCES)
def test_every_cell_descends_by_its_gradient(name):
    """In a step that donates and a loop that does not, with the carry of a stream and its keys."""
    problem = cells.problem(name, 6)

    def loss_fn(params, stream, batch):
        xs, errors = batch
        stream, ys = stream_scan(functools.partial(problem.f, params), stream, xs)
        return definition.inner(errors, ys), stream

    def begin():
        params = jax.tree.map(jnp.copy, problem.params)
        stream = init_stream(problem.init, problem.xs, horizon=4)
        return LearnerState(params, optimizer.init(params), stream)

    optimizer = optax.sgd(RATE)
    source = problem.xs, problem.ys_ct
    batch_fn = lambda source, i: jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, 3 * i, 3), source
    )
    expected = begin()
    grad = jax.jit(jax.grad(loss_fn, has_aux=True))
    for first in (0, 3):
        grads, stream = grad(expected.params, expected.carry, rows(source, first, first + 3))
        params = jax.tree.map(lambda p, g: p - RATE * jnp.conj(g), expected.params, grads)
        expected = expected._replace(params=params, carry=stream)
    state, train_step = begin(), make_train_step(loss_fn, optimizer)
    for i in range(2):
        state, _ = train_step(state, batch_fn(source, i))
    loop = make_train_loop(loss_fn, optimizer, batch_fn, donate=False)
    looped, _ = loop(begin(), source, 0, 2)
    for got in (state, looped):
        chex.assert_trees_all_close(got.params, expected.params, rtol=1e-12, atol=1e-12)
        assert jax.tree.structure(got.carry) == jax.tree.structure(expected.carry)
