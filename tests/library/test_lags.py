"""A gradient taken apart by lag: its parts, their norms, the errors on the carry."""

import functools

import cells
import chex
import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import dyadic_lag_spectrum, effective_horizon, lag_spectrum

NUM_STEPS = 7
CELLS = ("tanh_rnn", "gru", "lstm", "two_layers", "counting_rnn", "complex_rnn")


def sequence_loss_fn(params, ys, errors):
    """⟨errors, ys⟩, and a term that reads the parameters by itself."""
    floats = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return definition.inner(errors, ys) + sum(jnp.sum(leaf**2) for leaf in floats)


def expected(problem, horizon):
    nothing = jax.tree.map(jnp.zeros_like, problem.carry_ct)
    of_outputs, _, _ = definition.truncated_gradients(
        problem.f,
        problem.params,
        problem.init,
        problem.xs,
        nothing,
        problem.ys_ct,
        horizon=horizon,
        stride=1,
    )
    return jax.tree.map(lambda grad, leaf: grad + 2.0 * leaf, of_outputs, problem.params)


def spectrum(problem, horizon):
    run = jax.jit(lag_spectrum(problem.f, sequence_loss_fn, horizon=horizon, parts=True))
    return run(problem.params, problem.init, problem.xs, problem.ys_ct)


@pytest.mark.grid
@pytest.mark.parametrize("cell", CELLS)
def test_parts_of_the_first_lags_add_up_to_the_gradient_with_that_horizon(cell):
    problem = cells.problem(cell, NUM_STEPS)
    parts = spectrum(problem, NUM_STEPS + 2).parts
    for horizon in range(1, NUM_STEPS + 3):
        so_far = jax.tree.map(lambda leaf, h=horizon: jnp.sum(leaf[:h], axis=0), parts)
        for actual, grad in zip(
            *map(jax.tree.leaves, (so_far, expected(problem, horizon))), strict=True
        ):
            scale = np.max(np.abs(grad))
            np.testing.assert_allclose(actual / scale, grad / scale, atol=1e-12, rtol=0.0)


@pytest.mark.parametrize("spectrum_of", [lag_spectrum, dyadic_lag_spectrum])
def test_leaves_that_are_handed_on_are_constants_of_the_step(spectrum_of):
    """Their errors are a parameter's, not the carry's."""
    gain, is_dyadic = jnp.array([1.1, 0.9]), spectrum_of is dyadic_lag_spectrum
    mix = (lambda c: c) if is_dyadic else (lambda c: c[::-1])
    step = lambda w, gain, c, x: jnp.tanh(w * gain * mix(c) + x)

    def handing_on(w, carry, x):
        gain, c = carry
        c = step(w, gain, c, x)
        return (gain, c), c

    def closing_over(w, c, x):
        c = step(w, gain, c, x)
        return c, c

    options = {} if is_dyadic else {"horizon": NUM_STEPS}
    loss_fn, c, xs = lambda w, ys, _: jnp.sum(ys), jnp.array([0.3, 0.2]), jnp.ones((NUM_STEPS, 2))
    run = lambda cell, carry: spectrum_of(cell, loss_fn, **options)(jnp.array(1.3), carry, xs, None)
    actual, expected = run(handing_on, (gain, c)), run(closing_over, c)
    chex.assert_trees_all_close(actual, expected, rtol=1e-12)
    assert expected.l2[1] > 0.0


def test_lags_within_the_sequence_hold_something_and_those_beyond_nothing():
    found = spectrum(cells.problem("tanh_rnn", NUM_STEPS), NUM_STEPS + 2)
    assert np.all(found.l2[:NUM_STEPS] > 0.0) and np.all(found.l2[NUM_STEPS:] == 0.0)


def test_norms_are_those_of_the_parts():
    problem = cells.problem("two_layers", NUM_STEPS)
    found = spectrum(problem, 3)
    of_leaf = lambda norm: lambda leaf: np.array([norm(np.ravel(part)) for part in leaf])
    l1, l2 = lambda x: np.sum(np.abs(x)), lambda x: np.sqrt(np.sum(x**2))
    chex.assert_trees_all_close(found.leaf_l1, jax.tree.map(of_leaf(l1), found.parts), rtol=1e-14)
    chex.assert_trees_all_close(found.leaf_l2, jax.tree.map(of_leaf(l2), found.parts), rtol=1e-14)
    whole = np.concatenate([np.reshape(x, (3, -1)) for x in jax.tree.leaves(found.parts)], axis=1)
    np.testing.assert_allclose(found.l1, [l1(part) for part in whole], rtol=1e-14)
    np.testing.assert_allclose(found.l2, [l2(part) for part in whole], rtol=1e-14)


