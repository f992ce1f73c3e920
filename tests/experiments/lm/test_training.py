"""Training: updates against a plain loop, reproducibility, what is kept and evaluated."""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_model import SETTINGS, B, build, corpus, run

from experiments.lm import models, training
from experiments.lm.epoch import DivergenceError
from experiments.lm.evaluation import make_evaluate
from experiments.lm.loss import make_loss
from experiments.lm.settings import CARRIES, SEAMS, Settings
from experiments.lm.styles import schedule
from experiments.record.errors import UserError
from experiments.text.sequences import sequences
from tbptt_jax import LearnerState, make_train_loop

pytestmark = pytest.mark.standard


@pytest.mark.parametrize("carry", CARRIES)
@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_compiled_updates_are_those_of_a_plain_loop(cell, carry):
    """One call over several sequences, against sequence by sequence with optax by hand."""
    model, params = build(cell)
    settings = Settings(schedule("true", 3, seq_len=7), carry=carry, learning_rate=0.01)
    optimizer = optax.adam(settings.learning_rate)
    train_data = sequences(corpus().train, B, 7, "train").read(0, 8)
    key = jax.random.key(5)
    first, stop = 2, 6
    start = LearnerState(params, optimizer.init(params), models.init_carry(model, B))
    state, total = start, 0.0
    loss_fn = make_loss(model, settings._replace(carry="clean"))
    run_one = jax.value_and_grad(loss_fn, has_aux=True)
    for i in range(first, stop):
        tokens, targets = (jnp.asarray(leaf[i]) for leaf in train_data[:2])
        inputs = models.dropout_inputs(model, jax.random.fold_in(key, i), tokens, 0.8)
        (loss, new_carry), grads = run_one(state.params, state.carry, (inputs, targets))
        if carry == "dropped":
            step = functools.partial(models.step, model, state.params)
            _, ys = jax.lax.scan(step, state.carry, inputs)
            new_carry = (ys[-1] if cell == "vanilla" else (new_carry[0][0], ys[-1]),)
        updates, opt_state = optimizer.update(grads, state.opt_state)
        new_params = optax.apply_updates(state.params, updates)
        state, total = LearnerState(new_params, opt_state, new_carry), total + loss
    batch_fn = functools.partial(training.train_batch, model, settings)
    loop = make_train_loop(make_loss(model, settings), optimizer, batch_fn)
    actual, metrics = loop(
        jax.tree.map(jnp.copy, start), (jax.device_put(train_data), key), first, stop
    )
    expected = state, total / (stop - first)
    chex.assert_trees_all_close((actual, metrics.loss), expected, rtol=1e-3, atol=1e-5)


def test_one_seed_gives_one_curve_and_another_seed_another():
    first = run(SETTINGS)
    assert run(SETTINGS) == first
    assert run(SETTINGS._replace(seed=1)) != first


def test_every_epoch_drops_anew():
    """With parameters that all but stand still, only the masks tell one epoch from the next."""
    _, losses = run(SETTINGS._replace(learning_rate=1e-12))
    train_losses, valid_losses = zip(*losses, strict=True)
    assert len(set(train_losses)) == SETTINGS.num_epochs
    np.testing.assert_allclose(valid_losses, valid_losses[0], rtol=1e-6)


@pytest.mark.parametrize(
    "model, other",
    [
        ({}, {}),
        ({"cell": "lstm"}, {"seams": "exact"}),
        ({"layers": 2, "precision": "bfloat16"}, {"lr_schedule": "cosine", "carry": "dropped"}),
    ],
)
def test_run_goes_on_from_any_epoch_as_if_never_stopped(model, other):
    model = models.LanguageModel(12, 5, 6, **model)
    kept, curve = [], []
    settings = SETTINGS._replace(**other)
    text = training.cut(corpus(), settings)

    def report(epoch, progress):
        curve.append(epoch[:3])
        kept.append(jax.device_get(progress))

    result = training.train(model, text, settings, training.start(model, text, settings), report)
    whole, ends = curve.copy(), kept.copy()
    for stop in (1, 3):
        curve.clear()
        kept.clear()
        assert training.train(model, text, settings, ends[stop - 1], report) == result
        assert curve == whole[stop:]
        chex.assert_trees_all_equal(kept[-1], ends[-1])


@pytest.mark.parametrize("other", [{}, {"seams": "exact", "lr_schedule": "cosine"}])
def test_run_goes_on_within_an_epoch_as_if_never_stopped(other):
    """From a state that was kept every so many updates, and from that of a stop in a call."""
    settings = SETTINGS._replace(num_epochs=2, **other)
    model, text = models.LanguageModel(12, 5, 6), training.cut(corpus(), settings)
    start, curve, kept = training.start(model, text, settings), [], []

    def train(progress, **options):
        curve.clear()
        report = lambda epoch, progress: curve.append((epoch[:3], jax.device_get(progress)))
        return training.train(model, text, settings, progress, report, **options)

    keep = lambda progress: kept.append(jax.device_get(progress))
    result, whole = train(start, keep=keep, keep_every=5), curve.copy()
    assert [int(progress.position) for progress in kept] == [6, 11, 16, 21] * 2

    def stopping(train_loop):
        calls = itertools.count()

        def call(*args):
            if next(calls) == 30:
                raise KeyboardInterrupt
            return train_loop(*args)

        return call

    with pytest.raises(KeyboardInterrupt):
        train(start, keep=keep, wrap=stopping)
    assert kept[-1].epoch == 1 and kept[-1].position > 0
    for progress in (kept[1], kept[5], kept[-1]):
        assert train(progress) == result
        chex.assert_trees_all_equal(curve, whole[int(progress.epoch) :])


