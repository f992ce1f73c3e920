"""Jitted steps for other projects to reuse: training on a batch, on many, online; evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from tbptt_jax._per_step import losses_of_steps
from tbptt_jax._stream import stream_scan
from tbptt_jax._stream_window import Window

LossFn = Callable[[Any, Any, Any], tuple[jax.Array, Any]]


class Optimizer(Protocol):
    """One of optax's gradient transformations, or what has the same two functions.

    `update(grads, opt_state, params)` must be enough for it: not those that want the loss itself,
    such as `optax.lbfgs`.
    """

    @property
    def init(self) -> Callable[..., Any]: ...

    @property
    def update(self) -> Callable[..., Any]: ...


class TrainState(NamedTuple):
    """What an update changes."""

    params: Any
    opt_state: Any
    memory: Any  # what one batch hands to the next: a carry, a stream's window, ...


def make_train_step(loss_fn: LossFn, optimizer: Optimizer) -> Callable:
    """Builds the jitted `(state, batch) -> (state, loss)`, one update; it donates `state`.

    It is also the body of a scan: `jax.lax.scan(train_step, state, batches)`. Clipping and
    accumulation of gradients come from the optimizer (`optax.chain`, `optax.MultiSteps`).

    Args:
      loss_fn: `(params, memory, batch) -> (loss, memory)`, differentiated by its first argument.
        The memory is a window for exact seams (`stream_scan`) or a carry (`truncated_scan`); its
        loss says what is summed and what averaged.
      optimizer: an optax optimizer; `update` is given the parameters too.

    Returns:
      The step. `state` is a `TrainState`; its arrays must not be used after the call.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from tbptt_jax import TrainState, init_window, make_train_step, stream_scan
      >>> def loss_fn(w, window, xs):
      ...     step = lambda c, x: (w * c + x, w * c + x)
      ...     window, ys = stream_scan(step, window, xs)
      ...     return jnp.mean((ys - 2.0) ** 2), window
      >>> w, optimizer = jnp.array(0.0), optax.sgd(0.02)
      >>> window = init_window(0.0, jnp.ones(5), horizon=3)
      >>> state = TrainState(w, optimizer.init(w), window)
      >>> train_step = make_train_step(loss_fn, optimizer)
      >>> for xs in jnp.ones((99, 5)):
      ...     state, loss = train_step(state, xs)
      >>> print(state.params.round(2))
      0.5
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state, batch):
        grad = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, memory), grads = grad(state.params, state.memory, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = jax.tree.map(
            lambda param, update: (param + update).astype(param.dtype), state.params, updates
        )
        return TrainState(params, opt_state, memory), loss

    return train_step


def make_train_loop(
    loss_fn: LossFn, optimizer: Optimizer, batch_fn: Callable[[Any, Any], Any]
) -> Callable:
    """Builds the jitted `(state, source, first, last) -> (state, loss)`: many updates in one call.

    One update for each of the batches first..last-1 in a compiled loop that holds one batch at a
    time. The bounds are traced: one compilation serves every call.

    Args:
      loss_fn: as in `make_train_step`.
      optimizer: as in `make_train_step`.
      batch_fn: `(source, i) -> batch`, the i-th batch, cut from arrays or made of keys.

    Returns:
      The loop, which donates `state`; the loss is the mean over the updates (nan where none), at
      least in float32.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from tbptt_jax import TrainState, make_train_loop
      >>> loss_fn = lambda w, seen, x: ((w - x) ** 2, seen + 1)
      >>> optimizer = optax.sgd(0.1)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(0.0), jnp.array(0))
      >>> train_loop = make_train_loop(loss_fn, optimizer, lambda xs, i: xs[i])
      >>> state, loss = train_loop(state, jnp.ones(50), 0, 50)
      >>> print(state.params.round(2), state.memory)
      1.0 50
    """
    train_step = make_train_step(loss_fn, optimizer)

    @functools.partial(jax.jit, donate_argnums=0)
    def train_loop(state, source, first, last):
        def update(i, loop):
            state, sum_ = loop
            state, loss = train_step(state, batch_fn(source, i))
            return state, _add_exactly(sum_, loss)

        _, loss = jax.eval_shape(train_step, state, jax.eval_shape(batch_fn, source, first))
        zero = jnp.zeros(loss.shape, jnp.promote_types(loss.dtype, jnp.float32))
        state, (total, _) = jax.lax.fori_loop(first, last, update, (state, (zero, zero)))
        return state, jnp.where(last > first, total / (last - first), jnp.nan)

    return train_loop


def online(
    f: Callable[[Any, Any, Any], tuple[Any, Any]],
    loss_fn: Callable[[Any, Any, Any], jax.Array],
    optimizer: Optimizer,
    inputs_fn: Callable[[Any, Any], tuple[Any, Any]],
) -> Callable:
    """Builds the jitted `(state, source, first, last) -> (state, loss)`: learning while it streams.

    One update every `stride` steps of an endless stream, from errors that travel back `horizon`
    steps: Sutskever's k1 and k2. All updates first..last-1 are one compiled loop whose memory does
    not depend on how many they are; update i sees the steps i·stride..(i+1)·stride-1.

    Args:
      f: pure step function, `(params, carry, x) -> (carry, y)`.
      loss_fn: pure loss of one step, `(params, y, target) -> []`; an update's loss is their mean.
      optimizer: as in `make_train_step`.
      inputs_fn: `(source, t) -> (x, target)` of step t, an int32 scalar, so that a stream has
        fewer than 2³¹ steps; must be vmappable.

    Returns:
      The loop, which donates `state`, a `TrainState` whose memory is a `Window`; it sets horizon
      and stride. The loss is the mean over the updates.

    Raises:
      TypeError: the loop, where a loss is not a real scalar, and
        `online: the state's memory must be a Window, got float32[8].`

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from tbptt_jax import TrainState, init_window, online
      >>> f = lambda w, c, x: (w * c + x, w * c + x)
      >>> square = lambda w, y, target: (y - target) ** 2
      >>> ones = lambda source, t: (1.0, 2.0)  # 1 / (1 - w) is 2
      >>> window = init_window(0.0, jnp.ones(1), horizon=3)
      >>> w, optimizer = jnp.array(0.0), optax.sgd(0.01)
      >>> learn = online(f, square, optimizer, ones)
      >>> state, loss = learn(TrainState(w, optimizer.init(w), window), None, 0, 1000)
      >>> print(state.params.round(2))
      0.5

    References:
      Sutskever, 2013, Training recurrent neural networks, section 2.8.6. PhD thesis.
    """

    def chunk_loss(params, window, chunk):
        xs, targets = chunk
        window, ys = stream_scan(functools.partial(f, params), window, xs)
        return jnp.mean(losses_of_steps("online", loss_fn, params, ys, targets)), window

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, source, first, last):
        stride = _window(state.memory).stride

        def chunk(source, i):
            steps = i * stride + jnp.arange(stride, dtype=jnp.int32)
            return jax.vmap(functools.partial(inputs_fn, source))(steps)

        return make_train_loop(chunk_loss, optimizer, chunk)(state, source, first, last)

    return run


def make_eval_step(loss_fn: LossFn) -> Callable:
    """Builds the jitted `(params, memory, batch) -> (memory, loss)`: validation on the same path.

    With the parameters bound it is the body of a scan over many batches. Of a stream, a window with
    horizon=1 keeps no history and gives the same losses.

    Args:
      loss_fn: as in `make_train_step`.

    Returns:
      The step, whose memory is `loss_fn`'s.
    """

    @jax.jit
    def eval_step(params, memory, batch):
        loss, memory = loss_fn(params, memory, batch)
        return memory, loss

    return eval_step


def _window(memory):
    if isinstance(memory, Window):
        return memory
    got = jax.typeof(memory) if isinstance(memory, jax.Array) else type(memory).__name__
    raise TypeError(f"online: the state's memory must be a Window, got {got}.")


def _add_exactly(total_and_lost, value):
    """Kahan's sum: what rounding loses is added next time, so millions of terms count."""
    total, lost = total_and_lost
    value = value.astype(total.dtype) - lost
    new = total + value
    return new, jnp.where(jnp.isfinite(new), (new - total) - value, 0)
