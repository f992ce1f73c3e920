"""A readout and its loss as optax has them: what the loss that holds no logits is compared with."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from tbptt_jax import linear_softmax_cross_entropy

N, V = 3, 7


def per_token_of_optax(inputs, kernel, bias, labels):
    import optax

    logits = inputs @ kernel + jnp.broadcast_to(bias, (*labels.shape, *bias.shape))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def sum_of_optax(inputs, kernel, bias, labels, weights):
    return jnp.sum(weights * per_token_of_optax(inputs, kernel, bias, labels))


def weighted_sum(inputs, kernel, bias, labels, weights=None, **options):
    options |= {"token_weights": weights, "reduction": "sum"}
    return linear_softmax_cross_entropy(inputs, kernel, bias, labels, **options)


def per_token(inputs, kernel, bias, labels, weights=None, **options):
    options |= {"token_weights": weights, "reduction": "none"}
    return linear_softmax_cross_entropy(inputs, kernel, bias, labels, **options)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def problem(shape, num_inputs=N, vocab_size=V, seed=0):
    """(inputs, kernel, bias, labels, weights); the weights are of both signs."""
    keys = jax.random.split(jax.random.key(seed), 5)
    return (
        3.0 * jax.random.normal(keys[0], (*shape, num_inputs)),
        jax.random.normal(keys[1], (num_inputs, vocab_size)),
        jax.random.normal(keys[2], (vocab_size,)),
        jax.random.randint(keys[3], shape, 0, vocab_size),
        jax.random.normal(keys[4], shape),
    )


def assert_close(actual, expected, tolerance=1e-12):
    """The maximum error relative to each array's max-norm is within `tolerance`."""
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = np.abs(e).max(initial=0.0) or 1.0
        np.testing.assert_allclose(np.asarray(a) / scale, np.asarray(e) / scale, atol=tolerance)
