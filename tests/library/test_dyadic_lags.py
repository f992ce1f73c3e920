"""`dyadic_lag_spectrum`: its groups are sums over the lags of `lag_spectrum`."""

import grids
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells import problem as mixing_problem
from elementwise_cells import CELLS, problem

from tbptt_jax import dyadic_lag_spectrum, effective_horizon, lag_spectrum


def inner_loss(params, ys, errors):
    """⟨errors, ys⟩, and a term that reads the parameters by itself."""
    products = jax.tree.map(lambda e, y: jnp.sum(e * y).real, errors, ys)
    return sum(jax.tree.leaves(products)) + jnp.sum(params["b"] ** 2)


def groups(num_steps):
    """The first lag of each group and the first after it."""
    return [(0, 1)] + [(2**n, 2 ** (n + 1)) for n in range((num_steps - 1).bit_length())]


@grids.over("num_steps", [7], [1, 2, 9])
@pytest.mark.parametrize("name", CELLS)
def test_groups_are_sums_over_their_lags(name, num_steps):
    f, params, init, xs, _, errors = problem(name, 9)
    xs, errors = jax.tree.map(lambda leaf: leaf[:num_steps], (xs, errors))
    args = params, init, xs, errors
    lags = jax.jit(lag_spectrum(f, inner_loss, horizon=16, parts=True))(*args).parts
    found = jax.jit(dyadic_lag_spectrum(f, inner_loss, parts=True))(*args)
    assert found.l1.shape == (len(groups(num_steps)),)
    for actual, of_lags in zip(*map(jax.tree.leaves, (found.parts, lags)), strict=True):
        for group, (first, stop) in zip(actual, groups(num_steps), strict=True):
            expected = np.sum(of_lags[first:stop], axis=0)
            scale = np.max(np.abs(expected), initial=1e-300)
            np.testing.assert_allclose(group / scale, expected / scale, atol=1e-12, rtol=0.0)
    leaves = jax.tree.leaves(found.parts)
    l2 = [
        np.sqrt(sum(np.sum(np.abs(leaf[n]) ** 2) for leaf in leaves)) for n in range(len(leaves[0]))
    ]
    np.testing.assert_allclose(found.l2, l2, rtol=1e-12)
    held = [
        np.sqrt(sum(np.sum(np.abs(np.sum(leaf[: n + 1], axis=0)) ** 2) for leaf in leaves))
        for n in range(len(leaves[0]))
    ]
    np.testing.assert_allclose(found.cumulative_l2, held, rtol=1e-12)


def test_groups_far_back_keep_their_digits():
    step = lambda w, c, x: (w * c + x, w * c + x)
    last = lambda w, ys, _: ys[-1]
    found = dyadic_lag_spectrum(step, last)(0.5, 0.0, jnp.ones(128), None)
    of_lag = lag_spectrum(step, last, horizon=128)(0.5, 0.0, jnp.ones(128), None).l1
    for norm, (first, stop) in zip(found.l1, groups(128), strict=True):
        np.testing.assert_allclose(norm, np.sum(of_lag[first:stop]), rtol=1e-12)
    assert 0.0 < found.l1[-1] < 1e-18


def test_the_horizon_of_most_groups_holds_as_much_by_lag():
    step = lambda w, c, x: (w * c + x, w * c + x)
    last = lambda w, ys, _: ys[-1]
    found = dyadic_lag_spectrum(step, last)(0.9, 0.0, jnp.ones(256), None)
    horizon = 2 ** (effective_horizon(found.l1, fraction=0.99) - 1)
    by_lag = lag_spectrum(step, last, horizon=256)(0.9, 0.0, jnp.ones(256), None).l1
    exact = effective_horizon(by_lag, fraction=0.99)
    assert horizon // 2 < exact <= horizon


def test_pullbacks_grow_with_the_logarithm_of_the_length():
    step = lambda w, c, x: (w * c + x, w * c + x)
    run = dyadic_lag_spectrum(step, lambda w, ys, _: jnp.sum(ys))

    def loops(num_steps):
        jaxpr = jax.make_jaxpr(run)(jnp.array(0.5), jnp.array(0.0), jnp.ones(num_steps), None)
        scans = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
        return [eqn.params["length"] for eqn in scans]

    for num_steps, num_groups in ((16, 4), (17, 5), (1024, 10)):
        assert loops(num_steps) == [num_steps, num_groups]  # the forward pass, and the groups


def test_a_carry_without_floats_has_lag_zero_alone():
    step = lambda w, c, x: (c + 1, w * x)
    run = dyadic_lag_spectrum(step, lambda w, ys, _: jnp.sum(ys))
    found = run(jnp.array(0.5), jnp.int32(0), jnp.ones(4), None)
    np.testing.assert_array_equal(found.l1, [4.0, 0.0, 0.0])


def test_cells_that_mix_are_refused_in_one_line():
    f, params, init, xs, _, _ = mixing_problem("tanh_rnn", 7)
    message = r"^dyadic_lag_spectrum: cell mixes the entries of its carry \(dot_general\); use "
    with pytest.raises(ValueError, match=message):
        dyadic_lag_spectrum(f, lambda params, ys, _: jnp.sum(ys["twice"]))(params, init, xs, None)


@pytest.mark.parametrize(
    "others", [jnp.zeros(0), (jnp.ones(()),) * 4, jnp.float32(1.0)], ids=["empty", "many", "dtypes"]
)
def test_carries_that_sweeps_suit_better_are_refused_in_one_line(others):
    def step(w, carry, x):
        scalars = [leaf for leaf in jax.tree.leaves(carry) if not leaf.ndim]
        total = sum(leaf.astype(float) for leaf in scalars)
        new = lambda leaf: 2 * leaf if leaf.ndim else leaf * total.astype(leaf.dtype)
        return jax.tree.map(new, carry), w * total

    run = dyadic_lag_spectrum(step, lambda w, ys, _: jnp.sum(ys))
    rule = "couples too many leaves of its carry, or some of different dtypes or no entries"
    with pytest.raises(ValueError, match=f"^dyadic_lag_spectrum: cell {rule}; use lag_spectrum.$"):
        run(0.5, (jnp.ones(()), others), jnp.ones(4), None)
