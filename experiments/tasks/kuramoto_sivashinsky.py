"""A coarse solver of the Kuramoto-Sivashinsky equation, which a small network learns to correct.

    uₜ = -u uₓ - uₓₓ - uₓₓₓₓ, periodic in x, chaotic at the length that is chosen

Derivatives are taken by Fourier's method; steps in time are exponential time differencing of second
order (ETDRK2). The reference is the same scheme with a smaller step on a finer grid. A step of the
corrected solver is v = solver(u), u ← v + Δt net(v). It is unrolled from a state of the reference,
and each of its states has a loss, the squared distance from the reference. With horizon 1 no error
passes the solver: the network learns in the states that it leads to, as if it did not lead there.
"""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tbptt_jax import LearnerState, lag_spectrum, make_train_loop, truncated_scan

Params = list[dict[str, jax.Array]]
FAR = 10.0  # errors beyond it, and those that are no number, count as so large


class Task(NamedTuple):
    """The equation, its solvers, the network and its training, but for horizon, rate and seed."""

    length: float = 36.0  # of the domain; at 32 the solutions are not chaotic
    num_points: int = 24
    step: float = 0.5  # Δt
    finer_grid: int = 3  # points of the reference for one
    finer_steps: int = 10  # steps of the reference for one
    spin_up: int = 200  # states before the first that is used
    channels: int = 8
    width: int = 5  # points that a layer sees
    layers: int = 3
    unrolled: int = 64  # steps, T
    batch_size: int = 4
    num_updates: int = 400
    clip_norm: float = 1.0
    limit: float = 0.5  # a forecast is valid as long as its relative error is below


