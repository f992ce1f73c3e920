"""`time_sharded_scan`: the gradients of `truncated_scan`, by devices that share its steps."""

import functools

import cells
import definition
import elementwise_cells
import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error, scan_gradients
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tbptt_jax import time_sharded_scan, truncated_scan, with_mask, with_resets
from tbptt_jax._devices.windows import window_reach

T, DEVICES = 12, 4


pytestmark = pytest.mark.devices(8)
SCHEDULES = pytest.mark.parametrize("horizon, stride", [(3, 1), (3, 2)])


def mesh_of(num_devices, axis_type=AxisType.Auto):
    devices = jax.devices()[:num_devices]
    return jax.make_mesh((num_devices,), ("time",), axis_types=(axis_type,), devices=devices)


def sharded(num_devices=DEVICES):
    return functools.partial(time_sharded_scan, mesh=mesh_of(num_devices))


def expected_gradients(problem, horizon, stride):
    return definition.truncated_gradients(*problem, horizon=horizon, stride=stride)


# Three steps a device: blocks within one, blocks that two share, errors that pass over one.
LSTM_SCHEDULES = [(1, 1), (2, 1), (8, 1), (2, 2), (3, 3), (4, 2), (5, 4), (9, 5)]


@grids.over(
    "name, horizon, stride",
    [("lstm", 4, 1), ("counting_rnn", 5, 4)],
    [
        *(("lstm", *schedule) for schedule in LSTM_SCHEDULES),
        *(("counting_rnn", *schedule) for schedule in [(1, 1), (3, 1)]),
    ],
)
def test_gradients_are_the_definitions(name, horizon, stride):
    problem = cells.problem(name, T)
    actual = scan_gradients(problem, horizon, stride, sharded())
    assert largest_error(actual, expected_gradients(problem, horizon, stride)) < 1e-12


@pytest.mark.grid
@pytest.mark.parametrize(
    "name, horizon, stride",
    [
        *(("complex_rnn", *schedule) for schedule in [(3, 1), (4, 3)]),
        *((name, 3, 1) for name in elementwise_cells.CELLS),
        *((name, 11, 1) for name in ("spiking", "independent")),
        *((name, 4, 3) for name in ("rotation", "diagonal_ssm")),
    ],
)
def test_gradients_on_eight_devices_are_those_of_one(name, horizon, stride):
    module = elementwise_cells if name in elementwise_cells.CELLS else cells
    problem = module.problem(name, 16)
    actual = scan_gradients(problem, horizon, stride, sharded(8))
    assert largest_error(actual, scan_gradients(problem, horizon, stride)) < 1e-12


@pytest.mark.parametrize("num_devices", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 5])
def test_horizon_at_least_length_is_full_bptt(num_devices, stride):
    problem = cells.problem("gru", T)
    full = lambda f, init, xs, **_: jax.lax.scan(f, init, xs)
    actual = scan_gradients(problem, T + 1, stride, sharded(num_devices))
    assert largest_error(actual, scan_gradients(problem, T, stride, full)) < 1e-12


