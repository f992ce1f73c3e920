"""The readout's loss on several devices: over Explicit mesh axes, and inside `jax.shard_map`."""

from __future__ import annotations

import jax
from jax.sharding import NamedSharding, PartitionSpec

from tbptt_jax._step.mesh_axes import vary, varying


def varying_alike(vocab_axis, tokens, *columns):
    """Inside `shard_map`, arrays that vary over the same mesh axes, as a loop needs.

    Tokens do not vary over `vocab_axis`.
    """
    everywhere = varying((tokens, columns))
    inputs, labels, weights = vary(everywhere if vocab_axis is None else varying(tokens), tokens)
    return inputs, *vary(everywhere, columns), labels, weights


def is_sharded(array):
    """Whether a dimension is sharded over an Explicit mesh axis."""
    return any(axis is not None for axis in jax.typeof(array).sharding.spec)


def on_each_device(losses, each, block_size, inputs, kernel, bias, labels, weights):
    """`losses(each, (vocab_axis, block_size), ...)` on each device's tokens and columns.

    Tokens are cut as the inputs are, else as the labels are; columns as the kernel's, else as the
    bias's, where no token is cut over the same axis.
    """
    arrays = inputs, kernel, bias, labels, weights
    cuts = [_cuts(array) for array in arrays]
    tokens = next(
        (cut for cut in (cuts[0][:-1], cuts[3], cuts[4]) if any(cut)), (None,) * labels.ndim
    )
    used = {axis for cut in tokens for axis in _names(cut)}
    columns = cuts[1][1] or cuts[2][0]
    if not used.isdisjoint(_names(columns)):
        columns = None
    specs = (*tokens, None), (None, columns), (columns,), tokens, tokens
    specs = [PartitionSpec(*spec) for spec in specs]

    def local(*arrays):
        found = losses(each, (columns, block_size), *arrays)
        return found if each or not used else jax.lax.psum(found, tuple(used))

    mesh = next(jax.typeof(array).sharding.mesh for array in arrays if is_sharded(array))
    out_spec = PartitionSpec(*tokens) if each else PartitionSpec()
    run = jax.shard_map(local, mesh=mesh, in_specs=tuple(specs), out_specs=out_spec)
    shardings = [NamedSharding(mesh, spec) for spec in specs]
    placed = jax.jit(lambda *arrays: run(*map(jax.sharding.reshard, arrays, shardings)))
    return placed(*arrays)


def _cuts(array):
    """The mesh axes of each dimension, None where it is not sharded."""
    spec = jax.typeof(array).sharding.spec
    return *spec, *(None,) * (array.ndim - len(spec))


def _names(cut):
    return () if cut is None else (cut,) if isinstance(cut, str) else cut
