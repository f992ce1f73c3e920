"""The copy task of Aicher, Foti and Fox (2019): a block of symbols, then the same again.

A stream is blocks of `memory` symbols, a mark and then random ones, each followed by as many
blanks, during which the block is the target; elsewhere the target is a blank. So each target is
known from the input `memory` steps before it, and the least perplexity is 1.

The learner is theirs: a linear embedding, two layers of LSTM, a readout; gradient descent, an
update every K steps by BPTT(2K - 1; K) (their style "original buffer": each error reaches K to
2K - 1 steps back), its rate times √K, its gradient clipped at 1/K.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.lm import models
from tbptt_jax import (
    LearnerState,
    init_stream,
    lag_spectrum,
    make_train_loop,
    stream_scan,
    truncation_bias,
)

BLANK, MARK = 0, 1


class Task(NamedTuple):
    """The stream, the network and its training, but for K and the seed."""

    memory: int = 10
    num_symbols: int = 6  # blank and mark among them
    batch_size: int = 64
    state_size: int = 50
    layers: int = 2
    learning_rate: float = 1.0
    clip_norm: float = 1.0
    weight_decay: float = 1e-5
    epoch: int = 4000  # steps; each begins with a carry of zeros
    test_steps: int = 1000


def steps_of(task: Task, key: jax.Array, first: jax.Array, num: int):
    """Inputs and targets of the steps first..first+num-1 of a batch of streams, [num, B] each."""
    for_phase, for_symbols = jax.random.split(key)
    shape, period = (task.batch_size,), 2 * task.memory
    phase = jax.random.randint(for_phase, shape, 0, period)

    def symbol(place):
        """Of the step `place` [B] of each stream, counted from its first block."""
        draw = jax.vmap(lambda i, n: jax.random.fold_in(jax.random.fold_in(for_symbols, i), n))
        keys = draw(jnp.arange(task.batch_size), place)
        drawn = jax.vmap(lambda key: jax.random.randint(key, (), MARK + 1, task.num_symbols))(keys)
        at = place % period
        return jnp.where(at == 0, MARK, jnp.where(at < task.memory, drawn, BLANK))

    def at_step(t):
        place = phase + period + t  # blocks before the stream's start are never asked for
        is_asked = place % period >= task.memory
        return symbol(place), jnp.where(is_asked, symbol(place - task.memory), BLANK)

    return jax.vmap(at_step)(first + jnp.arange(num))


def make_model(task: Task) -> models.LanguageModel:
    """The network."""
    sizes = task.num_symbols, task.state_size, task.state_size
    return models.LanguageModel(*sizes, "lstm", task.layers)


def make_epoch(task: Task, k: int) -> Callable[[Any, jax.Array], Any]:
    """Builds (params, key) -> params: updates every k steps through a fresh stream."""
    model = make_model(task)
    optimizer = optax.chain(
        optax.clip_by_global_norm(task.clip_norm / k),
        optax.add_decayed_weights(task.weight_decay),
        optax.sgd(task.learning_rate * k**0.5),
    )

    def loss_fn(params, stream, batch):
        inputs, targets = batch
        step = functools.partial(models.step, model, params)
        stream, ys = stream_scan(step, stream, models.Inputs(inputs))
        return _loss(model, params, ys, targets), stream

    chunk = lambda key, i: steps_of(task, key, i * k, k)
    loop = make_train_loop(loss_fn, optimizer, chunk, donate=False)

    def epoch(params, key):
        carry = models.init_carry(model, task.batch_size)
        xs = models.Inputs(jnp.zeros((1, task.batch_size), jnp.int32))
        stream = init_stream(carry, xs, horizon=2 * k - 1, stride=k)
        state = LearnerState(params, optimizer.init(params), stream)
        return loop(state, key, 0, task.epoch // k)[0].params

    return epoch


def make_test(task: Task) -> Callable[[Any, jax.Array], jax.Array]:
    """Builds (params, key) -> perplexity, after the first two periods of a stream."""
    model, before = make_model(task), 4 * task.memory

    def test(params, key):
        inputs, targets = steps_of(task, key, jnp.int32(0), before + task.test_steps)
        step = functools.partial(models.step, model, params)
        carry = models.init_carry(model, task.batch_size)
        _, ys = jax.lax.scan(step, carry, models.Inputs(inputs))
        return jnp.exp(_loss(model, params, ys[before:], targets[before:]))

    return test


def make_bias(task: Task, ks: tuple[int, ...], num_lags: int) -> Callable:
    """Builds (params, key) -> TruncationBias of each K, after the first two periods of a stream.

    An error of BPTT(2K - 1; K) reaches K steps back at least: its bias is taken for horizon K's.
    """
    model, before = make_model(task), 4 * task.memory
    cell = lambda params, carry, x: models.step(model, params, carry, x)
    loss_fn = functools.partial(_loss, model)
    spectrum_fn = lag_spectrum(cell, loss_fn, horizon=num_lags, batched=True)

    def bias(params, key):
        inputs, targets = steps_of(task, key, jnp.int32(0), before + num_lags + 2 * task.memory)
        f = functools.partial(cell, params)
        carry = models.init_carry(model, task.batch_size)
        carry, _ = jax.lax.scan(f, carry, models.Inputs(inputs[:before]))
        xs = models.Inputs(inputs[before:])
        spectrum = spectrum_fn(params, carry, xs, targets[before:])
        return truncation_bias(spectrum, horizons=ks)

    return bias


def _loss(model, params, ys, targets):
    logits = models.logits(model, params, ys)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))
