"""A stream cut into chunks learns as if it had no seams."""

import functools
import warnings

import cells
import chex
import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chunks import T, chunk_loss, cut, stream_problem, summed_chunk_gradients, window_of
from gradients import RECURRENCES, largest_error, scan_gradients

from tbptt_jax import init_window, stream_scan, stream_value_and_grad, truncated_scan

SCHEDULES = [(1, 1), (5, 1), (4, 4), (5, 2), (5, 3), (12, 5)]


def whole_stream_gradients(problem, horizon, stride, chunk, stale):
    """Gradients for (params, init, xs), of all chunks together."""

    def loss(params, init, xs):
        window, total = window_of(problem, horizon, stride, chunk, stale, init), 0.0
        for first in range(0, T, chunk):
            here = functools.partial(cut, first=first, end=first + chunk)
            part, window = chunk_loss(
                problem, params, window, here(xs), here(problem.ys_error), first + chunk >= T
            )
            total += part
        return total

    grad = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)
    return jax.jit(grad)(problem.params, problem.init, problem.xs)


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("horizon, stride", SCHEDULES)
@pytest.mark.parametrize("blocks", [1, 3])
def test_chunks_add_up_to_the_whole_sequence(horizon, stride, blocks, stale):
    """However it is cut; chunks shorter and longer than the horizon, the last one not whole."""
    problem = stream_problem("tanh_rnn")
    schedule = horizon, stride, blocks * stride, stale
    expected = scan_gradients(problem, horizon, stride)
    assert largest_error(summed_chunk_gradients(problem, *schedule), expected) < 1e-12
    assert largest_error(whole_stream_gradients(problem, *schedule), expected) < 1e-12


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("name", RECURRENCES[1:])
def test_chunks_add_up_for_any_cell_and_pytree(name, stale):
    problem = stream_problem(name)
    schedule = 5, 2, 4, stale
    expected = scan_gradients(problem, 5, 2)
    assert largest_error(summed_chunk_gradients(problem, *schedule), expected) < 1e-12
    assert largest_error(whole_stream_gradients(problem, *schedule), expected) < 1e-12


def test_outputs_are_those_of_the_whole_sequence():
    problem = stream_problem("lstm")
    f = functools.partial(problem.f, problem.params)
    expected = jax.lax.scan(f, problem.init, problem.xs)[1]
    window, parts = window_of(problem, 5, 2, 4), []
    for first in range(0, T, 4):
        window, ys = stream_scan(f, window, cut(problem.xs, first, first + 4), last=first + 4 >= T)
        parts.append(ys)
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    chex.assert_trees_all_close(joined, expected, rtol=1e-13)


def test_chunks_in_a_scan_are_compiled_once():
    """The window keeps its type: all chunks are one `lax.scan`, whose gradient is that of them."""
    problem = cells.problem("tanh_rnn", 12)
    fold = functools.partial(jax.tree.map, lambda leaf: leaf.reshape(4, 3, *leaf.shape[1:]))

    def loss(params, init, xs):
        def chunk(window, inputs):
            xs, errors = inputs
            part, window = chunk_loss(problem, params, window, xs, errors, False)
            return window, part

        window = init_window(init, xs, horizon=7)
        return jnp.sum(jax.lax.scan(chunk, window, (fold(xs), fold(problem.ys_error)))[1])

    expected = scan_gradients(
        problem._replace(carry_error=jax.tree.map(jnp.zeros_like, problem.carry_error)), 7, 1
    )
    got = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(problem.params, problem.init, problem.xs)
    assert largest_error(got, expected) < 1e-12


