"""A stream cut into chunks learns as if it had no seams."""

import dataclasses
import functools
import warnings

import cells
import chex
import elementwise_cells
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chunks import T, chunk_loss, cut, stream_of, stream_problem, summed_chunk_gradients
from gradients import RECURRENCES, largest_error, scan_gradients

from tbptt_jax import init_stream, stream_scan, truncated_scan

SCHEDULES = [(1, 1), (5, 1), (4, 4), (5, 2), (5, 3), (12, 5)]


@functools.cache
def uncut_gradients(name, horizon, stride):
    return scan_gradients(stream_problem(name), horizon, stride)


def whole_stream_gradients(problem, horizon, stride, chunk, stale):
    """Gradients for (params, init, xs), of all chunks together."""

    def loss(params, init, xs):
        state, total = stream_of(problem, horizon, stride, chunk, stale, init), 0.0
        for first in range(0, T, chunk):
            here = functools.partial(cut, first=first, end=first + chunk)
            part, state = chunk_loss(
                problem, params, state, here(xs), here(problem.ys_ct), first + chunk >= T
            )
            total += part
        return total

    grad = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)
    return jax.jit(grad)(problem.params, problem.init, problem.xs)


@pytest.mark.grid
@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("horizon, stride", SCHEDULES)
@pytest.mark.parametrize("blocks", [1, 3])
def test_chunks_add_up_to_the_whole_sequence(horizon, stride, blocks, stale):
    """However it is cut; chunks shorter and longer than the horizon, the last one not whole."""
    problem = stream_problem("tanh_rnn")
    schedule = horizon, stride, blocks * stride, stale
    expected = uncut_gradients("tanh_rnn", horizon, stride)
    assert largest_error(summed_chunk_gradients(problem, *schedule), expected) < 1e-12
    if blocks > 1:
        assert largest_error(whole_stream_gradients(problem, *schedule), expected) < 1e-12


@pytest.mark.grid
@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("name", RECURRENCES[1:])
def test_chunks_add_up_for_any_cell_and_pytree(name, stale):
    problem = stream_problem(name)
    schedule = 5, 2, 4, stale
    expected = uncut_gradients(name, 5, 2)
    assert largest_error(summed_chunk_gradients(problem, *schedule), expected) < 1e-12
    assert largest_error(whole_stream_gradients(problem, *schedule), expected) < 1e-12


def test_outputs_are_those_of_the_whole_sequence():
    problem = stream_problem("lstm")
    f = functools.partial(problem.f, problem.params)
    expected = jax.lax.scan(f, problem.init, problem.xs)[1]
    state, parts = stream_of(problem, 5, 2, 4), []
    for first in range(0, T, 4):
        state, ys = stream_scan(f, state, cut(problem.xs, first, first + 4), last=first + 4 >= T)
        parts.append(ys)
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    chex.assert_trees_all_close(joined, expected, rtol=1e-13)


def test_chunks_in_a_scan_are_compiled_once():
    """The state keeps its type: all chunks are one `lax.scan`, whose gradient is that of them."""
    problem = cells.problem("tanh_rnn", 12)
    fold = functools.partial(jax.tree.map, lambda leaf: leaf.reshape(4, 3, *leaf.shape[1:]))

    def loss(params, init, xs):
        def chunk(state, inputs):
            xs, errors = inputs
            part, state = chunk_loss(problem, params, state, xs, errors, False)
            return state, part

        state = init_stream(init, xs, horizon=7)
        return jnp.sum(jax.lax.scan(chunk, state, (fold(xs), fold(problem.ys_ct)))[1])

    expected = scan_gradients(
        problem._replace(carry_ct=jax.tree.map(jnp.zeros_like, problem.carry_ct)), 7, 1
    )
    got = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(problem.params, problem.init, problem.xs)
    assert largest_error(got, expected) < 1e-12


def test_a_state_is_made_of_a_chunks_types_alone():
    xs = {"x": jnp.ones((4, 2)), "n": jnp.ones(4, int)}
    shapes = jax.eval_shape(lambda: xs)
    made = init_stream(jnp.float64(0.0), shapes, horizon=3)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        made, init_stream(jnp.float64(0.0), xs, horizon=3)
    )


