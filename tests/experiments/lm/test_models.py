"""The language model is the article's: its equations, its initialisation, its dropout."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lm import models

pytestmark = pytest.mark.standard
V, M, N, B = 50, 6, 5, 3


def build(cell="vanilla", layers=1, precision="float32"):
    model = models.LanguageModel(V, M, N, cell, layers, precision)
    return model, models.init_params(model, jax.random.key(0))


@pytest.mark.parametrize("cell", models.CELLS)
def test_weights_are_uniform_in_root_three_over_fan_in_and_biases_zero(cell):
    model = models.LanguageModel(2_000, 40, 60, cell, layers=2)
    params = models.init_params(model, jax.random.key(1))
    kernels = {
        2_000: [params["embedding"]["embedding"]],
        60: [params["readout"]["kernel"]],
        40 + 60: [p["kernel"] for p in params["recurrence"].values()],
        60 + 60: [p["kernel"] for p in params["upper_0"].values()],
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


def test_one_layer_has_the_parameters_that_committed_runs_had():
    """Names decide the random numbers that they are made of; so do those of more layers."""
    _, one = build()
    assert set(one) == {"embedding", "recurrence", "readout"}
    np.testing.assert_array_equal(
        one["recurrence"]["h"]["kernel"][0, :3],
        np.float32([0.37359100580215454, -0.4668017029762268, -0.16413448750972748]),
    )
    _, three = build(layers=3)
    assert set(three) == {"embedding", "recurrence", "upper_0", "upper_1", "readout"}
    chex.assert_trees_all_equal({name: three[name] for name in one}, one)


@pytest.mark.parametrize("cell", models.CELLS)
def test_layers_are_cells_in_series_with_dropout_after_each(cell):
    model, params = build(cell, layers=2)
    inputs = models.dropout_inputs(model, jax.random.key(2), jnp.array([[3, 0, 49]]), 0.5)
    x = jax.tree.map(lambda leaf: leaf[0], inputs)
    assert not np.array_equal(*x.output_masks)
    carry = jax.tree.map(lambda leaf: leaf + 0.3, models.init_carry(model, B))
    new_carry, y = models.step(model, params, carry, x)
    expected = params["embedding"]["embedding"][x.token] * x.embedding_mask
    for i, name in enumerate(("recurrence", "upper_0")):
        of_layer = models.CELLS[cell](N)
        left, expected = of_layer.apply({"params": params[name]}, carry[i], expected)
        chex.assert_trees_all_close(new_carry[i], left, rtol=1e-5)
        expected = expected * x.output_masks[i]
    np.testing.assert_allclose(y, expected, rtol=1e-5)


@pytest.mark.parametrize("cell", models.CELLS)
def test_bfloat16_is_of_the_computation_alone(cell):
    model, params = build(cell, 2, "bfloat16")
    tokens, targets = jax.random.randint(jax.random.key(1), (2, 4, B), 0, V)
    inputs = jax.device_get(models.dropout_inputs(model, jax.random.key(2), tokens, 0.8))
    carry = models.init_carry(model, B)

    def loss_fn(params, model, carry):
        step = lambda carry, x: models.step(model, params, carry, x)
        carry, ys = jax.lax.scan(step, carry, inputs)
        return models.mean_loss(params, ys, targets), (carry, ys)

    grad = jax.jit(jax.value_and_grad(loss_fn, has_aux=True), static_argnums=1)
    (loss, (left, ys)), grads = grad(params, model, carry)
    chex.assert_trees_all_equal_shapes_and_dtypes(left, carry)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((ys, left))} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves((params, loss, grads))} == {"float32"}
    exact = build(cell, 2)[0]
    (expected, _), expected_grads = grad(params, exact, models.init_carry(exact, B))
    np.testing.assert_allclose(loss, expected, rtol=1e-2)
    for actual, whole in zip(*map(jax.tree.leaves, (grads, expected_grads)), strict=True):
        np.testing.assert_allclose(actual, whole, atol=0.05 * np.abs(whole).max())
