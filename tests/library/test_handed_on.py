"""A leaf of the carry that every step hands on unchanged is a parameter."""

import functools

import cells
import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import T, largest_error, scan_gradients, windows_gradients

from tbptt_jax import (
    init_stream,
    stream_scan,
    truncated_scan,
    with_boundary_factors,
    with_mask,
    with_resets,
)

N = 3


def cell(_, carry, x):
    """The kernel travels in the carry."""
    kernel, state = carry
    state = jnp.sin(state @ kernel) * 1.5 + x
    return (kernel, state), state


def kernel_in_the_carry(num_steps=T):
    keys = jax.random.split(jax.random.key(0), 6)
    init = 1.3 * jax.random.orthogonal(keys[0], N), jax.random.normal(keys[1], (2, N))
    xs = jax.random.normal(keys[2], (num_steps, 2, N))
    errors = (jax.random.normal(keys[3], (N, N)), jax.random.normal(keys[4], (2, N)))
    ys_ct = jax.random.normal(keys[5], (num_steps, 2, N))
    return cells.Problem(cell, jnp.zeros(()), init, xs, errors, ys_ct)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("horizon, stride", [(1, 1), (3, 1), (3, 2), (6, 4), (T, 1)])
def test_its_gradient_is_that_of_a_parameter(horizon, stride, jit):
    problem = kernel_in_the_carry()
    expected = definition.truncated_gradients(*problem, horizon=horizon, stride=stride)
    problem = problem._replace(f=jax.jit(cell) if jit else cell)
    actual = scan_gradients(problem, horizon, stride)
    assert largest_error(actual, expected) < 1e-12
    assert largest_error(windows_gradients(problem, horizon, stride), expected) < 1e-12

    def closed_over(f, init, xs, **schedule):
        kernel, state = init
        step = lambda state, x: (lambda left, y: (left[1], y))(*f((kernel, state), x))
        state, ys = truncated_scan(step, state, xs, **schedule)
        return (kernel, state), ys

    assert largest_error(actual, scan_gradients(problem, horizon, stride, closed_over)) < 1e-12


def test_a_step_may_return_a_list():
    problem = kernel_in_the_carry()
    expected = scan_gradients(problem, 3, 1)
    listed = problem._replace(f=lambda *args: list(cell(*args)))
    assert largest_error(scan_gradients(listed, 3, 1), expected) < 1e-12


@pytest.mark.parametrize("run", [jax.lax.scan, functools.partial(truncated_scan, horizon=2)])
def test_an_array_of_numpy_can_be_indexed_by_inputs(run):
    def step(carry, token):
        table, state = carry
        state = state + table[token] + table.at[token].get()
        return (table, state), state

    (_, state), _ = run(step, (np.eye(3), jnp.zeros(3)), jnp.array([0, 1, 1]))
    np.testing.assert_array_equal(state, [2.0, 4.0, 0.0])


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("wrapper", ["mask", "resets to the same", "resets of the state alone"])
def test_wrapped_steps_hand_on_what_the_step_does(wrapper, jit):
    """All flags let the step pass, so the wrapped step is the step."""
    problem = kernel_in_the_carry()
    flags = jnp.full((T, 2), wrapper == "mask")

    def scan(f, init, xs, **schedule):
        f = jax.jit(f) if jit else f
        start = {"resets to the same": init, "resets of the state alone": (None, 0.0)}
        wrapped = with_mask(f) if wrapper == "mask" else with_resets(f, start[wrapper])
        return truncated_scan(wrapped, init, (xs, flags), **schedule)

    expected = scan_gradients(problem, 3, 1)
    assert largest_error(scan_gradients(problem, 3, 1, scan), expected) < 1e-12


AROUND = {
    "nothing": lambda step: step,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "a mask": lambda step: with_mask(step),
    "factors": lambda step: with_boundary_factors(step),
}


