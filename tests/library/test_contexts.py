"""`truncated_scan` inside JAX's other transformations, and lowered for every platform."""

import cells
import definition
import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error, scan_gradients
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, PartitionSpec

from tbptt_jax import truncated_scan

T, HORIZON = 5, 3
STRIDES = grids.over("stride", [1], [2])


@pytest.fixture(params=["all at once", pytest.param("windows", marks=pytest.mark.grid)])
def passes(request, monkeypatch):
    """Both ways in which a CPU carries errors back; short sequences take the first by default."""
    if request.param == "windows":
        monkeypatch.setattr("tbptt_jax._backward.adjoint.tile_width", lambda *_: 2)


def loss(problem, params, init, xs, stride, scan=truncated_scan):
    step = lambda carry, x: problem.f(params, carry, x)
    results = scan(step, init, xs, horizon=HORIZON, stride=stride)
    return definition.inner((problem.carry_ct, problem.ys_ct), results)


def expected_gradients(problem, stride):
    return definition.truncated_gradients(*problem, horizon=HORIZON, stride=stride)


@STRIDES
@pytest.mark.parametrize("name", ["lstm", "counting_rnn"])
@pytest.mark.parametrize("wrap", [jax.checkpoint, lambda f: jax.checkpoint(jax.jit(f))])
def test_under_checkpoint_and_jit(name, stride, wrap):
    problem = cells.problem(name, T)
    fun = wrap(lambda *args: loss(problem, *args, stride))
    grads = jax.jit(jax.grad(fun, argnums=(0, 1, 2), allow_int=True))(*problem[1:4])
    assert largest_error(grads, expected_gradients(problem, stride)) < 1e-12


@STRIDES
def test_checkpointed_step(stride):
    problem = cells.problem("gru", T)
    remat = problem._replace(f=jax.checkpoint(problem.f))
    grads = scan_gradients(remat, HORIZON, stride)
    assert largest_error(grads, expected_gradients(problem, stride)) < 1e-12


@STRIDES
@pytest.mark.parametrize("order", ["grad of vmap", "vmap of grad"])
def test_under_vmap_over_parameters_inputs_and_keys(order, stride, passes):
    problem = cells.problem("counting_rnn", T)
    other = cells.problem("counting_rnn", T)
    xs = other.xs | {
        "key": jax.random.split(jax.random.key(7), T),
        "scale": 2.0 * other.xs["scale"],
    }
    other = other._replace(xs=xs, params=jax.tree.map(lambda p: 0.5 * p, other.params))
    stack = lambda *leaves: jnp.stack(leaves)
    args = jax.tree.map(stack, problem[1:4], other[1:4])
    one = lambda *args: loss(problem, *args, stride)
    if order == "vmap of grad":
        grad = jax.vmap(jax.grad(one, argnums=(0, 1, 2), allow_int=True))
    else:
        total = lambda *args: jnp.sum(jax.vmap(one)(*args))
        grad = jax.grad(total, argnums=(0, 1, 2), allow_int=True)
    grads = jax.jit(grad)(*args)
    for i, each in enumerate((problem, other)):
        actual = jax.tree.map(lambda leaf, i=i: leaf[i], grads)
        assert largest_error(actual, expected_gradients(each, stride)) < 1e-12


@STRIDES
@pytest.mark.parametrize("jit", [jax.jit, lambda f: f])
def test_inside_another_scan(stride, jit, passes):
    """Two chunks, the carry cut between them: the sum of the chunks' own gradients."""
    problem = cells.problem("lstm", T)

    def chunks(params, init, xs):
        def chunk(total, scale):
            inputs = jax.tree.map(lambda leaf: scale * leaf, xs)
            return total + loss(problem, params, init, inputs, stride), None

        return jax.lax.scan(chunk, jnp.float64(0.0), jnp.array([1.0, 2.0]))[0]

    params, init, _ = jit(jax.grad(chunks, argnums=(0, 1, 2)))(*problem[1:4])
    parts = []
    for scale in (1.0, 2.0):
        scaled = problem._replace(xs=jax.tree.map(lambda leaf, s=scale: s * leaf, problem.xs))
        parts.append(expected_gradients(scaled, stride)[:2])
    assert largest_error((params, init), definition.add(*parts)) < 1e-12


@STRIDES
def test_truncated_scan_inside_a_truncated_scan(stride):
    """An inner scan as one step of an outer one: horizon 1 outside cuts between inner scans."""
    weight = jnp.float64(0.9)

    def inner_last(weight, c, x):
        step = lambda c, x: (weight * c + x, None)
        return truncated_scan(step, c, x, horizon=2, stride=min(stride, 2))[0]

    def outer(weight, xs):
        step = lambda c, x: (inner_last(weight, c, x), inner_last(weight, c, x))
        return jnp.sum(truncated_scan(step, jnp.float64(0.0), xs, horizon=1)[1])

    xs = jnp.arange(12.0).reshape(4, 3)
    starts = [jnp.float64(0.0)]
    for x in xs[:-1]:
        starts.append(inner_last(weight, starts[-1], x))
    by_hand = lambda w: sum(inner_last(w, c, x) for c, x in zip(starts, xs, strict=True))
    np.testing.assert_allclose(jax.grad(outer)(weight, xs), jax.grad(by_hand)(weight), rtol=1e-12)


