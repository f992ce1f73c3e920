"""A scan on one of the devices that share its time, each so many consecutive steps.

Forward, the devices take turns: each hands the carry that leaves its last step to the next.
Backward they work at once. Let `reach` be how many steps after a device's last have errors that
reach its steps. Then

    its kept carries, inputs and ȳ, and of the next `reach` steps  -> a window
    the window, by the method of `truncated_scan`                  -> ε of the device's steps
    ε of the next step, ȳ                                          -> cotangents of its steps
    summed over devices                                            -> those of what all steps read

Nothing but the rows of `reach` steps and that sum is sent. The error of the last carry is one of
the last step's output: the step is one that puts out its carry too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tbptt_jax._backward.adjoint import Schedule, Step, choose_method
from tbptt_jax._backward.chains import Chains
from tbptt_jax._pullback.linearised import linearised
from tbptt_jax._pullback.of_steps import inexact, pullback
from tbptt_jax._step.time_axis import of_next_step, take, where


class Axis(NamedTuple):
    """An axis of a mesh along which time is sharded.

    Attributes:
      name: the axis.
      size: how many devices it has.
    """

    name: str
    size: int

    def moved(self, tree: Any, by: int) -> Any:
        """Each device's tree, on the device so many places ahead; around the end."""
        pairs = [(device, (device + by) % self.size) for device in range(self.size)]
        return jax.tree.map(lambda leaf: jax.lax.ppermute(leaf, self.name, pairs), tree)


def window_reach(num_steps: int, num_devices: int, horizon: int, stride: int) -> int:
    """How many steps after the last one of a device have errors that reach its steps, at most.

    The error of a block that ends with step e reaches the steps from e - horizon + 1 on.

    Args:
      num_steps: T, a multiple of `num_devices`.
      num_devices: that share time.
      horizon: how many steps an error reaches back, its own included.
      stride: how many consecutive losses share one pass.
    """
    size = num_steps // num_devices
    reach = 0
    for last in range(size - 1, num_steps - 1, size):
        last_end = num_steps - 1
        if last + horizon < num_steps:
            last_end = (last + horizon) // stride * stride - 1
        reach = max(reach, last_end - last)
    return reach


def steps_in_turn(
    step: Step, axis: Axis, keeps: bool, constants: Any, init: Any, xs: Any
) -> tuple[Any, Any, Any]:
    """The steps of this device, run when the device before has run its own.

    Args:
      step: `(constants, carry, x) -> (carry, y)`.
      axis: that of time.
      keeps: whether the carries are kept.
      constants: what every step reads.
      init: the carry that enters the first device's first step.
      xs: [n, ...], this device's inputs.

    Returns:
      The carry that leaves this device's last step, [1, ...], the outputs, [n, ...], and the carry
      that enters each step, [n, ...], or None.
    """
    device = jax.lax.axis_index(axis.name)

    def run(carry):
        def body(carry, x):
            left, y = step(constants, carry, x)
            return left, (y, carry if keeps else None)

        left, rows = jax.lax.scan(body, carry, xs)
        return left, (left, rows)

    def turn(i, state):
        carry, results = jax.lax.cond(i == device, run, lambda carry: (carry, state[1]), state[0])
        return axis.moved(carry, 1), results

    zeros = lambda of: jax.lax.full(of.shape, 0, of.dtype, sharding=of.sharding)
    nothing = jax.tree.map(zeros, jax.eval_shape(run, init)[1])
    _, (left, (ys, kept)) = jax.lax.fori_loop(0, axis.size, turn, (init, nothing))
    return jax.tree.map(lambda leaf: leaf[None], left), ys, kept


def window_pullback(
    step: Step,
    schedule: Schedule,
    axis: Axis,
    constants: Any,
    kept: Any,
    xs: Any,
    carry_ct: Any,
    ys_ct: Any,
) -> tuple[Any, Any, Any]:
    """As `truncated_pullback`, on one of the devices that share the scan's time.

    Args:
      step: as there.
      schedule: of the whole scan.
      axis: that of time.
      constants: what every step reads.
      kept: [n, ...], the carry that enters each of this device's steps.
      xs: [n, ...], their inputs.
      carry_ct: [...], the cotangent of the scan's last carry.
      ys_ct: [n, ...], those of this device's outputs.

    Returns:
      The cotangents of `constants` and of the initial carry, summed over devices, and of `xs`.
    """
    num_steps = schedule.num_steps
    size = num_steps // axis.size
    first = jax.lax.axis_index(axis.name).astype(int) * size
    reach = window_reach(num_steps, axis.size, schedule.horizon, schedule.stride)
    carry_ct, ys_ct = inexact((carry_ct, ys_ct))
    inputs, ys_ct = _with_next(((kept, xs), ys_ct), reach, size, axis)
    steps = first + jnp.arange(size + reach)
    at_last = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, steps.shape + leaf.shape), carry_ct)
    errors = _where(steps == num_steps - 1, at_last), _where(steps < num_steps, ys_ct)

    def with_carry(constants, carry, x):
        left, y = step(constants, carry, x)
        return left, (left, y)

    method = _choose(with_carry, schedule, size, constants, *take(inputs, 0))
    nothing = jax.tree.map(jnp.zeros_like, carry_ct)
    later = method.start(take(inputs, 0), take(errors, 0), nothing)
    entering = method.of_piece(later, None, first, inputs, errors, nothing)[1]
    leaving, errors = take((of_next_step(entering), errors), slice(size))
    all_steps = jax.vmap(with_carry, (None, 0, 0), axis_size=size)
    constants_ct, _, xs_ct = pullback(all_steps, constants, kept, xs)((leaving, errors))
    first_step = lambda carry: with_carry(constants, carry, take(xs, 0))
    (init_ct,) = pullback(first_step, take(kept, 0))(take((leaving, errors), 0))
    init_ct = jax.tree.map(lambda leaf: jnp.where(first == 0, leaf, 0), init_ct)
    return *jax.lax.psum((constants_ct, init_ct), axis.name), xs_ct


def _with_next(tree, reach, size, axis):
    """Rows of a device's steps, and of the `reach` steps after them; around the end of time."""
    hops = range(-(-reach // size))  # one but for horizons longer than a device's time
    parts = [axis.moved(take(tree, slice(reach - i * size)), -1 - i) for i in hops]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), tree, *parts)


def _where(mask, rows):
    return where(mask, rows, jax.tree.map(jnp.zeros_like, rows))


def _choose(step, schedule, size, constants, carry, x):
    """Chains at all strides above 1, since a device's time may begin within a block."""
    stride = schedule.stride
    if stride == 1 or not jax.tree.leaves(inexact(carry)):
        return choose_method(step, schedule, None, None, constants, carry, x)
    steps = linearised(step, constants, carry, x)
    straddles = size % stride > 0
    return Chains(steps, schedule.horizon - 1, stride, schedule.num_steps, None, straddles)
