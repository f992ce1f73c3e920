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


def next_symbol(task: Task, brackets: Open, key: jax.Array):
    """The next symbol [B], and how far back its bracket was opened [B]; 0 where none is closed."""
    for_filler, for_which, for_side, for_kind = jax.random.split(key, 4)
    shape = brackets.depth.shape
    is_filler = jax.random.bernoulli(for_filler, task.filler_prob, shape)
    filler = jax.random.randint(for_which, shape, 0, task.fillers)
    opens = jax.random.bernoulli(for_side, 0.5, shape)
    opens = (opens | (brackets.depth == 0)) & (brackets.depth < task.max_depth)
    new_kind = jax.random.randint(for_kind, shape, 0, task.kinds)
    at = jnp.arange(task.max_depth)
    last = at == brackets.depth[:, None] - 1
    kind = jnp.sum(brackets.kinds * last, axis=1)
    distance = jnp.sum((brackets.since + 1) * last, axis=1)
    bracket = jnp.where(opens, new_kind, task.kinds + kind)
    symbol = jnp.where(is_filler, 2 * task.kinds + filler, bracket)
    put = (opens & ~is_filler)[:, None] & (at == brackets.depth[:, None])
    kinds = jnp.where(put, new_kind[:, None], brackets.kinds)
    since = jnp.where(put, 0, brackets.since + 1)
    depth = brackets.depth + jnp.where(is_filler, 0, jnp.where(opens, 1, -1))
    return Open(depth, kinds, since), (symbol, jnp.where(is_filler | opens, 0, distance))


class Text(NamedTuple):
    """Where a stream of the language stands."""

    brackets: Open
    last: jax.Array  # [B], the last symbol


def next_chunk(task: Task, text: Text, key: jax.Array):
    """The next chunk: (text, (inputs [C, B], targets [C, B], distances of the targets [C, B]))."""
    keys = jax.random.split(key, task.chunk)
    body = functools.partial(next_symbol, task)
    brackets, (targets, distances) = jax.lax.scan(body, text.brackets, keys)
    inputs = jnp.concatenate([text.last[None], targets[:-1]])
    return Text(brackets, targets[-1]), (inputs, targets, distances)


def _model(task, cell):
    return models.LanguageModel(task.num_symbols, task.state_size, task.state_size, cell)


def _optimizer(task):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(task.learning_rate))


def make_predict(task: Task, cell: str) -> Callable:
    """Builds (params, (stream, text), key) -> ((stream, text), logits, targets, distances)."""
    model = _model(task, cell)

    def predict(params, carry, key):
        stream, text = carry
        text, (inputs, targets, distances) = next_chunk(task, text, key)
        step = functools.partial(models.step, model, params)
        stream, ys = stream_scan(step, stream, models.Inputs(inputs))
        return (stream, text), models.logits(model, params, ys), targets, distances

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
    predict = make_predict(task, cell)

    def loss_fn(params, carry, key):
        carry, logits, targets, _ = predict(params, carry, key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return jnp.mean(losses), carry

    batch_fn = lambda key, i: jax.random.fold_in(key, i)
    train_loop = make_train_loop(loss_fn, _optimizer(task), batch_fn)
    return lambda state, key, first, stop: train_loop(state, key, first, stop)[0]


def make_evaluate(task: Task, cell: str, num_chunks: int, edges: tuple[int, ...]) -> Callable:
    """Builds (state, key) -> (mean loss, [bins] right kinds, [bins] closing brackets).

    A bin counts the closing brackets whose opening one is edges[i]..edges[i+1]-1 steps back; the
    kind is right where its logit is the highest of those of closing brackets.
    """
    predict, closing = make_predict(task, cell), slice(task.kinds, 2 * task.kinds)

    def evaluate(state, key):
        def body(carry, key):
            carry, logits, targets, distances = predict(state.params, carry, key)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            right = jnp.argmax(logits[..., closing], axis=-1) + task.kinds == targets
            which = [(a <= distances) & (distances < b) for a, b in itertools.pairwise(edges)]
            counts = jnp.array([[jnp.sum(of & right), jnp.sum(of)] for of in which])
            return carry, (jnp.mean(losses), counts)

        keys = jax.random.split(key, num_chunks)
        losses, counts = jax.lax.scan(body, state.carry, keys)[1]
        right, total = jnp.sum(counts, axis=0).T
        return jnp.mean(losses), right, total

    return evaluate