def test_a_step_without_inputs_streams_too():
    f = lambda w: lambda carry, _: (w * carry, jnp.sin(carry))

    def loss(w, length):
        state, total = init_stream(jnp.arange(1.0, 3.0), horizon=4), 0.0
        for _ in range(12 // length):
            state, ys = stream_scan(f(w), state, length=length)
            total += jnp.sum(ys)
        return total

    def whole(w):
        return jnp.sum(truncated_scan(f(w), jnp.arange(1.0, 3.0), length=12, horizon=4)[1])

    for length in (1, 3, 6):
        np.testing.assert_allclose(jax.grad(loss)(0.9, length), jax.grad(whole)(0.9), rtol=1e-12)


def test_a_step_run_again_draws_the_same_dropout():
    """Keys travel in the inputs: steps that are kept have the outputs of their first run."""
    keys = jax.random.split(jax.random.key(0), 12)
    xs = jax.random.normal(jax.random.key(1), (12, 2))

    def f(carry, inputs):
        x, key = inputs
        carry = jnp.where(jax.random.bernoulli(key, 0.5, x.shape), jnp.sin(carry + x), 0.0)
        return carry, carry

    _, whole = jax.lax.scan(f, jnp.ones(2), (xs, keys))
    state = init_stream(jnp.ones(2), (xs, keys), horizon=6)
    for first in range(0, 12, 2):
        state, ys = stream_scan(f, state, cut((xs, keys), first, first + 2))
        np.testing.assert_array_equal(ys, whole[first : first + 2])


def test_what_precedes_the_stream_is_never_run():
    """A step that is finite at the stream's own inputs alone gives finite gradients."""
    f = lambda w: lambda c, x: (jnp.sqrt(w * c * x), c)  # infinite derivatives at 0
    state = init_stream(1.0, jnp.zeros(3), horizon=6, stride=2)

    def loss(w, state, xs):
        state, ys = stream_scan(f(w), state, xs)
        return jnp.sum(ys), state

    for xs in jnp.ones((4, 2)):
        grads, state = jax.grad(loss, argnums=(0, 1), has_aux=True, allow_int=True)(2.0, state, xs)
        assert all(np.isfinite(leaf).all() for leaf in (grads[0], grads[1].carry, grads[1].xs))


def test_count_of_steps_never_overflows():
    """It stops where it no longer matters, however long the stream."""
    state = init_stream(0.0, jnp.ones(2), horizon=4)
    for expected in (2, 4, 4, 4):
        state, _ = stream_scan(lambda c, x: (c + x, c), state, jnp.ones(2))
        assert state.num_steps == expected and state.num_steps.dtype == jnp.int32


def test_one_compilation_serves_all_chunks():
    problem = cells.problem("counting_rnn", 12)
    state = init_stream(problem.init, problem.xs, horizon=5)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(state, xs):
        return stream_scan(functools.partial(problem.f, problem.params), state, xs)

    for first in range(0, 12, 2):
        state, _ = step(state, cut(problem.xs, first, first + 2))


@pytest.mark.parametrize("kind", ["usual", "stale", "trace"])
def test_a_batch_that_shrinks_is_cut_along_its_axis(kind):
    """As the docstring of `init_stream` says: what is left goes on as if it had been alone."""
    is_traced = kind == "trace"
    problem = elementwise_cells.problem("gated_average", 9) if is_traced else stream_problem("gru")
    f, params, init, xs = problem[:4]
    options = {"horizon": 4, "stale": kind == "stale"}
    options |= {"tail": "trace", "cell": f, "params": params} if is_traced else {}
    one = lambda tree, axis: jax.tree.map(
        lambda leaf: jax.lax.slice_in_dim(leaf, 0, 1, axis=axis), tree
    )
    first = lambda tree: cut(tree, 0, 5)

    def second(state, xs):
        def loss(params, xs):
            _, ys = stream_scan(f, state, xs, params=params)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(ys))

        return jax.grad(loss, argnums=(0, 1))(params, xs)

    both, _ = stream_scan(f, init_stream(init, xs, **options), first(xs), params=params)
    alone = init_stream(one(init, 0), one(xs, 1), **options)
    alone, _ = stream_scan(f, alone, first(one(xs, 1)), params=params)
    shrunk = dataclasses.replace(
        both,
        carry=one(both.carry, 1 if kind == "stale" else 0),
        xs=one(both.xs, 1),
        trace=one(both.trace, 0),
    )
    later = one(cut(xs, 5, 9), 1)
    chex.assert_trees_all_close(second(shrunk, later), second(alone, later), rtol=1e-12)


def test_any_static_integer_is_a_horizon_under_jit():
    state = init_stream(0.0, jnp.ones(4), horizon=jnp.int32(3), stride=np.int64(2))
    assert (type(state.horizon), type(state.stride)) == (int, int)
    assert (state.horizon, state.stride, state.history) == (3, 2, 1)
    step = lambda carry, x: (carry + x, carry)
    assert jax.jit(functools.partial(stream_scan, step))(state, jnp.ones(4))[1].shape == (4,)


def test_state_has_arrays_of_its_own():
    """It may be donated while the user's carry lives on, though one array stand there twice."""
    zeros = jnp.zeros(2)
    state = init_stream((zeros, zeros, jax.random.key(0)), jnp.ones(3), horizon=3)
    use = jax.jit(lambda state: state.num_steps, donate_argnums=0, keep_unused=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is not used cannot be donated
        use(state)
    np.testing.assert_array_equal(zeros, 0.0)
    assert not any(leaf is zeros for leaf in jax.tree.leaves(state.carry))
