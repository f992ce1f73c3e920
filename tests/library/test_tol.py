"""`tol`: sweeps that end early give the gradient of the horizon at which they end."""

import functools
import re

import cells
import definition
import elementwise_cells
import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import T, largest_error, scan_gradients

from tbptt_jax import truncated_scan

STEPS, STATE = 12, 3


def rotated(norm, key=0):
    """A matrix of that norm in all directions."""
    return norm * jax.random.orthogonal(jax.random.key(key), STATE)


def linear(kernel, horizon, tol=0.0, power=1, before=lambda c: c):
    """A loss of the inputs, c = (c + x)ᵖ W, y = c, with random errors of y."""
    step = lambda c, x: (lambda c: (c, c))((before(c) + x) ** power @ kernel)

    def loss(xs):
        init = jnp.ones(STATE, kernel.dtype)
        ys = truncated_scan(step, init, xs, horizon=horizon, tol=tol)[1]
        return jnp.sum(ys * jax.random.normal(jax.random.key(1), ys.shape).astype(ys.dtype))

    return loss


@functools.cache
def errors_by_sweep(norm):
    """Aⁱ b for i = 0, 1, ..., where c = (c + x) W: all steps alike, Jᵀ = W."""
    ys_ct = np.asarray(jax.random.normal(jax.random.key(1), (STEPS, STATE)))
    found = [ys_ct @ np.asarray(rotated(norm)).T]
    for _ in range(STEPS):
        shifted = np.concatenate([found[-1][1:], np.zeros((1, STATE))])
        found.append(shifted @ np.asarray(rotated(norm)).T)
    return found


def horizon_found(norm, horizon, tol):
    """By the criterion itself, and the errors that have arrived."""
    of_sweeps, arrived = errors_by_sweep(norm), 0.0
    for num_sweeps in range(horizon - 1):
        arrived = arrived + of_sweeps[num_sweeps]
        if np.linalg.norm(of_sweeps[num_sweeps]) <= tol * np.linalg.norm(arrived):
            break
    return num_sweeps + 2, arrived


xs = np.zeros((STEPS, STATE))


@pytest.mark.parametrize("norm", [0.3, 0.8, 1.2])
def test_sweeps_end_at_the_first_horizon_where_little_travels(norm):
    kernel, horizons = rotated(norm), []
    for tol in (1e-3, 0.03, 0.3):
        for horizon in (2, 8, STEPS, STEPS + 5):
            found, _ = horizon_found(norm, min(horizon, STEPS), tol)
            actual = jax.grad(linear(kernel, horizon, tol))(xs)
            expected = jax.grad(linear(kernel, found))(xs)
            np.testing.assert_allclose(actual, expected, atol=1e-13)
            horizons.append(found)
    assert norm > 1 or len(set(horizons)) > 2


@pytest.mark.parametrize("norm, tol", [(n, t) for n in (0.3, 0.6, 0.8) for t in (0.1, 0.2, 0.3)])
def test_what_is_left_out_is_bounded_where_steps_contract(norm, tol):
    kernel = rotated(norm)
    exact = jax.grad(linear(kernel, STEPS))(xs)
    difference = np.linalg.norm(jax.grad(linear(kernel, STEPS, tol))(xs) - exact)
    found, arrived = horizon_found(norm, STEPS, tol)
    assert found < STEPS
    # The error on an input is a carry's after it has passed one more step.
    bound = norm * tol * norm / (1 - norm) * np.linalg.norm(arrived)
    assert 0.0 < difference <= bound


def test_errors_that_grow_again_defeat_it():
    """All eigenvalues are 0, and the one error that counts is tiny for a step on its way."""
    size = 1e-4
    kernel = jnp.zeros((STATE, STATE)).at[0, 1].set(1 / size).at[1, 2].set(size)
    step = lambda c, x: (c @ kernel + x, c[2])
    run = lambda xs, tol: truncated_scan(step, jnp.zeros(STATE), xs, horizon=5, tol=tol)[1][-1]
    exact, ended = (jax.grad(run)(xs, tol) for tol in (0.0, 1e-3))
    np.testing.assert_allclose(exact[-4], [1.0, 0.0, 0.0])
    np.testing.assert_allclose(ended[-3], exact[-3])
    np.testing.assert_array_equal(ended[-4], 0.0)


