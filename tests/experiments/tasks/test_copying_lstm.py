"""The copy task of Aicher, Foti and Fox: its stream, and how far its errors reach."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.lm import models
from experiments.tasks import copying_lstm

pytestmark = pytest.mark.standard

TASK = copying_lstm.Task(memory=3, batch_size=4, state_size=5, epoch=8, test_steps=20)
KEY = jax.random.key(0)


def test_blocks_are_said_again_and_chunks_are_of_one_stream():
    inputs, targets = copying_lstm.steps_of(TASK, KEY, jnp.int32(0), 600)
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    for xs, ys in zip(inputs.T, targets.T, strict=True):
        (marks,) = np.nonzero(xs == copying_lstm.MARK)
        np.testing.assert_array_equal(np.diff(marks), 2 * TASK.memory)
        for at in marks[:-2]:
            block = xs[at : at + TASK.memory]
            assert np.all(block[1:] > copying_lstm.MARK)
            np.testing.assert_array_equal(ys[at + TASK.memory : at + 2 * TASK.memory], block)
            np.testing.assert_array_equal(ys[at : at + TASK.memory], copying_lstm.BLANK)
            np.testing.assert_array_equal(xs[at + TASK.memory : at + 2 * TASK.memory], 0)
    counts = np.bincount(inputs.ravel())[copying_lstm.MARK + 1 :]
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.07)
    assert len({tuple(xs) for xs in inputs.T}) == TASK.batch_size
    chunk = copying_lstm.steps_of(TASK, KEY, jnp.int32(7), 5)
    np.testing.assert_array_equal(chunk[0], inputs[7:12])
    np.testing.assert_array_equal(chunk[1], targets[7:12])


def test_an_epoch_makes_windows_of_2k_minus_1_steps_of_which_the_last_k_have_a_loss():
    """As the published code does: windows overlap, carries are those that were left behind."""
    k, model = 4, copying_lstm.make_model(TASK)
    params = models.init_params(model, KEY)
    carries = [models.init_carry(model, TASK.batch_size)]
    inputs, targets = copying_lstm.steps_of(TASK, KEY, jnp.int32(0), TASK.epoch)
    found = jax.jit(copying_lstm.make_epoch(TASK, k))(params, KEY)

    def window_loss(params, carry, window):
        step = functools.partial(models.step, model, params)
        seen = models.Inputs(inputs[window])
        _, ys = jax.lax.scan(step, carry, seen)
        logits = models.logits(model, params, ys[-k:])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets[window][-k:])
        return jnp.mean(losses)

    expected = params
    for start, stop in ((0, 4), (1, 8)):
        grads = jax.grad(window_loss)(expected, carries[start], slice(start, stop))
        for t in range(start, 1):
            carries.append(models.step(model, expected, carries[t], models.Inputs(inputs[t]))[0])
        norm = optax.tree.norm(grads)
        shrink = jnp.minimum(1.0, TASK.clip_norm / k / norm)
        expected = jax.tree.map(
            lambda p, g, shrink=shrink: p - k**0.5 * (shrink * g + TASK.weight_decay * p),
            expected,
            grads,
        )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_perplexity_of_equal_logits_is_the_number_of_symbols():
    model = copying_lstm.make_model(TASK)
    zeros = jax.tree.map(jnp.zeros_like, models.init_params(model, KEY))
    assert np.isclose(copying_lstm.make_test(TASK)(zeros, KEY), TASK.num_symbols)
