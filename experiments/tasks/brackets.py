"""Nested brackets with fillers between them: a language of known entropy that needs a long memory.

A symbol is a filler with probability `filler_prob`, any of F. Else it is a bracket: an opening one
where none is open, a closing one where `max_depth` are, and either with equal probability between.
An opening bracket is of any of K kinds; a closing one is of the kind that was opened last, which
may be many steps back. Who knows the depth but not the kind gets one closing bracket in K right.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.lm import models
from tbptt_jax import LearnerState, init_stream, make_train_loop, stream_scan


class Task(NamedTuple):
    """The language, the network and its training, but for the cell, the horizon and the seed."""

    kinds: int = 2
    fillers: int = 2
    filler_prob: float = 0.6
    max_depth: int = 3
    batch_size: int = 16
    state_size: int = 32
    learning_rate: float = 0.003
    chunk: int = 32  # steps between two updates
    milestones: tuple[int, ...] = (500, 1000, 2000, 4000)  # updates

    @property
    def num_symbols(self) -> int:
        """Opening brackets, closing brackets, fillers, in this order."""
        return 2 * self.kinds + self.fillers

    @property
    def entropy(self) -> float:
        """Nats per symbol, where the past is known.

        Depths are visited as by a walk that turns at 0 and D: each end 1 / 2D of the brackets.
        """
        end, q = 1.0 / (2 * self.max_depth), self.filler_prob
        inside = 1.0 - 2.0 * end
        bracket = end * math.log(self.kinds) + inside * (math.log(2.0) + math.log(self.kinds) / 2)
        which = -q * math.log(q) - (1.0 - q) * math.log(1.0 - q)
        return which + q * math.log(self.fillers) + (1.0 - q) * bracket


class Open(NamedTuple):
    """The brackets that are open, and when each was opened, the first at 0."""

    depth: jax.Array  # [B]
    kinds: jax.Array  # [B, D]
    since: jax.Array  # [B, D], steps since it was opened


def none_open(task: Task) -> Open:
    """Before the first symbol."""
    zeros = jnp.zeros((task.batch_size, task.max_depth), jnp.int32)
    return Open(jnp.zeros(task.batch_size, jnp.int32), zeros, zeros)


class Symbols(NamedTuple):
    """Symbols of the language, and what is known of each."""

    symbols: jax.Array  # [..., B]
    distances: jax.Array  # [..., B], how far back a closing one was opened; 0 for other symbols
    surprisals: jax.Array  # [..., B], -log of their probability, where the past is known


def next_symbol(task: Task, brackets: Open, key: jax.Array) -> tuple[Open, Symbols]:
    """The next symbol, [B]."""
    for_filler, for_which, for_side, for_kind = jax.random.split(key, 4)
    shape = brackets.depth.shape
    is_filler = jax.random.bernoulli(for_filler, task.filler_prob, shape)
    filler = jax.random.randint(for_which, shape, 0, task.fillers)
    is_open = brackets.depth > 0
    is_free = is_open & (brackets.depth < task.max_depth)
    opens = jnp.where(is_free, jax.random.bernoulli(for_side, 0.5, shape), ~is_open)
    new_kind = jax.random.randint(for_kind, shape, 0, task.kinds)
    at = jnp.arange(task.max_depth)
    last = at == brackets.depth[:, None] - 1
    kind = jnp.sum(brackets.kinds * last, axis=1)
    distance = jnp.sum((brackets.since + 1) * last, axis=1)
    bracket = jnp.where(opens, new_kind, task.kinds + kind)
    put = (opens & ~is_filler)[:, None] & (at == brackets.depth[:, None])
    after = Open(
        brackets.depth + jnp.where(is_filler, 0, jnp.where(opens, 1, -1)),
        jnp.where(put, new_kind[:, None], brackets.kinds),
        jnp.where(put, 0, brackets.since + 1),
    )
    choices = jnp.where(is_free, 2, 1) * jnp.where(opens, task.kinds, 1)
    return after, Symbols(
        jnp.where(is_filler, 2 * task.kinds + filler, bracket),
        jnp.where(is_filler | opens, 0, distance),
        jnp.where(
            is_filler,
            math.log(task.fillers) - math.log(task.filler_prob),
            jnp.log(1.0 * choices) - math.log(1.0 - task.filler_prob),
        ),
    )


class Text(NamedTuple):
    """Where a stream of the language stands."""

    brackets: Open
    last: jax.Array  # [B], the last symbol


def next_chunk(task: Task, text: Text, key: jax.Array) -> tuple[Text, jax.Array, Symbols]:
    """The next chunk: where the text stands after it, inputs and symbols to predict, [C, B]."""
    keys = jax.random.split(key, task.chunk)
    body = functools.partial(next_symbol, task)
    brackets, targets = jax.lax.scan(body, text.brackets, keys)
    inputs = jnp.concatenate([text.last[None], targets.symbols[:-1]])
    return Text(brackets, targets.symbols[-1]), inputs, targets


def _model(task, cell):
    return models.LanguageModel(task.num_symbols, task.state_size, task.state_size, cell)


def _optimizer(task):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(task.learning_rate))


def _make_predict(task: Task, cell: str) -> Callable:
    """Builds (params, (stream, text), key) -> ((stream, text), losses, logits, targets)."""
    model = _model(task, cell)

    def predict(params, carry, key):
        stream, text = carry
        text, inputs, targets = next_chunk(task, text, key)
        step = functools.partial(models.step, model, params)
        stream, ys = stream_scan(step, stream, models.Inputs(inputs))
        logits = models.logits(model, params, ys)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets.symbols)
        return (stream, text), losses, logits, targets

    return predict


def start(task: Task, cell: str, horizon: int, key: jax.Array) -> LearnerState:
    """A learner by true BPTT before its first update."""
    model, first = _model(task, cell), jnp.full(task.batch_size, task.num_symbols - 1)
    params, carry = models.init_params(model, key), models.init_carry(model, task.batch_size)
    text, xs = Text(none_open(task), first), models.Inputs(first[None])
    stream = init_stream(carry, xs, horizon=horizon, stride=1)
    return LearnerState(params, _optimizer(task).init(params), (stream, text))


def make_train(task: Task, cell: str) -> Callable:
    """Builds (state, key, first, stop) -> state: the updates first..stop-1."""
    predict = _make_predict(task, cell)

    def loss_fn(params, carry, key):
        carry, losses, *_ = predict(params, carry, key)
        return jnp.mean(losses), carry

    batch_fn = lambda key, i: jax.random.fold_in(key, i)
    train_loop = make_train_loop(loss_fn, _optimizer(task), batch_fn)
    return lambda state, key, first, stop: train_loop(state, key, first, stop)[0]


class Seen(NamedTuple):
    """How well a text is predicted; a bin holds the closing brackets of some distances."""

    excess: jax.Array  # [], mean loss beyond what the language leaves open
    kind_loss: jax.Array  # [bins], -log of the kind's probability, summed over closing brackets
    right: jax.Array  # [bins], closing brackets of the right kind
    total: jax.Array  # [bins], closing brackets


def make_evaluate(task: Task, cell: str, num_chunks: int, edges: tuple[int, ...]) -> Callable:
    """Builds (state, key) -> Seen.

    Bin i counts the closing brackets whose opening one is edges[i]..edges[i+1]-1 steps back. The
    kind's probability is that among closing brackets; it is right where it has the highest.
    """
    predict, closing = _make_predict(task, cell), slice(task.kinds, 2 * task.kinds)

    def evaluate(state, key):
        def body(carry, key):
            carry, losses, logits, targets = predict(state.params, carry, key)
            excess = losses - targets.surprisals
            kinds = jnp.clip(targets.symbols - task.kinds, 0, task.kinds - 1)
            of_kinds = logits[..., closing]
            kind_loss = optax.softmax_cross_entropy_with_integer_labels(of_kinds, kinds)
            right = jnp.argmax(of_kinds, axis=-1) == kinds
            bins = [
                (a <= targets.distances) & (targets.distances < b)
                for a, b in itertools.pairwise(edges)
            ]
            sums = [[jnp.sum(of * x) for of in bins] for x in (kind_loss, right, 1)]
            return carry, (jnp.mean(excess), jnp.array(sums))

        excess, sums = jax.lax.scan(body, state.carry, jax.random.split(key, num_chunks))[1]
        return Seen(jnp.mean(excess), *jnp.sum(sums, axis=0))

    return evaluate
