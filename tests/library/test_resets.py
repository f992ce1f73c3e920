"""Resets: documents in one stream learn as if each were alone."""

import functools

import cells
import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error, scan_gradients

from tbptt_jax import init_stream, stream_scan, truncated_scan, with_mask, with_resets

T, BATCH = 9, cells.BATCH
# Documents of the first and of the second sample of a batch: first step, and the step after it.
DOCUMENTS = [[(0, 4), (4, 5), (5, 9)], [(0, 2), (2, 9)]]
RESETS = np.zeros((T, BATCH), bool)
for sample, documents in enumerate(DOCUMENTS):
    RESETS[[first for first, _ in documents[1:]], sample] = True


def reset_problem(name):
    """A recurrence with resets to its initial carry, which is one of the parameters."""
    problem = cells.problem(name, T)

    def f(params, carry, inputs):
        weights, init = params
        return with_resets(functools.partial(problem.f, weights), init)(carry, inputs)

    return problem._replace(
        f=f, params=(problem.params, problem.init), xs=(problem.xs, jnp.asarray(RESETS))
    )


def gradients_of_documents(name, horizon):
    """Gradients for weights, initial carry and inputs, each document run alone."""
    problem = cells.problem(name, T)
    total = None
    for sample, documents in enumerate(DOCUMENTS):
        for first, end in documents:
            one = lambda tree, axis, i=sample: jax.tree.map(
                lambda leaf: jnp.take(leaf, jnp.array([i]), axis), tree
            )
            part = lambda tree, a=first, b=end: jax.tree.map(lambda leaf: leaf[a:b], tree)
            carry_ct = one(problem.carry_ct, 0)
            if end < T:
                carry_ct = jax.tree.map(jnp.zeros_like, carry_ct)
            weights, init, xs = definition.truncated_gradients(
                problem.f,
                problem.params,
                one(problem.init, 0),
                part(one(problem.xs, 1)),
                carry_ct,
                part(one(problem.ys_ct, 1)),
                horizon=horizon,
                stride=1,
            )
            init = jax.tree.map(
                lambda g, like, i=sample: jnp.zeros_like(like).at[i].set(g[0]), init, problem.init
            )
            xs = jax.tree.map(
                lambda g, like, a=first, b=end, i=sample: (
                    jnp.zeros_like(like).at[a:b, i].set(g[:, 0])
                ),
                xs,
                problem.xs,
            )
            total = (
                (weights, init, xs) if total is None else definition.add(total, (weights, init, xs))
            )
    return total


@pytest.mark.parametrize("name", ["tanh_rnn", "lstm", "two_layers"])
@pytest.mark.parametrize("horizon", [1, 3, T])
def test_documents_in_one_stream_learn_as_if_each_were_alone(name, horizon):
    problem = reset_problem(name)
    (weights, later), init, (xs, _) = scan_gradients(problem, horizon, 1)
    actual = weights, definition.add(init, later), xs
    assert largest_error(actual, gradients_of_documents(name, horizon)) < 1e-12


@pytest.mark.parametrize("name", ["tanh_rnn", "lstm"])
@pytest.mark.parametrize("horizon, stride", [(3, 2), (4, 4), (5, 3)])
def test_blocks_keep_the_grid_of_the_stream(name, horizon, stride):
    """At larger strides the gradient is the definition, with carries cut at resets."""
    problem = reset_problem(name)
    expected = definition.truncated_gradients(*problem, horizon=horizon, stride=stride)
    assert largest_error(scan_gradients(problem, horizon, stride), expected) < 1e-12


def test_no_error_crosses_a_reset():
    """Zero exactly, and not by vanishing."""
    f = with_resets(lambda c, x: (c * x, c * x), 1.0)
    resets = jnp.arange(6) == 3

    def loss(xs):
        return jnp.sum(truncated_scan(f, 1.0, (xs, resets), horizon=5)[1][3:])

    grad = jax.grad(loss)(jnp.array([2.0, 3.0, 1e300, 0.5, 2.0, 3.0]))
    np.testing.assert_array_equal(grad[:3], 0.0)
    assert np.all(grad[3:] != 0.0) and np.isfinite(grad).all()


def test_resets_in_a_stream_cut_into_chunks():
    problem = reset_problem("lstm")
    problem = problem._replace(carry_ct=jax.tree.map(jnp.zeros_like, problem.carry_ct))
    expected = scan_gradients(problem, 4, 1)

    def loss(params, init, xs):
        window, total = init_stream(init, xs, horizon=4), 0.0
        for first in range(0, T, 3):
            here = functools.partial(jax.tree.map, lambda leaf, a=first: leaf[a : a + 3])
            f = functools.partial(problem.f, params)
            window, ys = stream_scan(f, window, here(xs))
            total += definition.inner(here(problem.ys_ct), ys)
        return total

    grad = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)
    assert largest_error(jax.jit(grad)(problem.params, problem.init, problem.xs), expected) < 1e-12


def test_resets_around_masks_start_anew_on_masked_steps_too():
    total = lambda c, x: (c + x, c + x)
    valid, resets = jnp.array([True, True, False, True]), jnp.array([False, False, True, False])
    f = with_resets(with_mask(total), 0.0)
    _, ys = jax.lax.scan(f, 0.0, ((jnp.ones(4), valid), resets))
    np.testing.assert_array_equal(ys, [1.0, 2.0, 0.0, 1.0])


def test_keys_start_anew():
    def f(carry, x):
        total, key = carry
        return (total + x, jax.random.fold_in(key, 1)), jax.random.key_data(key)

    init = jnp.array(0.0), jax.random.key(0)
    flags = jnp.array([False, True, False])
    step = with_resets(f, init)
    other = jnp.array(0.0), jax.random.key(7)
    _, seen = jax.lax.scan(step, other, (jnp.ones(3), flags))
    keys = [other[1], init[1], jax.random.fold_in(init[1], 1)]
    np.testing.assert_array_equal(seen, [jax.random.key_data(key) for key in keys])
