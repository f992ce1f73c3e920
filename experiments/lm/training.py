"""Training on sequences: an epoch as a few compiled calls, evaluation, and the one loop."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from tqdm import tqdm

from experiments.lm import models, optimizers
from experiments.lm.loss import first_carry, make_loss
from experiments.lm.settings import Settings
from experiments.record.errors import UserError
from experiments.text.data import SPLITS, Corpus
from experiments.text.sequences import Sequences, sequences
from tbptt_jax import LearnerState, make_eval_step, make_train_loop

CALLS_PER_EPOCH = 20


class Data(NamedTuple):
    """Each text as sequences, which are read where they are needed."""

    train: Sequences
    valid: Sequences
    test: Sequences


class Progress(NamedTuple):
    """All that a run needs to go on after an epoch, for bit-identical results; arrays alone."""

    epoch: jax.Array  # [], int32: epochs finished
    params: Any
    opt_state: Any
    best_epoch: jax.Array  # [], int32
    best_valid_loss: jax.Array  # [], float32
    best_params: Any


class Epoch(NamedTuple):
    """The outcome of one epoch; losses in nats per token."""

    epoch: int  # from 1
    train_loss: float
    valid_loss: float
    tokens_per_second: float  # of training alone
    seconds: float  # with validation


class Result(NamedTuple):
    """The outcome of a run; losses in nats per token."""

    best_epoch: int
    best_valid_loss: float
    test_loss: float  # of the parameters of the best epoch


def train_batch(model: models.LanguageModel, settings: Settings, source: Any, i: ArrayLike):
    """The i-th sequence of a text, with dropout's masks; `source` is (slice that has it, key)."""
    part, key = source
    tokens, targets = part.inputs[i - part.first], part.targets[i - part.first]
    key = jax.random.fold_in(key, i)
    return models.dropout_inputs(model, key, tokens, settings.keep_prob), targets


def make_evaluate(model: models.LanguageModel, settings: Settings) -> Callable:
    """Builds (params, sequences) -> mean loss over their words, without dropout."""
    schedule = settings.schedule._replace(horizon=1, stride=1)  # no gradient, so no past to keep
    settings = settings._replace(schedule=schedule, backward="sweeps")
    eval_step = make_eval_step(make_loss(model, settings))

    @jax.jit
    def evaluate_slice(params, carry, part, num):
        def one(i, loop):
            carry, losses = loop
            batch = models.Inputs(part.inputs[i]), part.targets[i]
            carry, metrics = eval_step(params, carry, batch)
            return carry, losses.at[i].set(metrics.loss)

        losses = jnp.zeros(len(part.inputs), jnp.float32)
        return jax.lax.fori_loop(0, num, one, (carry, losses))

    def evaluate(params, text):
        carry = first_carry(model, settings, models.Inputs(text.read(0, 1).inputs[0]))
        losses = []
        with _progress_bar(text, "evaluation") as bar:
            for part, num in text.slices():
                carry, of_slice = evaluate_slice(params, carry, part, num)
                losses.append(np.asarray(of_slice)[:num])  # waits: one slice in memory at a time
                bar.update(num * text.seq_len * text.batch_size)
        return jnp.mean(np.concatenate(losses))

    return evaluate


def cut(corpus: Corpus, settings: Settings) -> Data:
    """The texts as sequences.

    Raises:
      UserError: a text is too short for one sequence.
    """
    batch_size, seq_len = settings.batch_size, settings.schedule.seq_len
    return Data(*(sequences(getattr(corpus, name), batch_size, seq_len, name) for name in SPLITS))


def make_optimizer(text: Data, settings: Settings) -> optax.GradientTransformation:
    """The optimizer, whose learning rate follows its schedule over all updates of the run.

    Raises:
      UserError: see `optimizers.make`.
    """
    return optimizers.make(settings, settings.num_epochs * text.train.num)


def start(model: models.LanguageModel, text: Data, settings: Settings) -> Progress:
    """A run before its first epoch."""
    params = models.init_params(model, jax.random.fold_in(jax.random.key(settings.seed), 0))
    opt_state = make_optimizer(text, settings).init(params)
    zero = jnp.zeros((), jnp.int32)
    return Progress(zero, params, opt_state, zero, jnp.float32(jnp.inf), params)


