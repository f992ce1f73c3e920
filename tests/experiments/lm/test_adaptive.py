"""A horizon for each epoch: what is chosen, by what, and that training follows it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_model import SETTINGS, corpus

from experiments.lm import adaptive, mesh, models, training
from experiments.lm.loss import make_loss
from experiments.lm.styles import auto_schedule, horizons
from experiments.record.errors import UserError
from tbptt_jax import LagSpectrum

pytestmark = pytest.mark.standard

AUTO = SETTINGS._replace(schedule=auto_schedule("true", seq_len=8), bias=0.5, num_epochs=3)
MODEL = models.LanguageModel(12, 5, 6)


def begin(settings):
    text = training.cut(corpus(), settings)
    batch_fn = functools.partial(training.train_batch, MODEL, settings)
    progress = training.start(MODEL, text, settings)
    return text, batch_fn, progress


def train(settings, progress=None, **options):
    """The result, and each epoch's losses, choice and progress."""
    text, _, start = begin(settings)
    found = []

    def report(epoch, progress):
        found.append((*epoch[:3], epoch.choice, jax.device_get(progress)))

    return training.train(MODEL, text, settings, progress or start, report, **options), found


def alternating(model, settings, text, batch_fn):
    """In place of `make_choose`: 4, 8, 4, ..."""

    def choose(progress, key):
        if progress.position or settings.bias is None:
            return progress
        horizon = jnp.int32((4, 8)[int(progress.epoch) % 2])
        return progress._replace(choice=progress.choice._replace(horizon=horizon))

    return choose


@pytest.mark.parametrize(("seq_len", "found"), [(8, (4, 8)), (40, (5, 10, 20, 40)), (15, (7, 15))])
def test_horizons_to_choose_from_are_the_sequence_and_its_halves(seq_len, found):
    assert horizons(seq_len) == found
    assert auto_schedule("true", seq_len=seq_len) == ("true", seq_len, 1, seq_len)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("semi",), "--style=semi"),
        (("true", 2), "--stride=2"),
        (("true", None, 7), "--seq_len=8 or more to choose from, got 7"),
        (("true", None, 8, "exact"), "--seams=exact"),
    ],
)
def test_what_nothing_can_be_chosen_for_is_refused(args, said):
    with pytest.raises(UserError) as error:
        auto_schedule(*args)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_is_measured_is_the_gradient_of_the_first_sequences_as_one(monkeypatch):
    """Its parts are those of BPTT(1), ..., BPTT(8) of the training loss, without a seam."""
    found = []

    def bias(spectrum, *, horizons):
        jax.debug.callback(lambda held: found.append(np.asarray(held)), spectrum.cumulative_l2)
        assert isinstance(spectrum, LagSpectrum) and horizons == (4, 8)
        return truncation_bias(spectrum, horizons=horizons)

    truncation_bias = adaptive.truncation_bias
    monkeypatch.setattr(adaptive, "truncation_bias", bias)
    text, batch_fn, progress = begin(AUTO)
    key = jax.random.key(3)
    adaptive.make_choose(MODEL, AUTO, text.train, batch_fn)(progress, key)
    jax.effects_barrier()
    num = adaptive.NUM_MEASURED
    batches = [batch_fn((text.train.read(0, num), key), i) for i in range(num)]
    inputs, targets = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *batches)
    carry = models.init_carry(MODEL, AUTO.batch_size)
    for horizon in (1, 8):
        schedule = AUTO.schedule._replace(horizon=horizon, seq_len=8 * num)
        loss_fn = make_loss(MODEL, AUTO._replace(schedule=schedule))
        grads, _ = jax.grad(loss_fn, has_aux=True)(progress.params, carry, (inputs, targets))
        norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(grads)))
        np.testing.assert_allclose(found[0][horizon - 1], norm, rtol=1e-5)


@pytest.mark.parametrize("tolerance", [1e-9, 1e9])
def test_chosen_is_the_shortest_horizon_below_the_tolerance_or_the_longest(tolerance):
    settings = AUTO._replace(bias=tolerance)
    text, batch_fn, progress = begin(settings)
    choose = adaptive.make_choose(MODEL, settings, text.train, batch_fn)
    choice = choose(progress, jax.random.key(3)).choice
    assert choice.horizon == (8 if tolerance < 1 else 4) and 0 < choice.decay < 1
    assert (choice.relative_bias < tolerance) == (tolerance > 1)
    said = adaptive.warning(choice.row(), tolerance)
    assert (
        said is None
        or said == "no horizon has a relative bias below 1e-09; the longest, 8, is taken"
    )
    assert (said is None) == (tolerance > 1)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (
            (np.inf, 1.25, 0.5),
            "errors grow by 1.250 ± 0.500 a step, so no bound of the bias exists",
        ),
        ((np.inf, np.nan, np.nan), "cannot be told, so no bound of the bias exists"),
        ((np.inf, 0.5, 0.0), "every bound of the bias is as large as the gradient itself"),
    ],
)
def test_where_there_is_no_bound_the_longest_is_taken_and_it_is_said(numbers, said):
    row = adaptive.Choice(jnp.int32(8), *map(jnp.float32, numbers)).row()
    assert row["relative_bias"] is None
    assert said in adaptive.warning(row, 0.1)
    assert adaptive.warning(row, 0.1).endswith("; the longest, 8, is taken")


def test_nothing_is_chosen_where_the_horizon_is_given():
    settings = AUTO._replace(bias=None)
    text, batch_fn, progress = begin(settings)
    choose = adaptive.make_choose(MODEL, settings, text.train, batch_fn)
    assert choose(progress, jax.random.key(3)) is progress and progress.choice is None
    assert "horizon" not in training.Epoch(1, 1.0, 1.0, 1.0, 1.0).row()


def test_an_epoch_trains_with_its_horizon_and_each_is_compiled_once(monkeypatch):
    monkeypatch.setattr(adaptive, "make_choose", alternating)
    made = []

    def counting(devices, model, settings, **options):
        if not options:  # not that of the evaluation
            made.append(settings.schedule.horizon)
        return make_loss(model, settings, **options)

    monkeypatch.setattr(mesh, "make_loss", counting)
    _, epochs = train(AUTO)
    assert [epoch[3]["horizon"] for epoch in epochs] == [4, 8, 4]
    assert made == [4, 8]
    for i, (*_, progress) in enumerate(epochs[:2]):
        fixed = AUTO._replace(schedule=AUTO.schedule._replace(horizon=(8, 4)[i]), bias=None)
        fixed = fixed._replace(num_epochs=i + 2)
        _, (once, *_) = train(fixed, progress._replace(choice=None))
        chex.assert_trees_all_equal(once[-1].params, epochs[i + 1][-1].params)


def test_a_run_goes_on_as_if_never_stopped_within_an_epoch_and_between_two(monkeypatch):
    kept = []
    keep = lambda progress: kept.append(jax.device_get(progress))
    result, whole = train(AUTO, keep=keep, keep_every=7)
    assert all(progress.position > 0 and progress.choice.horizon > 0 for progress in kept)
    for progress in (kept[0], whole[0][-1], kept[-1]):
        again, rest = train(AUTO, progress)
        assert again == result
        chex.assert_trees_all_equal(rest, whole[int(progress.epoch) :])
