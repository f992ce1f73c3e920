"""`time_sharded_scan`: `truncated_scan` over devices that share its steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from tbptt_jax._backward.adjoint import Schedule
from tbptt_jax._backward.gradient_rule import check_step, without_forward_mode
from tbptt_jax._devices.windows import Axis, steps_in_turn, window_pullback
from tbptt_jax._pullback.of_steps import differentiated_once
from tbptt_jax._step.arguments import shown
from tbptt_jax._step.handed_on import partition
from tbptt_jax._step.pure_step import pure_step
from tbptt_jax._step.schedule import check_schedule
from tbptt_jax._step.time_axis import take

Carry = TypeVar("Carry")
X = TypeVar("X")
Y = TypeVar("Y")
NAME = "time_sharded_scan"
# What is traced under `jax.set_mesh` runs under that mesh alone, and `f` runs inside `shard_map`.
NO_MESH = AbstractMesh((), ())


def time_sharded_scan(
    f: Callable[[Carry, X], tuple[Carry, Y]],
    init: Carry,
    xs: X,
    *,
    mesh: Mesh,
    axis: str = "time",
    horizon: int,
    stride: int = 1,
) -> tuple[Carry, Y]:
    """`truncated_scan` of a sequence whose steps are shared out among devices.

    Of D devices along the axis each has T / D consecutive steps: it alone holds their inputs,
    carries, outputs and cotangents. Results and gradients are those of

        truncated_scan(f, init, xs, horizon=horizon, stride=stride)

    Forward, the devices take turns, since a carry needs the one before: T steps one after the
    other, and D - 1 messages of one carry. Backward they work at once, each on its own T / D steps
    and on the steps after them whose errors reach these, at most horizon - 1. A device receives the
    carries, inputs and cotangents of those later steps from the next device, in one message an
    array; where T / D < horizon - 1, from two devices or more. At the end the cotangents of what
    all steps read, of `init` too, are summed over devices. No message is sent inside a loop of the
    backward, whose sequential depth is `horizon`.

    Blocks of `stride` losses are counted from the first step, and may be shared by two devices. At
    stride 1 an elementwise carry has one price for every horizon, as in `truncated_scan`; at larger
    strides it takes chains as other carries do. All steps of a device are linearised at once, on a
    CPU too.

    Call it under `jax.jit`; outside, a gradient over an Explicit axis needs `jax.set_mesh`. While
    one device has its turn the others wait: what is gained is memory and time of the backward.

    Args:
      f: step function, `(carry, x) -> (carry, y)`. As in `truncated_scan`; it must not name an axis
        of the mesh, in a sharding constraint either.
      init: initial carry, on every device.
      xs: [T, ...], inputs, at least one array; T is a multiple of D. What is not yet sharded along
        `axis` is sent there.
      mesh: the devices; only `axis` is used, along others all is as without this function.
      axis: name of the mesh's axis along which time is sharded.
      horizon: how many steps back an error reaches, its own step included; a static integer >= 1.
      stride: how many consecutive losses share one backward pass; a static integer in 1..horizon.

    Returns:
      The final carry, on every device, and the outputs, [T, ...], sharded along `axis`.

    Raises:
      ValueError, TypeError: for horizon, stride and `f`, as `truncated_scan` does.
      ValueError: `time_sharded_scan: horizon must be an integer, got None; untruncated errors would
        go through all devices one after the other.`
      ValueError: `time_sharded_scan: mesh has no axis 'time', it has 'data', 'model'.`
      ValueError: `time_sharded_scan: the number of steps, 10, must be a multiple of the 4 devices
        along 'time'; pad it (see with_mask).`
      ValueError: `time_sharded_scan: cannot run inside jax.shard_map over 'data': it maps over a
        mesh itself; leave the other axes of that mesh to jax.jit.`

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from tbptt_jax import time_sharded_scan
      >>> mesh = jax.make_mesh((1,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> def step(c, x):
      ...     c = 0.5 * c + x
      ...     return c, c
      >>> @jax.jit
      ... def last_output(xs):
      ...     return time_sharded_scan(step, 0.0, xs, mesh=mesh, horizon=3)[1][-1]
      >>> jax.grad(last_output)(jnp.ones(5))
      Array([0.  , 0.  , 0.25, 0.5 , 1.  ], dtype=float32)
    """
    steps, stride = check_schedule(NAME, horizon, stride)
    if steps is None:
        raise ValueError(
            f"{NAME}: horizon must be an integer, got None; untruncated errors would go through "
            "all devices one after the other."
        )
    if inside := jax.sharding.get_abstract_mesh().manual_axes:
        raise ValueError(
            f"{NAME}: cannot run inside jax.shard_map over {', '.join(map(repr, inside))}: it maps "
            "over a mesh itself; leave the other axes of that mesh to jax.jit."
        )
    along = _check_mesh(mesh, axis)
    num_steps = _check_steps(xs, along)
    traced = _placed(xs, None, mesh, along)
    with jax.sharding.use_abstract_mesh(NO_MESH):
        without, rest, whole = partition(NAME, f, init, traced)
        step, constants, init_leaves, structure = pure_step(without(f), rest(init), traced, None)
    schedule = Schedule(num_steps, min(steps, num_steps), min(stride, num_steps))
    run = _with_pullback(step, schedule, mesh, along)
    xs_leaves = _placed(jax.tree.leaves(xs), axis, mesh, along)
    results = without_forward_mode(NAME, run, constants, init_leaves, xs_leaves)
    carry, ys = jax.tree.unflatten(structure, jax.tree.leaves(results))
    return whole(carry, init), ys


def _with_pullback(step, schedule, mesh, axis):
    """`(constants, init, xs) -> (last, ys)` with its gradient rule."""
    whole, parts = PartitionSpec(), PartitionSpec(axis.name)

    def on_devices(fun, in_specs, out_specs):
        on_mesh = jax.shard_map(
            fun,
            mesh=mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            axis_names={axis.name},
            check_vma=False,
        )
        return jax.jit(on_mesh)  # outside of jit some versions of JAX need a mesh of one axis

    def run_steps(keeps, *args):
        turns = functools.partial(steps_in_turn, differentiated_once(step), axis, keeps)
        last, ys, kept = on_devices(turns, (whole, whole, parts), parts)(*args)
        return (take(_placed(last, None, mesh, axis), -1), ys), kept

    @jax.custom_vjp
    def run(constants, init, xs):
        return run_steps(False, constants, init, xs)[0]

    def forward(constants, init, xs):
        check_step(NAME, step, constants, init, take(_placed(xs, None, mesh, axis), 0))
        results, kept = run_steps(True, constants, init, xs)
        return results, (constants, kept, xs)

    def backward(kept, errors):
        pull = functools.partial(window_pullback, step, schedule, axis)
        in_specs = (whole, parts, parts, whole, parts)
        return on_devices(pull, in_specs, (whole, whole, parts))(*kept, *errors)

    run.defvjp(forward, backward)
    return run


def _placed(tree, first, mesh, axis):
    """Leaves with their first dimension along `first`; under automatic axes JAX sees to that."""
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if types[axis.name] != AxisType.Explicit:
        return tree

    def place(leaf):
        spec = PartitionSpec(first, *jax.typeof(leaf).sharding.spec[1:])
        return jax.reshard(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(place, tree)


def _check_mesh(mesh: Any, axis: str) -> Axis:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"{NAME}: mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}.")
    if not isinstance(axis, str) or axis not in mesh.shape:
        names = ", ".join(map(repr, mesh.axis_names))
        raise ValueError(f"{NAME}: mesh has no axis {shown(axis)}, it has {names}.")
    return Axis(axis, mesh.shape[axis])


def _check_steps(xs: Any, axis: Axis) -> int:
    """T, of the first input; `lax.scan` compares it with the others'."""
    shape = next(map(np.shape, jax.tree.leaves(xs)), ())
    if not shape:
        raise ValueError(f"{NAME}: xs must hold an array [T, ...], whose time the devices share.")
    if shape[0] % axis.size or not shape[0]:
        raise ValueError(
            f"{NAME}: the number of steps, {shape[0]}, must be a multiple of the {axis.size} "
            f"devices along {axis.name!r}; pad it (see with_mask)."
        )
    return shape[0]
