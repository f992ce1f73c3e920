"""Elementwise carries: any horizon at one price, and the same gradient."""

import functools

import cells
import definition
import elementwise_cells
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import RECURRENCES, largest_error, scan_gradients

from tbptt_jax import truncated_linear_scan, truncated_scan
from tbptt_jax._backward import adjoint
from tbptt_jax._pullback.elementwise import elementwise

T = 9  # a multiple of no window but 2, 4 and 8
# Windows of 1 to T - 2 maps; strides that divide T and others; last blocks shorter than the rest.
SCHEDULES = [(2, 1), (2, 2), (3, 1), (4, 1), (4, 3), (5, 1), (5, 2), (5, 5), (7, 4), (8, 1), (8, 8)]


def of_kind(f, problem):
    """What the library finds out about a step."""
    x = jax.tree.map(lambda leaf: leaf[0], problem.xs)
    return elementwise(f, problem.params, problem.init, x)


@functools.cache
def by_the_definition(name, horizon, stride):
    problem = elementwise_cells.problem(name, T)
    return definition.truncated_gradients(*problem, horizon=horizon, stride=stride)


@pytest.mark.grid
@pytest.mark.parametrize("name", elementwise_cells.CELLS)
@pytest.mark.parametrize("horizon, stride", SCHEDULES)
def test_gradient_in_parallel_is_the_definition(name, horizon, stride):
    """All steps at once, as elsewhere than on a CPU, and for few steps on it."""
    actual = scan_gradients(elementwise_cells.problem(name, T), horizon, stride)
    assert largest_error(actual, by_the_definition(name, horizon, stride)) < 1e-12


@pytest.mark.grid
@pytest.mark.parametrize("name", elementwise_cells.CELLS)
@pytest.mark.parametrize("horizon", [horizon for horizon, stride in SCHEDULES if stride == 1])
def test_gradient_of_tiles_in_sequence_is_the_definition(name, horizon, monkeypatch):
    monkeypatch.setattr(adjoint, "tile_width", lambda *_: 4)
    actual = scan_gradients(elementwise_cells.problem(name, T), horizon, 1)
    assert largest_error(actual, by_the_definition(name, horizon, 1)) < 1e-12


@pytest.mark.parametrize(
    "name, groups",
    [
        ("gated_average", [[0]]),
        ("spiking", [[0, 1]]),
        ("rotation", [[0, 1]]),
        ("diagonal_ssm", [[0]]),
        ("conjugated", [[0, 1]]),
        ("independent", [[0], [1]]),
    ],
)
def test_leaves_that_depend_on_each_other_are_found(name, groups):
    problem = elementwise_cells.problem(name, T)
    assert of_kind(problem.f, problem).groups == groups


@pytest.mark.parametrize("name", [name for name in RECURRENCES if name != "complex_rnn"])
def test_recurrences_that_mix_are_found_out(name):
    problem = cells.problem(name, 3)
    assert of_kind(problem.f, problem) is None


MIXING = {
    "a product": lambda c, x: c @ jnp.full((3, 3), 0.5),
    "a sum": lambda c, x: c + jnp.sum(c),
    "a mean over the state": lambda c, x: c - jnp.mean(c, axis=-1, keepdims=True),
    "a softmax": lambda c, x: jax.nn.softmax(c),
    "a permutation": lambda c, x: c[:, ::-1],
    "a transpose": lambda c, x: (c @ jnp.ones((3, 2))).T @ jnp.ones((2, 3)),
    "a shift": lambda c, x: jnp.roll(c, 1, axis=0),
    "a sort": lambda c, x: jnp.sort(c),
    "a loop": lambda c, x: jax.lax.fori_loop(0, 3, lambda _, c: c @ jnp.eye(3), c),
}


@pytest.mark.parametrize("f", MIXING.values(), ids=MIXING)
def test_operation_that_mixes_is_found_out(f):
    step = lambda _, c, x: (f(c, x), c)
    assert elementwise(step, (), jnp.ones((2, 3)), jnp.ones(2)) is None


def two_shapes(params, carry, x):
    u, v = carry
    return (u + v.reshape(2, 3) * x, jnp.sin(v) + params * u.reshape(6)), u * u


def test_leaves_of_two_shapes_that_depend_on_each_other_are_swept():
    keys = jax.random.split(jax.random.key(0), 3)
    init = jax.random.normal(keys[0], (2, 3)), jax.random.normal(keys[1], (6,))
    xs = jax.random.normal(keys[2], (T,))
    results = jax.lax.scan(functools.partial(two_shapes, 1.1), init, xs)
    problem = cells.Problem(two_shapes, jnp.float64(1.1), init, xs, *cells.like(results, keys[2]))
    expected = definition.truncated_gradients(*problem, horizon=4, stride=1)
    assert largest_error(scan_gradients(problem, 4, 1), expected) < 1e-12


APART = {
    "a reset": lambda c, x: jnp.where(x[:, None] > 0, 0.0, 2.0 * c),
    "a checkpoint": lambda c, x: jax.checkpoint(lambda c: jnp.sin(c) * c)(c),
    "a jitted step": lambda c, x: jax.jit(lambda c: jnp.tanh(c) * x[:, None])(c),
    "a custom rule": lambda c, x: jax.nn.silu(c) + x[:, None],
    "another shape": lambda c, x: (c.reshape(3, 2) * 2.0).reshape(2, 3),
    "another precision": lambda c, x: (c.astype(jnp.float32) * 2).astype(jnp.float64),
    "a dropped state": lambda c, x: jnp.zeros_like(c),
    "a branchless maximum": lambda c, x: jnp.maximum(c, 0.1),
}


