"""`truncated_scan`'s gradient is BPTT(horizon; stride), by the definition and by the windows."""

import functools

import cells
import chex
import definition
import elementwise_cells
import grids
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import RECURRENCES, T, largest_error, scan_gradients, windows_gradients

from tbptt_jax import truncated_scan
from tbptt_jax._backward import cpu_tiles

# horizons 1, 2, not dividing T, T - 1, T and beyond, each with stride 1, with one between, with all
SCHEDULES = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (6, 1), (6, 4), (6, 6)]
SCHEDULES += [(7, 1), (7, 3), (9, 4)]


@pytest.mark.grid
@pytest.mark.parametrize("name", RECURRENCES)
@pytest.mark.parametrize("horizon, stride", SCHEDULES)
def test_gradient_is_the_definition_and_the_windows(name, horizon, stride):
    problem = cells.problem(name, T)
    expected = by_the_definition(name, horizon, stride)
    assert largest_error(scan_gradients(problem, horizon, stride), expected) < 1e-12
    assert largest_error(windows_gradients(problem, horizon, stride), expected) < 1e-12


@functools.cache
def by_the_definition(name, horizon, stride):
    problem = problem_of(name)
    once = problem._replace(f=jax.jit(problem.f))  # traced and compiled once for all its steps
    return definition.truncated_gradients(*once, horizon=horizon, stride=stride)


def problem_of(name):
    return (elementwise_cells if name in elementwise_cells.CELLS else cells).problem(name, T)


@functools.cache
def full_gradients(name):
    problem = cells.problem(name, T)
    return scan_gradients(problem, None, 1, lambda f, i, xs, **_: jax.lax.scan(f, i, xs))


@pytest.mark.parametrize("name", RECURRENCES)
@grids.over("horizon, stride", [(T + 2, 3)], [(T, 1), (None, 1)])
def test_horizon_at_least_length_is_full_bptt(name, horizon, stride):
    actual = scan_gradients(cells.problem(name, T), horizon, stride)
    assert largest_error(actual, full_gradients(name)) == 0.0


@pytest.mark.parametrize("horizon, stride", [(3, 1), (3, 2)])
def test_gradient_without_jit_is_the_definition(horizon, stride):
    problem = cells.problem("tanh_rnn", 4)
    expected = definition.truncated_gradients(*problem, horizon=horizon, stride=stride)
    with jax.disable_jit():
        actual = scan_gradients(problem, horizon, stride)
    assert largest_error(actual, expected) < 1e-12


