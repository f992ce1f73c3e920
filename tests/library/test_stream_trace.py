"""Streams with tail="trace": the gradient of the whole past, in the memory of one step."""

import functools

import chex
import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced_cells
from gradients import largest_error

from tbptt_jax import init_stream, stream_scan

T = 12


def stream_of(problem, horizon=1, stride=1, params=None, **kwargs):
    kwargs = {"horizon": horizon, "stride": stride, "tail": "trace", "cell": problem.f} | kwargs
    params = problem.params if params is None else params
    return init_stream(problem.init, problem.xs, params=params, **kwargs)


def cut(tree, first, end):
    return jax.tree.map(lambda leaf: leaf[first:end], tree)


def chunk_loss(problem, params, state, xs, errors, last=False):
    state, ys = stream_scan(problem.f, state, xs, params=params, last=last)
    return definition.inner(errors, ys), state


def summed_gradients(problem, horizon, stride, chunk):
    """The gradients of all chunks, each taken by itself, added up; and the last state."""
    state, total = stream_of(problem, horizon, stride), None
    grad = jax.jit(jax.grad(functools.partial(chunk_loss, problem), has_aux=True))
    for first in range(0, T, chunk):
        here = functools.partial(cut, first=first, end=first + chunk)
        grads, state = grad(problem.params, state, here(problem.xs), here(problem.ys_ct))
        total = grads if total is None else definition.add(total, grads)
    return total, state


@functools.cache
def full_gradients(name):
    """Those of `lax.scan` over the whole stream."""
    problem = traced_cells.problem(name, T)

    def loss(params):
        _, ys = jax.lax.scan(functools.partial(problem.f, params), problem.init, problem.xs)
        return definition.inner(problem.ys_ct, ys)

    return jax.jit(jax.grad(loss))(problem.params)


@pytest.mark.grid
@pytest.mark.parametrize("name", traced_cells.NAMES)
@pytest.mark.parametrize("horizon, chunk", [(1, 3), (4, 2)])
def test_sum_over_chunks_is_full_bptt_for_any_cell(name, horizon, chunk):
    problem = traced_cells.problem(name, T)
    grads, _ = summed_gradients(problem, horizon, 1, chunk)
    assert largest_error(grads, full_gradients(name)) < 1e-12


@pytest.mark.parametrize(
    "horizon, stride, chunk",
    [(1, 1, 1), (1, 1, 12), (2, 2, 2), (3, 2, 4), (5, 1, 1), (9, 3, 3), (7, 1, 4), (30, 1, 2)],
)
def test_sum_depends_on_neither_horizon_nor_stride_nor_chunks(horizon, stride, chunk):
    """Steps that are run again longer and shorter than a chunk, and than the whole stream."""
    problem = traced_cells.problem("lru", T)
    grads, _ = summed_gradients(problem, horizon, stride, chunk)
    assert largest_error(grads, full_gradients("lru")) < 1e-12


def test_chunks_of_any_lengths_follow_each_other():
    """The last may be shorter than the stride."""
    problem = traced_cells.problem("min_gru", T)
    state, total, first = stream_of(problem, 5, 2, shortest_chunk=1), None, 0
    for length in (2, 6, 1):
        here = functools.partial(cut, first=first, end=first + length)
        first += length
        grads, state = jax.grad(functools.partial(chunk_loss, problem), has_aux=True)(
            problem.params, state, here(problem.xs), here(problem.ys_ct), last=length == 1
        )
        total = grads if total is None else definition.add(total, grads)

    def whole(params):
        _, ys = jax.lax.scan(functools.partial(problem.f, params), problem.init, problem.xs[:first])
        return definition.inner(cut(problem.ys_ct, 0, first), ys)

    assert state is None
    assert largest_error(total, jax.grad(whole)(problem.params)) < 1e-12


def test_gradient_of_all_chunks_together_is_full_bptt():
    """In one scan, whose state keeps its type."""
    problem = traced_cells.problem("lru", T)
    fold = functools.partial(jax.tree.map, lambda leaf: leaf.reshape(4, 3, *leaf.shape[1:]))

    def loss(params):
        def chunk(state, inputs):
            part, state = chunk_loss(problem, params, state, *inputs)
            return state, part

        state = stream_of(problem, 4, 1, params)
        return jnp.sum(jax.lax.scan(chunk, state, fold((problem.xs, problem.ys_ct)))[1])

    assert largest_error(jax.jit(jax.grad(loss))(problem.params), full_gradients("lru")) < 1e-12


def test_outputs_are_those_of_the_cut_stream():
    problem = traced_cells.problem("lif", T)
    traced, plain = stream_of(problem, 4), init_stream(problem.init, problem.xs, horizon=4)
    assert plain.trace is None
    for first in range(0, T, 3):
        xs = cut(problem.xs, first, first + 3)
        traced, ys = stream_scan(problem.f, traced, xs, params=problem.params)
        plain, expected = stream_scan(functools.partial(problem.f, problem.params), plain, xs)
        chex.assert_trees_all_equal(ys, expected)
        chex.assert_trees_all_equal((traced.carry, traced.xs), (plain.carry, plain.xs))


