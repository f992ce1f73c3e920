"""Batches over a mesh axis: in `jax.shard_map` over all axes or some, and under `jax.set_mesh`."""

import functools
import re
import types
from pathlib import Path

import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error
from jax.sharding import AxisType, PartitionSpec

from tbptt_jax import LearnerState, linear_softmax_cross_entropy, make_train_loop, truncated_scan

pytestmark = pytest.mark.devices(4)
P = PartitionSpec
PAGE = Path(__file__).parents[2] / "docs" / "devices.md"
T, B, N, V = 6, 4, 3, 5
IN_SPECS = P(), P("data"), P(None, "data")


def mixing(params, carry, x):
    carry = jnp.tanh(carry @ params["recurrent"] + x)
    return carry, carry


def elementwise(params, carry, x):
    carry = jnp.tanh(carry * params["recurrent"][:1] + x)
    return carry, carry


@jax.custom_vjp
def scaled_errors(carry):
    return carry


scaled_errors.defvjp(lambda carry: (carry, None), lambda _, error: (0.5 * error,))


def with_own_rule(params, carry, x):
    return mixing(params, scaled_errors(carry), x)


CASES = {
    "sweeps": (mixing, {}),
    "elementwise": (elementwise, {}),
    "own rule": (with_own_rule, {}),
    "stride": (mixing, {"stride": 2}),
    "elementwise, stride": (elementwise, {"stride": 2}),
    "carry_every": (mixing, {"carry_every": 2}),
    "lag_weights": (mixing, {"lag_weights": np.array([1.0, 0.5, 0.2])}),
    "tol": (mixing, {"tol": 1e-9}),
    "parts": (mixing, {"horizon": (5, 3)}),
}
EACH_CASE = pytest.mark.parametrize("cell, options", CASES.values(), ids=CASES)


def loss_of(cell, options, params, carry, batch):
    xs, labels = batch
    if isinstance(options.get("horizon"), tuple):
        step = lambda both, x: ((both[0], cell(*both, x)[0]), cell(*both, x)[1])
        _, ys = truncated_scan(step, (params, carry), xs, **options)
    else:
        step = functools.partial(cell, params)
        _, ys = truncated_scan(step, carry, xs, **({"horizon": 3} | options))
    return linear_softmax_cross_entropy(ys, params["readout"], None, labels, block_size=5)


def problem():
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "recurrent": jax.random.normal(keys[0], (N, N)),
        "readout": jax.random.normal(keys[1], (N, V)),
    }
    xs = jax.random.normal(keys[2], (T, B, N))
    return params, jax.random.normal(keys[3], (B, N)), (xs, jnp.arange(T * B).reshape(T, B) % V)


def mesh_of(axis_type, *names):
    devices = jax.devices()[: 2 ** len(names)]
    axis_types = (axis_type,) * len(names)
    return jax.make_mesh((2,) * len(names), names, axis_types=axis_types, devices=devices)


@EACH_CASE
@pytest.mark.parametrize("others", [(), ("model",)], ids=["all axes", "some axes"])
def test_the_example_of_the_page_gives_the_gradient_of_the_whole_batch(cell, options, others):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    loss_fn = functools.partial(loss_of, cell, options)
    params, carry, batch = problem()
    given = {"jax": jax, "P": P, "mesh": mesh_of(AxisType.Auto, "data", *others)}
    given |= {"loss_fn": loss_fn, "params": params, "carry": carry, "batch": batch}
    exec(example, given)
    expected = jax.jit(jax.grad(loss_fn))(params, carry, batch)
    assert largest_error(jax.device_get(given["grads"]), jax.device_get(expected)) < 1e-12


@EACH_CASE
@grids.over(
    "axis_type, tile",
    [(AxisType.Explicit, None)],
    [(AxisType.Auto, None), (AxisType.Explicit, 2)],
)
def test_under_set_mesh(cell, options, axis_type, tile, monkeypatch):
    monkeypatch.setattr("tbptt_jax._backward.adjoint.tile_width", lambda *_: tile)
    mesh, args = mesh_of(axis_type, "data"), problem()
    place = lambda tree, spec: jax.device_put(tree, jax.NamedSharding(mesh, spec))
    grad = jax.jit(jax.grad(functools.partial(loss_of, cell, options), argnums=(0, 1)))
    expected = grad(*args)
    with jax.set_mesh(mesh):
        actual = grad(*map(place, args, IN_SPECS))
    assert largest_error(jax.device_get(actual), jax.device_get(expected)) < 1e-12


@pytest.mark.parametrize("others", [(), ("model",)], ids=["all axes", "some axes"])
def test_a_training_loop_of_each_device_in_shard_map(others):
    params, carry, (xs, _) = problem()

    def loss_fn(params, carry, xs):
        step = functools.partial(mixing, params)
        carry, ys = truncated_scan(step, carry, xs, horizon=3)
        return jnp.mean(ys**2), carry

    def learn(params, carry, xs):
        descent = lambda grads, state, _: (jax.tree.map(lambda g: -0.1 * g, grads), state)
        optimizer = types.SimpleNamespace(init=lambda _: (), update=descent)
        loop = make_train_loop(loss_fn, optimizer, lambda xs, _: xs)
        return loop(LearnerState(params, (), carry), xs, 0, 2)

    def local(params, carry, xs):
        params = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, "data", to="varying"), params)
        return jax.tree.map(lambda leaf: leaf[None], learn(params, carry, xs))

    mesh = mesh_of(AxisType.Auto, "data", *others)
    run = jax.shard_map(
        local, mesh=mesh, axis_names={"data"}, in_specs=IN_SPECS, out_specs=P("data")
    )
    actual = jax.jit(run)(params, carry, xs)
    halves = [(carry[rows], xs[:, rows]) for rows in (slice(0, 2), slice(2, 4))]
    alone = [learn(*jax.tree.map(jnp.copy, (params, *half))) for half in halves]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    assert largest_error(jax.device_get(actual), jax.device_get(expected)) < 1e-12
