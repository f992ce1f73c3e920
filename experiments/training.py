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
from tqdm import tqdm

from experiments import models
from experiments.data import SPLITS, Corpus, sequences
from experiments.errors import UserError
from experiments.styles import Schedule
from tbptt_jax import truncated_scan, windowed_value_and_grad

CALLS_PER_EPOCH = 20
BACKWARDS = ("sweeps", "windows")
CARRIES = ("clean", "dropped")


class Settings(NamedTuple):
    """How to train; everything but the model and the text."""

    schedule: Schedule
    learning_rate: float = 0.001
    num_epochs: int = 20
    batch_size: int = 32
    keep_prob: float = 0.8
    carry: str = "clean"
    backward: str = "sweeps"
    seed: int = 0


class Data(NamedTuple):
    """Inputs and targets of each text, both [S, T, B]."""

    train: tuple[jax.Array, jax.Array]
    valid: tuple[jax.Array, jax.Array]
    test: tuple[jax.Array, jax.Array]


class State(NamedTuple):
    """What an update changes."""

    params: Any
    opt_state: Any
    carry: Any


class Progress(NamedTuple):
    """All that a run needs to go on after an epoch, for bit-identical results; arrays alone."""

    epoch: jax.Array  # [], int32: epochs finished
    params: Any
    opt_state: Any
    best_epoch: jax.Array  # [], int32
    best_valid_loss: jax.Array  # [], float32
    best_params: Any


class Epoch(NamedTuple):
    """What one epoch brought; losses in nats a word."""

    epoch: int  # from 1
    train_loss: float
    valid_loss: float
    tokens_per_second: float  # of training alone
    seconds: float  # with validation


class Result(NamedTuple):
    """What a run came to; losses in nats a word."""

    best_epoch: int
    best_valid_loss: float
    test_loss: float  # of the parameters of the best epoch


def make_loss_and_grad(model: models.LanguageModel, schedule: Schedule, backward: str) -> Callable:
    """Builds (params, carry, inputs, targets) -> ((loss, carry), grads) for one sequence.

    The loss is the mean over the T·B words; `grads` are BPTT(horizon; stride) of it. `backward` is
    `sweeps` (`truncated_scan`) or `windows` (the definition, slow).
    """
    step = functools.partial(models.step, model)
    horizon, stride = schedule.horizon, schedule.stride
    if backward == "windows":
        mean_loss = lambda *args: models.mean_loss(*args) / schedule.seq_len
        run = windowed_value_and_grad(step, mean_loss, horizon=horizon, stride=stride)

        def by_windows(*args):
            value, (grads, _, _) = run(*args)
            return value, grads

        return by_windows

    def sequence_loss(params, carry, inputs, targets):
        f = functools.partial(step, params)
        carry, ys = truncated_scan(f, carry, inputs, horizon=horizon, stride=stride)
        return models.mean_loss(params, ys, targets), carry

    return jax.value_and_grad(sequence_loss, has_aux=True)


def make_train_call(
    model: models.LanguageModel, optimizer: optax.GradientTransformation, settings: Settings
) -> Callable:
    """Builds the jitted (state, data, key, first, last) -> (state, sum of losses).

    It trains on the sequences first..last-1 of `data` (inputs and targets, [S, T, B]), one update
    each, and donates `state`. The bounds are traced: one compilation serves every call.
    """
    loss_and_grad = make_loss_and_grad(model, settings.schedule, settings.backward)

    def update(i, loop, data, key):
        state, total = loop
        tokens, targets = jax.tree.map(lambda leaf: leaf[i], data)
        key = jax.random.fold_in(key, i)
        inputs = models.dropout_inputs(model, key, tokens, settings.keep_prob)
        (loss, carry), grads = loss_and_grad(state.params, state.carry, inputs, targets)
        if settings.carry == "dropped":
            last_mask = jax.tree.map(lambda leaf: leaf[-1], inputs.output_mask)
            carry = models.drop_carry(carry, last_mask)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return State(params, opt_state, carry), total + loss

    @functools.partial(jax.jit, donate_argnums=0)
    def train_call(state, data, key, first, last):
        body = functools.partial(update, data=data, key=key)
        return jax.lax.fori_loop(first, last, body, (state, jnp.zeros(())))

    return train_call


def make_evaluate(model: models.LanguageModel, batch_size: int) -> Callable:
    """Builds the jitted (params, data) -> mean loss over the words of `data`, without dropout."""

    @jax.jit
    def evaluate(params, data):
        def sequence(carry, tokens_and_targets):
            tokens, targets = tokens_and_targets
            f = functools.partial(models.step, model, params)
            carry, ys = jax.lax.scan(f, carry, models.Inputs(tokens))
            return carry, models.mean_loss(params, ys, targets)

        return jnp.mean(jax.lax.scan(sequence, models.init_carry(model, batch_size), data)[1])

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


def start(model: models.LanguageModel, settings: Settings) -> Progress:
    """A run before its first epoch."""
    params = models.init_params(model, jax.random.fold_in(jax.random.key(settings.seed), 0))
    opt_state = optax.adam(settings.learning_rate).init(params)
    zero = jnp.zeros((), jnp.int32)
    return Progress(zero, params, opt_state, zero, jnp.float32(jnp.inf), params)


def train(
    model: models.LanguageModel,
    text: Data,
    settings: Settings,
    progress: Progress,
    report: Callable[[Epoch, Progress], None],
) -> Result:
    """Trains for the epochs that are left, reports each, and tests the best one's parameters.

    The carry is zero at the start of an epoch, and an epoch's random numbers depend on the seed and
    its number alone; so a run can go on from any epoch's progress as if it had never stopped.

    Raises:
      UserError: a loss is not finite.
    """
    train_call = make_train_call(model, optax.adam(settings.learning_rate), settings)
    evaluate = make_evaluate(model, settings.batch_size)
    for epoch in range(int(progress.epoch) + 1, settings.num_epochs + 1):
        began = time.perf_counter()
        key = jax.random.fold_in(jax.random.key(settings.seed), epoch)
        carry = models.init_carry(model, settings.batch_size)
        # The calls donate their state, and `progress` must live on.
        state = State(*jax.tree.map(jnp.copy, (progress.params, progress.opt_state, carry)))
        state, train_loss = _train_epoch(train_call, state, text.train, key, epoch)
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


def _train_epoch(train_call, state, data, key, epoch):
    """All sequences of `data`, in a few compiled calls with progress between them."""
    num_sequences = len(data[0])
    bounds = np.linspace(0, num_sequences, CALLS_PER_EPOCH + 1).round().astype(int).tolist()
    total = 0.0
    words = data[0][0].size
    with tqdm(
        total=num_sequences * words,
        desc=f"epoch {epoch}",
        unit=" tokens",
        unit_scale=True,
        leave=False,
        disable=None,
    ) as bar:
        for first, last in itertools.pairwise(bounds):
            state, losses = train_call(state, data, key, first, last)
            _check_finite(float(losses), f"the training loss of epoch {epoch}")
            total += float(losses)
            bar.update((last - first) * words)
    return state, total / num_sequences


def _check_finite(loss, what):
    if not math.isfinite(loss):
        raise UserError(f"{what} is {loss}; a smaller --learning_rate may help.")
