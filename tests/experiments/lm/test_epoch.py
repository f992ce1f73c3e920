"""How an epoch runs: its calls, its slices of the text, its clock."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import SETTINGS, B, corpus, run

from experiments.lm import epoch as lm_epoch
from experiments.lm import models, training
from experiments.text import sequences as lm_sequences

pytestmark = pytest.mark.standard


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
    monkeypatch.setattr(lm_epoch, "CALLS_PER_EPOCH", 1)
    sliced = run(settings, cell=cell)
    assert len([*training.cut(corpus(), settings).train.slices(1)]) == 8
    np.testing.assert_allclose(sliced[0], whole[0], rtol=1e-6)
    np.testing.assert_allclose(sliced[1], whole[1], rtol=1e-6)


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

    def traced(*args, **options):
        nonlocal num_traces
        num_traces += 1
        return mean_loss(*args, **options)

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
    training.train(model, text, settings, progress, lambda *_: None, wrap=counted)
    assert at_clock[0] == (1, 0)
    assert at_clock[1] == (1, text.train.num)


BAD = {4: "loss", 9: "grad_norm", 10: "loss"}  # updates that are not finite, and in what


def poisoned(train_loop):
    """A loop whose bad updates ruin the state."""

    def call(state, source, start, stop):
        found = []
        for i in range(start, stop):
            state, metrics = train_loop(state, source, i, i + 1)
            if i in BAD:
                state = jax.tree.map(lambda leaf: leaf * np.nan, state)
                metrics = metrics._replace(**{BAD[i]: np.float32(np.inf)})
            found.append(metrics)
        return state, jax.tree.map(lambda *leaves: np.mean(leaves), *found)

    return call


def train(settings, wrap, progress=None, **options):
    model, text, epochs = models.LanguageModel(12, 5, 6), training.cut(corpus(), settings), []
    progress = training.start(model, text, settings) if progress is None else progress
    report = lambda *epoch: epochs.append(epoch)
    training.train(model, text, settings, progress, report, wrap=wrap, **options)
    return epochs


def without_bad(train_loop):
    def call(state, source, start, stop):
        for i in range(start, stop):
            new, metrics = train_loop(jax.tree.map(jnp.copy, state), source, i, i + 1)
            state = state if i in BAD else new
        return state, metrics

    return call


def test_updates_that_are_not_finite_are_left_out_and_counted():
    """As if they had not been; on resume within the epoch too."""
    settings = SETTINGS._replace(num_epochs=1, on_nonfinite="skip")
    kept = []
    keep = lambda progress: kept.append(jax.device_get(progress))
    [(epoch, progress)] = train(settings, poisoned, keep=keep, keep_every=6)
    [(_, expected)] = train(settings, without_bad)
    chex.assert_trees_all_equal(progress.params, expected.params)
    assert epoch.num_skipped == epoch.row()["num_skipped"] == 3 and np.isfinite(epoch.train_loss)
    assert 0 < kept[0].num_skipped < 3
    [(again, rest)] = train(settings, poisoned, kept[0])
    assert (again.num_skipped, again.train_loss) == (3, epoch.train_loss)
    chex.assert_trees_all_equal(rest, progress)


@pytest.mark.parametrize("bad, what", [(4, "loss"), (9, "grad_norm")])
def test_the_first_update_that_is_not_finite_ends_a_run_that_skips_none(monkeypatch, bad, what):
    monkeypatch.setattr("test_epoch.BAD", {bad: what})
    with pytest.raises(lm_epoch.DivergenceError, match=f"at update {bad + 1} of epoch 1") as error:
        train(SETTINGS._replace(num_epochs=1), poisoned)
    assert error.value.progress.position == bad
    chex.assert_tree_all_finite(error.value.progress.params)


def test_an_epoch_whose_updates_are_all_skipped_ends_the_run(monkeypatch):
    monkeypatch.setattr("test_epoch.BAD", dict.fromkeys(range(100), "loss"))
    with pytest.raises(lm_epoch.DivergenceError, match="all 22 updates of epoch 1 were skip"):
        train(SETTINGS._replace(num_epochs=1, on_nonfinite="skip"), poisoned)
