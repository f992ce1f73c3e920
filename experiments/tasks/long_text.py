"""Characters learnt in short pieces, then read as one long text: a GRU and a linear recurrent unit.

The training text is read as `batch_size` streams that start at random places, a piece of each in
every update. So all ways to train see the same pieces in the same order; they differ in the state
that a piece starts from, and in how far errors reach into the pieces before (`Way`).

The linear recurrent unit is that of experiments.tasks.copying, with a hidden layer in its readout.
Its time constants -1 / log |λ| are drawn from 1 to `slowest` steps: some entries of its state are
far from stationary at the end of a piece.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.lm import models
from experiments.tasks import copying
from tbptt_jax import LearnerState, init_stream, make_train_loop, stream_scan

ZERO, OTHER, OWN = "zero", "other", "own"


class Task(NamedTuple):
    """The network and its training, but for the cell, the way and the seed."""

    batch_size: int = 16
    state_size: int = 64
    embed_size: int = 32  # of the GRU
    hidden_size: int = 128  # of the readout of the linear recurrent unit
    slowest: float = 1000.0
    piece: int = 128  # steps of an update
    num_updates: int = 1500
    learning_rate: float = 0.01  # at first; it falls to 0


class Way(NamedTuple):
    """How pieces are joined: their first state, and how errors go back, BPTT(horizon; stride)."""

    state: str  # zero; other: the last one of another stream; own: the last one of this stream
    horizon: int
    stride: int
    zero_for: int = 0  # updates at first whose pieces start from zero in any case


class Model(NamedTuple):
    """A language model over characters, as pure functions."""

    init_params: Callable[[jax.Array], Any]
    init_carry: Callable[[int], Any]  # of so many streams
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]  # (params, carry, characters [B])
    logits: Callable[[Any, jax.Array], jax.Array]  # (params, ys [..., N]) -> [..., V]


def make_model(task: Task, cell: str, vocab_size: int) -> Model:
    """`gru` or `lru`."""
    if cell == "lru":
        return Model(
            functools.partial(_init_lru, task, vocab_size),
            lambda num: jnp.zeros((num, task.state_size), jnp.complex64),
            lambda params, carry, x: copying.cell(
                params["layer"], carry, jax.nn.one_hot(x, vocab_size)
            ),
            lambda params, ys: _dense(params["readout"], jax.nn.gelu(_dense(params["hidden"], ys))),
        )
    model = models.LanguageModel(vocab_size, task.embed_size, task.state_size, cell)
    return Model(
        functools.partial(models.init_params, model),
        functools.partial(models.init_carry, model),
        lambda params, carry, x: models.step(model, params, carry, models.Inputs(x)),
        functools.partial(models.logits, model),
    )


def _init_lru(task, vocab_size, key):
    keys = jax.random.split(key, 6)
    n, hidden = task.state_size, task.hidden_size
    normal = lambda key, *shape: jax.random.normal(key, shape)
    scaled = lambda key, num, size: {
        "kernel": normal(key, num, size) / num**0.5,
        "bias": jnp.zeros(size),
    }
    layer = {
        "nu": -jax.random.uniform(keys[0], (n,), maxval=jnp.log(task.slowest)),
        "theta": jnp.pi / 10.0 * jax.random.uniform(keys[1], (n,)),
        "real": normal(keys[2], vocab_size, n),
        "imag": normal(keys[3], vocab_size, n),
    }
    return {
        "layer": layer,
        "hidden": scaled(keys[4], 2 * n, hidden),
        "readout": scaled(keys[5], hidden, vocab_size),
    }


def _dense(params, x):
    return x @ params["kernel"] + params["bias"]


def _losses(model, params, ys, targets):
    logits = model.logits(params, ys)
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def start(task: Task, model: Model, way: Way, key: jax.Array) -> LearnerState:
    """A learner before its first update."""
    params, carry = model.init_params(key), model.init_carry(task.batch_size)
    xs = jnp.zeros((1, task.batch_size), jnp.int32)
    stream = init_stream(carry, xs, horizon=way.horizon, stride=way.stride)
    return LearnerState(params, _optimizer(task).init(params), stream)


def make_train(task: Task, model: Model, way: Way) -> Callable:
    """Builds (state, text [characters], key, first, stop) -> state: the updates first..stop-1.

    The key draws where the streams start; at the end of the text a stream goes on at its start.
    """

    def batch(source, i):
        text, starts = source
        at = starts + i * task.piece + jnp.arange(task.piece + 1)[:, None]
        part = text[at % len(text)].astype(jnp.int32)
        return part[:-1], part[1:], i < way.zero_for

    def loss_fn(params, stream, batch):
        inputs, targets, is_zero = batch
        stream = dataclasses.replace(stream, carry=_first(way, stream.carry, is_zero))
        stream, ys = stream_scan(functools.partial(model.step, params), stream, inputs)
        return jnp.mean(_losses(model, params, ys, targets)), stream

    loop = make_train_loop(loss_fn, _optimizer(task), batch, donate=False)

    def train(state, text, key, first, stop):
        starts = jax.random.randint(key, (task.batch_size,), 0, len(text))
        return loop(state, (text, starts), first, stop)[0]

    return train


def _first(way, carry, is_zero):
    """What the pieces start from, where the streams' last states are `carry`."""
    if way.state == ZERO:
        return jax.tree.map(jnp.zeros_like, carry)
    if way.state == OTHER:
        carry = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), carry)
    if not way.zero_for:
        return carry
    return jax.tree.map(lambda leaf: jnp.where(is_zero, 0.0, leaf), carry)


def _optimizer(task):
    rate = optax.cosine_decay_schedule(task.learning_rate, task.num_updates)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def windows(text: jax.Array, length: int, longest: int, num: int) -> jax.Array:
    """[2·length + 1, windows]: each starts `length` characters before what it is asked for.

    Together they ask for the same `num` characters, whatever the length: those after the first
    `longest` of the text, each once.
    """
    starts = longest - length + length * jnp.arange(num // length)
    return text[starts + jnp.arange(2 * length + 1)[:, None]]


def make_evaluate(model: Model) -> Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]:
    """Builds (params, windows) -> (loss, size).

    The loss is the mean over the second halves, the size the root mean square of the state at the
    end. A window starts from a state of zeros.
    """

    def evaluate(params, windows):
        windows = windows.astype(jnp.int32)
        length = len(windows) // 2
        step = functools.partial(model.step, params)
        before = lambda carry, x: (step(carry, x)[0], None)

        def asked(carry, pair):
            carry, y = step(carry, pair[0])
            return carry, jnp.mean(_losses(model, params, y, pair[1]))

        carry = model.init_carry(windows.shape[1])
        carry, _ = jax.lax.scan(before, carry, windows[:length])
        pairs = windows[length:-1], windows[length + 1 :]
        carry, losses = jax.lax.scan(asked, carry, pairs)
        squares = [jnp.mean(jnp.abs(leaf) ** 2) for leaf in jax.tree.leaves(carry)]
        return jnp.mean(losses), jnp.mean(jnp.stack(squares)) ** 0.5

    return evaluate
