"""Sequences that depend on the symbol d steps back, and a small RNN that learns them online.

    xₜ₊₁ = xₜ₋d with probability p, else any of the V symbols

No shorter past tells anything of the next symbol, so the best loss without the dependency is log V,
and with it the entropy of one step. An error must reach d + 1 steps back to arrive at the step that
saw the symbol, and d to arrive at the first that acts on a state which holds it.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, init_stream, make_eval_step, make_train_loop, stream_scan

EVALUATION_CHUNKS = 50
SUCCESS = 0.9  # share of the possible gain from which on a delay counts as learnt
LEAVES = ("recurrent", "input", "bias", "readout", "readout_bias")


class Pass(NamedTuple):
    """A backward pass by BPTT(horizon; stride), and the parameters that it teaches.

    Several passes give each parameter a horizon of its own; what none teaches stays as it was.
    """

    horizon: int
    stride: int
    leaves: tuple[str, ...] = LEAVES


class Task(NamedTuple):
    """The sequences, the network and its training, but for the delay and the seed."""

    max_delay: int
    num_symbols: int = 2
    copy_prob: float = 0.9
    batch_size: int = 16
    state_size: int = 32
    recurrent_gain: float = 1.0
    learning_rate: float = 0.003
    chunk: int = 32  # steps between two updates
    milestones: tuple[int, ...] = (250, 500, 1000, 2000)  # updates

    @property
    def entropy(self) -> float:
        """Nats per step, where the past is known."""
        other = (1.0 - self.copy_prob) / self.num_symbols
        same = self.copy_prob + other
        rest = (self.num_symbols - 1) * other
        return -same * math.log(same) - (rest and rest * math.log(other))

    @property
    def possible_gain(self) -> float:
        """How much knowing the dependency lowers the loss, in nats per step."""
        return math.log(self.num_symbols) - self.entropy


def init_params(task: Task, key: jax.Array) -> dict[str, jax.Array]:
    """An orthogonal recurrence times its gain; inputs and readout of variance 1 / fan_in."""
    keys = jax.random.split(key, 3)
    n, v = task.state_size, task.num_symbols
    orthogonal = jax.nn.initializers.orthogonal(task.recurrent_gain)
    return {
        "recurrent": orthogonal(keys[0], (n, n)),
        "input": jax.random.normal(keys[1], (v, n)) / math.sqrt(v),
        "bias": jnp.zeros(n),
        "readout": jax.random.normal(keys[2], (n, v)) / math.sqrt(n),
        "readout_bias": jnp.zeros(v),
    }


def step(params: dict[str, jax.Array], carry: jax.Array, symbol: jax.Array):
    """(carry [B, N], symbol [B]) -> (carry, logits [B, V])."""
    total = params["input"][symbol] + carry @ params["recurrent"] + params["bias"]
    carry = jnp.tanh(total)
    return carry, carry @ params["readout"] + params["readout_bias"]


def next_symbols(task: Task, delay: jax.Array, past: jax.Array, key: jax.Array):
    """The next chunk: past [D+1, B] -> (past, (symbols [C, B], the symbols after each))."""

    def draw(key):
        copied, free = jax.random.split(key)
        other = jax.random.randint(free, past[0].shape, 0, task.num_symbols)
        return jax.random.bernoulli(copied, task.copy_prob, past[0].shape), other

    def move(past, drawn):
        copies, other = drawn
        new = jnp.where(copies, past[task.max_delay - delay], other)
        return jnp.concatenate([past[1:], new[None]]), (past[-1], new)

    return jax.lax.scan(move, past, jax.vmap(draw)(jax.random.split(key, task.chunk)))


def make_loss(task: Task, *passes: Pass) -> Callable:
    """Builds (params, (streams, past), (delay, key)) -> (loss, (streams, past)) for one chunk.

    The loss is that of the first pass, which is that of every pass.
    """

    def of_pass(params, which, stream, symbols, targets):
        hold = jax.lax.stop_gradient
        params = {name: p if name in which.leaves else hold(p) for name, p in params.items()}
        stream, logits = stream_scan(functools.partial(step, params), stream, symbols)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return jnp.mean(losses), stream

    def loss_fn(params, carry, batch):
        streams, past = carry
        delay, key = batch
        past, chunk = next_symbols(task, delay, past, key)
        found = [of_pass(params, *each, *chunk) for each in zip(passes, streams, strict=True)]
        (loss, *others), streams = zip(*found, strict=True)
        return loss + sum(x - jax.lax.stop_gradient(x) for x in others), (streams, past)

    return loss_fn


def start(task: Task, key: jax.Array, *passes: Pass) -> LearnerState:
    """A learner before its first update: its streams, one for each pass, and their past symbols."""
    for_params, for_past, _, _ = jax.random.split(key, 4)
    params = init_params(task, for_params)
    shape = task.max_delay + 1, task.batch_size
    past = jax.random.randint(for_past, shape, 0, task.num_symbols)
    carry = jnp.zeros((task.batch_size, task.state_size))
    streams = tuple(
        init_stream(carry, past, horizon=each.horizon, stride=each.stride) for each in passes
    )
    return LearnerState(params, _optimizer(task).init(params), (streams, past))


def make_train(task: Task, *passes: Pass) -> Callable:
    """Builds (state, delay, key, first, stop) -> state: the updates first..stop-1."""
    batch_fn = lambda source, i: (source[0], jax.random.fold_in(source[1], i))
    train_loop = make_train_loop(make_loss(task, *passes), _optimizer(task), batch_fn)

    def train(state, delay, key, first, stop):
        return train_loop(state, (delay, jax.random.split(key, 4)[2]), first, stop)[0]

    return train


def make_share(task: Task, *passes: Pass) -> Callable:
    """Builds (state, delay, key) -> the share of the possible gain that is learnt.

    The stream runs on for a while with parameters fixed: 0 is chance, 1 the entropy.
    """
    eval_step = make_eval_step(make_loss(task, *passes))

    def share(state, delay, key):
        keys = jax.random.split(jax.random.split(key, 4)[3], EVALUATION_CHUNKS)
        batches = jnp.full(EVALUATION_CHUNKS, delay), keys
        evaluate = functools.partial(eval_step, state.params)
        losses = jax.lax.scan(evaluate, state.carry, batches)[1].loss
        return (math.log(task.num_symbols) - jnp.mean(losses)) / task.possible_gain

    return share


def make_learn(task: Task, *passes: Pass) -> Callable:
    """Builds (delay, key) -> the shares of the possible gain that these passes learn.

    It trains on the chunks of one endless stream, and takes the share at each milestone. Vmap it
    over delays and keys.
    """
    train, share = make_train(task, *passes), make_share(task, *passes)

    def learn(delay, key):
        state = start(task, key, *passes)
        shares = []
        for first, stop in itertools.pairwise((0, *task.milestones)):
            state = train(state, delay, key, first, stop)
            shares.append(share(state, delay, key))
        return jnp.stack(shares)

    return learn


def _optimizer(task):
    return optax.adam(task.learning_rate)
