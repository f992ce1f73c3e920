"""Masks: padding takes no part in learning."""

import functools

import cells
import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error, make_gradients, scan_gradients

from tbptt_jax import truncated_scan, with_mask

T, BATCH = 9, cells.BATCH
LENGTHS = (6, 9)  # of the two padded sequences
VALID = np.arange(T)[:, None] < np.array(LENGTHS)


@pytest.mark.grid
@pytest.mark.parametrize("name", ["tanh_rnn", "lstm"])
@pytest.mark.parametrize("horizon, stride", [(3, 1), (4, 2), (T, 1)])
def test_padding_takes_no_part(name, horizon, stride):
    """The carry passes through it, and what it holds is in no gradient."""
    problem = cells.problem(name, T)
    clean = problem._replace(
        f=lambda params, carry, x: with_mask(functools.partial(problem.f, params))(carry, x),
        xs=(problem.xs, jnp.asarray(VALID)),
    )
    gradients = make_gradients(clean.f, horizon, stride)
    expected = definition.truncated_gradients(*clean, horizon=horizon, stride=stride)
    for poison in (np.nan, np.inf, 1.0):
        poisoned = jnp.where(clean.xs[1][..., None], problem.xs, poison)
        masked = clean._replace(xs=(poisoned, clean.xs[1]))
        params, init, (xs, _) = gradients(*masked[1:])
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, init, xs)))
        np.testing.assert_array_equal(xs[~VALID], 0.0)
        assert largest_error((params, init, xs), (*expected[:2], expected[2][0])) < 1e-12


@pytest.mark.parametrize("horizon", [2, 3, 6])
def test_errors_pass_through_padding_and_it_counts_as_steps(horizon):
    """Linear, so by hand: yₜ = Σₛ w^(valid steps in s+1..t) xₛ, cut where t - s >= horizon."""
    valid, w = np.array([True, True, False, False, True, True]), 0.7
    expected = np.zeros((6, 6))
    for t in np.flatnonzero(valid):
        for s in np.flatnonzero(valid[: t + 1]):
            if t - s < horizon:
                expected[t, s] = w ** np.sum(valid[s + 1 : t + 1])
    f = with_mask(lambda c, x: (w * c + x, w * c + x))

    def outputs(xs):
        return truncated_scan(f, 0.0, (xs, jnp.asarray(valid)), horizon=horizon)[1]

    np.testing.assert_allclose(jax.jacrev(outputs)(jnp.ones(6)), expected, rtol=1e-13)


def test_padding_inside_a_sequence_is_as_if_it_were_not_there():
    """With full BPTT: the gradients of the valid steps alone, for parameters and initial carry."""
    problem, valid = cells.problem("lstm", T), np.array([1, 1, 0, 1, 0, 0, 1, 1, 0], bool)
    masked = problem._replace(
        f=lambda params, carry, x: with_mask(functools.partial(problem.f, params))(carry, x),
        xs=(problem.xs, jnp.tile(valid[:, None], (1, BATCH))),
    )
    only = lambda tree: jax.tree.map(lambda leaf: leaf[valid], tree)
    alone = problem._replace(xs=only(problem.xs), ys_ct=only(problem.ys_ct))
    params, init, (xs, _) = scan_gradients(masked, T, 1)
    expected = definition.truncated_gradients(*alone, horizon=T, stride=1)
    assert largest_error((params, init, xs[valid]), expected) < 1e-12


def test_python_numbers_are_carries_and_outputs_too():
    f = with_mask(lambda c, x: (c + x, 1.0))
    _, ys = jax.lax.scan(f, 0.0, (jnp.ones(2), jnp.array([True, False])))
    np.testing.assert_array_equal(ys, [1.0, 0.0])


def test_masked_steps_leave_the_carry_and_give_zero():
    f = with_mask(lambda c, x: (c + x["a"], {"y": c + x["a"], "n": x["n"]}))
    xs = {"a": jnp.array([[1.0, jnp.nan], [2.0, 3.0]]), "n": jnp.array([[1, -9], [2, 3]])}
    valid = jnp.array([[True, False], [True, True]])
    carry, ys = jax.lax.scan(f, jnp.zeros(2), (xs, valid))
    np.testing.assert_array_equal(carry, [3.0, 3.0])
    np.testing.assert_array_equal(ys["y"], [[1.0, 0.0], [3.0, 3.0]])
    np.testing.assert_array_equal(ys["n"], [[1, 0], [2, 3]])


def test_fill_stands_in_for_what_is_masked():
    """Where zero is no input that the step bears."""
    f = lambda c, x: (c + jnp.log(x), c)
    xs, valid = jnp.array([1.0, 0.0, 2.0]), jnp.array([True, False, True])
    grad = lambda fill: jax.grad(
        lambda xs: truncated_scan(with_mask(f, fill), 0.0, (xs, valid), horizon=2)[0]
    )(xs)
    np.testing.assert_array_equal(grad(1.0), [0.0, 0.0, 0.5])
    for wrong, got in [([1.0], r"\[float\]"), (jnp.ones(3), r"float64\[3\]"), (None, "None")]:
        with pytest.raises(TypeError, match=f"^with_mask: fill must be a number, got {got}.$"):
            with_mask(f, wrong)


def test_keys_of_masked_steps_stay():
    f = with_mask(lambda c, x: (c + x["v"], x["key"]))
    xs = {"v": jnp.ones((3, 2)), "key": jax.random.split(jax.random.key(0), 3)}
    _, keys = jax.lax.scan(f, jnp.zeros(2), (xs, jnp.zeros((3, 2), bool)))
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(xs["key"]))
