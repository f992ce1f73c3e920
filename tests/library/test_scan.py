"""`truncated_scan` is a drop-in for `lax.scan`: its forward, its types, its errors."""

import functools
import os
import subprocess
import sys
from typing import NamedTuple

import cells
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import RECURRENCES

from tbptt_jax import truncated_scan

T = 5


class Pair(NamedTuple):
    a: jax.Array
    b: jax.Array


def both(f, init, xs=None, **options):
    """(truncated_scan's result, lax.scan's)."""
    scan = functools.partial(truncated_scan, horizon=2, stride=options.pop("stride", 1))
    return scan(f, init, xs, **options), jax.lax.scan(f, init, xs, **options)


@pytest.mark.parametrize("name", RECURRENCES)
@pytest.mark.parametrize("options", [{}, {"reverse": True}, {"unroll": 2, "stride": 2}])
def test_forward_is_that_of_scan_bit_for_bit(name, options):
    problem = cells.problem(name, T)
    f = functools.partial(problem.f, problem.params)
    actual, expected = both(f, problem.init, problem.xs, **options)
    chex.assert_trees_all_equal(actual, expected, strict=True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"horizon": 2, "carry_every": 2},
        {"horizon": 2, "stride": 2, "carry_every": 3},
        {"horizon": None, "carry_every": 2},
        {"horizon": 2, "carry_every": 20},
        {"horizon": 4, "tol": 0.1},
        {"horizon": 2, "lag_weights": jnp.ones(2)},
        {"horizon": cells.LSTMCarry(3, 2)},
    ],
    ids=str,
)
def test_forward_under_a_gradient_is_that_of_scan(options, reverse):
    """Where carries are run again it takes another way than without a gradient."""
    problem = cells.problem("lstm", T)
    scans = functools.partial(truncated_scan, **options), jax.lax.scan
    f = functools.partial(problem.f, problem.params)
    actual, expected = (
        jax.vjp(lambda *args, scan=scan: scan(f, *args, reverse=reverse), *problem[2:4])[0]
        for scan in scans
    )
    chex.assert_trees_all_close(actual, expected, rtol=1e-12)


def test_forward_is_bit_for_bit_as_users_compile_it():
    """At XLA's default optimisation, which the other tests turn off."""
    code = """
import jax, numpy, cells, functools
from tbptt_jax import truncated_scan, windowed_value_and_grad
for name in ("tanh_rnn", "lstm"):
    problem = cells.problem(name, 20)
    f = functools.partial(problem.f, problem.params)
    ours = truncated_scan(f, problem.init, problem.xs, horizon=3)
    theirs = jax.lax.scan(f, problem.init, problem.xs)
    jax.tree.map(numpy.testing.assert_array_equal, ours, theirs)
    rule = jax.vjp(lambda xs: truncated_scan(f, problem.init, xs, horizon=3), problem.xs)[0]
    jax.tree.map(numpy.testing.assert_array_equal, rule, theirs)
"""
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


TREES = {
    "none": None,
    "empty": (),
    "nested": {"b": [jnp.arange(5.0), (jnp.ones((5, 2)), None)], "a": {}},
    "namedtuple": Pair(jnp.arange(5.0), jnp.arange(5)),
}


@pytest.mark.parametrize("xs", TREES.values(), ids=TREES)
@pytest.mark.parametrize("carry", TREES.values(), ids=TREES)
def test_any_pytree_of_carries_inputs_and_outputs(carry, xs):
    def f(c, x):
        return jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), c), (x, c, None, ())

    actual, expected = both(f, carry, xs, length=5)
    chex.assert_trees_all_equal(actual, expected, strict=True)

    def loss(scan, carry, xs):
        results = scan(f, carry, xs, length=5)
        leaves = [leaf for leaf in jax.tree.leaves(results) if jnp.issubdtype(leaf, jnp.inexact)]
        return sum(map(jnp.sum, leaves), 0.0)

    scan = functools.partial(truncated_scan, horizon=2)
    grads = jax.grad(functools.partial(loss, scan), argnums=(0, 1), allow_int=True)(carry, xs)
    chex.assert_trees_all_equal_structs(grads, (carry, xs))


class Validating:
    """A container that refuses what differentiation would put into its integer leaf."""

    def __init__(self, value, count):
        assert value is not None
        assert count is not None
        self.value, self.count = value, count


jax.tree_util.register_pytree_node(
    Validating, lambda node: ((node.value, node.count), None), lambda _, leaves: Validating(*leaves)
)


@pytest.mark.parametrize("stride", [1, 2])
def test_containers_only_ever_hold_what_f_sees(stride):
    def f(c, x):
        return Validating(c.value * x.value, c.count + x.count), Validating(c.value, c.count)

    def total(value):
        xs = Validating(jnp.full(5, 2.0), jnp.arange(5))
        init = Validating(value, jnp.asarray(0))
        last, ys = truncated_scan(f, init, xs, horizon=3, stride=stride)
        return last.value + jnp.sum(ys.value)

    full = functools.partial(truncated_scan, horizon=None)
    assert jax.grad(total)(jnp.float64(1.0)) == (7.0 if stride == 1 else 3.0)
    assert full(f, Validating(1.0, 0), Validating(jnp.ones(5), jnp.arange(5)))[0].count == 10


