"""`linear_softmax_cross_entropy` beside optax on the logits."""

import functools

import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from readout import (
    V,
    assert_close,
    per_token,
    per_token_of_optax,
    problem,
    sum_of_optax,
    weighted_sum,
)

from tbptt_jax import linear_softmax_cross_entropy
from tbptt_jax._losses import blocks

needs_optax = pytest.mark.needs("optax")
CASES = pytest.mark.parametrize(
    "shape, num_inputs, vocab_size",
    [((), 3, 7), ((0,), 2, 4), ((3, 0), 3, 2), ((7,), 1, 2), ((2, 4), 3, 7), ((9, 3), 5, 9)],
)
BLOCK_SIZES = grids.over("block_size", [None, 4], [1, 12])


@functools.partial(jax.jit, static_argnames=("loss", "block_size"))
def value_and_gradients(loss, inputs, kernel, bias, labels, weights, **options):
    fun = lambda *args: loss(*args[:3], labels, args[3], **options)
    return jax.value_and_grad(fun, argnums=(0, 1, 2, 3))(inputs, kernel, bias, weights)


@functools.partial(jax.jit, static_argnames=("per_token", "block_size"))
def losses_and_pullback(per_token, *operands, labels, errors, **options):
    losses, pull = jax.vjp(lambda *args: per_token(*args, labels, **options), *operands)
    return losses, pull(errors)


@needs_optax
@CASES
@BLOCK_SIZES
def test_sum_and_gradients_are_those_of_optax_on_the_logits(
    shape, num_inputs, vocab_size, block_size
):
    args = problem(shape, num_inputs, vocab_size)
    actual = value_and_gradients(weighted_sum, *args, block_size=block_size)
    assert_close(actual, value_and_gradients(sum_of_optax, *args))


@needs_optax
@CASES
@BLOCK_SIZES
def test_losses_of_tokens_take_any_cotangent(shape, num_inputs, vocab_size, block_size):
    *operands, labels, errors = problem(shape, num_inputs, vocab_size)
    run = functools.partial(losses_and_pullback, labels=labels, errors=errors)
    actual = run(per_token, *operands, block_size=block_size)
    assert_close(actual, run(per_token_of_optax, *operands))


@BLOCK_SIZES
def test_the_only_word_has_no_loss(block_size):
    found = value_and_gradients(weighted_sum, *problem((7,), 1, 1), block_size=block_size)
    for leaf in jax.tree.leaves(found):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-14)


@needs_optax
def test_blocks_are_chosen_where_the_vocabulary_is_large(monkeypatch):
    """More tokens than a CPU's block holds: the choice by platform gives the same numbers."""
    monkeypatch.setattr("tbptt_jax._losses.blocks.CPU_BLOCK_LOGITS", 4 * V)
    *operands, labels, weights = problem((3, 5))
    grad = jax.grad(lambda *args: weighted_sum(*args, labels, weights), (0, 1, 2))
    expected = jax.grad(lambda *args: sum_of_optax(*args, labels, weights), (0, 1, 2))
    assert_close(jax.jit(grad)(*operands), expected(*operands))
    text = str(jax.make_jaxpr(grad)(*operands))
    assert "length=4" in text and "length=1" in text


@needs_optax
def test_without_weights_and_bias():
    inputs, kernel, bias, labels, weights = problem((6,))
    nothing = jnp.zeros_like(bias)
    actual = jax.value_and_grad(lambda *args: weighted_sum(*args, None, labels))
    expected = jax.value_and_grad(
        lambda *args: sum_of_optax(*args, nothing, labels, jnp.ones_like(weights))
    )
    assert_close(actual(inputs, kernel), expected(inputs, kernel))


@needs_optax
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_reductions_and_all_their_gradients(reduction, weighted):
    *operands, labels, weights = problem((4, 5))
    weights = jnp.abs(weights) if weighted else jnp.ones_like(weights)

    def ours(*operands):
        *operands, weights = operands
        options = {"token_weights": weights if weighted else None, "reduction": reduction}
        return linear_softmax_cross_entropy(*operands, labels, **options)

    def of_optax(*operands):
        *operands, weights = operands
        losses = weights * per_token_of_optax(*operands, labels)
        if reduction == "none":
            return losses
        return jnp.sum(losses) / (jnp.sum(weights) if reduction == "mean" else 1.0)

    def run(loss):
        value, pull = jax.vjp(loss, *operands, weights)
        return value, pull(jnp.sin(1.0 + jnp.arange(value.size, dtype=float)).reshape(value.shape))

    actual, expected = run(ours), run(of_optax)
    if not weighted:
        actual, expected = ((value, grads[:3]) for value, grads in (actual, expected))
    assert_close(actual, expected)