@SCHEDULES
def test_resets_and_masks(horizon, stride):
    """A masked input is nan, on the first device whose steps stand in for those beyond the end."""
    problem = cells.problem("lstm", T)
    flags = np.zeros((2, T, cells.BATCH), bool)
    flags[0, [0, 4, 6], [0, 1, 1]], flags[1, [1, 5, 9], [0, 0, 1]] = True, True
    resets, masked = map(jnp.asarray, flags)
    xs = jnp.where(masked[..., None], jnp.nan, problem.xs)
    cell, zeros = problem.f, jax.tree.map(jnp.zeros_like, problem.init)

    def step(params, carry, inputs):
        return with_resets(with_mask(functools.partial(cell, params)), zeros)(carry, inputs)

    problem = problem._replace(f=step, xs=((xs, ~masked), resets))
    actual = scan_gradients(problem, horizon, stride, sharded())
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(actual[0]))
    assert largest_error(actual, expected_gradients(problem, horizon, stride)) < 1e-12


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("placed", [True, False])
def test_batch_on_another_axis_of_the_mesh(axis_type, placed):
    problem = cells.problem("gru", T)
    devices = jax.devices()[:8]
    mesh = jax.make_mesh((2, 4), ("data", "time"), axis_types=(axis_type,) * 2, devices=devices)
    given = problem
    if placed:
        place = lambda leaf, *spec: jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*spec)))
        given = problem._replace(
            init=place(problem.init, "data"),
            xs=place(problem.xs, "time", "data"),
            carry_ct=place(problem.carry_ct, "data"),
            ys_ct=place(problem.ys_ct, "time", "data"),
        )
    scan = functools.partial(time_sharded_scan, mesh=mesh)
    actual = jax.device_get(scan_gradients(given, 3, 2, scan))
    assert largest_error(actual, expected_gradients(problem, 3, 2)) < 1e-12


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("name, stride", [("gru", 1), ("gru", 2), ("gated_average", 1)])
def test_under_set_mesh(name, stride, axis_type):
    module = elementwise_cells if name in elementwise_cells.CELLS else cells
    problem, mesh = module.problem(name, T), mesh_of(DEVICES, axis_type)
    with jax.set_mesh(mesh):
        scan = functools.partial(time_sharded_scan, mesh=mesh)
        actual = jax.device_get(scan_gradients(problem, 3, stride, scan))
    assert largest_error(actual, expected_gradients(problem, 3, stride)) < 1e-12


@SCHEDULES
def test_parameters_in_the_carry_are_not_cut(horizon, stride):
    problem = cells.problem("gru", T)
    cell = problem.f

    def step(_, carry, x):
        params, state = carry
        state, y = cell(params, state, x)
        return (params, state), y

    carry_ct = jax.tree.map(jnp.ones_like, problem.params), problem.carry_ct
    init = problem.params, problem.init
    problem = problem._replace(f=step, params=(), init=init, carry_ct=carry_ct)
    actual = scan_gradients(problem, horizon, stride, sharded())
    assert largest_error(actual, expected_gradients(problem, horizon, stride)) < 1e-12


def test_results_are_those_of_lax_scan_and_stay_where_their_steps_are():
    problem = cells.problem("counting_rnn", T)
    step = functools.partial(problem.f, problem.params)
    mesh = mesh_of(DEVICES)
    run = jax.jit(lambda xs: time_sharded_scan(step, problem.init, xs, mesh=mesh, horizon=2))
    carry, ys = run(problem.xs)
    expected = jax.lax.scan(step, problem.init, problem.xs)
    assert jax.tree.structure((carry, ys)) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves((carry, ys)), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf, other = map(jax.random.key_data, (leaf, other))
        np.testing.assert_allclose(leaf, other, rtol=1e-12)
    assert ys[0].sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec("time")), ys[0].ndim)


def test_under_vmap():
    problem = cells.problem("gru", T)

    def gradient(scan, init):
        return scan_gradients(problem._replace(init=init), 3, 2, scan)

    inits = jnp.stack([problem.init, -problem.init])
    actual = jax.vmap(functools.partial(gradient, sharded()))(inits)
    one_by_one = [gradient(truncated_scan, init) for init in inits]
    assert largest_error(actual, jax.tree.map(lambda *both: jnp.stack(both), *one_by_one)) < 1e-12


def test_second_derivative_is_that_of_truncated_scan():
    problem = cells.problem("tanh_rnn", T)

    def loss(scan, bias):
        params = {"cell": problem.params["cell"] | {"bias": bias}}
        step = functools.partial(problem.f, params)
        results = scan(step, problem.init, problem.xs, horizon=3)
        return definition.inner((problem.carry_ct, problem.ys_ct), results)

    hessians = [
        jax.jit(jax.hessian(functools.partial(loss, scan)))(problem.params["cell"]["bias"])
        for scan in (sharded(), truncated_scan)
    ]
    assert largest_error(*hessians) < 1e-12