def test_a_step_without_inputs_streams_too():
    f = lambda w: lambda carry, _: (w * carry, jnp.sin(carry))

    def loss(w, length):
        window, total = init_window(jnp.arange(1.0, 3.0), horizon=4), 0.0
        for _ in range(12 // length):
            window, ys = stream_scan(f(w), window, length=length)
            total += jnp.sum(ys)
        return total

    def whole(w):
        return jnp.sum(truncated_scan(f(w), jnp.arange(1.0, 3.0), length=12, horizon=4)[1])

    for length in (1, 3, 6):
        np.testing.assert_allclose(jax.grad(loss)(0.9, length), jax.grad(whole)(0.9), rtol=1e-12)


def test_a_step_run_again_draws_the_same_dropout():
    """Keys travel in the inputs: the outputs of the window's steps are those of their first run."""
    keys = jax.random.split(jax.random.key(0), 12)
    xs = jax.random.normal(jax.random.key(1), (12, 2))

    def f(carry, inputs):
        x, key = inputs
        carry = jnp.where(jax.random.bernoulli(key, 0.5, x.shape), jnp.sin(carry + x), 0.0)
        return carry, carry

    _, whole = jax.lax.scan(f, jnp.ones(2), (xs, keys))
    window = init_window(jnp.ones(2), (xs, keys), horizon=6)
    for first in range(0, 12, 2):
        window, ys = stream_scan(f, window, cut((xs, keys), first, first + 2))
        np.testing.assert_array_equal(ys, whole[first : first + 2])


def test_what_precedes_the_stream_is_never_run():
    """A step that is finite at the stream's own inputs alone gives finite gradients."""
    f = lambda w: lambda c, x: (jnp.sqrt(w * c * x), c)  # infinite derivatives at 0
    window = init_window(1.0, jnp.zeros(3), horizon=6, stride=2)

    def loss(w, window, xs):
        window, ys = stream_scan(f(w), window, xs)
        return jnp.sum(ys), window

    for xs in jnp.ones((4, 2)):
        grads, window = jax.grad(loss, argnums=(0, 1), has_aux=True, allow_int=True)(
            2.0, window, xs
        )
        assert all(np.isfinite(leaf).all() for leaf in (grads[0], grads[1].carry, grads[1].xs))


def test_count_of_steps_never_overflows():
    """It stops where it no longer matters, however long the stream."""
    window = init_window(0.0, jnp.ones(2), horizon=4)
    for expected in (2, 4, 4, 4):
        window, _ = stream_scan(lambda c, x: (c + x, c), window, jnp.ones(2))
        assert window.num_steps == expected and window.num_steps.dtype == jnp.int32


def test_one_compilation_serves_all_chunks():
    problem = cells.problem("counting_rnn", 12)
    window = init_window(problem.init, problem.xs, horizon=5)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(window, xs):
        return stream_scan(functools.partial(problem.f, problem.params), window, xs)

    for first in range(0, 12, 2):
        window, _ = step(window, cut(problem.xs, first, first + 2))


def test_value_and_grad_of_a_loss_of_each_step():
    problem = cells.problem("counting_rnn", 6)
    loss_fn = lambda params, y, error: definition.inner(error, y)
    run = jax.jit(stream_value_and_grad(problem.f, loss_fn))
    window = init_window(problem.init, problem.xs, horizon=4)
    for first in (0, 3):
        xs, errors = cut((problem.xs, problem.ys_error), first, first + 3)
        expected = jax.grad(
            functools.partial(chunk_loss, problem), argnums=(0, 1, 2), has_aux=True, allow_int=True
        )(problem.params, window, xs, errors, False)
        value, _ = chunk_loss(problem, problem.params, window, xs, errors, False)
        (loss, (window, _)), grads = run(problem.params, window, xs, errors)
        np.testing.assert_allclose(loss, value, rtol=1e-13)
        assert largest_error(grads, expected[0]) < 1e-13


def test_any_static_integer_is_a_horizon_under_jit():
    window = init_window(0.0, jnp.ones(4), horizon=jnp.int32(3), stride=np.int64(2))
    assert (type(window.horizon), type(window.stride)) == (int, int)
    step = lambda carry, x: (carry + x, carry)
    assert jax.jit(functools.partial(stream_scan, step))(window, jnp.ones(4))[1].shape == (4,)


def test_window_has_arrays_of_its_own():
    """It may be donated while the user's carry lives on, though one array stand there twice."""
    zeros = jnp.zeros(2)
    window = init_window((zeros, zeros, jax.random.key(0)), jnp.ones(3), horizon=3)
    use = jax.jit(lambda window: window.num_steps, donate_argnums=0, keep_unused=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is not used cannot be donated
        use(window)
    np.testing.assert_array_equal(zeros, 0.0)
    assert not any(leaf is zeros for leaf in jax.tree.leaves(window.carry))
