"""`linear_softmax_cross_entropy` in low precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from readout import assert_close, problem, sum_of_optax, weighted_sum

from tbptt_jax import linear_softmax_cross_entropy


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 2e-6), (jnp.bfloat16, 2e-2)])
@pytest.mark.needs("optax")
def test_low_precision_keeps_its_dtype_and_comes_close(dtype, tolerance):
    *operands, labels, weights = problem((40,), 8, 30)
    operands = [leaf.astype(dtype) for leaf in operands]
    run = jax.value_and_grad(weighted_sum, argnums=(0, 1, 2))
    value, grads = run(*operands, labels, weights)
    assert value.dtype == jnp.float32
    assert [grad.dtype for grad in grads] == [dtype] * 3
    exact = [leaf.astype(jnp.float64) for leaf in operands]
    expected = jax.value_and_grad(sum_of_optax, argnums=(0, 1, 2))(*exact, labels, weights)
    as_float64 = lambda leaf: leaf.astype(jnp.float64)
    assert_close(jax.tree.map(as_float64, (value, grads)), expected, tolerance)


@pytest.mark.needs("optax")
def test_float16_keeps_what_loss_scaling_is_for():
    """Gradients are rounded after the cotangent has scaled them, and the value is grad's value."""
    num_tokens, vocab_size, scale = 400, 1000, 4096.0
    _, _, _, labels, _ = problem((num_tokens,), 4, vocab_size)
    inputs = jax.random.normal(jax.random.key(9), (num_tokens, 4)).astype(jnp.float16)
    kernel = jnp.zeros((4, vocab_size), jnp.float16)
    bias = jnp.zeros(vocab_size, jnp.float16).at[0].set(18.0)
    mean = lambda b: linear_softmax_cross_entropy(inputs, kernel, b, labels)
    value, grad = jax.value_and_grad(lambda b: scale * mean(b))(bias)
    np.testing.assert_array_equal(value, scale * mean(bias))
    exact = [leaf.astype(jnp.float64) for leaf in (inputs, kernel)]
    reference = lambda b: sum_of_optax(*exact, b, labels, jnp.full(num_tokens, scale / num_tokens))
    expected = jax.grad(reference)(bias.astype(jnp.float64))
    assert grad.dtype == jnp.float16
    np.testing.assert_allclose(grad.astype(jnp.float64), expected, rtol=2e-3, atol=1e-7)


def test_value_is_that_of_value_and_grad_in_bfloat16():
    inputs, kernel, _, labels, weights = problem((6,), vocab_size=2000)
    bias = jnp.zeros(2000, jnp.bfloat16).at[0].set(9.0)
    loss = lambda k: weighted_sum(inputs.astype(jnp.bfloat16), k, bias, labels, jnp.abs(weights))
    kernel = 0.01 * kernel.astype(jnp.bfloat16)
    np.testing.assert_allclose(jax.value_and_grad(loss)(kernel)[0], loss(kernel), rtol=1e-6)
