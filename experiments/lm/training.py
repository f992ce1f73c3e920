"""Training on sequences: an epoch as a few compiled calls, evaluation, and the one loop."""

import functools
import itertools
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
from experiments.lm.data import SPLITS, Corpus, sequences
from experiments.lm.loss import first_carry, make_loss
from experiments.lm.settings import Settings
from experiments.record.errors import UserError
from tbptt_jax import LearnerState, make_eval_step, make_train_loop

CALLS_PER_EPOCH = 20


class Data(NamedTuple):
    """Inputs and targets of each text, both [S, T, B]."""

    train: tuple[jax.Array, jax.Array]
    valid: tuple[jax.Array, jax.Array]
    test: tuple[jax.Array, jax.Array]


class Progress(NamedTuple):
    """All that a run needs to go on after an epoch, for bit-identical results; arrays alone."""

    epoch: jax.Array  # [], int32: epochs finished
    params: Any
    opt_state: Any
    best_epoch: jax.Array  # [], int32
    best_valid_loss: jax.Array  # [], float32
    best_params: Any


class Epoch(NamedTuple):
    """The outcome of one epoch; losses in nats per word."""

    epoch: int  # from 1
    train_loss: float
    valid_loss: float
    tokens_per_second: float  # of training alone
    seconds: float  # with validation


class Result(NamedTuple):
    """The outcome of a run; losses in nats per word."""

    best_epoch: int
    best_valid_loss: float
    test_loss: float  # of the parameters of the best epoch


def train_batch(model: models.LanguageModel, settings: Settings, source: Any, i: ArrayLike):
    """The i-th sequence of `source`, ((inputs, targets) [S, T, B], key), with dropout's masks."""
    data, key = source
    tokens, targets = jax.tree.map(lambda leaf: leaf[i], data)
    key = jax.random.fold_in(key, i)
    return models.dropout_inputs(model, key, tokens, settings.keep_prob), targets


def make_evaluate(model: models.LanguageModel, settings: Settings) -> Callable:
    """Builds the jitted (params, data) -> mean loss over the words of `data`, without dropout."""
    schedule = settings.schedule._replace(horizon=1, stride=1)  # no gradient, so no past to keep
    settings = settings._replace(schedule=schedule, backward="sweeps")
    eval_step = make_eval_step(make_loss(model, settings))

    @jax.jit
    def evaluate(params, data):
        tokens, targets = data
        batches = models.Inputs(tokens), targets
        carry = first_carry(model, settings, models.Inputs(tokens[0]))
        _, metrics = jax.lax.scan(functools.partial(eval_step, params), carry, batches)
        return jnp.mean(metrics.loss)

    return evaluate


def cut(corpus: Corpus, settings: Settings) -> Data:
    """The texts as sequences on the device.

    Raises:
      UserError: a text is too short for one sequence.
    """
    batch_size, seq_len = settings.batch_size, settings.schedule.seq_len
    return Data(
        *(
            jax.device_put(sequences(getattr(corpus, name), batch_size, seq_len, name))
            for name in SPLITS
        )
    )


def make_optimizer(text: Data, settings: Settings) -> optax.GradientTransformation:
    """The optimizer, whose learning rate follows its schedule over all updates of the run.

    Raises:
      UserError: see `optimizers.make`.
    """
    return optimizers.make(settings, settings.num_epochs * len(text.train[0]))


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
        train_loop(*_begin_epoch(model, text, settings, progress), 0, 0)
    train_loop = wrap(train_loop)
    while not is_finished(progress, settings):
        began, epoch = time.perf_counter(), int(progress.epoch) + 1
        state, source = _begin_epoch(model, text, settings, progress)
        state, train_loss = _train_epoch(train_loop, state, source, epoch)
        trained = time.perf_counter()
        valid_loss = float(evaluate(state.params, text.valid))
        _check_finite(valid_loss, f"the validation loss of epoch {epoch}")
        best = progress[3:]
        if valid_loss < progress.best_valid_loss:
            best = jnp.int32(epoch), jnp.float32(valid_loss), state.params
        progress = Progress(jnp.int32(epoch), state.params, state.opt_state, *best)
        rate = text.train[0].size / (trained - began)
        seconds = time.perf_counter() - began
        report(Epoch(epoch, train_loss, valid_loss, rate, seconds), progress)
    test_loss = float(evaluate(progress.best_params, text.test))
    return Result(int(progress.best_epoch), float(progress.best_valid_loss), test_loss)


def _begin_epoch(model, text, settings, progress):
    """The learner at the start of the next epoch, and the source of its batches."""
    key = jax.random.fold_in(jax.random.key(settings.seed), int(progress.epoch) + 1)
    source = text.train, key
    carry = first_carry(model, settings, train_batch(model, settings, source, 0)[0])
    # The calls donate their state, and `progress` must live on.
    copies = jax.tree.map(jnp.copy, (progress.params, progress.opt_state, carry))
    return LearnerState(*copies), source


def _train_epoch(train_loop, state, source, epoch):
    """All sequences of a text, in a few compiled calls with progress between them."""
    num_sequences, *words = source[0][0].shape
    bounds = np.unique(np.linspace(0, num_sequences, CALLS_PER_EPOCH + 1).round().astype(int))
    words = math.prod(words)
    total = 0.0
    with tqdm(
        total=num_sequences * words,
        desc=f"epoch {epoch}",
        unit=" tokens",
        unit_scale=True,
        leave=False,
        disable=None,
    ) as bar:
        for start, stop in itertools.pairwise(bounds.tolist()):
            state, metrics = train_loop(state, source, start, stop)
            loss = float(metrics.loss)
            _check_finite(loss, f"the training loss of epoch {epoch}")
            total += loss * (stop - start)
            bar.update((stop - start) * words)
    return state, total / num_sequences


def _check_finite(loss, what):
    if not math.isfinite(loss):
        raise UserError(f"{what} is {loss}; a smaller --learning_rate may help.")