def make_solver(task: Task, num_points: int, step: float) -> Callable[[jax.Array], jax.Array]:
    """Builds u [..., N] -> u after one step of the scheme ETDRK2.

        v = e^z u + step φ₁(z) n(u)         n(u) = -∂(u²) / 2
        u ← v + step φ₂(z) (n(v) - n(u))    z = step (k² - k⁴), φ₁ = (e^z - 1) / z,
                                            φ₂ = (e^z - 1 - z) / z²

    All three factors are products with circulant matrices, faster than transforms of so few points.
    """
    k = 2.0 * np.pi * np.fft.fftfreq(num_points, task.length / num_points)
    slope = np.where(np.arange(num_points) == num_points // 2, 0.0, 1j * k)
    z = step * (k**2 - k**4)
    is_small = np.abs(z) < 1e-4
    safe = np.where(is_small, 1.0, z)
    phi_1 = np.where(is_small, 1.0 + z / 2.0, np.expm1(safe) / safe)
    phi_2 = np.where(is_small, 0.5 + z / 6.0, (np.expm1(safe) - safe) / safe**2)
    fourier = np.fft.fft(np.eye(num_points), axis=0)
    matrix = lambda factors: jnp.array(np.fft.ifft(factors[:, None] * fourier, axis=0).real.T, "f4")
    linear = matrix(np.exp(z))
    first, second = (matrix(-0.5 * step * slope * phi) for phi in (phi_1, phi_2))

    def solve(u):
        v = u @ linear + u**2 @ first
        return v + (v**2 - u**2) @ second

    return solve


def reference(task: Task, key: jax.Array, num_states: int, num_streams: int) -> jax.Array:
    """States of the reference on the coarse grid, Δt apart, [states, streams, N]."""
    solve = make_solver(task, task.num_points * task.finer_grid, task.step / task.finer_steps)
    start = jax.random.normal(key, (num_streams, task.num_points))

    def body(u, _):
        u = jax.lax.fori_loop(0, task.finer_steps, lambda _, u: solve(u), u)
        return u, u[:, :: task.finer_grid]

    start = jnp.repeat(start, task.finer_grid, axis=1)
    return jax.lax.scan(body, start, length=task.spin_up + num_states)[1][task.spin_up :]


def growth(task: Task, states: jax.Array, key: jax.Array) -> jax.Array:
    """The largest Lyapunov exponent: the rate at which small differences grow, in 1 / time.

    The coarse grid is kept, the step is the reference's. After each Δt the state is replaced by the
    reference's, and the difference is scaled to norm 1. The first half of `states` [states,
    streams, N] is left out.
    """
    solve = make_solver(task, task.num_points, task.step / task.finer_steps)
    differential = lambda _, pair: jax.jvp(solve, pair[:1], pair[1:])

    def body(difference, u):
        _, difference = jax.lax.fori_loop(0, task.finer_steps, differential, (u, difference))
        size = jnp.linalg.norm(difference, axis=-1, keepdims=True)
        return difference / size, jnp.mean(jnp.log(size))

    logs = jax.lax.scan(body, jax.random.normal(key, states.shape[1:]), states)[1]
    return jnp.mean(logs[len(logs) // 2 :]) / task.step


def init_params(task: Task, key: jax.Array) -> Params:
    """Layers of a network that corrects nothing at first."""
    sizes = [1, *[task.channels] * (task.layers - 1), 1]
    layers = []
    for i, (fan, out) in enumerate(itertools.pairwise(sizes)):
        scale = (task.width * fan) ** -0.5 * (i < task.layers - 1)
        kernel = scale * jax.random.normal(jax.random.fold_in(key, i), (task.width * fan, out))
        layers.append({"kernel": kernel, "bias": jnp.zeros(out)})
    return layers


def correction(task: Task, params: Params, u: jax.Array) -> jax.Array:
    """The network, periodic convolutions: [..., N] -> [..., N]."""
    y, reach = u[..., None], task.width // 2
    for i, layer in enumerate(params):
        around = jnp.concatenate([y[..., -reach:, :], y, y[..., :reach, :]], axis=-2)
        seen = [around[..., j : j + y.shape[-2], :] for j in range(task.width)]
        y = jnp.concatenate(seen, axis=-1) @ layer["kernel"] + layer["bias"]
        y = jnp.tanh(y) if i < len(params) - 1 else y
    return y[..., 0]


def make_step(task: Task) -> Callable:
    """Builds the corrected step, (params, u, None) -> (u, u)."""
    solve = make_solver(task, task.num_points, task.step)

    def step(params, u, _):
        v = solve(u)
        u = v + task.step * correction(task, params, v)
        return u, u

    return step


def draw(task: Task, states: jax.Array, key: jax.Array) -> jax.Array:
    """T + 1 states in a row from each of B places of the reference, [T + 1, B, N]."""
    for_start, for_stream = jax.random.split(key)
    size = (task.batch_size,)
    starts = jax.random.randint(for_start, size, 0, len(states) - task.unrolled)
    streams = jax.random.randint(for_stream, size, 0, states.shape[1])
    return states[starts + jnp.arange(task.unrolled + 1)[:, None], streams]


def mean_square(ys: jax.Array, targets: jax.Array) -> jax.Array:
    """The loss of an unrolled trajectory."""
    return jnp.mean((ys - targets) ** 2)


def make_train(task: Task, horizon: int | None) -> Callable:
    """Builds (rate, key, states) -> params, by Adam on clipped gradients; the rate falls to 0.

    The coarse solver may blow up within T steps: an update that is not finite is not made.
    """
    step = make_step(task)

    def loss_fn(params, carry, batch):
        unrolled = functools.partial(step, params)
        _, ys = truncated_scan(unrolled, batch[0], length=task.unrolled, horizon=horizon)
        return mean_square(ys, batch[1:]), carry

    def train(rate, key, states):
        for_params, for_batches = jax.random.split(key)
        adam = optax.adam(optax.cosine_decay_schedule(rate, task.num_updates))
        optimizer = optax.chain(optax.clip_by_global_norm(task.clip_norm), adam)
        optimizer = optax.apply_if_finite(optimizer, task.num_updates)
        batch_fn = lambda states, i: draw(task, states, jax.random.fold_in(for_batches, i))
        loop = make_train_loop(loss_fn, optimizer, batch_fn, donate=False)
        params = init_params(task, for_params)
        state = LearnerState(params, optimizer.init(params), ())
        return loop(state, states, 0, task.num_updates)[0].params

    return train


class Forecast(NamedTuple):
    """How far a solver that is started in states of the reference stays with it."""

    errors: jax.Array  # [steps], median over streams, relative to the states' root mean square
    valid: jax.Array  # [], the time for which a forecast is valid, mean over streams


def make_forecast(task: Task) -> Callable[[Params, jax.Array], Forecast]:
    """Builds (params, states [steps + 1, streams, N]) -> Forecast."""
    step = make_step(task)

    def forecast(params, states):
        _, ys = jax.lax.scan(functools.partial(step, params), states[0], length=len(states) - 1)
        squares = jnp.mean((ys - states[1:]) ** 2, axis=2) / jnp.mean(states**2)
        errors = jnp.where(squares < FAR**2, jnp.sqrt(squares), FAR)
        is_valid = jnp.cumprod(errors < task.limit, axis=0)
        return Forecast(jnp.median(errors, axis=1), task.step * jnp.mean(jnp.sum(is_valid, axis=0)))

    return forecast


class Gradients(NamedTuple):
    """Gradients with horizons 1..T on one batch; the last is the full one."""

    norm: jax.Array  # [T], L2 norm
    bias: jax.Array  # [T], the norm of the difference from the full one, relative to its norm


def make_gradients(task: Task) -> Callable[[Params, jax.Array], Gradients]:
    """Builds (params, batch [T + 1, B, N]) -> Gradients."""
    loss_fn = lambda _, ys, targets: mean_square(ys, targets)
    spectrum_of = lag_spectrum(make_step(task), loss_fn, horizon=task.unrolled, parts=True)

    def gradients(params, batch):
        spectrum = spectrum_of(params, batch[0], jnp.zeros(task.unrolled), batch[1:])
        leaves = [part.reshape(task.unrolled, -1) for part in jax.tree.leaves(spectrum.parts)]
        truncated = jnp.cumsum(jnp.concatenate(leaves, axis=1), axis=0)
        cut = jnp.linalg.norm(truncated - truncated[-1], axis=1)
        return Gradients(spectrum.cumulative_l2, cut / spectrum.cumulative_l2[-1])

    return gradients