@pytest.mark.parametrize("horizon, stride", [(1, 1), (3, 1), (3, 2), (4, 4), (7, 5), (20, 3)])
def test_reach_is_the_last_step_whose_error_crosses(horizon, stride):
    for num_devices in (1, 2, 3, 4, 6):
        size = T // num_devices
        ends = [min(first + stride, T) - 1 for first in range(0, T, stride)]
        lasts = range(size - 1, T - 1, size)
        reaching = [end - last for last in lasts for end in ends if last > end - horizon]
        assert window_reach(T, num_devices, horizon, stride) == max(reaching, default=0)


@pytest.mark.parametrize(
    "changes, error, text",
    [
        (
            {"horizon": None},
            ValueError,
            "horizon must be an integer, got None; untruncated errors would go through all devices "
            "one after the other.",
        ),
        ({"horizon": 0}, ValueError, "horizon must be >= 1, got 0."),
        ({"mesh": 4}, TypeError, "mesh must be a jax.sharding.Mesh, got int."),
        ({"axis": "data"}, ValueError, "mesh has no axis 'data', it has 'time'."),
        ({"axis": ["time"]}, ValueError, "mesh has no axis ['time'], it has 'time'."),
        (
            {"xs": jnp.ones(10)},
            ValueError,
            "the number of steps, 10, must be a multiple of the 4 devices along 'time'; pad it "
            "(see with_mask).",
        ),
        (
            {"xs": None},
            ValueError,
            "xs must hold an array [T, ...], whose time the devices share.",
        ),
    ],
)
def test_wrong_arguments_fail_in_one_line(changes, error, text):
    args = {"init": 0.0, "xs": jnp.ones(8), "mesh": mesh_of(DEVICES), "horizon": 3} | changes
    with pytest.raises(error) as raised:
        time_sharded_scan(lambda c, x: (c, x), **args)
    assert str(raised.value) == f"time_sharded_scan: {text}"


def mesh_of_two_axes():
    types = (AxisType.Auto,) * 2
    return jax.make_mesh((2, 4), ("data", "time"), axis_types=types, devices=jax.devices()[:8])


def test_outside_of_jit_a_mesh_may_have_other_axes():
    def gradient(scan):
        step = lambda c, x: (jnp.sin(c) + x, c)
        loss = lambda xs: jnp.sum(scan(step, 0.5, xs, horizon=3)[1] ** 2)
        return jax.grad(loss)(jnp.linspace(-1.0, 2.0, 8))

    sharded = functools.partial(time_sharded_scan, mesh=mesh_of_two_axes())
    np.testing.assert_allclose(gradient(sharded), gradient(truncated_scan), rtol=1e-12)


def test_inside_shard_map_it_is_refused():
    mesh, data = mesh_of_two_axes(), PartitionSpec(None, "data")
    scan = lambda xs: time_sharded_scan(lambda c, x: (c, x), 0.0, xs, mesh=mesh, horizon=3)[1]
    spread = jax.shard_map(scan, mesh=mesh, axis_names={"data"}, in_specs=data, out_specs=data)
    said = "cannot run inside jax.shard_map over 'data': it maps over a mesh itself; leave the"
    with pytest.raises(ValueError, match=rf"^time_sharded_scan: {said} other axes of that mesh"):
        jax.jit(spread)(jnp.ones((8, 4)))


def test_forward_mode_fails_in_one_line():
    run = lambda xs: sharded()(lambda c, x: (c * x, c), jnp.float64(1.0), xs, horizon=3)
    with pytest.raises(TypeError, match=r"^time_sharded_scan: forward-mode differentiation"):
        jax.jvp(run, (jnp.ones(8),), (jnp.ones(8),))
