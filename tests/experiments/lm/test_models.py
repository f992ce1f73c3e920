"""The language model is the article's: its equations, its initialisation, its dropout."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lm import models

pytestmark = pytest.mark.standard
V, M, N, B = 50, 6, 5, 3


def build(cell="vanilla"):
    model = models.LanguageModel(V, M, N, cell)
    return model, models.init_params(model, jax.random.key(0))


@pytest.mark.parametrize("cell", models.CELLS)
def test_weights_are_uniform_in_root_three_over_fan_in_and_biases_zero(cell):
    model = models.LanguageModel(2_000, 40, 60, cell)
    params = models.init_params(model, jax.random.key(1))
    kernels = {
        2_000: [params["embedding"]["embedding"]],
        60: [params["readout"]["kernel"]],
        40 + 60: [p["kernel"] for p in params["recurrence"].values()],
    }
    for fan_in, leaves in kernels.items():
        bound = (3.0 / fan_in) ** 0.5
        values = np.concatenate([np.ravel(leaf) for leaf in leaves])
        assert 0.99 * bound < np.abs(values).max() <= bound
        np.testing.assert_allclose(values.std(), fan_in**-0.5, rtol=0.03)
    chex.assert_trees_all_equal(params["readout"]["bias"], jnp.zeros(2_000))
    biases = [p["bias"] for p in params["recurrence"].values() if "bias" in p]
    assert biases and not any(np.any(bias) for bias in biases)


def test_vanilla_step_and_loss_are_their_equations():
    model, params = build()
    carry = jax.random.normal(jax.random.key(1), (B, N))
    token, target = jnp.array([3, 0, 49]), jnp.array([1, 2, 3])
    inputs = models.dropout_inputs(model, jax.random.key(2), token[None], 0.5)
    x = jax.tree.map(lambda leaf: leaf[0], inputs)
    (new_carry,), y = models.step(model, params, (carry,), x)
    cell = params["recurrence"]
    embedded = params["embedding"]["embedding"][token] * x.embedding_mask
    expected = jnp.tanh(
        embedded @ cell["i"]["kernel"] + cell["i"]["bias"] + carry @ cell["h"]["kernel"]
    )
    np.testing.assert_allclose(new_carry, expected, rtol=1e-5)
    np.testing.assert_allclose(y, expected * x.output_masks[0], rtol=1e-5)
    logits = y @ params["readout"]["kernel"] + params["readout"]["bias"]
    by_hand = -np.mean([jax.nn.log_softmax(logits[b])[target[b]] for b in range(B)])
    np.testing.assert_allclose(models.mean_loss(params, y, target), by_hand, rtol=1e-5)


def test_dropout_keeps_the_mean_and_is_fresh_at_every_step_and_stream():
    model = models.LanguageModel(V, 200, 100)
    inputs = models.dropout_inputs(model, jax.random.key(0), jnp.zeros((4, B), jnp.int32), 0.8)
    for mask, size in ((inputs.embedding_mask, 200), (inputs.output_masks[0], 100)):
        assert mask.shape == (4, B, size)
        assert set(np.unique(mask).tolist()) == {0.0, 1.25}
        np.testing.assert_allclose(mask.mean(), 1.0, atol=0.05)
        rows = np.unique(mask.reshape(-1, size), axis=0)
        assert len(rows) == 4 * B
    assert models.dropout_inputs(model, jax.random.key(0), jnp.zeros((4, B)), 1.0)[1:] == (
        None,
        None,
    )


@pytest.mark.parametrize("cell", models.CELLS)
def test_dropped_carry_is_the_dropped_output(cell):
    """As the article hands its state on; an LSTM's memory cell is left alone."""
    model, params = build(cell)
    inputs = models.dropout_inputs(model, jax.random.key(2), jnp.array([[3, 0, 49]]), 0.5)
    x = jax.tree.map(lambda leaf: leaf[0], inputs)
    carry, y = models.step(model, params, models.init_carry(model, B), x)
    dropped = models.drop_carry(carry, x.output_masks)
    chex.assert_trees_all_equal_shapes_and_dtypes(dropped, carry)
    ((carry,), (dropped,)) = carry, dropped
    if cell == "lstm":
        np.testing.assert_array_equal(dropped[0], carry[0])
        dropped = dropped[1]
    np.testing.assert_array_equal(dropped, y)
    assert 0 < np.count_nonzero(y == 0.0) < y.size
