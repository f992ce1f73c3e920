"""What the devices of `time_sharded_scan` send each other."""

import functools

import cells
import collectives
import elementwise_cells
import jax
import pytest
from jax.sharding import AxisType

from tbptt_jax import time_sharded_scan

pytestmark = pytest.mark.devices(8)


def mesh_of(num_devices, axis_type=AxisType.Auto):
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((num_devices,), ("time",), axis_types=(axis_type,), devices=devices)


def sharded(num_devices):
    return functools.partial(time_sharded_scan, mesh=mesh_of(num_devices))


def backward_collectives(problem, num_devices, **schedule):
    """Those of the compiled backward alone: in all, and in loops."""

    def results(params, init, xs):
        return sharded(num_devices)(functools.partial(problem.f, params), init, xs, **schedule)

    forward = jax.jit(lambda *args: jax.vjp(results, *args))
    _, pull = forward(problem.params, problem.init, problem.xs)
    errors = problem.carry_ct, problem.ys_ct
    program = jax.jit(lambda pull, errors: pull(errors)).lower(pull, errors).compile()
    return collectives.count(program.as_text())


@pytest.mark.parametrize(
    "module, name, num_arrays", [(cells, "lstm", 5), (elementwise_cells, "gated_average", 3)]
)
def test_backward_sends_each_array_once_and_nothing_in_a_loop(module, name, num_arrays):
    """Carries, inputs and ȳ; beside them only the sum of what all steps read."""
    problem = module.problem(name, 32)
    total, in_loops = backward_collectives(problem, 8, horizon=5)
    assert total["collective-permute"] == num_arrays
    assert set(total) == {"collective-permute", "all-reduce"}
    assert not in_loops


def test_backward_of_blocks_within_devices_sends_no_steps():
    problem = cells.problem("lstm", 32)
    total, in_loops = backward_collectives(problem, 8, horizon=4, stride=4)
    assert set(total) == {"all-reduce"} and not in_loops
