"""Streams of a batch: side by side under vmap, and on two devices."""

import functools

import cells
import definition
import jax
import jax.numpy as jnp
import pytest
from chunks import chunk_loss, cut
from gradients import largest_error
from jax.sharding import AxisType, PartitionSpec

from tbptt_jax import init_stream, stream_scan


@pytest.mark.parametrize("stale", [False, True])
def test_streams_side_by_side_under_vmap(stale):
    """Each with a state of its own, one further than the other."""
    problem = cells.problem("tanh_rnn", 12)

    def grads(num_before, init, xs):
        state = init_stream(init, xs, horizon=5, stale=stale)
        state = jax.lax.fori_loop(0, num_before, lambda i, w: advance(w, xs, i), state)
        part = jax.lax.dynamic_slice_in_dim(xs, 3 * num_before, 3)
        loss = lambda params, state: chunk_loss(
            problem, params, state, part, {"twice": jnp.tile(jnp.sin(part[:, :1]), 3)}, False
        )
        return jax.grad(loss, has_aux=True)(problem.params, state)[0]

    def advance(state, xs, i):
        f = functools.partial(problem.f, problem.params)
        return stream_scan(f, state, jax.lax.dynamic_slice_in_dim(xs, 3 * i, 3))[0]

    args = jnp.array([0, 2]), problem.init, problem.xs.swapaxes(0, 1)
    together = jax.jit(jax.vmap(grads))(*args)
    for i in range(2):
        alone = grads(*jax.tree.map(lambda leaf, i=i: leaf[i], args))
        assert largest_error(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone) < 1e-12


def test_streams_of_a_batch_on_two_devices():
    """Inside shard_map, each device has half of the batch."""
    problem = cells.problem("lstm", 12)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))

    def grads(init, xs, errors):
        state, total = init_stream(init, xs, horizon=5, stride=2), None
        for first in range(0, 12, 4):
            here = functools.partial(cut, first=first, end=first + 4)
            grad = jax.grad(functools.partial(chunk_loss, problem), has_aux=True)
            part, state = grad(problem.params, state, here(xs), here(errors), False)
            total = part if total is None else definition.add(total, part)
        return total

    over_batch = PartitionSpec("batch"), PartitionSpec(None, "batch"), PartitionSpec(None, "batch")
    summed = jax.shard_map(grads, mesh=mesh, in_specs=over_batch, out_specs=PartitionSpec())
    args = problem.init, problem.xs, problem.ys_ct
    assert largest_error(jax.jit(summed)(*args), grads(*args)) < 1e-12