def test_held_is_the_norm_of_the_gradient_with_that_horizon():
    problem = cells.problem("two_layers", NUM_STEPS)
    held = spectrum(problem, NUM_STEPS + 2).cumulative_l2
    norm = lambda tree: np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
    norms = [norm(expected(problem, horizon)) for horizon in range(1, NUM_STEPS + 3)]
    np.testing.assert_allclose(held, norms, rtol=1e-12)


@functools.partial(jax.jit, static_argnums=0)
def one_step_back(f, params, carry, x, carry_ct, y_ct):
    return jax.vjp(lambda carry: f(params, carry, x), carry)[1]((carry_ct, y_ct))[0]


def errors_on_the_carry(problem, batched):
    """By lag from 1 on: the norms of all outputs' errors, one output and one step at a time."""
    carries = [problem.init]
    for x in zip(*map(list, jax.tree.leaves(problem.xs)), strict=True):
        carries.append(problem.f(problem.params, carries[-1], *x)[0])
    norms = [[] for _ in range(NUM_STEPS)]
    nothing = jax.tree.map(jnp.zeros_like, (problem.init, problem.ys_ct))
    for t in range(NUM_STEPS):
        errors = nothing[0], jax.tree.map(lambda leaf, t=t: leaf[t], problem.ys_ct)
        for s in range(t, 0, -1):
            x = jax.tree.map(lambda leaf, s=s: leaf[s], problem.xs)
            error = one_step_back(problem.f, problem.params, carries[s], x, *errors)
            errors = error, jax.tree.map(lambda leaf: leaf[0], nothing[1])
            squares = [np.abs(leaf) ** 2 for leaf in jax.tree.leaves(error)]
            of_samples = sum(np.sum(square, axis=-1) for square in squares)
            whole = np.sqrt(of_samples if batched else np.sum(of_samples))
            norms[t - s].append(np.sum(whole))
    return norms


@pytest.mark.parametrize("cell", ["lstm", "two_layers", "complex_rnn"])
@pytest.mark.parametrize("batched", [False, True])
def test_errors_are_the_mean_norms_of_those_on_the_carry(cell, batched):
    """N / Nₖ: the mean over those of N outputs that have a step so far back, times N."""
    problem = cells.problem(cell, NUM_STEPS)
    loss_fn = lambda params, ys, errors: definition.inner(errors, ys)
    run = lag_spectrum(problem.f, loss_fn, horizon=NUM_STEPS + 3, batched=batched)
    found = jax.jit(run)(problem.params, problem.init, problem.xs, problem.ys_ct).errors
    expected = [NUM_STEPS * np.mean(norms) for norms in errors_on_the_carry(problem, batched)[:-1]]
    np.testing.assert_allclose(found, [0.0, *expected, 0.0, 0.0, 0.0], rtol=1e-12)


def test_outputs_without_an_error_do_not_count():
    step = lambda w, c, x: (w * c + x, w * c + x)
    some = lambda w, ys, _: ys[2] + ys[4] + ys[5]
    run = lag_spectrum(step, some, horizon=8)
    found = run(jnp.array(0.5), jnp.array(0.0), jnp.ones(6), None).errors
    expected = [0.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.0, 0.0]
    np.testing.assert_allclose(found, 3.0 * np.array(expected), rtol=1e-14)


@pytest.mark.parametrize("init", [jnp.zeros(()), (jnp.zeros((2, 3)), jnp.zeros(3))])
def test_carries_without_one_first_axis_are_not_batched(init):
    step = lambda w, c, x: (jax.tree.map(lambda leaf: w * leaf, c), w * x)
    run = lag_spectrum(step, lambda w, ys, _: ys[0], horizon=2, batched=True)
    with pytest.raises(ValueError, match="batched needs leaves of the carry with one first axis"):
        run(jnp.array(0.5), init, jnp.ones(3), None)


def test_a_carry_without_floats_has_no_errors():
    run = lag_spectrum(lambda w, c, x: (c + 1, w * x), lambda w, ys, _: jnp.sum(ys), horizon=3)
    np.testing.assert_array_equal(run(jnp.array(0.5), jnp.int32(0), jnp.ones(4), None).errors, 0.0)


