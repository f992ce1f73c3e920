"""Resets and masks: documents in one stream learn as if each were alone, padding not at all."""

import functools

import cells
import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import largest_error, scan_gradients

from tbptt_jax import init_stream, stream_scan, truncated_scan, with_mask, with_resets

T, BATCH = 9, cells.BATCH
# Documents of the first and of the second sample of a batch: first step, and the step after it.
DOCUMENTS = [[(0, 4), (4, 5), (5, 9)], [(0, 2), (2, 9)]]
RESETS = np.zeros((T, BATCH), bool)
for sample, documents in enumerate(DOCUMENTS):
    RESETS[[first for first, _ in documents[1:]], sample] = True


def reset_problem(name):
    """A recurrence with resets to its initial carry, which is one of the parameters."""
    problem = cells.problem(name, T)

    def f(params, carry, inputs):
        weights, init = params
        return with_resets(functools.partial(problem.f, weights), init)(carry, inputs)

    return problem._replace(
        f=f, params=(problem.params, problem.init), xs=(problem.xs, jnp.asarray(RESETS))
    )


def gradients_of_documents(name, horizon):
    """Gradients for weights, initial carry and inputs, each document run alone."""
    problem = cells.problem(name, T)
    total = None
    for sample, documents in enumerate(DOCUMENTS):
        for first, end in documents:
            one = lambda tree, axis, i=sample: jax.tree.map(
                lambda leaf: jnp.take(leaf, jnp.array([i]), axis), tree
            )
            part = lambda tree, a=first, b=end: jax.tree.map(lambda leaf: leaf[a:b], tree)
            carry_ct = one(problem.carry_ct, 0)
            if end < T:
                carry_ct = jax.tree.map(jnp.zeros_like, carry_ct)
            weights, init, xs = definition.truncated_gradients(
                problem.f,
                problem.params,
                one(problem.init, 0),
                part(one(problem.xs, 1)),
                carry_ct,
                part(one(problem.ys_ct, 1)),
                horizon=horizon,
                stride=1,
            )
            init = jax.tree.map(
                lambda g, like, i=sample: jnp.zeros_like(like).at[i].set(g[0]), init, problem.init
            )
            xs = jax.tree.map(
                lambda g, like, a=first, b=end, i=sample: (
                    jnp.zeros_like(like).at[a:b, i].set(g[:, 0])
                ),
                xs,
                problem.xs,
            )
            total = (
                (weights, init, xs) if total is None else definition.add(total, (weights, init, xs))
            )
    return total


@pytest.mark.parametrize("name", ["tanh_rnn", "lstm", "two_layers"])
@pytest.mark.parametrize("horizon", [1, 3, T])
def test_documents_in_one_stream_learn_as_if_each_were_alone(name, horizon):
    problem = reset_problem(name)
    (weights, later), init, (xs, _) = scan_gradients(problem, horizon, 1)
    actual = weights, definition.add(init, later), xs
    assert largest_error(actual, gradients_of_documents(name, horizon)) < 1e-12


@pytest.mark.parametrize("name", ["tanh_rnn", "lstm"])
@pytest.mark.parametrize("horizon, stride", [(3, 2), (4, 4), (5, 3)])
def test_blocks_keep_the_grid_of_the_stream(name, horizon, stride):
    """At larger strides the gradient is the definition, with carries cut at resets."""
    problem = reset_problem(name)
    expected = definition.truncated_gradients(*problem, horizon=horizon, stride=stride)
    assert largest_error(scan_gradients(problem, horizon, stride), expected) < 1e-12


def test_no_error_crosses_a_reset():
    """Zero exactly, and not by vanishing."""
    f = with_resets(lambda c, x: (c * x, c * x), 1.0)
    resets = jnp.arange(6) == 3

    def loss(xs):
        return jnp.sum(truncated_scan(f, 1.0, (xs, resets), horizon=5)[1][3:])

    grad = jax.grad(loss)(jnp.array([2.0, 3.0, 1e300, 0.5, 2.0, 3.0]))
    np.testing.assert_array_equal(grad[:3], 0.0)
    assert np.all(grad[3:] != 0.0) and np.isfinite(grad).all()


def test_resets_in_a_stream_cut_into_chunks():
    problem = reset_problem("lstm")
    problem = problem._replace(carry_ct=jax.tree.map(jnp.zeros_like, problem.carry_ct))
    expected = scan_gradients(problem, 4, 1)

    def loss(params, init, xs):
        window, total = init_stream(init, xs, horizon=4), 0.0
        for first in range(0, T, 3):
            here = functools.partial(jax.tree.map, lambda leaf, a=first: leaf[a : a + 3])
            f = functools.partial(problem.f, params)
            window, ys = stream_scan(f, window, here(xs))
            total += definition.inner(here(problem.ys_ct), ys)
        return total

    grad = jax.grad(loss, argnums=(0, 1, 2), allow_int=True)
    assert largest_error(jax.jit(grad)(problem.params, problem.init, problem.xs), expected) < 1e-12


LENGTHS = (6, 9)  # of the two padded sequences
VALID = np.arange(T)[:, None] < np.array(LENGTHS)