def test_old_sensitivities_belong_to_old_parameters():
    """As in real-time recurrent learning: each step's Jacobian is taken when it is first run."""
    problem = traced_cells.problem("gated_average", T)
    state, params = stream_of(problem), problem.params
    carry = problem.init
    jacobian = jax.tree.map(lambda leaf: jnp.zeros(carry.shape + leaf.shape), params)
    for t in range(5):
        x, errors = definition.at((problem.xs, problem.ys_ct), t)
        grads, state = jax.grad(functools.partial(chunk_loss, problem), has_aux=True)(
            params, state, x[None], errors[None]
        )
        loss = lambda params, carry, x=x, errors=errors: jnp.sum(
            errors * problem.f(params, carry, x)[1]
        )
        own, error = jax.grad(loss, argnums=(0, 1))(params, carry)
        through = lambda g, e, error=error: g + jnp.tensordot(error, e, 2)
        assert largest_error(grads, jax.tree.map(through, own, jacobian)) < 1e-12
        step = lambda params, carry, x=x: problem.f(params, carry, x)[0]
        by_params, by_carry = jax.jacobian(step, argnums=(0, 1))(params, carry)
        onward = lambda j, e, a=by_carry: j + jnp.tensordot(a, e, 2)
        jacobian = jax.tree.map(onward, by_params, jacobian)
        carry = problem.f(params, carry, x)[0]
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, grads)


SHAPES = {  # of each trace: by real leaf, by parameter in the order of their names
    "gated_average": [[(2, 3), (2, 3, 2), (2, 3, 2)]],  # b, v, w
    "min_gru": [[(2, 3, 2), (2, 3, 2, 2), None]],  # bias, kernel, readout: two gates
    "spiking": [[(2, 3), None, (2, 3, 2)], [None, None, (2, 3, 2)]],
    "lru": [[(2, 3, 2), (2, 3), (2, 3)]] * 2,  # kernel, nu, theta
    "leaky": [[(2, 3), (2, 3, 2)]],  # the shared decay costs an array of the carry's shape
    "with_embedding": [[(2, 3, 3, 4), (2, 3, 4)]],  # the whole matrix of the embedding
}


@pytest.mark.parametrize("name", SHAPES)
def test_trace_has_the_parameters_shape_for_each_sample(name):
    trace = stream_of(traced_cells.problem(name, T)).trace
    found = [[one and one.coefs.shape for one in of_leaf] for of_leaf in trace]
    assert found == SHAPES[name]


def test_memory_does_not_depend_on_what_is_past():
    """The state is of one type from the first chunk on, in low precision too."""
    low = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.bfloat16))
    problem = traced_cells.problem("gated_average", T)
    problem = problem._replace(params=low(problem.params), init=low(problem.init))
    problem = problem._replace(xs=low(problem.xs), ys_ct=low(problem.ys_ct))
    state = stream_of(problem, 3)
    for first in range(0, T, 4):
        _, new = chunk_loss(problem, problem.params, state, *cut(problem[3::2], first, first + 4))
        chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
        state = new


def test_one_compilation_serves_all_chunks_and_donated_states():
    problem = traced_cells.problem("lru", T)
    grad = jax.grad(functools.partial(chunk_loss, problem), argnums=1, has_aux=True, allow_int=True)
    step = jax.jit(chex.assert_max_traces(lambda *args: grad(*args)[1], n=1), donate_argnums=1)
    state = stream_of(problem, 3)
    for first in range(0, T, 4):
        here = cut((problem.xs, problem.ys_ct), first, first + 4)
        state = step(problem.params, state, *here)


def test_handed_on_leaves_and_constants_have_no_trace():
    """A parameter in the carry and what the cell closes over get the gradient of what is run."""
    xs, other = jnp.ones((6, 2)), jnp.array([0.5, 0.7])

    def loss(args, chunk):
        params, kept, constant = args
        f = lambda p, c, x: ((p * c[0] + x * c[1] * constant, c[1]), c[0])
        state, total = (
            init_stream((xs[0], kept), xs, horizon=1, tail="trace", cell=f, params=params),
            0.0,
        )
        for first in range(0, 6, chunk):
            state, ys = stream_scan(f, state, xs[first : first + chunk], params=params)
            total += jnp.sum(jnp.sin(ys))
        return total

    args = 0.9 * other, other, 1.1 * other
    by_two, whole = jax.grad(loss)(args, 2), jax.grad(loss)(args, 6)
    np.testing.assert_allclose(by_two[0], whole[0], rtol=1e-12)
    assert not np.allclose(by_two[2], whole[2], rtol=1e-3)


def test_nothing_is_differentiated_through_the_trace():
    """What it depends on is a constant: parameters, and what the cell closes over."""
    xs = jnp.ones((3, 2))

    def summed_trace(params, constant):
        f = lambda p, c, x: (p * c * constant + x, c)
        state = init_stream(xs[0], xs, horizon=1, tail="trace", cell=f, params=params)
        state, _ = stream_scan(f, state, xs, params=params)
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(state.trace))

    chex.assert_trees_all_equal(
        jax.grad(summed_trace, argnums=(0, 1))(xs[0], 2.0 * xs[0]), (0.0 * xs[0], 0.0 * xs[0])
    )
