"""What a weight of 0 hides takes no part in the loss, nor in any of its derivatives."""

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

needs_optax = pytest.mark.needs("optax")


@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf])
def test_masked_tokens_have_no_loss_of_their_own(poison):
    """Without a reduction too; their cotangents reach nothing."""
    inputs, kernel, bias, labels, _ = problem((5,))
    weights = jnp.array([1.0, 0.0, 1.0, 0.5, 0.0])
    spoilt = jnp.where(weights[:, None] == 0, poison, inputs)

    def run(inputs):
        loss = lambda *operands: per_token(*operands, labels, weights)
        losses, pull = jax.vjp(loss, inputs, kernel, bias)
        return losses, pull(jnp.ones(5))

    actual, expected = run(spoilt), run(inputs)
    assert not np.any(actual[0][weights == 0])
    assert_close(actual, expected)


@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf, -jnp.inf, 1e308])
@pytest.mark.parametrize("block_size", [None, 2])
def test_tokens_of_weight_zero_contribute_exactly_nothing(poison, block_size):
    """Whatever a padding mask hides, logits that overflow too: as if they were not there."""
    inputs, kernel, bias, labels, weights = problem((7,))
    hidden = jnp.array([1, 4, 6])
    shown = jnp.array([0, 2, 3, 5])
    spoilt = inputs.at[hidden].set(poison)
    labels = labels.at[hidden].set(jnp.array([-100, V, 0]))
    weights = weights.at[hidden].set(0.0)
    grad = lambda *tokens: jax.jit(
        jax.value_and_grad(
            lambda x, k, b, w: weighted_sum(x, k, b, tokens[0], w, block_size=block_size),
            argnums=(0, 1, 2, 3),
        )
    )
    value, (dx, dk, db, dw) = grad(labels)(spoilt, kernel, bias, weights)
    less = grad(labels[shown])(inputs[shown], kernel, bias, weights[shown])
    np.testing.assert_array_equal(dx[hidden], 0.0)
    np.testing.assert_array_equal(dw[hidden], 0.0)
    assert_close((value, (dx[shown], dk, db, dw[shown])), less)


@needs_optax
def test_finite_tokens_of_weight_zero_still_have_a_loss():
    """The gradient for a weight is the token's loss, at weight 0 too."""
    *operands, labels, _ = problem((5,))
    grad = jax.grad(lambda w: weighted_sum(*operands, labels, w))
    assert_close(grad(jnp.zeros(5)), per_token_of_optax(*operands, labels))


def test_second_derivative_of_what_a_mask_hides_is_nothing():
    inputs, kernel, bias, labels, weights = problem((5,))
    hidden, shown = jnp.array([1, 4]), jnp.array([0, 2, 3])

    def second(inputs, labels, weights):
        loss = lambda k: weighted_sum(inputs, k, bias, labels, weights)
        return jax.grad(lambda k: jnp.sum(jnp.sin(jax.grad(loss)(k))))(kernel)

    spoilt = inputs.at[hidden].set(jnp.nan), labels, weights.at[hidden].set(0.0)
    assert_close(second(*spoilt), second(inputs[shown], labels[shown], weights[shown]))


@pytest.mark.parametrize("second", [jax.hessian, lambda fun: jax.jacrev(jax.grad(fun))])
def test_second_derivatives_do_not_see_an_infinite_loss_of_weight_zero(second):
    inputs, kernel, bias, _, weights = problem((3,))
    labels, shown = jnp.arange(3), jnp.array([0, 2])
    args = inputs, bias.at[1].set(-jnp.inf), labels, weights.at[1].set(0.0)

    def of(inputs, bias, labels, weights):
        return second(lambda k: weighted_sum(inputs, k, bias, labels, weights) ** 2)(kernel)

    without = [leaf if leaf is args[1] else leaf[shown] for leaf in args]
    assert_close(of(*args), of(*without))


@needs_optax
def test_second_derivatives_by_a_weight_of_zero():
    """A weight of 0 is a number like any other: how gradients change with it is not lost."""
    *operands, labels, weights = problem((5,))
    weights = weights.at[jnp.array([0, 3])].set(0.0)

    def mixed(loss):
        def gradient(weights):
            grads = jax.grad(loss, argnums=(0, 1, 2))(*operands, labels, weights)
            return jnp.concatenate([grad.ravel() for grad in grads])

        return jax.jacrev(gradient)(weights)

    assert_close(mixed(weighted_sum), mixed(sum_of_optax), 1e-11)


@needs_optax
def test_second_derivatives_of_a_function_of_the_loss_by_a_weight_of_zero():
    *operands, labels, weights = problem((5,))
    weights = weights.at[jnp.array([0, 3])].set(0.0)
    operands = [0.1 * leaf for leaf in operands]

    def hessian(loss):
        return jax.hessian(lambda *args: loss(*args[:3], labels, args[3]) ** 2, range(4))

    actual, expected = hessian(weighted_sum), hessian(sum_of_optax)
    assert_close(actual(*operands, weights), expected(*operands, weights), 1e-11)


@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf, 1e308])
def test_value_alone_does_not_see_what_a_mask_hides(poison):
    inputs, *rest, weights = problem((4,))
    spoilt = inputs.at[1].set(poison), *rest, weights.at[1].set(0.0)
    value, _ = jax.value_and_grad(weighted_sum)(*spoilt)
    np.testing.assert_allclose(weighted_sum(*spoilt), value, rtol=1e-13)
