"""A sequence as a stream of chunks: its state, the loss of a chunk, the sum of their gradients."""

import functools

import cells
import definition
import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax import init_stream, stream_scan

T = 11


def stream_problem(name):
    """A problem whose last carry has no error: no chunk but the last knows it."""
    problem = cells.problem(name, T)
    return problem._replace(carry_ct=jax.tree.map(jnp.zeros_like, problem.carry_ct))


def cut(tree, first, end):
    return jax.tree.map(lambda leaf: leaf[first:end], tree)


def stream_of(problem, horizon, stride, chunk, stale=False, init=None):
    rest = T % chunk
    return init_stream(
        problem.init if init is None else init,
        problem.xs,
        horizon=horizon,
        stride=stride,
        shortest_chunk=min(stride, rest) if rest else None,
        stale=stale,
    )


def chunk_loss(problem, params, state, xs, errors, last):
    f = functools.partial(problem.f, params)
    state, ys = stream_scan(f, state, xs, last=last)
    return definition.inner(errors, ys), state


def summed_chunk_gradients(problem, horizon, stride, chunk, stale):
    """Gradients for (params, init, xs): the sum of those of the chunks, each put in its place."""
    state = stream_of(problem, horizon, stride, chunk, stale)
    history = state.history
    grad = jax.grad(
        functools.partial(chunk_loss, problem), argnums=(0, 1, 2), has_aux=True, allow_int=True
    )
    grad = jax.jit(grad, static_argnums=4)
    padded = lambda leaf: jnp.zeros((history + T, *leaf.shape[1:]), leaf.dtype)
    total = None
    for first in range(0, T, chunk):
        end = min(first + chunk, T)
        (params, windows, xs), state = grad(
            problem.params,
            state,
            cut(problem.xs, first, end),
            cut(problem.ys_ct, first, end),
            end == T,
        )

        def place(before, now, like, at=slice(first, history + end)):
            if now.dtype == jax.dtypes.float0:
                return np.zeros((history + T, *now.shape[1:]), now.dtype)
            return padded(like).at[at].set(jnp.concatenate([before, now]))

        xs = jax.tree.map(place, windows.xs, xs, problem.xs)
        row = history - min(first, history)
        init = jax.tree.map(lambda leaf, row=row: leaf[row] if stale else leaf, windows.carry)
        part = params, init, xs
        total = part if total is None else definition.add(total, part)
    params, init, xs = total
    for leaf in jax.tree.leaves(cut(xs, 0, history)):
        assert leaf.dtype == jax.dtypes.float0 or not np.any(leaf), "before the stream's start"
    return params, init, cut(xs, history, history + T)
