"""Parameters that change between the chunks of a stream, beside the same by hand."""

import functools

import cells
import definition
import jax
import pytest
from chunks import chunk_loss, cut
from gradients import largest_error

from tbptt_jax import init_stream


def gradient_by_hand(problem, params, carries, first, end, horizon, stride):
    """The definition for the losses first..end-1, linearised at `carries` where those are given.

    carries[s] enters step s, for the steps of the state; those of the chunk but its first are
    computed. Returns the gradient for params and all carries, up to the one that leaves the chunk.
    """
    carries = dict(carries)
    for s in range(first, end):
        carries[s + 1] = problem.f(params, carries[s], definition.at(problem.xs, s))[0]

    def block_loss(params, start, last):
        carry, total = carries[max(last - horizon + 1, 0)], 0.0
        for s in range(max(last - horizon + 1, 0), last + 1):
            # The value is the carry that is known, the derivative that of the carry computed.
            carry = jax.tree.map(
                lambda known, c: c + jax.lax.stop_gradient(known - c), carries[s], carry
            )
            carry, y = problem.f(params, carry, definition.at(problem.xs, s))
            if s >= start:
                total += definition.inner(definition.at(problem.ys_ct, s), y)
        return total

    grads = [
        jax.grad(block_loss)(params, start, min(start + stride, end) - 1)
        for start in range(first, end, stride)
    ]
    return functools.reduce(definition.add, grads), carries


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("horizon, stride, chunk", [(5, 1, 2), (5, 2, 2), (4, 4, 4), (3, 1, 4)])
def test_parameters_that_change_between_chunks(horizon, stride, chunk, stale):
    """The state is run again from its first carry, or keeps the states it had when it was new."""
    problem = cells.problem("lstm", 12)
    state = init_stream(problem.init, problem.xs, horizon=horizon, stride=stride, stale=stale)
    grad = jax.jit(jax.grad(functools.partial(chunk_loss, problem), has_aux=True), static_argnums=4)
    params, carries = problem.params, {0: problem.init}
    for first in range(0, 12, chunk):
        begin = max(first - state.history, 0)
        if not stale:
            for s in range(begin, first):
                x = definition.at(problem.xs, s)
                carries[s + 1] = problem.f(params, carries[s], x)[0]
        expected, carries = gradient_by_hand(
            problem, params, carries, first, first + chunk, horizon, stride
        )
        here = functools.partial(cut, first=first, end=first + chunk)
        grads, state = grad(params, state, here(problem.xs), here(problem.ys_ct), False)
        assert largest_error(grads, expected) < 1e-12
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
