"""Optimizers: optax's own by name, their schedules over the run, clipping and weight decay."""

import chex
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.lm import optimizers
from experiments.lm.settings import Settings
from experiments.lm.styles import schedule
from experiments.record.errors import UserError

pytestmark = pytest.mark.standard
NUM_UPDATES = 20
SETTINGS = Settings(schedule("true", 3), learning_rate=0.1)
PARAMS = {"w": jnp.array([3.0, -4.0])}
GRADS = {"w": jnp.array([6.0, 8.0])}  # of norm 10


def updates(optimizer, num=NUM_UPDATES):
    """The changes of the parameters, [num, 2]; the gradient is always the same."""
    state, found = optimizer.init(PARAMS), []
    for _ in range(num):
        change, state = optimizer.update(GRADS, state, PARAMS)
        found.append(change["w"])
    return np.stack(found)


def test_default_is_plain_adam_with_its_state():
    actual, expected = optimizers.make(SETTINGS, NUM_UPDATES), optax.adam(0.1)
    chex.assert_trees_all_equal(actual.init(PARAMS), expected.init(PARAMS))
    np.testing.assert_array_equal(updates(actual), updates(expected))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adamw", optax.adamw(0.1)),
        ("lion", optax.lion(0.1)),
        ("momentum", optax.sgd(0.1, momentum=0.9)),
        ("rmsprop", optax.rmsprop(0.1)),
        ("sgd", optax.sgd(0.1)),
    ],
)
def test_name_is_optax_constructor(name, expected):
    actual = optimizers.make(SETTINGS._replace(optimizer=name), NUM_UPDATES)
    np.testing.assert_array_equal(updates(actual), updates(expected))


@pytest.mark.parametrize(
    ("name", "warmup", "share"),
    [
        ("constant", None, np.ones(NUM_UPDATES)),
        ("halving", None, [1, 1, 1, *0.5 ** np.arange(NUM_UPDATES - 3)]),  # an update an epoch
        ("linear", None, 1 - np.arange(NUM_UPDATES) / NUM_UPDATES),
        ("cosine", None, (1 + np.cos(np.pi * np.arange(NUM_UPDATES) / NUM_UPDATES)) / 2),
        (
            "warmup_cosine",
            5,
            [*np.arange(5) / 5, *(1 + np.cos(np.pi * np.arange(15) / 15)) / 2],
        ),
        (
            "warmup_cosine",
            None,
            [0.0, 0.5, *(1 + np.cos(np.pi * np.arange(18) / 18)) / 2],
        ),
    ],
)
def test_schedule_spans_the_run(name, warmup, share):
    settings = SETTINGS._replace(optimizer="sgd", lr_schedule=name, warmup_updates=warmup)
    actual = updates(optimizers.make(settings, NUM_UPDATES))
    np.testing.assert_allclose(actual, -0.1 * np.outer(share, GRADS["w"]), rtol=1e-4, atol=1e-6)


def test_clipping_scales_the_whole_gradient():
    settings = SETTINGS._replace(optimizer="sgd", clip_norm=1.0)
    actual = updates(optimizers.make(settings, NUM_UPDATES), 1)[0]
    np.testing.assert_allclose(actual, -0.1 * GRADS["w"] / 10.0, rtol=1e-6)


def test_weight_decay_shrinks_parameters():
    without, some = (
        updates(optimizers.make(SETTINGS._replace(optimizer="adamw", weight_decay=d), 1), 1)[0]
        for d in (0.0, 0.5)
    )
    np.testing.assert_allclose(some - without, -0.1 * 0.5 * PARAMS["w"], rtol=1e-5)


def test_epsilon_is_added_to_the_root_mean_square():
    (actual, *_) = updates(optimizers.make(SETTINGS._replace(optimizer="adam", epsilon=2.0), 1), 1)
    gradient = GRADS["w"]
    np.testing.assert_allclose(actual, -0.1 * gradient / (np.abs(gradient) + 2.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epsilon": 1e-3, "optimizer": "sgd"}, "--epsilon goes with --optimizer=adam or adamw or"),
        ({"weight_decay": 0.1}, "--weight_decay goes with --optimizer=adamw or lion, not adam"),
        ({"warmup_updates": 3}, "--lr_schedule=warmup_cosine, not constant"),
        ({"lr_schedule": "warmup_cosine", "warmup_updates": 20}, "not below the run's 20 updates"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        optimizers.make(SETTINGS._replace(**wrong), NUM_UPDATES)