@hypothesis.given(data=st.data())
@hypothesis.settings(deadline=None, max_examples=20, derandomize=True)
def test_gradient_is_the_definition_for_any_shape(data):
    num_steps = data.draw(st.sampled_from([1, 2, 9]), label="T")
    horizon = data.draw(st.integers(1, num_steps + 2), label="horizon")
    stride = data.draw(st.integers(1, horizon), label="stride")
    name = data.draw(st.sampled_from(RECURRENCES), label="recurrence")
    problem = cells.problem(name, num_steps)
    expected = definition.truncated_gradients(*problem, horizon=horizon, stride=stride)
    assert largest_error(scan_gradients(problem, horizon, stride), expected) < 1e-12


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("horizon, stride", [(1, 1), (3, 1), (3, 2), (3, 3), (6, 5)])
def test_error_reaches_exactly_its_window(horizon, stride, reverse):
    """∂yₜ/∂xₛ is exactly 0 outside the window of t's block, and not 0 inside."""
    weight = jnp.float64(1.1)

    def outputs(xs):
        step = lambda c, x: (weight * c + jnp.sin(x), weight * c + jnp.sin(x))
        carry = jnp.float64(0.3)
        return truncated_scan(step, carry, xs, reverse=reverse, horizon=horizon, stride=stride)[1]

    reached = np.asarray(jax.jacrev(outputs)(jnp.linspace(0.1, 0.7, T)) != 0.0)
    if reverse:
        reached = reached[::-1, ::-1]
    t, s = np.indices((T, T))
    block_end = np.minimum((t // stride + 1) * stride, T) - 1
    np.testing.assert_array_equal(reached, (block_end - horizon < s) & (s <= t))


@pytest.mark.parametrize("width", [None, 2])
@pytest.mark.parametrize("carry_every", [1, 3])
@pytest.mark.parametrize("horizon, stride", [(1, 1), (3, 1), (3, 2), (6, 5)])
def test_error_of_mixed_entries_reaches_exactly_its_window(
    horizon, stride, carry_every, width, monkeypatch
):
    """As above, by sweeps and chains: entries that change places are not elementwise."""
    whole_blocks = width and -(-width // stride) * stride
    monkeypatch.setattr("tbptt_jax._backward.adjoint.tile_width", lambda *_: whole_blocks)

    def outputs(xs):
        step = lambda c, x: (1.1 * c[::-1] + jnp.sin(x), c.sum() + jnp.sin(x))
        options = {"horizon": horizon, "stride": stride, "carry_every": carry_every}
        return truncated_scan(step, jnp.array([0.3, 0.2]), xs, **options)[1]

    reached = np.asarray(jax.jit(jax.jacrev(outputs))(jnp.linspace(0.1, 0.7, T)) != 0.0)
    t, s = np.indices((T, T))
    block_end = np.minimum((t // stride + 1) * stride, T) - 1
    np.testing.assert_array_equal(reached, (block_end - horizon < s) & (s <= t))


@pytest.mark.grid
@pytest.mark.parametrize("width", [2, 3, 6])
@pytest.mark.parametrize("horizon, stride", [(2, 1), (3, 1), (4, 1), (6, 1), (4, 2), (6, 5)])
@pytest.mark.parametrize("name", ["lstm", "counting_rnn"])
def test_windows_that_fit_a_cache_give_the_same_gradient(name, horizon, stride, width, monkeypatch):
    """As on a CPU with long sequences: a few steps at a time, the last window shorter or not."""
    whole_blocks = -(-width // stride) * stride
    monkeypatch.setattr("tbptt_jax._backward.adjoint.tile_width", lambda *_: whole_blocks)
    actual = scan_gradients(cells.problem(name, T), horizon, stride)
    assert largest_error(actual, by_the_definition(name, horizon, stride)) < 1e-12


@pytest.mark.parametrize(
    "shape, horizon, width",
    [
        ((40, 32, 100), 1, 10),
        ((40, 32, 100), 20, 7),
        ((40, 32, 100), 39, 10),
        ((128, 32, 256), 1, 8),
        ((512, 1, 256), 1, 128),
        ((64, 256, 64), 1, 8),
        ((1000, 2**16), 1, 125),
        ((12, 4, 100), 4, None),
        ((1000, 32, 0), 4, None),
        ((1000,), 4, None),
        ((2**18,), 1, 2**15),
    ],
)
def test_windows_are_worth_a_call_and_fill_evenly(shape, horizon, width):
    num_steps, *of_step = shape
    carry = [jnp.zeros(0), jax.ShapeDtypeStruct(tuple(of_step), float)]
    assert cpu_tiles.tile_width(carry, num_steps, horizon, 1) == width


@pytest.mark.grid
@pytest.mark.parametrize("width", [None, 2])
@pytest.mark.parametrize("carry_every", [2, 3, 20])
@pytest.mark.parametrize("horizon, stride", [(1, 1), (2, 1), (5, 1), (3, 2), (T, 1)])
@pytest.mark.parametrize("name", ["lstm", "gated_average"])
def test_carries_that_are_run_again(name, horizon, stride, carry_every, width, monkeypatch):
    """Keeping every so-many-th carry alone changes no gradient."""
    monkeypatch.setattr("tbptt_jax._backward.adjoint.tile_width", lambda *_: width)
    scan = functools.partial(truncated_scan, carry_every=carry_every)
    actual = scan_gradients(problem_of(name), horizon, stride, scan)
    assert largest_error(actual, by_the_definition(name, horizon, stride)) < 1e-12


@pytest.mark.parametrize("carry_every", [1, 3])
@pytest.mark.parametrize("horizon, stride", [(2, 1), (3, 2), (None, 1)])
def test_reverse_counts_in_the_order_of_execution(horizon, stride, carry_every):
    problem = cells.problem("lstm", T)
    flip = lambda tree: jax.tree.map(lambda leaf: leaf[::-1], tree)
    expected = definition.truncated_gradients(*problem, horizon=horizon or T, stride=stride)
    flipped = problem._replace(xs=flip(problem.xs), ys_ct=flip(problem.ys_ct))

    def reverse_scan(f, init, xs, **schedule):
        return truncated_scan(f, init, xs, reverse=True, carry_every=carry_every, **schedule)

    params, init, xs = scan_gradients(flipped, horizon, stride, reverse_scan)
    assert largest_error((params, init, flip(xs)), expected) < 1e-12


@pytest.mark.parametrize("name", ["lstm", "counting_rnn"])
def test_epochwise_is_cutting_the_sequence_into_pieces(name):
    """Two pieces of three steps, the carry handed on as a constant."""
    problem = cells.problem(name, 6)

    def in_pieces(f, init, xs, **_):
        pieces = []
        for start in (0, 3):
            piece = jax.tree.map(lambda leaf, s=start: leaf[s : s + 3], xs)
            init, ys = jax.lax.scan(f, jax.lax.stop_gradient(init) if start else init, piece)
            pieces.append(ys)
        return init, jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *pieces)

    cut = scan_gradients(problem, 3, 3, in_pieces)
    assert largest_error(scan_gradients(problem, 3, 3), cut) < 1e-12


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_two_scans_in_series_reach_twice_the_horizon_less_one(horizon):
    def last_output(xs):
        step = lambda c, x: (c + x, c + x)
        once = truncated_scan(step, jnp.float64(0.0), xs, horizon=horizon)[1]
        return truncated_scan(step, jnp.float64(0.0), once, horizon=horizon)[1][-1]

    reached = np.flatnonzero(jax.grad(last_output)(jnp.ones(T)))
    np.testing.assert_array_equal(reached, np.arange(T - (2 * horizon - 1), T))


@pytest.mark.parametrize("unroll", [2, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_unroll_does_not_change_the_gradient(unroll, stride):
    problem = cells.problem("gru", T)
    rolled = scan_gradients(problem, 3, stride)
    scan = lambda *args, **schedule: truncated_scan(*args, unroll=unroll, **schedule)
    assert largest_error(scan_gradients(problem, 3, stride, scan), rolled) < 1e-12


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 0.1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_low_precision_keeps_its_dtype_and_comes_close(dtype, tolerance, stride):
    exact = cells.problem("tanh_rnn", T)
    low = cells.Problem(exact.f, *jax.tree.map(lambda leaf: leaf.astype(dtype), exact[1:]))
    exact = cells.Problem(exact.f, *jax.tree.map(lambda leaf: leaf.astype(jnp.float64), low[1:]))
    expected = definition.truncated_gradients(*exact, horizon=3, stride=stride)
    actual = scan_gradients(low, 3, stride)
    chex.assert_trees_all_equal_dtypes(actual, (low.params, low.init, low.xs))
    actual = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), actual)
    assert largest_error(actual, expected) < tolerance