def test_training_learns_and_tests_the_best_parameters():
    settings = SETTINGS._replace(num_epochs=8, keep_prob=1.0, learning_rate=0.05)
    result, losses = run(settings)
    train_losses, valid_losses = zip(*losses, strict=True)
    assert train_losses[-1] < 0.5 * math.log(12) < train_losses[0]
    assert result.best_valid_loss == min(valid_losses)
    assert result.best_epoch == valid_losses.index(min(valid_losses)) + 1 < 8
    shorter, _ = run(settings._replace(num_epochs=result.best_epoch))
    assert shorter == result


@pytest.mark.parametrize("seams", SEAMS)
def test_evaluation_of_all_tokens_does_not_depend_on_the_sequence_length(seams):
    model, params = build("lstm")
    tokens = corpus().valid[:58]
    found = []
    for seq_len in (3, 5, 7, 13):
        settings = Settings(schedule("true", 3, seq_len=seq_len), batch_size=B, seams=seams)
        settings = settings._replace(evaluate="all")
        text = training.cut(corpus()._replace(valid=tokens), settings).valid
        found.append(float(make_evaluate(model, settings)(params, text)))
    np.testing.assert_allclose(found, found[0], rtol=1e-6)
    losses = []
    for stream in range(B):  # ⌈57 / 4⌉ = 15 targets each, the last one 12
        carry = models.init_carry(model, 1)
        for at in range(15 * stream, min(15 * (stream + 1), 57)):
            carry, y = models.step(model, params, carry, models.Inputs(jnp.array([tokens[at]])))
            losses.append(models.mean_loss(params, y, jnp.array([tokens[at + 1]])))
    assert len(losses) == 57
    np.testing.assert_allclose(found[0], np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_bfloat16_comes_to_about_the_same_loss(cell):
    settings = SETTINGS._replace(keep_prob=1.0)
    whole, half = (run(settings, cell=cell, precision=name)[0] for name in models.PRECISIONS)
    assert whole != half
    np.testing.assert_allclose(half, whole, rtol=0.02)


@pytest.mark.parametrize("settings", [SETTINGS._replace(learning_rate=1e38)])
def test_loss_that_is_not_finite_ends_the_run_in_one_line(settings):
    with pytest.raises(UserError, match=r"loss of epoch . is (nan|inf).*--learning_rate"):
        run(settings)


def test_loss_that_is_absurd_ends_the_run_though_it_is_finite():
    model = models.LanguageModel(12, 5, 6)
    text = training.cut(corpus(), SETTINGS)
    progress = training.start(model, text, SETTINGS)
    absurd = jax.tree.map(lambda leaf: leaf * 1e4, progress.params)
    progress = progress._replace(params=absurd)
    with pytest.raises(DivergenceError, match=r"at update 1 of epoch 1.* has a loss of 2\.48"):
        training.train(model, text, SETTINGS, progress, lambda *_: None)


def test_the_update_that_diverged_is_named_and_the_state_before_it_is_there():
    """A loop whose 9th update makes the loss of the 10th absurd."""
    model = models.LanguageModel(12, 5, 6)
    text = training.cut(corpus(), SETTINGS)

    def worse(train_loop):
        def call(state, source, start, stop):
            for i in range(start, stop):
                state, metrics = train_loop(state, source, i, i + 1)
                if i == 8:
                    params = jax.tree.map(lambda leaf: leaf * 1e4, state.params)
                    state = state._replace(params=params)
                if not metrics.loss < 25:
                    break
            return state, metrics

        return call

    start = training.start(model, text, SETTINGS)
    with pytest.raises(DivergenceError, match=r"^the training loss .* at update 10 of") as error:
        training.train(model, text, SETTINGS, start, lambda *_: None, wrap=worse)
    progress = error.value.progress
    assert progress.position == 9 and progress.epoch == 0
    assert max(jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(progress.params)) > 1e3


@pytest.mark.parametrize("seams", SEAMS)
def test_evaluation_carries_state_over_all_sequences(seams):
    model, params = build("lstm")
    valid = sequences(corpus().valid, B, 7, "valid")
    carry, losses = models.init_carry(model, B), []
    for tokens, targets in zip(*valid.read(0, valid.num)[:2], strict=True):
        for t in range(7):
            carry, y = models.step(model, params, carry, models.Inputs(tokens[t]))
            losses.append(models.mean_loss(params, y, targets[t]))
    settings = Settings(schedule("true", 3, seq_len=7), batch_size=B, seams=seams)
    actual = make_evaluate(model, settings)(params, valid)
    np.testing.assert_allclose(actual, np.mean(losses), rtol=1e-5)
