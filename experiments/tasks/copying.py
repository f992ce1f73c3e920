"""An endless copy task, and a linear recurrent unit that learns it online.

An episode shows a pattern of random symbols, then blanks, then a cue for each symbol, to which the
answer is the symbol `pattern + delay` steps ago. Episodes follow each other without a mark or a
reset; each sample of the batch has its own phase. The layer is that of Orvieto et al. (2023),

    cₜ = λ cₜ₋₁ + √(1 - |λ|²) B xₜ,   λ = exp(-exp(ν) + iθ),

complex, with a linear readout. The |λ| are drawn from 0 to 1, so that most of the state has
forgotten a symbol when it is asked for, until λ is learnt. Zucchet et al. (2023) learn such tasks
online.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, init_stream, make_train_loop, stream_scan


class Task(NamedTuple):
    """The episodes, the network and its training, but for the truncation and the seed."""

    pattern: int = 5
    delay: int = 11
    num_symbols: int = 2
    batch_size: int = 16
    state_size: int = 16
    largest_decay: float = 0.999
    learning_rate: float = 0.003
    chunk: int = 4  # steps between two updates

    @property
    def period(self) -> int:
        """Steps of an episode."""
        return 2 * self.pattern + self.delay

    @property
    def lag(self) -> int:
        """Steps from a symbol to the answer."""
        return self.pattern + self.delay

    @property
    def num_inputs(self) -> int:
        """The symbols, a blank and a cue."""
        return self.num_symbols + 2


def init_params(task: Task, key: jax.Array) -> dict[str, dict[str, jax.Array]]:
    """|λ| uniform up to the largest, θ in 0..π; inputs and readout of variance 1 / fan_in."""
    keys = jax.random.split(key, 5)
    n, outputs = task.state_size, task.num_symbols
    normal = lambda key, *shape: jax.random.normal(key, shape)
    size = jax.random.uniform(keys[0], (n,), minval=1e-3, maxval=task.largest_decay)
    layer = {
        "nu": jnp.log(-jnp.log(size)),
        "theta": jnp.pi * jax.random.uniform(keys[1], (n,)),
        "real": normal(keys[2], task.num_inputs, n),
        "imag": normal(keys[3], task.num_inputs, n),
    }
    readout = {
        "kernel": normal(keys[4], 2 * n, outputs) / jnp.sqrt(2 * n),
        "bias": jnp.zeros(outputs),
    }
    return {"layer": layer, "readout": readout}


def cell(layer: dict[str, jax.Array], carry: jax.Array, x: jax.Array):
    """(carry [B, N] complex, x [B, inputs]) -> (carry, its parts [B, 2N])."""
    size = jnp.exp(-jnp.exp(layer["nu"]))
    factor = size * jnp.exp(1j * layer["theta"])
    inputs = jax.lax.complex(x @ layer["real"], x @ layer["imag"])
    carry = factor * carry + jnp.sqrt(1.0 - size**2) * inputs
    return carry, jnp.concatenate([carry.real, carry.imag], axis=-1)


def draw_steps(task: Task, key: jax.Array, num_steps: int) -> tuple[jax.Array, jax.Array]:
    """Inputs [T, B], and answers [T, B], -1 where none is asked for."""
    for_symbols, for_phases = jax.random.split(key)
    episodes = num_steps // task.period + 2
    shape = episodes, task.pattern, task.batch_size
    symbols = jax.random.randint(for_symbols, shape, 0, task.num_symbols)
    fill = lambda num, value: jnp.full((episodes, num, task.batch_size), value)
    blank, cue = task.num_symbols, task.num_symbols + 1
    inputs = [symbols, fill(task.delay, blank), fill(task.pattern, cue)]
    answers = [fill(task.lag, -1), symbols]
    phases = jax.random.randint(for_phases, (task.batch_size,), 0, task.period)

    def steps(parts):
        columns = jnp.concatenate(parts, axis=1).reshape(-1, task.batch_size)
        of_sample = lambda column, phase: jax.lax.dynamic_slice(column, (phase,), (num_steps,))
        return jax.vmap(of_sample, (1, 0), 1)(columns, phases)

    return steps(inputs), steps(answers)


def make_loss(task: Task) -> Callable:
    """Builds (params, stream, (inputs [C, B], answers)) -> (loss, (stream, (right, due))).

    The loss is a sum over the answers of a chunk by their usual number; `right` and `due` are the
    shares of its steps where an answer is right, and where one is asked for.
    """

    def loss_fn(params, stream, chunk):
        inputs, answers = chunk
        xs = jax.nn.one_hot(inputs, task.num_inputs)
        stream, ys = stream_scan(cell, stream, xs, params=params["layer"])
        logits = ys @ params["readout"]["kernel"] + params["readout"]["bias"]
        is_due, answers = answers >= 0, jnp.maximum(answers, 0)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, answers)
        is_right = is_due & (jnp.argmax(logits, axis=-1) == answers)
        loss = jnp.mean(is_due * losses) * task.period / task.pattern
        return loss, (stream, (jnp.mean(is_right * 1.0), jnp.mean(is_due * 1.0)))

    return loss_fn


def start(task: Task, key: jax.Array, horizon: int, tail: str) -> LearnerState:
    """A learner before its first update."""
    params = init_params(task, key)
    carry = jnp.zeros((task.batch_size, task.state_size), complex)
    xs = jnp.zeros((task.chunk, task.batch_size, task.num_inputs))
    of_trace = {} if tail == "cut" else {"cell": cell, "params": params["layer"]}
    stream = init_stream(carry, xs, horizon=horizon, tail=tail, **of_trace)
    return LearnerState(params, _optimizer(task).init(params), stream)


def make_train(task: Task) -> Callable[..., tuple[LearnerState, Any]]:
    """Builds (state, steps, first, stop) -> (state, metrics): the updates first..stop-1.

    `steps` are those of `draw_steps`; the metrics' `aux` are `right` and `due` of the loss.
    """

    def chunk(steps, i):
        cut = lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, i * task.chunk, task.chunk)
        return jax.tree.map(cut, steps)

    return make_train_loop(make_loss(task), _optimizer(task), chunk, has_aux=True, donate=False)


def _optimizer(task):
    return optax.adam(task.learning_rate)
