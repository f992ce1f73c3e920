"""Influence balancing (Tallec and Ollivier, 2017): what a parameter does soon, it undoes later.

A chain of N linear units, of which the first is to be 1; one parameter θ enters the first P units
with a plus and the others with a minus:

    cₜⁱ = (cₜ₋₁ⁱ + cₜ₋₁ⁱ⁺¹) / 2 ± θ,   Lₜ = (cₜ¹ - 1)² / 2,   cₜ¹ → 2 (2P - N) θ

Soon after θ rises, the first unit rises; once the distant units arrive, it falls, and further. So a
gradient that is truncated too early has the wrong sign.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tbptt_jax import (
    LearnerState,
    draw_boundary_factors,
    draw_lag_weights,
    init_stream,
    make_train_loop,
    stream_scan,
    truncated_scan,
    with_boundary_factors,
)

CUT, TRACE = "cut", "trace"
BOUNDARIES, HORIZON = "boundaries", "horizon"  # what is random


class Task(NamedTuple):
    """The chain, and how it learns."""

    num_units: int = 23
    num_positive: int = 10
    learning_rate: float = 5e-4
    chunk: int = 16  # steps between two updates
    mean_reach: int = 16  # steps that an error reaches back on average, where this is random

    @property
    def final_gain(self) -> float:
        """The derivative by θ of what the first unit tends to."""
        return 2.0 * (2 * self.num_positive - self.num_units)

    @property
    def signs(self) -> np.ndarray:
        """[N], of θ in each unit."""
        return np.where(np.arange(self.num_units) < self.num_positive, 1.0, -1.0)


class Method(NamedTuple):
    """How the gradient is taken."""

    horizon: int
    stride: int = 1
    tail: str = CUT  # or TRACE: nothing is truncated
    random: str | None = None  # or BOUNDARIES, HORIZON: truncated at random, without bias


def gains(task: Task, num_lags: int) -> np.ndarray:
    """[lags], what θ at each lag does to the first unit; their sum is `final_gain`."""
    first, found = np.eye(task.num_units)[0], []
    for _ in range(num_lags):
        found.append(first @ task.signs)
        first = (first + np.concatenate([[0.0], first[:-1]])) / 2.0
    return np.array(found)


def expected_gain(task: Task, method: Method, longest: int = 1000) -> float:
    """The mean sum of the gains that errors reach; learning goes the right way below 0."""
    sums = np.cumsum(gains(task, longest))
    if method.tail == TRACE or method.random:
        return float(sums[-1])
    reached = range(method.horizon - method.stride, method.horizon)
    return float(np.mean(sums[list(reached)]))


def horizon_tail(task: Task, horizon: int) -> np.ndarray:
    """[H], probabilities of each random horizon: P(h > i) = (1 + i / m)⁻² for i < H."""
    beyond = (1.0 + np.arange(horizon + 1) / task.mean_reach) ** -2.0
    beyond[-1] = 0.0
    return -np.diff(beyond)


def _next(theta, unit, above, sign):
    return (unit + above) / 2.0 + sign * theta


def make_step(task: Task) -> Callable:
    """Builds (θ, carry [N], x) -> (carry, first unit)."""

    def step(theta, carry, _):
        above = jnp.append(carry[1:], 0.0)
        carry = _next(theta, carry, above, jnp.array(task.signs, carry.dtype))
        return carry, carry[0]

    return step


def make_split_step(task: Task) -> Callable:
    """As `make_step`, with N scalars for a carry: no leaf mixes entries, as a trace needs it."""

    def step(theta, carry, _):
        above = *carry[1:], jnp.zeros_like(carry[0])
        each = zip(carry, above, task.signs.tolist(), strict=True)
        carry = tuple(_next(theta, *units) for units in each)
        return carry, carry[0]

    return step


def make_loss(task: Task, method: Method) -> tuple[Callable, Callable]:
    """Builds (θ, carry) -> carry of a learner, and (θ, carry, key) -> (loss, carry) of a chunk."""
    if method.tail == TRACE:
        return _make_traced(task, method)
    if method.random == HORIZON:
        return _make_weighed(task, method)
    step = make_step(task)
    num_steps = task.chunk if method.stride == 1 else method.stride
    draw = functools.partial(
        draw_boundary_factors, shape=num_steps, cut_probability=1.0 / task.mean_reach
    )
    ones = jnp.ones(num_steps)

    def loss(theta, stream, key):
        xs = None, draw(key) if method.random else ones
        f = with_boundary_factors(functools.partial(step, theta))
        stream, ys = stream_scan(f, stream, xs)
        return _loss(ys), stream

    start = lambda theta, carry: init_stream(
        carry, (None, ones), horizon=method.horizon, stride=method.stride
    )
    return start, loss


def _loss(ys):
    return jnp.mean((ys - 1.0) ** 2) / 2.0


def _make_traced(task, method):
    step, xs = make_split_step(task), jnp.zeros(task.chunk)

    def loss(theta, stream, _):
        stream, ys = stream_scan(step, stream, xs, params=theta)
        return _loss(ys), stream

    start = lambda theta, carry: init_stream(
        tuple(carry), xs, horizon=method.horizon, tail=TRACE, cell=step, params=theta
    )
    return start, loss


def _make_weighed(task, method):
    """The carry is the one that enters the first step whose error a chunk's losses can reach."""
    step, before = make_step(task), method.horizon - 1
    probabilities = horizon_tail(task, method.horizon)

    def loss(theta, carry, key):
        f = functools.partial(step, theta)
        weights = draw_lag_weights(key, probabilities)
        steps = before + task.chunk
        _, ys = truncated_scan(f, carry, length=steps, horizon=method.horizon, lag_weights=weights)
        carry, _ = jax.lax.scan(f, carry, length=task.chunk)
        return _loss(ys[before:]), carry

    return lambda theta, carry: carry, loss


def make_learn(task: Task, method: Method, num_updates: int, num_records: int) -> Callable:
    """Builds (θ, key) -> [records]: how far θ is from the best, in units of its start.

    Recorded at even distances, the last after all updates.
    """
    start, loss = make_loss(task, method)
    optimizer = optax.sgd(task.learning_rate)
    loop = make_train_loop(loss, optimizer, jax.random.fold_in, donate=False)
    best, every = 1.0 / task.final_gain, num_updates // num_records

    def learn(theta: jax.Array, key: jax.Array) -> jax.Array:
        def body(state, i):
            state, _ = loop(state, key, i * every, (i + 1) * every)
            return state, jnp.abs(state.params - best) / jnp.abs(theta - best)

        carry: Any = start(theta, jnp.ones(task.num_units))
        state = LearnerState(theta, optimizer.init(theta), carry)
        return jax.lax.scan(body, state, jnp.arange(num_records))[1]

    return learn
