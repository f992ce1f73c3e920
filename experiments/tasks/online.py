"""Streams of one number a step, and a tanh RNN that learns them with an update at every step.

The loss of a step is the squared error over the targets' variance, so that 0 is perfect and 1 is
what the mean of the targets would have. The gradient is truncated after `horizon` steps, or is that
of real-time recurrent learning (Williams and Zipser, 1989), which no horizon truncates:

    Sₜ = Jₜ Sₜ₋₁ + ∂cₜ/∂θ,   ∂Lₜ/∂θ = (∂Lₜ/∂cₜ) Sₜ,   Jₜ = ∂cₜ/∂cₜ₋₁
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, init_stream, make_online_loop

PERIODS = 30, 12  # steps of a sine before the shift and after it
FROZEN, FULL = "frozen", "full"


class Task(NamedTuple):
    """A stream, and the size of the network."""

    delay: int | None  # the target is the bit so many steps ago; None: the sine's next value
    state_size: int
    num_steps: int
    num_segments: int = 20  # of the steps, each with its mean loss

    @property
    def variance(self) -> float:
        """Of the targets."""
        return 0.5 if self.delay is None else 1.0

    def draw(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Inputs and targets, [steps] each: a sine whose period shifts halfway, or bits ±1."""
        if self.delay is None:
            before = jnp.arange(self.num_steps) < self.num_steps // 2
            rate = 2 * jnp.pi / jnp.where(before, *PERIODS)
            values = jnp.sin(2 * jnp.pi * jax.random.uniform(key) + jnp.cumsum(rate))
            return values[:-1], values[1:]
        bits = jax.random.rademacher(key, (self.num_steps + self.delay,), float)
        return bits[self.delay :], bits[: self.num_steps]


def init_params(state_size: int, key: jax.Array) -> dict[str, dict[str, jax.Array]]:
    """An orthogonal recurrence, inputs of variance 1, a readout of zeros."""
    keys, n = jax.random.split(key), state_size
    cell = {"recurrent": jax.random.orthogonal(keys[0], n), "bias": jnp.zeros(n)}
    cell["input"] = jax.random.normal(keys[1], (n,))
    return {"cell": cell, "readout": {"kernel": jnp.zeros(n), "bias": jnp.zeros(())}}


def next_carry(cell: dict[str, jax.Array], carry: jax.Array, x: jax.Array) -> jax.Array:
    """(carry [N], x []) -> the next carry."""
    return jnp.tanh(carry @ cell["recurrent"] + x * cell["input"] + cell["bias"])


def make_loss(task: Task) -> Callable:
    """Builds (readout, carry, target) -> the loss of a step."""

    def loss(readout, carry, target):
        error = carry @ readout["kernel"] + readout["bias"] - target
        return error**2 / task.variance

    return loss


def learn(
    task: Task, horizon: int | str, optimizer: optax.GradientTransformation, key: jax.Array
) -> tuple[Any, jax.Array]:
    """Learns one stream. Vmap it over keys.

    Args:
      task: the stream.
      horizon: steps an error reaches back; `FULL` for real-time recurrent learning; `FROZEN` where
        the readout alone learns.
      optimizer: as in `tbptt_jax.make_online_loop`.
      key: for the parameters and the stream.

    Returns:
      The parameters at the end, and the mean loss of each segment before the updates it makes,
      [segments].
    """
    for_params, for_stream = jax.random.split(key)
    params, steps = init_params(task.state_size, for_params), task.draw(for_stream)
    if horizon == FULL:
        return _recurrent_learning(task, optimizer, params, steps)
    is_frozen = horizon == FROZEN

    def cell(params, carry, x):
        layer = jax.lax.stop_gradient(params["cell"]) if is_frozen else params["cell"]
        carry = next_carry(layer, carry, x)
        return carry, carry

    loss = make_loss(task)
    step_loss = lambda params, carry, target: loss(params["readout"], carry, target)
    inputs_fn = lambda source, t: (source[0][t], source[1][t])
    loop = make_online_loop(cell, step_loss, optimizer, inputs_fn, donate=False)
    stream = init_stream(
        jnp.zeros(task.state_size), steps[0][:1], horizon=1 if is_frozen else int(horizon)
    )
    state, losses = LearnerState(params, optimizer.init(params), stream), []
    length = len(steps[0]) // task.num_segments
    for first, stop in itertools.pairwise(range(0, task.num_segments * length + 1, length)):
        state, metrics = loop(state, steps, first, stop)
        losses.append(metrics.loss)
    return state.params, jnp.stack(losses)


def _recurrent_learning(task, optimizer, params, steps):
    """As `learn`, with the sensitivity of the carry to each parameter."""
    loss = jax.value_and_grad(make_loss(task), (0, 1))
    jacobians = jax.jacrev(next_carry, (0, 1))

    def update(state, step):
        params, opt_state, carry, sensitivity = state
        x, target = step
        direct, jacobian = jacobians(params["cell"], carry, x)
        carried = functools.partial(jnp.tensordot, jacobian, axes=1)
        sensitivity = jax.tree.map(lambda s, d: carried(s) + d, sensitivity, direct)
        carry = next_carry(params["cell"], carry, x)
        value, (of_readout, error) = loss(params["readout"], carry, target)
        of_cell = jax.tree.map(functools.partial(jnp.tensordot, error, axes=1), sensitivity)
        grads = {"cell": of_cell, "readout": of_readout}
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, carry, sensitivity), value

    n = task.state_size
    zeros = jax.tree.map(lambda leaf: jnp.zeros((n, *leaf.shape), leaf.dtype), params["cell"])
    init = params, optimizer.init(params), jnp.zeros(n), zeros
    (params, *_), losses = jax.lax.scan(update, init, steps)
    length = math.floor(len(losses) / task.num_segments)
    return params, losses[: task.num_segments * length].reshape(-1, length).mean(axis=1)