@pytest.mark.parametrize("horizon", [1, 2, 4, T - 1, T, T + 3])
@grids.over("name", ["counting_rnn"], ["lstm", "complex_rnn", "two_layers"])
def test_errors_that_do_not_decay_reach_the_whole_horizon(name, horizon):
    problem = cells.problem(name, T)
    scan = functools.partial(truncated_scan, tol=1e-14)
    expected = definition.truncated_gradients(*problem, horizon=horizon, stride=1)
    assert largest_error(scan_gradients(problem, horizon, 1, scan), expected) < 1e-12


@pytest.mark.parametrize("horizon", [4, None])
def test_elementwise_carries_and_full_gradients_are_exact(horizon):
    problem = (elementwise_cells if horizon else cells).problem(
        "gated_average" if horizon else "gru", T
    )
    scan = functools.partial(truncated_scan, tol=0.9)
    expected = scan_gradients(problem, horizon, 1)
    assert largest_error(scan_gradients(problem, horizon, 1, scan), expected) < 1e-12


def test_each_example_of_a_vmap_ends_by_its_own_errors():
    kernels = jnp.stack([rotated(norm, key) for key, norm in enumerate((0.2, 0.6, 1.1))])
    of_one = lambda kernel: jax.grad(linear(kernel, STEPS, 0.01))(xs)
    alone = jnp.stack([of_one(kernel) for kernel in kernels])
    together = jax.jit(jax.vmap(of_one))(kernels)
    np.testing.assert_allclose(together, alone, atol=1e-13)
    full = jax.grad(linear(kernels[1], STEPS))(xs)
    assert np.max(np.abs(together[1] - full)) > 1e-6


def test_errors_that_overflow_do_not_end_the_others():
    """Those of one sample grow beyond all numbers while another's still travel."""
    growth = jnp.array([[1e200], [0.9]])
    step = lambda c, x: (lambda new: (new, new))(growth * (c @ jnp.ones((1, 1))) + x)

    def last(xs, tol):
        return jnp.sum(truncated_scan(step, jnp.zeros((2, 1)), xs, horizon=6, tol=tol)[1][-1])

    ended, exact = (jax.grad(last)(jnp.zeros((8, 2, 1)), tol)[:, 1, 0] for tol in (0.1, 0.0))
    np.testing.assert_allclose(ended, exact, rtol=1e-12)
    assert exact[2] > 0.5


def test_an_error_that_is_nan_does_not_end_the_others():
    """Of one sample of two."""
    step = lambda c, x: (c @ (0.95 * jnp.eye(2)[::-1]) + x, jnp.sum(c, -1))

    def last(init, tol):
        xs = jnp.zeros((8, 2, 1))
        ys = truncated_scan(step, init, xs, horizon=6, tol=tol)[1]
        return jnp.sum(ys[5] * jnp.array([1.0, jnp.nan]))

    ended, exact = (jax.grad(last)(jnp.ones((2, 2)), tol)[0] for tol in (0.1, 0.0))
    np.testing.assert_allclose(ended, exact, rtol=1e-12)
    assert exact.min() > 0.5


def test_errors_whose_squares_overflow_do_not_end_the_sweeps():
    """In float32: they grow to 1e19 from the last step on, and then shrink."""
    growth = np.r_[np.full(5, 0.5), np.full(10, 10.0**1.95), 1.0]
    rotation = np.array([[0.0, 1.0], [-1.0, 0.0]])
    is_last = np.arange(16) == 15

    def loss(shift, tol):
        step = lambda c, x: (c @ jnp.float32(rotation) * x[0] + shift, jnp.sum(c * x[1]))
        xs = jnp.stack([jnp.float32(growth), jnp.float32(is_last)], axis=1)
        init = jnp.zeros(2, jnp.float32)
        return jnp.sum(truncated_scan(step, init, xs, horizon=15, tol=tol)[1])

    with jax.enable_x64(False):
        ended, exact = (jax.grad(loss)(jnp.ones(2, jnp.float32), tol) for tol in (1e-3, 0.0))
    np.testing.assert_allclose(ended, exact, rtol=2e-3)
    assert np.isfinite(exact).all() and np.abs(exact).min() > 1e18


