"""`truncated_scan`: `lax.scan` with a bounded gradient horizon."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.extend.core import jaxpr_as_fun

from tbptt_jax._adjoint import truncated_pullback

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")


def truncated_scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry,
    xs: X | None = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    horizon: int | None,
    stride: int = 1,
) -> tuple[Carry, Y]:
    """`jax.lax.scan` whose gradient is truncated backpropagation through time.

    The result is that of `jax.lax.scan(f, init, xs, length, reverse, unroll)`. Its gradient is
    BPTT(horizon; stride): with stride 1 the error of step t reaches every leaf input (whatever `f`
    closes over, the input xₛ, and `init`) of the `horizon` steps

        s = t - horizon + 1, ..., t

    and stops there; only the carries between steps are cut. With a larger stride the losses of one
    block of `stride` consecutive steps share one backward pass, which covers the `horizon` steps
    that end with the block's last. Blocks are counted from the first executed step; the last block
    is shorter where the stride does not divide T. The error of the final carry belongs to the last
    step. So

      * stride = 1 is true truncated BPTT: every error travels `horizon` steps;
      * stride = horizon is epochwise: errors travel 1 to `horizon` steps, by their place in the
        block;
      * horizon >= T is full BPTT, for any stride.

    The backward pass keeps the carries and the inputs, and linearises all steps at once. At stride
    1 it is horizon - 1 sweeps, each one batched pullback of all T steps; at larger strides the
    T / stride blocks walk back horizon - 1 steps side by side. Its sequential depth is `horizon`,
    not T. Effects inside `f` happen again in it. Call it under `jax.jit`: outside, each call traces
    and compiles afresh, so that nothing `f` closes over can be stale.

    The horizon is that of one scan: an error that passes through two truncated scans in series
    travels up to 2 horizon - 1 steps. Stacked layers belong into one carry.

    Forward-mode differentiation (`jax.jvp`, `jax.jacfwd`) of a truncated gradient is not defined;
    use `jax.lax.scan`. Second derivatives (`jax.hessian`, `jax.jacrev` of a gradient) are the
    Jacobian of the truncated-gradient map.

    Args:
      f: step function, `(carry, x) -> (carry, y)`. As in `jax.lax.scan`; must be vmappable.
      init: initial carry. As in `jax.lax.scan`.
      xs: [T, ...], inputs. As in `jax.lax.scan`.
      length: T. As in `jax.lax.scan`.
      reverse: As in `jax.lax.scan`; the horizon then counts in the order of execution.
      unroll: As in `jax.lax.scan`; also for the loop that carries errors back.
      horizon: how many steps an error travels back, its own step included; a static integer >= 1,
        or None for no truncation.
      stride: how many consecutive losses share one backward pass; a static integer in
        1..horizon.

    Returns:
      The final carry and the stacked outputs, [T, ...]. As in `jax.lax.scan`.

    Raises:
      ValueError: `truncated_scan: horizon must be >= 1, got 0.`
      ValueError: `truncated_scan: stride must be in 1..horizon (3), got 4; a larger stride would
        drop errors.`
      TypeError: `truncated_scan: horizon must be a static integer, got 2.5.`
      TypeError: forward-mode differentiation outside `jax.jit`.
      ValueError: `f` is differentiated and cannot be vmapped.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import truncated_scan
      >>> def step(c, x):
      ...     c = 0.5 * c + x
      ...     return c, c
      >>> def last_output(xs, horizon):
      ...     return truncated_scan(step, 0.0, xs, horizon=horizon)[1][-1]
      >>> jax.grad(last_output)(jnp.ones(5), horizon=3)
      Array([0.  , 0.  , 0.25, 0.5 , 1.  ], dtype=float32)

    References:
      Williams and Peng, 1990, An efficient gradient-based algorithm for on-line training of
        recurrent network trajectories. Neural Computation 2.
      Williams and Zipser, 1995, Gradient-based learning algorithms for recurrent networks and
        their computational complexity.
      Sutskever, 2013, Training recurrent neural networks, section 2.8.6. PhD thesis.
    """
    if horizon is not None:
        horizon = _static_integer("horizon", horizon)
        if horizon < 1:
            raise ValueError(f"truncated_scan: horizon must be >= 1, got {horizon}.")
    stride = _static_integer("stride", stride)
    if stride < 1:
        raise ValueError(f"truncated_scan: stride must be >= 1, got {stride}.")
    if horizon is not None and stride > horizon:
        raise ValueError(
            f"truncated_scan: stride must be in 1..horizon ({horizon}), got {stride}; "
            "a larger stride would drop errors."
        )
    step, constants, init = _pure_step(f, init, xs, length)
    num_steps = length if length is not None else jax.tree.leaves(xs)[0].shape[0]
    scan = functools.partial(jax.lax.scan, length=num_steps, reverse=reverse, unroll=unroll)
    if horizon is None or horizon >= num_steps:
        return scan(functools.partial(step, constants), init, xs)
    pull = functools.partial(
        truncated_pullback, step, num_steps=num_steps, horizon=horizon, stride=stride, unroll=unroll
    )
    try:
        return _with_pullback(scan, step, pull, num_steps, reverse)(constants, init, xs)
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(
            "truncated_scan: forward-mode differentiation (jvp, jacfwd) is not possible, because a "
            "truncated gradient is not the derivative of the result; use jax.lax.scan."
        ) from None


def _with_pullback(scan, step, pull, num_steps, reverse):
    """`scan` over `step`, with `pull` as its reverse-mode rule."""

    @jax.custom_vjp
    def run(constants, init, xs):
        return scan(functools.partial(step, constants), init, xs)

    def forward(constants, init, xs):
        def keep_carry(carry, x):
            new_carry, y = step(constants, carry, x)
            return new_carry, (y, carry)

        last, (ys, carries) = scan(keep_carry, init, xs)
        _check_vmappable(step, constants, carries, xs, num_steps)
        return (last, ys), (constants, carries, xs)

    def backward(kept, errors):
        constants, carries, xs = kept
        carry_error, ys_error = errors
        carries, xs, ys_error = executed((carries, xs, ys_error))
        constants_error, init_error, xs_error = pull(constants, carries, xs, carry_error, ys_error)
        return constants_error, init_error, executed(xs_error)

    def executed(tree):
        """Between the order in memory and the order of execution."""
        return jax.tree.map(lambda leaf: leaf[::-1], tree) if reverse else tree

    run.defvjp(forward, backward)
    return run


def _pure_step(f, init, xs, length):
    """`f` as `step(constants, carry, x)` that closes over nothing, its constants, and `init`.

    `f` is traced inside a `lax.scan`, so that errors and the promotion of weak types are
    `lax.scan`'s own. The function given to it is new at every call: JAX caches traces by function,
    and what `f` closes over may have changed.
    """
    traces = []

    @functools.wraps(f, updated=())
    def recorded(carry, x):
        jaxpr, shapes = jax.make_jaxpr(lambda *args: f(*args), return_shape=True)(carry, x)
        traces.append((jaxpr, jax.tree.structure(shapes)))
        return jax.tree.unflatten(traces[-1][1], jaxpr_as_fun(jaxpr)(*jax.tree.leaves((carry, x))))

    carry_shape, _ = jax.eval_shape(lambda: jax.lax.scan(recorded, init, xs, length))
    jaxpr, structure = traces[-1]

    def step(constants, carry, x):
        leaves = jax.tree.leaves((carry, x))
        return jax.tree.unflatten(structure, jaxpr_as_fun(jaxpr.replace(consts=constants))(*leaves))

    return step, jaxpr.consts, jax.tree.map(_promote, init, carry_shape)


def _check_vmappable(step, constants, carries, xs, num_steps):
    try:
        jax.eval_shape(jax.vmap(step, (None, 0, 0), axis_size=num_steps), constants, carries, xs)
    except Exception as error:
        raise ValueError(
            "truncated_scan: f must be vmappable, since the backward pass runs all steps at once; "
            f"got {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error


def _promote(leaf: Any, shape: jax.ShapeDtypeStruct) -> Any:
    if jax.typeof(leaf).weak_type == shape.weak_type:
        return leaf
    return jax.lax.convert_element_type(leaf, shape.dtype)


def _static_integer(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"truncated_scan: {name} must be a static integer, got {value!r}."
        ) from None