def is_finished(progress: Progress, settings: Settings) -> bool:
    """Whether all epochs are done, or `patience` of them brought no better validation loss."""
    epoch, patience = int(progress.epoch), settings.patience
    if patience is not None and epoch - int(progress.best_epoch) >= patience:
        return True
    return epoch >= settings.num_epochs


def train(
    model: models.LanguageModel,
    text: Data,
    settings: Settings,
    progress: Progress,
    report: Callable[[Epoch, Progress], None],
    wrap: Callable[[Callable], Callable] = lambda train_loop: train_loop,
) -> Result:
    """Trains for the epochs that are left, reports each, and tests the best one's parameters.

    The carry is zero at the start of an epoch, and an epoch's random numbers depend on the seed and
    its number alone; so a run can go on from any epoch's progress as if it had never stopped.
    `wrap` is given the compiled loop of updates, and returns what is called in its place.

    Raises:
      UserError: a loss is not finite.
    """
    batch_fn = functools.partial(train_batch, model, settings)
    optimizer = make_optimizer(text, settings)
    train_loop = make_train_loop(make_loss(model, settings), optimizer, batch_fn)
    evaluate = make_evaluate(model, settings)
    if not is_finished(progress, settings):
        # No update: compiles the loop before the clock starts.
        state, key = _begin_epoch(model, text, settings, progress)
        part, _ = next(text.train.slices(CALLS_PER_EPOCH))
        train_loop(state, (part, key), 0, 0)
    train_loop = wrap(train_loop)
    while not is_finished(progress, settings):
        began, epoch = time.perf_counter(), int(progress.epoch) + 1
        state, key = _begin_epoch(model, text, settings, progress)
        state, train_loss = _train_epoch(train_loop, state, text.train, key, epoch)
        trained = time.perf_counter()
        valid_loss = float(evaluate(state.params, text.valid))
        _check_finite(valid_loss, f"the validation loss of epoch {epoch}")
        best = progress[3:]
        if valid_loss < progress.best_valid_loss:
            best = jnp.int32(epoch), jnp.float32(valid_loss), state.params
        progress = Progress(jnp.int32(epoch), state.params, state.opt_state, *best)
        rate = text.train.num_tokens / (trained - began)
        seconds = time.perf_counter() - began
        report(Epoch(epoch, train_loss, valid_loss, rate, seconds), progress)
    test_loss = float(evaluate(progress.best_params, text.test))
    return Result(int(progress.best_epoch), float(progress.best_valid_loss), test_loss)


def _begin_epoch(model, text, settings, progress):
    """The learner at the start of the next epoch, and that epoch's key."""
    key = jax.random.fold_in(jax.random.key(settings.seed), int(progress.epoch) + 1)
    inputs, _ = train_batch(model, settings, (text.train.read(0, 1), key), 0)
    carry = first_carry(model, settings, inputs)
    # The calls donate their state, and `progress` must live on.
    copies = jax.tree.map(jnp.copy, (progress.params, progress.opt_state, carry))
    return LearnerState(*copies), key


def _train_epoch(train_loop, state, text, key, epoch):
    """All sequences of a text, in a few compiled calls with progress between them."""
    total = 0.0
    with _progress_bar(text, f"epoch {epoch}") as bar:
        for part, num in text.slices(CALLS_PER_EPOCH):
            state, metrics = train_loop(state, (part, key), part.first, part.first + num)
            loss = float(metrics.loss)
            _check_finite(loss, f"the training loss of epoch {epoch}")
            total += loss * num
            bar.update(num * text.seq_len * text.batch_size)
    return state, total / text.num


def _progress_bar(text, caption):
    return tqdm(
        total=text.num_tokens,
        desc=caption,
        unit=" tokens",
        unit_scale=True,
        leave=False,
        disable=None,
    )


def _check_finite(loss, what):
    if not math.isfinite(loss):
        raise UserError(f"{what} is {loss}; a smaller --learning_rate may help.")