@pytest.mark.parametrize("f", APART.values(), ids=APART)
def test_operation_on_each_entry_is_recognised(f):
    step = lambda _, c, x: (f(c, x), c)
    assert elementwise(step, (), jnp.ones((2, 3)), jnp.ones(2)) is not None


def depth(problem, horizon, stride):
    """The backward's sequential steps: the lengths of its loops, one after the other."""
    jaxpr = jax.make_jaxpr(lambda: scan_gradients(problem, horizon, stride))()
    return sum(loop_lengths(jaxpr))


def loop_lengths(jaxpr):
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            yield eqn.params["length"]
            continue
        for param in eqn.params.values():
            for inner in param if isinstance(param, (tuple, list)) else (param,):
                if hasattr(inner, "eqns"):
                    yield from loop_lengths(inner)


def test_depth_in_parallel_does_not_grow_with_the_horizon(monkeypatch):
    """The forward's T steps alone are a loop."""
    monkeypatch.setattr(adjoint, "tile_width", lambda *_: None)
    problem = elementwise_cells.problem("gated_average", T)
    assert {depth(problem, h, 1) for h in (3, 5, 8)} == {T}


@pytest.mark.parametrize("parallel", [None, False, True])
@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize("horizon, stride", [(1, 1), (3, 1), (4, 3), (T, 1), (None, 1)])
def test_linear_scan_is_the_scan_of_its_step(horizon, stride, shape, parallel):
    keys = jax.random.split(jax.random.key(0), 4)
    a, b, ct = (jax.random.normal(key, (T, *shape)) for key in keys[:3])
    init = jax.random.normal(keys[3], shape)

    def by_scan(a, b, init):
        step = lambda x, ab: (ab[0] * x + ab[1],) * 2
        return truncated_scan(step, init, (a, b), horizon=horizon, stride=stride)

    def by_linear_scan(a, b, init):
        schedule = {"horizon": horizon, "stride": stride, "parallel": parallel}
        return truncated_linear_scan(a, b, init, **schedule)

    def loss(scan, *args):
        last, states = scan(*args)
        return jnp.vdot(ct, states) + 2.0 * jnp.sum(last)

    (expected, grads), (actual, linear_grads) = (
        jax.jit(jax.value_and_grad(functools.partial(loss, scan), argnums=(0, 1, 2)))(a, b, init)
        for scan in (by_scan, by_linear_scan)
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    assert largest_error(linear_grads, grads) < 1e-12


def test_linear_scan_of_complex_states_can_be_differentiated_twice():
    turn = lambda angle: jax.lax.complex(jnp.cos(angle), jnp.sin(angle))
    a = turn(jnp.arange(4.0)) * jnp.complex128(1.1)

    def loss(angle, horizon):
        b = turn(angle * jnp.arange(4.0))
        states = truncated_linear_scan(a, b, 0.5j, horizon=horizon)[1]
        return jnp.sum(jnp.abs(states) ** 2)

    grad = lambda angle: jax.grad(loss)(angle, 3)
    difference = (grad(0.3 + 1e-6) - grad(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(grad)(0.3), difference, rtol=1e-6)


@pytest.mark.parametrize(
    "shapes, dtypes, message",
    [
        ([(4, 2), (4,), ()], "fff", r"must have one shape \[T, .*, got \(4, 2\) and \(4,"),
        ([(), (), ()], "fff", "must have one shape"),
        ([(0, 2), (0, 2), (2,)], "fff", "must have one shape"),
        ([(4, 2), (4, 2), (3,)], "fff", r"init must have shape \(2,\), got \(3,"),
        (
            [(4,), (4,), ()],
            "ffF",
            "one floating-point or complex dtype, got float32, float32, c",
        ),
        ([(4,), (4,), ()], "fif", "one floating-point or complex dtype, got float32, int32, float"),
        ([(4,), (4,), ()], "iii", "one floating-point or complex dtype, got int32"),
    ],
)
def test_linear_scan_refuses_what_does_not_fit(shapes, dtypes, message):
    args = map(jnp.ones, shapes, dtypes)
    with pytest.raises((TypeError, ValueError), match=message):
        truncated_linear_scan(*args, horizon=2)


def test_forward_mode_of_a_linear_scan_points_to_scan():
    last = lambda b: truncated_linear_scan(jnp.ones(4), b, 0.0, horizon=2)[0]
    with pytest.raises(TypeError, match=r"^truncated_linear_scan: forward-mode .* jax.lax.scan"):
        jax.jacfwd(last)(jnp.ones(4))


def test_linear_scan_names_the_argument_that_is_no_array():
    with pytest.raises(TypeError, match="truncated_linear_scan: b must be an array, got dict"):
        truncated_linear_scan(jnp.ones(4), {}, 0.0, horizon=2)
    with pytest.raises(TypeError, match="parallel must be True, False or None, got 'yes'"):
        truncated_linear_scan(jnp.ones(4), jnp.ones(4), 0.0, horizon=2, parallel="yes")
