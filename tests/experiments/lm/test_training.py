"""Training: gradients of every style, an epoch against a plain loop, reproducibility."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.lm import models, training
from experiments.lm.loss import first_carry, make_loss
from experiments.lm.settings import BACKWARDS, CARRIES, SEAMS, Settings
from experiments.lm.styles import schedule
from experiments.record.errors import UserError
from experiments.text import data
from experiments.text import sequences as lm_sequences
from experiments.text.sequences import sequences
from experiments.text.words import Words
from tbptt_jax import LearnerState, make_train_loop

pytestmark = pytest.mark.standard
B = 4
SCHEDULES = [
    schedule("true", 3, seq_len=7),
    schedule("semi", 3, 2, 7),
    schedule("epochwise", 3, seq_len=7),
]
SCHEDULES += [schedule("full", seq_len=7)]


def corpus(num_words=12):
    """A short text that repeats itself in training and not quite in validation."""
    rng = np.random.default_rng(0)
    period = rng.integers(num_words, size=31).astype(np.int32)
    train, other = np.tile(period, 20), rng.integers(num_words, size=200).astype(np.int32)
    words = ["<unk>", *(f"w{n}" for n in range(1, num_words))]
    mixed = np.concatenate([period, other])
    return data.Corpus("test", {}, Words(words), train, mixed, mixed[::-1].copy())


def build(cell="vanilla", layers=1):
    model = models.LanguageModel(12, 5, 6, cell, layers)
    params = jax.tree.map(lambda leaf: 2.0 * leaf, models.init_params(model, jax.random.key(0)))
    return model, params


def loss_and_grad(model, settings):
    return jax.value_and_grad(make_loss(model, settings), has_aux=True)


@pytest.mark.parametrize(
    ("cell", "plan", "layers"),
    [("vanilla", plan, 1) for plan in SCHEDULES]
    + [("gru", SCHEDULES[0], 1), ("lstm", SCHEDULES[1], 1), ("vanilla", SCHEDULES[0], 2)],
)
def test_sweeps_and_windows_give_one_loss_and_gradient(cell, plan, layers):
    model, params = build(cell, layers)
    tokens = jax.random.randint(jax.random.key(1), (8, B), 0, 12)
    inputs = models.dropout_inputs(model, jax.random.key(2), tokens[:-1], 0.8)
    carry = jax.tree.map(lambda leaf: leaf + 0.3, models.init_carry(model, B))
    results = [
        jax.jit(loss_and_grad(model, Settings(plan, backward=backward)))(
            params, carry, (inputs, tokens[1:])
        )
        for backward in BACKWARDS
    ]
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-6)


def test_full_style_is_plain_backpropagation():
    model, params = build()
    tokens = jax.random.randint(jax.random.key(1), (8, B), 0, 12)
    carry = models.init_carry(model, B)

    def loss(params):
        c, total = carry, 0.0
        for t in range(7):
            c, y = models.step(model, params, c, models.Inputs(tokens[t]))
            total += models.mean_loss(params, y, tokens[t + 1]) / 7
        return total

    run = loss_and_grad(model, Settings(schedule("full", seq_len=7)))
    (value, _), grads = run(params, carry, (models.Inputs(tokens[:-1]), tokens[1:]))
    expected = jax.value_and_grad(loss)(params)
    chex.assert_trees_all_close((value, grads), expected, rtol=1e-4, atol=1e-6)


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
    run = loss_and_grad(model, settings._replace(carry="clean"))
    for i in range(first, stop):
        tokens, targets = (jnp.asarray(leaf[i]) for leaf in train_data[:2])
        inputs = models.dropout_inputs(model, jax.random.fold_in(key, i), tokens, 0.8)
        (loss, new_carry), grads = run(state.params, state.carry, (inputs, targets))
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


@pytest.mark.parametrize("plan", [schedule("true", 9, None, 4, "exact"), SCHEDULES[0]])
def test_exact_seams_give_the_gradient_of_the_uncut_text(plan):
    """Summed over the sequences, with parameters that stand still."""
    model, params = build("lstm")
    settings = Settings(plan, batch_size=B, seams="exact")
    text = sequences(corpus().train, B, plan.seq_len, "train")
    inputs, targets, _ = jax.device_put(text.read(0, 6))
    run = jax.jit(loss_and_grad(model, settings))
    carry = first_carry(model, settings, models.Inputs(inputs[0]))
    total = jax.tree.map(jnp.zeros_like, params)
    for i in range(6):
        (_, carry), grads = run(params, carry, (models.Inputs(inputs[i]), targets[i]))
        total = jax.tree.map(jnp.add, total, grads)
    uncut = settings._replace(seams="cut", schedule=plan._replace(seq_len=6 * plan.seq_len))
    flat = lambda leaf: leaf[:6].reshape(-1, B)
    carry = models.init_carry(model, B)
    batch = models.Inputs(flat(inputs)), flat(targets)
    _, expected = jax.jit(loss_and_grad(model, uncut))(params, carry, batch)
    mean = jax.tree.map(lambda leaf: leaf / 6, total)
    chex.assert_trees_all_close(mean, expected, rtol=1e-4, atol=1e-6)


def run(settings, **model):
    losses = []
    model = models.LanguageModel(12, 5, 6, **model)

    def report(epoch, progress):
        losses.append((epoch.train_loss, epoch.valid_loss))

    text = training.cut(corpus(), settings)
    progress = training.start(model, text, settings)
    return training.train(model, text, settings, progress, report), losses


SETTINGS = Settings(schedule("true", 3, seq_len=7), 0.03, num_epochs=4, batch_size=B)


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


def test_training_learns_and_tests_the_best_parameters():
    settings = SETTINGS._replace(num_epochs=8, keep_prob=1.0, learning_rate=0.05)
    result, losses = run(settings)
    train_losses, valid_losses = zip(*losses, strict=True)
    assert train_losses[-1] < 0.5 * math.log(12) < train_losses[0]
    assert result.best_valid_loss == min(valid_losses)
    assert result.best_epoch == valid_losses.index(min(valid_losses)) + 1 < 8
    shorter, _ = run(settings._replace(num_epochs=result.best_epoch))
    assert shorter == result


def test_rate_counts_the_words_trained_on_per_second_of_training(monkeypatch):
    clock = iter([0.0, 2.0, 3.0])
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(clock))
    settings = SETTINGS._replace(num_epochs=1)
    text, epochs = training.cut(corpus(), settings), []
    model = models.LanguageModel(12, 5, 6)
    progress = training.start(model, text, settings)
    training.train(model, text, settings, progress, lambda epoch, _: epochs.append(epoch))
    assert (epochs[0].tokens_per_second, epochs[0].seconds) == (text.train.num_tokens / 2.0, 3.0)
    assert text.train.num_tokens == 22 * 7 * B


def test_clock_starts_after_the_updates_are_compiled(monkeypatch):
    """And before any is made."""
    num_traces, at_clock, num_updates = 0, [], 0
    mean_loss, perf_counter = models.mean_loss, training.time.perf_counter

    def traced(*args):
        nonlocal num_traces
        num_traces += 1
        return mean_loss(*args)

    def clock():
        at_clock.append((num_traces, num_updates))
        return perf_counter()

    def counted(train_loop):
        def call(state, source, start, stop):
            nonlocal num_updates
            num_updates += stop - start
            return train_loop(state, source, start, stop)

        return call

    monkeypatch.setattr(models, "mean_loss", traced)
    monkeypatch.setattr(training.time, "perf_counter", clock)
    settings = SETTINGS._replace(num_epochs=1)
    model, text = models.LanguageModel(12, 5, 6), training.cut(corpus(), settings)
    progress = training.start(model, text, settings)
    training.train(model, text, settings, progress, lambda *_: None, counted)
    assert at_clock[0] == (1, 0)
    assert at_clock[1] == (1, text.train.num)


@pytest.mark.parametrize("cell", ["vanilla", "lstm"])
def test_bfloat16_comes_to_about_the_same_loss(cell):
    settings = SETTINGS._replace(keep_prob=1.0)
    whole, half = (run(settings, cell=cell, precision=name)[0] for name in models.PRECISIONS)
    assert whole != half
    np.testing.assert_allclose(half, whole, rtol=0.02)


def test_every_call_of_an_epoch_is_compiled_once(monkeypatch):
    monkeypatch.setattr(
        training.models,
        "mean_loss",
        chex.assert_max_traces(models.mean_loss, n=3),  # train, valid, test
    )
    run(SETTINGS)


@pytest.mark.parametrize("cell, seams", [("vanilla", "cut"), ("lstm", "exact")])
def test_slices_of_a_text_do_not_change_a_run(monkeypatch, cell, seams):
    settings = SETTINGS._replace(num_epochs=2, seams=seams)
    whole = run(settings, cell=cell)
    monkeypatch.setattr(lm_sequences, "SLICE_TOKENS", 3 * 7 * B)
    monkeypatch.setattr(training, "CALLS_PER_EPOCH", 1)
    sliced = run(settings, cell=cell)
    assert len([*training.cut(corpus(), settings).train.slices(1)]) == 8
    np.testing.assert_allclose(sliced[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(sliced[1], whole[1], rtol=1e-6)


@pytest.mark.parametrize("settings", [SETTINGS._replace(learning_rate=1e38)])
def test_loss_that_is_not_finite_ends_the_run_in_one_line(settings):
    with pytest.raises(UserError, match=r"loss of epoch . is (nan|inf).*--learning_rate"):
        run(settings)


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
    actual = training.make_evaluate(model, settings)(params, valid)
    np.testing.assert_allclose(actual, np.mean(losses), rtol=1e-5)
