"""`windowed_value_and_grad`: its own contract (its gradients are held in test_gradient)."""

import cells
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import windowed_value_and_grad


def square(params, y, target):
    return jnp.sum((y - target) ** 2)


@pytest.mark.parametrize(
    "schedule", [{"horizon": 2}, {"horizon": 3, "stride": 2}, {"horizon": None}]
)
def test_loss_and_carry_are_those_of_the_whole_sequence(schedule):
    problem = cells.problem("gru", 7)
    targets = 0.5 * problem.ys_ct
    carry, ys = jax.lax.scan(lambda c, x: problem.f(problem.params, c, x), problem.init, problem.xs)
    run = windowed_value_and_grad(problem.f, square, **schedule)
    (loss, last), _ = run(problem.params, problem.init, problem.xs, targets)
    np.testing.assert_allclose(loss, np.sum((ys - targets) ** 2), rtol=1e-12)
    chex.assert_trees_all_close(last, carry, rtol=1e-12)


def test_it_is_a_plain_function_that_jit_compiles_once():
    problem = cells.problem("gru", 7)
    run = windowed_value_and_grad(problem.f, square, horizon=3)
    counted = jax.jit(chex.assert_max_traces(run, n=1))
    for scale in (1.0, 2.0):
        args = problem.params, problem.init, scale * problem.xs, problem.ys_ct
        chex.assert_trees_all_close(counted(*args), run(*args), rtol=1e-12)


def test_no_horizon_is_full_bptt():
    problem = cells.problem("gru", 7)

    def loss(params):
        f = lambda c, x: problem.f(params, c, x)
        return jnp.sum((jax.lax.scan(f, problem.init, problem.xs)[1] - problem.ys_ct) ** 2)

    run = windowed_value_and_grad(problem.f, square, horizon=None)
    _, (grads, _, _) = run(problem.params, problem.init, problem.xs, problem.ys_ct)
    chex.assert_trees_all_close(grads, jax.grad(loss)(problem.params), rtol=1e-11)


@pytest.mark.parametrize(
    ("schedule", "error", "text"),
    [
        ({"horizon": 0}, ValueError, "horizon must be >= 1, got 0."),
        ({"horizon": 2.5}, TypeError, "horizon must be a static integer, got 2.5."),
        ({"horizon": 3, "stride": 0}, ValueError, "stride must be >= 1, got 0."),
        (
            {"horizon": 3, "stride": 4},
            ValueError,
            "stride must be in 1..horizon (3), got 4; a larger stride would drop errors.",
        ),
    ],
)
def test_wrong_schedule_fails_in_one_line(schedule, error, text):
    with pytest.raises(error) as raised:
        windowed_value_and_grad(cells.gru, square, **schedule)
    assert str(raised.value) == f"windowed_value_and_grad: {text}"


@pytest.mark.parametrize(
    ("xs", "targets", "got"),
    [
        (np.ones(0), np.ones(0), "float64[0] and float64[0]."),
        (np.ones(4), np.ones(3), "float64[4] and float64[3]."),
        (None, np.ones(3), "None and float64[3]."),
        (1.0, None, "float and None."),
    ],
)
def test_sequences_of_no_one_length_fail_in_one_line(xs, targets, got):
    run = windowed_value_and_grad(lambda w, c, x: (c, c), square, horizon=2)
    with pytest.raises(ValueError, match="xs and targets must be") as raised:
        run(0.5, 0.0, xs, targets)
    rule = "windowed_value_and_grad: xs and targets must be [T, ...] with one T >= 1, got"
    assert str(raised.value) == f"{rule} {got}"


@pytest.mark.parametrize(
    ("step_loss_fn", "got"),
    [
        (lambda params, y, target: y[0], "float64[3]"),
        (lambda params, y, target: jnp.sum(y) + 0j, "complex128[]"),
        (lambda params, y, target: jnp.int32(1), "int32[]"),
    ],
)
def test_loss_that_is_no_real_scalar_is_refused(step_loss_fn, got):
    problem = cells.problem("gru", 7)
    with pytest.raises(TypeError) as error, jax.numpy_dtype_promotion("standard"):
        windowed_value_and_grad(problem.f, step_loss_fn, horizon=2)(
            problem.params, problem.init, problem.xs, problem.ys_ct
        )
    assert str(error.value).endswith(f"step_loss_fn must return a real scalar, got {got}.")


@pytest.mark.parametrize("cell", [lambda w, c, x: (c, c, c), lambda w, c, x: (w * c, c, c)])
def test_a_cell_that_returns_no_pair_fails(cell):
    run = windowed_value_and_grad(cell, lambda w, y, target: y, horizon=2)
    with pytest.raises(TypeError, match=r"^windowed_value_and_grad: cell must return a pair"):
        run(0.5, 1.0, jnp.ones(4), None)