@pytest.mark.parametrize("length", [5, np.int32(5), jnp.int32(5)])
def test_length_of_any_integer_type(length):
    run = lambda w: truncated_scan(lambda c, _: (w * c, c), 1.0, length=length, horizon=2)[0]
    assert jax.grad(run)(1.0) == 2.0


@pytest.mark.parametrize("num_steps", [0, 1])
@pytest.mark.parametrize(
    "options",
    [
        {"horizon": 1},
        {"horizon": 2, "stride": 2},
        {"horizon": None},
        {"horizon": 2, "tol": 0.5},
        {"horizon": 2, "lag_weights": np.ones(2)},
        {"horizon": 2, "carry_every": 2},
    ],
)
def test_no_step_and_one_step(num_steps, options):
    xs = jnp.arange(float(num_steps))

    def results(scan, init, xs):
        carry, ys = scan(lambda c, x: (2.0 * c + x, c * x), init, xs)
        return carry + jnp.sum(ys), (carry, ys)

    truncated = functools.partial(truncated_scan, **options)
    run = [
        jax.value_and_grad(functools.partial(results, scan), argnums=(0, 1), has_aux=True)
        for scan in (truncated, jax.lax.scan)
    ]
    init = jnp.float64(3.0)
    chex.assert_trees_all_equal(run[0](init, xs), run[1](init, xs), strict=True)


def test_weak_types_promote_as_in_scan():
    xs = jnp.arange(5, dtype=jnp.float32)
    for init in (0.0, 1, jnp.float32(2.0)):
        with jax.numpy_dtype_promotion("standard"):
            actual, expected = both(lambda c, x: (c + x, c), init, xs)
        chex.assert_trees_all_equal(actual, expected, strict=True)
        weak = [[leaf.weak_type for leaf in jax.tree.leaves(r)] for r in (actual, expected)]
        assert weak[0] == weak[1]
    actual, expected = both(lambda c, x: (c + 1.0, c), 0.0, xs)
    assert actual[0].weak_type and expected[0].weak_type


def message(run, *args, **kwargs):
    with pytest.raises((TypeError, ValueError)) as error:
        run(*args, **kwargs)
    return type(error.value), str(error.value)


BAD_SCANS = {
    "carry dtype": (lambda c, x: (c.astype(jnp.bfloat16), x), jnp.ones(2), jnp.ones(3)),
    "carry shape": (lambda c, x: (c[:1], x), jnp.ones(2), jnp.ones(3)),
    "carry structure": (lambda c, x: ((c, c), x), jnp.ones(2), jnp.ones(3)),
    "not a pair": (lambda c, x: c, jnp.ones(2), jnp.ones(3)),
    "lengths differ": (lambda c, x: (c, x), 0.0, (jnp.ones(3), jnp.ones(4))),
    "no length": (lambda c, x: (c, x), 0.0, None),
    "scalar input": (lambda c, x: (c, x), 0.0, 1.0),
}


@pytest.mark.parametrize("args", BAD_SCANS.values(), ids=BAD_SCANS)
@pytest.mark.parametrize("horizon", [2, None])
def test_wrong_use_raises_the_error_of_scan(args, horizon):
    truncated = functools.partial(truncated_scan, horizon=horizon)
    assert message(truncated, *args) == message(jax.lax.scan, *args)


def test_numpy_integers_are_schedules():
    outputs = lambda xs, **schedule: truncated_scan(lambda c, x: (c + x, c), 0.0, xs, **schedule)[1]
    jacobian = lambda **schedule: jax.jacrev(functools.partial(outputs, **schedule))(jnp.ones(6))
    expected = jacobian(horizon=3, stride=2)
    actual = jacobian(horizon=np.int64(3), stride=np.int8(2), carry_every=np.int32(2))
    np.testing.assert_array_equal(actual, expected)
    assert (jacobian(horizon=3) != expected).any() and (jacobian(horizon=None) != expected).any()


class Gain:
    """A callable whose state changes between calls."""

    def __init__(self, gain):
        self.gain = gain

    def __call__(self, c, x):
        return self.gain * c + x, c

    def bound(self, c, x):
        return self(c, x)


@pytest.mark.parametrize("pick", [lambda cell: cell, lambda cell: cell.bound])
@pytest.mark.parametrize("horizon", [2, None])
def test_state_of_a_callable_is_read_at_every_call(pick, horizon):
    cell = Gain(1.0)
    f = pick(cell)

    def last(x):
        return truncated_scan(f, jnp.float64(0.0), x, horizon=horizon)[0]

    results = []
    for gain in (1.0, jnp.float64(2.0), 3.0):
        cell.gain = gain
        results.append((last(jnp.ones(3)), jax.grad(last)(jnp.ones(3))[-2]))
    np.testing.assert_array_equal(results, [(3.0, 1.0), (7.0, 2.0), (13.0, 3.0)])


def test_f_is_traced_twice_more_than_in_scan():
    """To find the leaves that it hands on, and whether it keeps values."""
    traces = {"ours": 0, "scan": 0}

    def counting(name):
        def f(c, x):
            traces[name] += 1
            return c + x, c

        return f

    truncated_scan(counting("ours"), jnp.float64(0.0), jnp.ones(5), horizon=2)
    jax.lax.scan(counting("scan"), jnp.float64(0.0), jnp.ones(5))
    assert traces["ours"] == traces["scan"] + 2