@pytest.mark.parametrize("shape", [(2, 0), (0,)])
def test_a_leaf_without_entries_changes_nothing(shape):
    step = lambda c, x: ((jnp.tanh(c[0] + x), c[1] * 2.0), c[0])

    def loss(xs, tol):
        init = jnp.ones(3), jnp.zeros(shape)
        return jnp.sum(truncated_scan(step, init, xs, horizon=5, tol=tol)[1])

    grad = jax.grad(loss)
    np.testing.assert_allclose(grad(jnp.ones((9, 3)), 1e-14), grad(jnp.ones((9, 3)), 0.0))


@pytest.mark.parametrize("second", [jax.hessian, lambda fun: jax.jacrev(jax.grad(fun))])
def test_second_derivatives_are_those_of_the_horizon_that_was_found(second):
    kernel, xs = rotated(0.2), jnp.full((6, STATE), 0.3)
    of = lambda horizon, tol: second(linear(kernel, horizon, tol, power=2))(xs)
    gradients = [jax.grad(linear(kernel, horizon, power=2))(xs) for horizon in (2, 3, 4, 5)]
    ended = jax.grad(linear(kernel, 6, 0.03, power=2))(xs)
    (found,) = [i + 2 for i, grads in enumerate(gradients) if np.allclose(ended, grads, atol=1e-13)]
    assert 2 < found < 5
    np.testing.assert_allclose(of(6, 0.03), of(found, 0.0), atol=1e-12)
    assert np.max(np.abs(of(6, 0.03) - of(6, 0.0))) > 1e-6


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (jnp.float32, 1e-30),
        (jnp.float32, 2.0**126),
        (jnp.bfloat16, 2.0**124),
        (jnp.float16, 2.0**-17),
    ],
)
def test_the_size_of_the_loss_does_not_count(dtype, size):
    """Squares of such errors, or one over them, are no numbers of their type."""
    with jax.enable_x64(False):
        kernel, xs = rotated(0.5).astype(dtype), jnp.zeros((STEPS, STATE), dtype)
        sized = lambda tol: lambda xs: dtype(size) * linear(kernel, STEPS, tol)(xs)
        exact, found = (np.float32(jax.grad(sized(tol))(xs)) for tol in (0.0, 1e-3))
        assert np.max(np.abs(exact)) > 0.1 * size
        assert (found != exact).any()  # the sweeps have ended
        np.testing.assert_allclose(found, exact, atol=0.03 * size)


def test_no_sweep_is_made_after_the_end():
    """Counted in a rule of the step's own, which every sweep runs."""
    count = []

    @jax.custom_vjp
    def counted(c):
        return c

    def back(_, error):
        jax.debug.callback(lambda _: count.append(1), error[0])
        return (error,)

    counted.defvjp(lambda c: (c, None), back)
    kernel, nums, horizon = rotated(0.3), [], STEPS - 1
    for tol in (1e-14, 0.03):
        count.clear()
        jax.block_until_ready(jax.grad(linear(kernel, horizon, tol, before=counted))(xs))
        jax.effects_barrier()
        nums.append(len(count))
    found, _ = horizon_found(0.3, horizon, 0.03)
    assert nums[0] - nums[1] == STEPS * (horizon - found) > 0


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"tol": -0.1}, ValueError, "tol must be in [0, 1), got -0.1."),
        ({"tol": 1.0}, ValueError, "tol must be in [0, 1), got 1.0."),
        ({"tol": float("nan")}, ValueError, "tol must be in [0, 1), got nan."),
        ({"tol": "0.1"}, TypeError, "tol must be a static number, got '0.1'."),
        ({"tol": True}, TypeError, "tol must be a static number, got True."),
        ({"tol": 0.1, "stride": 2}, ValueError, "tol needs stride=1, got 2."),
        ({"tol": 0.1, "carry_every": 3}, ValueError, "tol needs carry_every=1, got 3."),
        ({"tol": 0.1, "lag_weights": np.ones(4)}, ValueError, "lag_weights; drop one."),
    ],
)
def test_a_tol_that_does_not_fit_is_refused(options, error, said):
    with pytest.raises(error, match=f"^truncated_scan: .*{re.escape(said)}$"):
        truncated_scan(lambda c, x: (c, c), jnp.zeros(STATE), xs, horizon=4, **options)
