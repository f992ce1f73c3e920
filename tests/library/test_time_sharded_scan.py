"""`time_sharded_scan`: the gradients of `truncated_scan`, of devices that share its steps."""

import functools

import cells
import definition
import elementwise_cells
import jax
import jax.numpy as jnp
import pytest
from gradients import largest_error, scan_gradients
from jax.sharding import AxisType

from tbptt_jax import time_sharded_scan, truncated_scan

DEVICES = 4


def mesh_of(num_devices, axis_type=AxisType.Auto):
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((num_devices,), ("time",), axis_types=(axis_type,), devices=devices)


def sharded(num_devices):
    return functools.partial(time_sharded_scan, mesh=mesh_of(num_devices))


def expected_gradients(problem, horizon, stride):
    return definition.truncated_gradients(*problem, horizon=horizon, stride=stride)


@pytest.mark.parametrize("name", ["lstm", "counting_rnn", "two_layers", "complex_rnn"])
@pytest.mark.parametrize(
    "horizon, stride", [(1, 1), (2, 1), (4, 1), (3, 2), (4, 4), (9, 5), (20, 1)]
)
@pytest.mark.parametrize("num_devices", [4])
def test_gradients_are_the_definitions(name, horizon, stride, num_devices):
    problem = cells.problem(name, 12)
    actual = scan_gradients(problem, horizon, stride, sharded(num_devices))
    assert largest_error(actual, expected_gradients(problem, horizon, stride)) < 1e-12