@pytest.mark.grid
@pytest.mark.parametrize("poison", [np.nan, np.inf, 1.0])
@pytest.mark.parametrize("name", ["tanh_rnn", "lstm"])
@pytest.mark.parametrize("horizon, stride", [(3, 1), (4, 2), (T, 1)])
def test_padding_takes_no_part(name, poison, horizon, stride):
    """The carry passes through it, and what it holds is in no gradient."""
    problem = cells.problem(name, T)
    poisoned = jnp.where(jnp.asarray(VALID)[..., None], problem.xs, poison)
    masked = problem._replace(
        f=lambda params, carry, x: with_mask(functools.partial(problem.f, params))(carry, x),
        xs=(poisoned, jnp.asarray(VALID)),
    )
    clean = masked._replace(xs=(problem.xs, jnp.asarray(VALID)))
    params, init, (xs, _) = scan_gradients(masked, horizon, stride)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((params, init, xs)))
    np.testing.assert_array_equal(xs[~VALID], 0.0)
    expected = definition.truncated_gradients(*clean, horizon=horizon, stride=stride)
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


def test_resets_around_masks_start_anew_on_masked_steps_too():
    total = lambda c, x: (c + x, c + x)
    valid, resets = jnp.array([True, True, False, True]), jnp.array([False, False, True, False])
    f = with_resets(with_mask(total), 0.0)
    _, ys = jax.lax.scan(f, 0.0, ((jnp.ones(4), valid), resets))
    np.testing.assert_array_equal(ys, [1.0, 2.0, 0.0, 1.0])


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


def test_keys_start_anew():
    def f(carry, x):
        total, key = carry
        return (total + x, jax.random.fold_in(key, 1)), jax.random.key_data(key)

    init = jnp.array(0.0), jax.random.key(0)
    flags = jnp.array([False, True, False])
    step = with_resets(f, init)
    other = jnp.array(0.0), jax.random.key(7)
    _, seen = jax.lax.scan(step, other, (jnp.ones(3), flags))
    keys = [other[1], init[1], jax.random.fold_in(init[1], 1)]
    np.testing.assert_array_equal(seen, [jax.random.key_data(key) for key in keys])


def test_keys_of_masked_steps_stay():
    f = with_mask(lambda c, x: (c + x["v"], x["key"]))
    xs = {"v": jnp.ones((3, 2)), "key": jax.random.split(jax.random.key(0), 3)}
    _, keys = jax.lax.scan(f, jnp.zeros(2), (xs, jnp.zeros((3, 2), bool)))
    np.testing.assert_array_equal(jax.random.key_data(keys), jax.random.key_data(xs["key"]))


@pytest.mark.parametrize(
    "step, error, text",
    [
        (
            lambda: with_resets(lambda c, x: (c, x), 0.0)(jnp.ones((3, 8)), (1.0, jnp.ones(4) > 0)),
            ValueError,
            "with_resets: the carry's leaves must begin with the flags' axes [4], got [3, 8].",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), 0.0)(jnp.ones(3), (1.0, jnp.ones(3))),
            TypeError,
            "with_resets: flags must be bool, got float64.",
        ),
        (
            lambda: with_mask(lambda c, x: (c, x))(jnp.ones(3), (jnp.ones(2), jnp.ones(3) > 0)),
            ValueError,
            "with_mask: the input's leaves must begin with the flags' axes [3], got [2].",
        ),
        (
            lambda: with_mask(lambda c, x: (c, jnp.sum(x)))(
                jnp.ones(3), (jnp.ones(3), jnp.ones(3) > 0)
            ),
            ValueError,
            "with_mask: the output's leaves must begin with the flags' axes [3], got [].",
        ),
        (
            lambda: with_mask(lambda c, x: (c[:1], x))(jnp.ones(3), (jnp.ones(3), jnp.ones(3) > 0)),
            TypeError,
            "with_mask: f must return the carry with the types it was given, float64[3], got "
            "float64[1].",
        ),
        (
            lambda: with_mask(lambda c, x: ((c, c), x))(
                jnp.ones(3), (jnp.ones(3), jnp.ones(3) > 0)
            ),
            TypeError,
            "with_mask: the carry that f returns must be of the carry's structure, "
            "PyTreeDef(*), got PyTreeDef((*, *)).",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), 0.5)(jnp.arange(3), (1.0, jnp.ones(3) > 0)),
            TypeError,
            "with_resets: init must be of the carry's dtype int64, got float64.",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), jnp.ones((2, 3)))(
                jnp.ones(3), (1.0, jnp.ones(3) > 0)
            ),
            ValueError,
            "with_resets: init's leaves must broadcast to the carry's, [3], got [2, 3].",
        ),
        (
            lambda: with_resets(lambda c, x: (c, x), (0.0, 0.0))(
                jnp.ones(3), (1.0, jnp.ones(3) > 0)
            ),
            TypeError,
            "with_resets: init must be of the carry's structure, PyTreeDef(*), got "
            "PyTreeDef((*, *)).",
        ),
    ],
)
def test_flags_that_do_not_fit_fail_in_one_line(step, error, text):
    with pytest.raises(error) as raised:
        step()
    assert str(raised.value) == text
