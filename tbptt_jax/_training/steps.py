"""Jitted steps for other projects to reuse: training on a batch, on many, online; evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tbptt_jax._step.arguments import check_callable
from tbptt_jax._step.per_step import losses_of_steps, pair
from tbptt_jax._step.static_leaves import freeze, is_array, thaw
from tbptt_jax._streams.scan import stream_scan
from tbptt_jax._streams.state import StreamState
from tbptt_jax._training.learner import EvalStep, LossFn, Metrics, Optimizer, TrainLoop, TrainStep
from tbptt_jax._training.updates import checked, jitted, make_update, updates


def make_train_step(
    loss_fn: LossFn, optimizer: Optimizer, *, has_aux: bool = False, donate: bool = True
) -> TrainStep:
    """Builds the jitted `train_step(state, batch) -> (state, metrics)`: one update.

    It donates `state`, whose arrays must not be used after the call; `donate=False` keeps them.

    It is also the body of a scan where all leaves of the state are arrays:
    `jax.lax.scan(train_step, state, batches)`. Clipping and
    accumulation of gradients come from the optimizer (`optax.chain`, `optax.MultiSteps`).

    `loss_fn` returns one scalar for a batch, and chooses its sums and means. For several
    updates on one rollout, as in recurrent PPO, let `loss_fn` return the carry it was given, and
    advance it once with `make_eval_step`.

    Leaves of `params` that are not floating-point or complex arrays are not trained, and those that
    are no arrays are static, as in Equinox; initialise the optimizer without them:
    `optimizer.init(eqx.filter(model, eqx.is_inexact_array))`. For complex parameters the
    optimizer is given the conjugate of JAX's gradient.

    Args:
      loss_fn: `(params, carry, batch) -> (loss, carry)`, differentiated by its first argument. The
        carry is the state of a stream for exact seams (`stream_scan`) or that of a scan
        (`truncated_scan`).
      optimizer: an optax optimizer; `update` is given the parameters too.
      has_aux: whether `loss_fn` returns `(loss, (carry, aux))`, with more metrics.
      donate: whether the arrays of `state` may be overwritten.

    Returns:
      The step. `state` is a `LearnerState`.

    Raises:
      TypeError: `make_train_step: optimizer must have init and update, got adam; was it called, as
        in optax.adam(1e-3)?`
      ValueError: the step, `make_train_step: state has been donated to an earlier call; use what
        that returned, or donate=False.`
      TypeError: the step, `make_train_step: state must be a LearnerState, got dict.`, and where
        `loss_fn` does not return a pair or a real scalar as its loss.
      ValueError: the step, where no parameter is a floating-point array.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from tbptt_jax import LearnerState, init_stream, make_train_step, stream_scan
      >>> def loss_fn(w, stream, xs):
      ...     step = lambda c, x: (w * c + x, w * c + x)
      ...     stream, ys = stream_scan(step, stream, xs)
      ...     return jnp.mean((ys - 2.0) ** 2), stream
      >>> w, optimizer = jnp.array(0.0), optax.sgd(0.02)
      >>> stream = init_stream(0.0, jnp.ones(5), horizon=3)
      >>> state = LearnerState(w, optimizer.init(w), stream)
      >>> train_step = make_train_step(loss_fn, optimizer)
      >>> for xs in jnp.ones((99, 5)):
      ...     state, metrics = train_step(state, xs)
      >>> print(state.params.round(2))
      0.5
    """
    name = "make_train_step"
    train_step = make_update(name, loss_fn, optimizer, has_aux)
    return jitted(name, train_step, donate, "batch")


def make_train_loop(
    loss_fn: LossFn,
    optimizer: Optimizer,
    batch_fn: Callable[[Any, Any], Any],
    *,
    has_aux: bool = False,
    donate: bool = True,
) -> TrainLoop:
    """Builds the jitted `train_loop(state, source, start, stop) -> (state, metrics)`: many updates.

    It donates `state`, whose arrays must not be used after the call; `donate=False` keeps them.

    One update for each of the batches start..stop-1 in a compiled loop that holds one batch at a
    time. The bounds are traced: one compilation serves every call.

    Args:
      loss_fn: as in `make_train_step`.
      optimizer: as in `make_train_step`.
      batch_fn: `(source, i) -> batch`, the i-th batch, cut from arrays or made of keys.
      has_aux: as in `make_train_step`; `aux` must then hold numbers.
      donate: as in `make_train_step`.

    Returns:
      The loop. Its metrics are the means over the updates (NaN where there are none), at least in
      float32.

    Raises:
      TypeError, ValueError: as `make_train_step`.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from tbptt_jax import LearnerState, make_train_loop
      >>> loss_fn = lambda w, seen, x: ((w - x) ** 2, seen + 1)
      >>> optimizer = optax.sgd(0.1)
      >>> state = LearnerState(jnp.array(0.0), optimizer.init(0.0), jnp.array(0))
      >>> train_loop = make_train_loop(loss_fn, optimizer, lambda xs, i: xs[i])
      >>> state, metrics = train_loop(state, jnp.ones(50), 0, 50)
      >>> print(state.params.round(2), state.carry)
      1.0 50
    """
    name = "make_train_loop"
    check_callable(name, "batch_fn", batch_fn, "source", "i")
    update = jax.jit(make_update(name, loss_fn, optimizer, has_aux))

    def train_loop(state, source, start, stop):
        return updates(name, update, batch_fn, state, source, start, stop)

    return jitted(name, train_loop, donate, "source", "start", "stop")


def make_online_loop(
    cell: Callable[[Any, Any, Any], tuple[Any, Any]],
    step_loss_fn: Callable[[Any, Any, Any], jax.Array],
    optimizer: Optimizer,
    inputs_fn: Callable[[Any, Any], tuple[Any, Any]],
    *,
    donate: bool = True,
) -> TrainLoop:
    """Builds the jitted `online_loop(state, source, start, stop) -> (state, metrics)`.

    It donates `state`, whose arrays must not be used after the call; `donate=False` keeps them.

    One update every `stride` steps of an endless stream, from errors that reach `horizon` steps
    back: Sutskever's k1 and k2. All updates start..stop-1 are one compiled loop whose memory does
    not depend on how many they are; update i sees the steps i·stride..(i+1)·stride-1.

    Args:
      cell: pure step function, `(params, carry, x) -> (carry, y)`.
      step_loss_fn: pure loss of one step, `(params, y, target) -> []`; an update's loss is their
        mean.
      optimizer: as in `make_train_step`.
      inputs_fn: `(source, t) -> (x, target)` of step t, an int32 scalar, so that a stream has
        fewer than 2³¹ steps; must be vmappable.
      donate: as in `make_train_step`.

    Returns:
      The loop. `state` is a `LearnerState` whose carry is a `StreamState`, which sets horizon and
      stride. The metrics are the means over the updates.

    Raises:
      TypeError: as `make_train_step`; the loop, where `inputs_fn` does not return a pair, and
        `make_online_loop: the state's carry must be a StreamState, got float32[8].`
      TypeError, ValueError: the loop, as `stream_scan`.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from tbptt_jax import LearnerState, init_stream, make_online_loop
      >>> cell = lambda w, c, x: (w * c + x, w * c + x)
      >>> square = lambda w, y, target: (y - target) ** 2
      >>> ones = lambda source, t: (1.0, 2.0)  # 1 / (1 - w) is 2
      >>> stream = init_stream(0.0, jnp.ones(1), horizon=3)
      >>> w, optimizer = jnp.array(0.0), optax.sgd(0.01)
      >>> learn = make_online_loop(cell, square, optimizer, ones)
      >>> state, metrics = learn(LearnerState(w, optimizer.init(w), stream), None, 0, 1000)
      >>> print(state.params.round(2))
      0.5

    References:
      Sutskever, 2013, Training recurrent neural networks, section 2.8.6. PhD thesis.
    """
    name = "make_online_loop"
    check_callable(name, "cell", cell, "params", "carry", "x")
    check_callable(name, "step_loss_fn", step_loss_fn, "params", "y", "target")
    check_callable(name, "inputs_fn", inputs_fn, "source", "t")

    def chunk_loss(params, stream, chunk):
        xs, targets = chunk
        stream, ys = stream_scan(cell, stream, xs, params=params)
        return jnp.mean(losses_of_steps(name, step_loss_fn, params, ys, targets)), stream

    update = jax.jit(make_update(name, chunk_loss, optimizer, has_aux=False))

    def online_loop(state, source, start, stop):
        stride = _stream(name, state.carry).stride

        def inputs(source, step):
            return pair(name, "inputs_fn", "(x, target)", inputs_fn(source, step))

        def chunk(source, i):
            steps = jnp.asarray(i, jnp.int32) * stride + jnp.arange(stride, dtype=jnp.int32)
            return jax.vmap(functools.partial(inputs, source))(steps)

        return updates(name, update, chunk, state, source, start, stop)

    return jitted(name, online_loop, donate, "source", "start", "stop")


def make_eval_step(loss_fn: LossFn, *, has_aux: bool = False) -> EvalStep:
    """Builds the jitted `eval_step(params, carry, batch) -> (carry, metrics)`: validation.

    With the parameters bound it is the body of a scan over many batches. For a stream, use a state
    with horizon=1: it keeps no history and gives the same losses.

    Args:
      loss_fn: as in `make_train_step`.
      has_aux: as in `make_train_step`.

    Returns:
      The step. The carry is `loss_fn`'s; it is not donated.

    Raises:
      TypeError: the step, where `loss_fn` does not return a pair or a real scalar as its loss.
    """
    name = "make_eval_step"
    loss_and_aux = checked(name, loss_fn, has_aux)

    @jax.jit
    def compiled(params, carry, batch):
        loss, (carry, aux) = loss_and_aux(thaw(params), thaw(carry), batch)
        return freeze(carry), Metrics(loss, None, aux)

    def eval_step(params, carry, batch):
        carry, metrics = compiled(freeze(params, is_array), freeze(carry), batch)
        return thaw(carry), metrics

    return eval_step


def _stream(name, carry):
    if isinstance(carry, StreamState):
        return carry
    got = jax.typeof(carry) if isinstance(carry, jax.Array) else type(carry).__name__
    raise TypeError(f"{name}: the state's carry must be a StreamState, got {got}.")
