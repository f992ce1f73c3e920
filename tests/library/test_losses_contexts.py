"""`linear_softmax_cross_entropy` under transformations, on every platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from readout import V, assert_close, problem, sum_of_optax, weighted_sum

from tbptt_jax import linear_softmax_cross_entropy

needs_optax = pytest.mark.needs("optax")


@needs_optax
def test_under_vmap_over_tokens_and_kernels():
    one, other = problem((6,)), problem((6,), seed=1)
    stacked = [jnp.stack(pair) for pair in zip(one, other, strict=True)]
    grad = lambda *args: jax.grad(
        lambda *operands: weighted_sum(*operands, *args[3:], block_size=4),
        (0, 1, 2),
    )(*args[:3])
    reference = lambda *args: jax.grad(sum_of_optax, argnums=(0, 1, 2))(*args)
    expected = jax.tree.map(lambda *pair: jnp.stack(pair), reference(*one), reference(*other))
    assert_close(jax.vmap(grad)(*stacked), expected)


@pytest.mark.devices(2)
@needs_optax
@pytest.mark.parametrize("where", ["grad inside", "grad outside"])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_inside_shard_map_with_the_tokens_on_two_devices(where, axis_type):
    args = problem((8,))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(axis_type,))
    tokens, whole = PartitionSpec("data"), PartitionSpec()
    in_specs = (tokens, whole, whole, tokens, tokens)
    loss = lambda *args: weighted_sum(*args, block_size=3)
    if where == "grad inside":
        out_specs = (tokens, whole, whole)
        grad = jax.grad(loss, argnums=(0, 1, 2))
        run = jax.shard_map(grad, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    else:
        total = lambda *args: jax.lax.psum(loss(*args), "data")
        summed = jax.shard_map(total, mesh=mesh, in_specs=in_specs, out_specs=whole)
        run = jax.grad(summed, argnums=(0, 1, 2))
    place = lambda leaf, spec: jax.device_put(leaf, jax.NamedSharding(mesh, spec))
    actual = jax.jit(run)(*map(place, args, in_specs))
    expected = jax.grad(sum_of_optax, argnums=(0, 1, 2))(*args)
    assert_close(jax.device_get(actual), jax.device_get(expected))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_lowers_for_every_platform(platform, monkeypatch):
    monkeypatch.setattr("tbptt_jax._losses.blocks.CPU_BLOCK_LOGITS", 4 * V)
    args = problem((10,))
    grad = jax.jit(jax.grad(weighted_sum, argnums=(0, 1, 2)))
    exported = jax.export.export(grad, platforms=[platform])(*args)
    assert exported.platforms == (platform,)


@needs_optax
def test_second_derivative_is_that_of_optax():
    *operands, labels, weights = problem((4,))
    rest = operands[2], labels, weights
    hessian = lambda loss: jax.jacrev(jax.grad(lambda k: loss(operands[0], k, *rest)))(operands[1])
    assert_close(hessian(weighted_sum), hessian(sum_of_optax), 1e-11)


def test_logits_of_all_tokens_never_exist_at_once():
    """Peak memory of the gradient stays far below that of whole logits."""
    shapes = ((4000, 8), (8, 1000), (1000,), (4000,))
    dtypes = (jnp.float32, jnp.float32, jnp.float32, jnp.int32)
    args = [jax.ShapeDtypeStruct(*pair) for pair in zip(shapes, dtypes, strict=True)]
    grad = jax.grad(lambda *args: weighted_sum(*args, block_size=100), (0, 1, 2))
    compiled = jax.jit(grad).lower(*args).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.15 * 4000 * 1000 * 4


def test_exports_for_any_number_of_tokens():
    kernel = jnp.sin(jnp.arange(12.0)).reshape((3, 4))
    grad = jax.grad(lambda x, y: linear_softmax_cross_entropy(x, kernel, None, y))
    (tokens,) = jax.export.symbolic_shape("tokens")
    shapes = jax.ShapeDtypeStruct((tokens, 3), kernel.dtype), jax.ShapeDtypeStruct((tokens,), int)
    exported = jax.export.export(jax.jit(grad))(*shapes)
    for size in (1, 7):
        args = jnp.cos(jnp.arange(3.0 * size)).reshape((size, 3)), jnp.arange(size) % 4
        np.testing.assert_allclose(exported.call(*args), grad(*args), rtol=1e-12)