@pytest.mark.parametrize(
    "around, horizon",
    [(around, 3) for around in AROUND]
    + [(around, (2, 3)) for around in ("nothing", "a mask", "factors")],
)
def test_a_reset_to_the_array_that_the_scan_starts_with_hands_it_on(around, horizon):
    """Whatever is around the resets: the kernel's gradient is that of closing over it."""
    problem = kernel_in_the_carry()
    inputs = problem.xs, jnp.arange(T) == 4
    ones = {"a mask": jnp.ones(T, bool), "factors": jnp.ones(T)}
    outer = (inputs, ones[around]) if around in ones else inputs

    def carried(init):
        step = AROUND[around](with_resets(functools.partial(cell, None), init))
        return jnp.vdot(problem.ys_ct, truncated_scan(step, init, outer, horizon=horizon)[1])

    def closed_over(init, horizon):
        kernel, start = init
        step = lambda state, x: (lambda left, y: (left[1], y))(*cell(None, (kernel, state), x))
        step = with_resets(step, start)
        return jnp.vdot(problem.ys_ct, truncated_scan(step, start, inputs, horizon=horizon)[1])

    of_kernel, of_state = (3, 3) if horizon == 3 else horizon
    closed = jax.grad(closed_over)
    expected = closed(problem.init, of_kernel)[0], closed(problem.init, of_state)[1]
    assert largest_error(jax.grad(carried)(problem.init), expected) < 1e-12


def test_a_reset_to_another_value_makes_an_ordinary_carry():
    problem = kernel_in_the_carry()
    flags = jnp.zeros((T, N), bool)
    init = problem.init[0], problem.init[0]

    def kernel_gradient(start):
        def loss(init):
            step = with_resets(functools.partial(cell, None), start(init))
            xs = jnp.ones((T, N, N)), flags
            return jnp.sum(truncated_scan(step, init, xs, horizon=2)[1][-1])

        return jax.grad(loss)(init)[0]

    assert np.any(kernel_gradient(lambda init: init))
    assert not np.any(kernel_gradient(lambda init: (init[0] + 1.0, init[1])))


@pytest.mark.parametrize("stale", [False, True])
def test_in_a_stream_its_gradient_adds_up_over_all_chunks(stale):
    problem = kernel_in_the_carry(9)
    expected = scan_gradients(
        problem._replace(carry_ct=jax.tree.map(jnp.zeros_like, problem.carry_ct)), 3, 1
    )
    window = init_stream(problem.init, problem.xs, horizon=3, stale=stale)

    def loss(window, xs, errors):
        window, ys = stream_scan(functools.partial(cell, None), window, xs)
        return jnp.vdot(errors, ys), window

    total = 0.0
    for at in (slice(0, 3), slice(3, 6), slice(6, 9)):
        grad = jax.grad(loss, has_aux=True, allow_int=True)
        grads, window = grad(window, problem.xs[at], problem.ys_ct[at])
        total += grads.carry[0].sum(0) if stale else grads.carry[0]
    assert largest_error(total, expected[1][0]) < 1e-12


def test_its_memory_is_that_of_closing_over_it():
    def megabytes(loss):
        args = jnp.ones((256, 256)), jnp.ones((4, 256)), jnp.ones((300, 4, 256))
        grad = jax.jit(jax.grad(loss, argnums=(0, 1)))
        return grad.lower(*args).compile().memory_analysis().temp_size_in_bytes / 1e6

    def carried(kernel, state, xs):
        step = functools.partial(cell, None)
        return jnp.sum(truncated_scan(step, (kernel, state), xs, horizon=3)[1])

    def closed_over(kernel, state, xs):
        step = lambda state, x: (lambda left, y: (left[1], y))(*cell(None, (kernel, state), x))
        return jnp.sum(truncated_scan(step, state, xs, horizon=3)[1])

    assert megabytes(carried) == pytest.approx(megabytes(closed_over), rel=0.02)


def test_under_cond_and_vmap_it_is_not_copied():
    problem = kernel_in_the_carry()

    def run(on, init):
        scan = lambda init: truncated_scan(
            functools.partial(cell, None), init, problem.xs, horizon=3
        )[0]
        return jax.lax.cond(on, scan, lambda init: init, init)[0]

    kernel = jax.vmap(run, (None, (None, 0)), out_axes=None)
    state = jnp.stack([problem.init[1]] * 3)
    np.testing.assert_array_equal(kernel(True, (problem.init[0], state)), problem.init[0])


@pytest.mark.parametrize("is_whole", [True, False])
def test_through_shard_map_it_is_handed_on_as_it_is_placed(is_whole):
    """A kernel that comes back along other axes is another array."""
    problem = kernel_in_the_carry()
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    whole, batch = jax.P(), jax.P("batch")
    step = jax.shard_map(
        functools.partial(cell, None),
        mesh=mesh,
        in_specs=((whole, batch), batch),
        out_specs=((whole if is_whole else batch, batch), batch),
        check_vma=False,
    )
    error = largest_error(
        scan_gradients(problem._replace(f=lambda _, carry, x: step(carry, x)), 3, 1),
        scan_gradients(problem, 3, 1),
    )
    assert error < 1e-12 if is_whole else error > 1e-2
