"""The readout's loss on several devices: tokens and columns of the kernel are shared out."""

import functools
import re

import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from readout import assert_close, per_token, problem, weighted_sum

from tbptt_jax import linear_softmax_cross_entropy

T, N, V = 12, 3, 8
WHOLE, ROWS, COLUMNS = PartitionSpec(), PartitionSpec("data"), PartitionSpec(None, "model")
IN_SPECS = (ROWS, COLUMNS, PartitionSpec("model"), ROWS, ROWS)
AXES = pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])


def mesh_of(axis_type):
    return jax.make_mesh((2, 4), ("data", "model"), axis_types=(axis_type,) * 2)


def placed(mesh, arrays, specs):
    place = lambda array, spec: jax.device_put(array, jax.NamedSharding(mesh, spec))
    return tuple(map(place, arrays, specs))


@functools.partial(jax.jit, static_argnums=0)
def reference(loss, *args):
    value_and_grad = jax.value_and_grad(lambda *args: jnp.sum(loss(*args)), argnums=(0, 1, 2))
    return value_and_grad(*args)


@AXES
@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("loss", [weighted_sum, per_token])
def test_columns_on_several_devices_give_the_loss_of_all(axis_type, block_size, loss):
    mesh, args = mesh_of(axis_type), problem((T,), N, V)

    def local(*args):
        losses = loss(*args, vocab_axis="model", block_size=block_size)
        return jax.lax.psum(jnp.sum(losses), "data")

    whole = jax.shard_map(local, mesh=mesh, in_specs=IN_SPECS, out_specs=WHOLE)
    actual = jax.jit(jax.value_and_grad(whole, argnums=(0, 1, 2)))(*placed(mesh, args, IN_SPECS))
    assert_close(jax.device_get(actual), jax.device_get(reference(loss, *args)))


def test_columns_on_several_devices_keep_masks_and_wrong_labels():
    mesh, (inputs, kernel, bias, labels, _) = mesh_of(AxisType.Auto), problem((T,), N, V)
    masks = jnp.ones(T).at[1].set(0.0).at[3].set(0.0)
    args = inputs.at[1].set(jnp.inf), kernel, bias, labels.at[2].set(V), masks
    local = lambda *args: per_token(*args, vocab_axis="model", block_size=4)
    run = jax.shard_map(local, mesh=mesh, in_specs=IN_SPECS, out_specs=ROWS)
    for labels_of in (labels, args[3]):
        args = (*args[:3], labels_of, masks)
        actual = reference(run, *placed(mesh, args, IN_SPECS))
        assert_close(jax.device_get(actual), jax.device_get(reference(per_token, *args)))
        np.testing.assert_array_equal(np.isnan(jax.jit(run)(*args)), labels_of == V)


def test_an_axis_of_no_shard_map_is_refused_in_one_line():
    with pytest.raises(
        ValueError, match=r"vocab_axis must be an axis of .*, got 'model'"
    ) as raised:
        per_token(*problem((T,), N, V), vocab_axis="model")
    assert "\n" not in str(raised.value)


EXPLICIT = {
    "tokens": ((("data", None, None), (), (), ("data",), ("data",)), ("data", None)),
    "tokens, by the inputs": (((None, "data"), (), (), (), ()), (None, "data")),
    "tokens, by the labels": (((), (), (), (None, "data"), ()), (None, "data")),
    "columns": (((), (None, "model"), ("model",), (), ()), ()),
    "columns, by the bias": (((), (), ("model",), (), ()), ()),
    "both": (((None, "data"), (None, "model"), ("model",), (None, "data"), ()), (None, "data")),
    "one axis for both": (
        ((("data", "model"),), (None, "model"), (), (), ()),
        (("data", "model"),),
    ),
    "features": (((None, None, "data"), ("data", None), (), (), ()), ()),
}


@grids.over("reduction", ["none"], ["mean", "sum"])
@pytest.mark.parametrize("specs, out_spec", EXPLICIT.values(), ids=EXPLICIT)
def test_arrays_sharded_over_explicit_axes_give_the_loss_of_whole_ones(specs, out_spec, reduction):
    mesh, args = mesh_of(AxisType.Explicit), problem((8, 2), 4, V)
    args = (*args[:4], args[4] ** 2)
    loss = lambda inputs, kernel, bias, labels, weights: linear_softmax_cross_entropy(
        inputs, kernel, bias, labels, token_weights=weights, reduction=reduction, block_size=3
    )
    sharded = placed(mesh, args, [PartitionSpec(*spec) for spec in specs])
    losses = jax.jit(loss)(*sharded)
    spec = PartitionSpec(*out_spec) if reduction == "none" else WHOLE
    assert losses.sharding.is_equivalent_to(jax.NamedSharding(mesh, spec), losses.ndim)
    assert_close(jax.device_get(losses), jax.device_get(loss(*args)))
    actual, expected = reference(loss, *sharded), reference(loss, *args)
    assert_close(jax.device_get(actual), jax.device_get(expected))


def test_explicit_axes_need_no_jit():
    mesh, args = mesh_of(AxisType.Explicit), problem((T,), N, V)
    actual = linear_softmax_cross_entropy(*placed(mesh, args[:4], IN_SPECS[:4]))
    assert_close(jax.device_get(actual), jax.device_get(linear_softmax_cross_entropy(*args[:4])))


def test_no_logit_leaves_its_device():
    """Nothing is gathered, and what is summed over devices is as wide as a token's inputs."""
    mesh, args = mesh_of(AxisType.Explicit), problem((64,), N, 32)
    grad = jax.jit(jax.grad(lambda *args: jnp.sum(weighted_sum(*args)), argnums=(0, 1, 2)))
    program = grad.lower(*placed(mesh, args, IN_SPECS)).compile().as_text()
    assert not re.search(r" (all-gather|all-to-all|collective-permute)[-.(]", program)
    shapes = re.findall(r"= \(?(\w+\[[\d,]*\][^=]*?) all-reduce\(", program)
    sizes = [
        int(np.prod([int(n) for n in dims.split(",") if n]))
        for shape in shapes
        for dims in re.findall(r"\w+\[([\d,]*)\]", shape)
    ]
    assert sizes and max(sizes) == 32 * (N + 1)  # tokens of a device, or the table of one