def test_mean_is_the_default_and_zero_where_all_is_masked():
    *operands, labels, _ = problem((4,))
    mean = linear_softmax_cross_entropy(*operands, labels)
    np.testing.assert_allclose(mean, weighted_sum(*operands, labels) / 4, rtol=1e-14)
    masked = lambda *operands: linear_softmax_cross_entropy(
        *operands, labels - 100, token_weights=labels < 0
    )
    value, grads = jax.value_and_grad(masked, argnums=(0, 1, 2))(*operands)
    assert value == 0 and all(not np.any(grad) for grad in grads)


@needs_optax
def test_label_smoothing_and_z_loss_are_a_line_each():
    import optax

    inputs, kernel, bias, labels, _ = problem((6,))

    def ours(inputs, kernel, bias):
        losses = linear_softmax_cross_entropy(inputs, kernel, bias, labels, reduction="none")
        at_label = jnp.sum(inputs * kernel.T[labels], axis=1) + bias[labels]
        mean = inputs @ jnp.mean(kernel, axis=1) + jnp.mean(bias)
        smooth = jnp.mean(losses + 0.1 * (at_label - mean))
        return smooth + 0.01 * jnp.mean((losses + at_label) ** 2)

    def of_optax(inputs, kernel, bias):
        logits = inputs @ kernel + jnp.broadcast_to(bias, (6, V))
        targets = optax.smooth_labels(jax.nn.one_hot(labels, V), 0.1)
        smooth = jnp.mean(optax.softmax_cross_entropy(logits, targets))
        return smooth + 0.01 * jnp.mean(jax.nn.logsumexp(logits, axis=1) ** 2)

    run = lambda loss: jax.value_and_grad(loss, argnums=(0, 1, 2))(inputs, kernel, bias)
    assert_close(run(ours), run(of_optax))


@pytest.mark.parametrize("label", [-1, V])
def test_traced_label_out_of_range_gives_nan(label):
    *operands, labels, weights = problem((5,))
    labels = labels.at[2].set(label)

    @jax.jit
    def run(labels):
        grad = jax.value_and_grad(weighted_sum, argnums=(0, 1, 2))
        return grad(*operands, labels, weights), per_token(*operands, labels)

    (value, (inputs_grad, kernel_grad, _)), losses = run(labels)
    assert np.isnan(value) and np.isnan(inputs_grad[2]).all() and np.isnan(kernel_grad).any()
    np.testing.assert_array_equal(np.isnan(losses), np.arange(5) == 2)


@needs_optax
def test_derivative_by_cotangents_of_zero():
    """The transposed pullback, as forward mode and Gauss-Newton products take it."""
    *operands, labels, _ = problem((5,))

    def pushed(per_token):
        pull = jax.vjp(lambda k: per_token(operands[0], k, operands[2], labels), operands[1])[1]
        return jax.vjp(pull, jnp.zeros(5))[1]((jnp.sin(operands[1]),))

    assert_close(pushed(per_token), pushed(per_token_of_optax), 1e-11)


@pytest.mark.parametrize(
    "num_tokens, most, size",
    [(5, 8, 5), (8, 8, 8), (0, 8, 1), (9, 8, 8), (1280, 209, 160), (8000, 209, 160), (100, 40, 32)],
)
def test_blocks_are_full_and_of_even_rows(num_tokens, most, size):
    assert blocks._even_block(num_tokens, most) == size


def test_no_features():
    labels = jnp.array([0, 2])
    loss = weighted_sum(jnp.zeros((2, 0)), jnp.zeros((0, 3)), None, labels)
    np.testing.assert_allclose(loss, 2.0 * np.log(3.0), rtol=1e-12)


@needs_optax
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int64, jnp.uint32])
def test_labels_of_any_integer_type(dtype):
    """Also of one that cannot hold the vocabulary's size."""
    *operands, labels, weights = problem((6,), vocab_size=300)
    labels = labels % 100
    run = lambda loss, labels: jax.grad(loss, argnums=(0, 1, 2))(*operands, labels, weights)
    actual = run(weighted_sum, labels.astype(dtype))
    assert_close(actual, run(sum_of_optax, labels))


@needs_optax
def test_large_logits_do_not_overflow():
    *operands, labels, weights = problem((5,))
    operands[0] = 1e4 * operands[0]
    run = lambda loss: jax.value_and_grad(loss, argnums=(0, 1, 2))(*operands, labels, weights)
    assert_close(run(weighted_sum), run(sum_of_optax))