@pytest.mark.devices(2)
@STRIDES
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("where", ["grad inside", "grad outside"])
def test_inside_shard_map_with_the_batch_on_two_devices(axis_type, where, stride, passes):
    problem = cells.problem("lstm", T)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(axis_type,))
    batch, time_batch, whole = PartitionSpec("data"), PartitionSpec(None, "data"), PartitionSpec()
    in_specs = (whole, batch, time_batch, batch, time_batch)

    def local_loss(params, init, xs, carry_ct, ys_ct):
        local = problem._replace(carry_ct=carry_ct, ys_ct=ys_ct)
        return loss(local, params, init, xs, stride)

    if where == "grad inside":
        local = jax.grad(local_loss, argnums=(0, 1, 2))
        out_specs = (whole, batch, time_batch)
        run = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=out_specs)
    else:
        local = lambda *args: jax.lax.psum(local_loss(*args), "data")
        summed = jax.shard_map(local, mesh=mesh, in_specs=in_specs, out_specs=whole)
        run = jax.grad(summed, argnums=(0, 1, 2))
    place = lambda tree, spec: jax.device_put(tree, jax.NamedSharding(mesh, spec))
    actual = jax.jit(run)(*map(place, problem[1:], in_specs))
    assert largest_error(jax.device_get(actual), expected_gradients(problem, stride)) < 1e-12


@pytest.mark.devices(2)
@STRIDES
def test_sharded_inputs_under_jit(stride):
    problem = cells.problem("gru", T)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    place = lambda leaf, spec: jax.device_put(leaf, jax.NamedSharding(mesh, PartitionSpec(*spec)))
    sharded = problem._replace(
        init=place(problem.init, ("data",)), xs=place(problem.xs, (None, "data"))
    )
    actual = scan_gradients(sharded, HORIZON, stride)
    assert largest_error(actual, expected_gradients(problem, stride)) < 1e-12


@STRIDES
@pytest.mark.parametrize("second", [jax.hessian, lambda f: jax.jacrev(jax.grad(f))])
def test_second_derivative_is_the_jacobian_of_the_truncated_gradient(second, stride, passes):
    """Held to central differences of the gradient; full BPTT's hessian is far from it."""
    problem = cells.problem("tanh_rnn", T)
    flat, unravel = ravel_pytree(problem.params)
    value = lambda flat: loss(problem, unravel(flat), *problem[2:4], stride)
    gradient = jax.jit(jax.grad(value))
    step = 1e-6
    shifts = step * jnp.eye(flat.size)
    differences = [(gradient(flat + s) - gradient(flat - s)) / (2.0 * step) for s in shifts]
    actual = jax.jit(second(value))(flat)
    scale = np.abs(actual).max()
    np.testing.assert_allclose(actual.T / scale, jnp.stack(differences) / scale, atol=1e-7)
    scan = lambda f, init, xs, **_: jax.lax.scan(f, init, xs)
    full = jax.hessian(lambda flat: loss(problem, unravel(flat), *problem[2:4], stride, scan))(flat)
    assert np.abs(full - actual).max() > 1e-3 * scale


@STRIDES
def test_compiled_with_donated_buffers(stride):
    problem = cells.problem("tanh_rnn", T)
    expected = expected_gradients(problem, stride)
    grad = jax.grad(lambda *args: loss(problem, *args, stride), argnums=(0, 1, 2))
    args = jax.tree.map(jnp.copy, problem[1:4])
    assert largest_error(jax.jit(grad, donate_argnums=(0, 1, 2))(*args), expected) < 1e-12
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(args))


@STRIDES
def test_lowers_for_every_platform(stride, passes):
    problem, platforms = cells.problem("lstm", T), ("cpu", "cuda", "tpu")
    grad = jax.jit(jax.grad(lambda *args: loss(problem, *args, stride), argnums=(0, 1, 2)))
    exported = jax.export.export(grad, platforms=platforms)(*problem[1:4])
    assert exported.platforms == platforms
    actual = exported.call(*problem[1:4])
    assert largest_error(actual, expected_gradients(problem, stride)) < 1e-12


@STRIDES
def test_gradients_flow_to_everything_f_closes_over(stride):
    """Parameters, a bound object, integers and keys, from several levels of tracing at once."""
    problem = cells.problem("counting_rnn", T)
    tokens, keys = problem.xs["token"], problem.xs["key"]

    def closed(params, init, scale):
        def f(carry, s):
            x = {"token": tokens[s], "key": keys[s], "scale": scale[s]}
            return problem.f(params, carry, x)

        steps = jnp.arange(T)
        results = truncated_scan(f, init, steps, horizon=HORIZON, stride=stride)
        return definition.inner((problem.carry_ct, problem.ys_ct), results)

    grad = jax.grad(closed, argnums=(0, 1, 2), allow_int=True)
    actual = jax.jit(grad)(problem.params, problem.init, problem.xs["scale"])
    params, init, xs = expected_gradients(problem, stride)
    assert largest_error(actual, (params, init, xs["scale"])) < 1e-12