def test_small_parts_keep_their_l2_norm():
    """Their squares would be zero in float32."""
    step = lambda w, c, x: (w * c + x, w * c + x)
    last = lambda w, ys, _: jnp.sum(ys[-1])
    with jax.enable_x64(False):
        args = jnp.full(2, 1e-12), jnp.zeros(2), jnp.ones((5, 2)), None
        found = lag_spectrum(step, last, horizon=4)(*args)
    np.testing.assert_allclose(found.l2, np.sqrt(2) * 10.0 ** -np.arange(0, 48, 12), rtol=1e-5)


def test_large_parts_keep_their_l2_norm():
    """Their squares would be infinite in float32, and one over them zero."""
    step = lambda w, c, x: (w * c + x, w * c + x)
    last = lambda w, ys, _: 1e38 * jnp.sum(ys[-1])
    with jax.enable_x64(False):
        args = jnp.full(2, 0.5), jnp.zeros(2), jnp.ones((3, 2)), None
        found = lag_spectrum(step, last, horizon=2)(*args)
    np.testing.assert_allclose(found.l2, np.sqrt(2) * np.array([1.5e38, 0.5e38]), rtol=1e-5)
    np.testing.assert_allclose(
        found.cumulative_l2, np.sqrt(2) * np.array([1.5e38, 2e38]), rtol=1e-5
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_norms_of_parts_that_are_not_finite_are_not_finite(bad):
    step = lambda w, c, x: (w["good"] * c, w["good"] * c + w["bad"] * x)
    run = lag_spectrum(step, lambda w, ys, _: jnp.sum(ys), horizon=2)
    w = {"good": jnp.full(2, 0.5), "bad": jnp.full(2, 0.5)}
    xs = jnp.ones((4, 2)).at[1, 0].set(bad)
    found = run(w, jnp.ones(2), xs, None)
    for norms in (found.l1, found.l2, found.leaf_l1["bad"], found.leaf_l2["bad"]):
        np.testing.assert_equal(float(norms[0]), bad)
    assert jnp.all(jnp.isfinite(found.leaf_l2["good"]))
    if jnp.isnan(bad):
        assert effective_horizon(found.l1) == effective_horizon(found.l2) == 2


def test_norms_of_lags_beyond_the_sequence_have_derivatives():
    step = lambda w, c, x: (w * c + x, w * c + x)
    run = lag_spectrum(step, lambda w, ys, _: jnp.sum(ys), horizon=5)
    total = lambda w: jnp.sum(run(w, jnp.array(0.0), jnp.ones(3), None).l2)
    w = jnp.array(0.5)
    slope = (total(w + 1e-6) - total(w - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(total)(w), slope, rtol=1e-6)


def test_leaves_without_gradient_have_no_part():
    step = lambda params, c, x: (
        params["w"] * c + x,
        params["w"] * params["table"][1].astype(float),
    )
    params = {"w": jnp.array(0.5), "table": jnp.arange(3)}
    run = lag_spectrum(step, lambda params, ys, _: jnp.sum(ys), horizon=2, parts=True)
    found = run(params, jnp.array(1.0), jnp.ones(4), None)
    assert found.parts["table"] is None and found.leaf_l1["table"] is None
    np.testing.assert_allclose(found.l1, found.leaf_l1["w"])


def test_parts_that_are_not_asked_for_are_not_stored():
    params, horizon = {"w": jnp.eye(64) / 2, "u": jnp.ones((64, 64))}, 50
    step = lambda params, c, x: (c @ params["w"] + x @ params["u"],) * 2
    run = lag_spectrum(step, lambda params, ys, _: jnp.sum(ys), horizon=horizon)
    args = params, jnp.zeros(64), jnp.ones((60, 64)), None
    assert jax.eval_shape(run, *args).parts is None
    norms = jax.jit(run).lower(*args).compile().memory_analysis()
    parts = horizon * sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert norms.temp_size_in_bytes + norms.output_size_in_bytes < parts / 4


def test_where_no_output_is_a_number_the_gradient_is_of_lag_0():
    for output in (None, (), jnp.int32(3)):
        run = lag_spectrum(lambda w, c, x, y=output: (w * c, y), lambda w, *_: w**2, horizon=3)
        found = run(jnp.array(0.5), jnp.array(1.0), jnp.ones(4), None)
        np.testing.assert_array_equal(found.l1, [1.0, 0.0, 0.0])
        np.testing.assert_array_equal(found.errors, 0.0)
