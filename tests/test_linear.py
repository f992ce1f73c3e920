"""`prepare` splits a linear function without changing it, and leaves little to the application."""

import cells
import chex
import jax
import jax.numpy as jnp
import pytest

from tbptt_jax import truncated_scan
from tbptt_jax._linear import prepare

RECURRENCES = ["tanh_rnn", "gru", "lstm", "two_layers", "complex_rnn"]


def carry_pullback(problem):
    """(fun, shared, items, argument): the pullback of one step by its carry, over all steps."""

    def fun(params, inputs, error):
        carry, x = inputs
        return jax.vjp(lambda carry: problem.f(params, carry, x)[0], carry)[1](error)[0]

    carries = jax.lax.scan(lambda c, x: (problem.f(problem.params, c, x)[0], c), *problem[2:4])[1]
    return fun, problem.params, (carries, problem.xs), problem.carry_error


def prepared(fun, shared, items, argument):
    """(of_all, of_each, apply) for all items."""
    first = jax.tree.map(lambda leaf: leaf[0], items)
    of_all, of_one, apply = prepare(fun, shared, first, argument)
    return of_all, jax.vmap(of_one)(items), apply


@pytest.mark.parametrize("name", RECURRENCES)
def test_application_is_the_function(name):
    fun, shared, items, argument = carry_pullback(cells.problem(name, 4))
    of_all, of_each, apply = prepared(fun, shared, items, argument)
    actual = jax.vmap(lambda of_one: apply(of_all, of_one, argument), axis_size=4)(of_each)
    expected = jax.vmap(lambda item: fun(shared, item, argument))(items)
    chex.assert_trees_all_close(actual, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name, count", [("tanh_rnn", 1), ("lstm", 6), ("gru", 5)])
def test_runs_of_factors_become_one(name, count):
    """1 - tanh² for the tanh RNN; of an LSTM i, f, g, o and the two ways through the cell."""
    of_all, of_each, apply = prepared(*(args := carry_pullback(cells.problem(name, 4))))
    assert len(of_each) == count
    first = [leaf[0] for leaf in of_each]
    names = {eqn.primitive.name for eqn in jax.make_jaxpr(apply)(of_all, first, args[-1]).eqns}
    assert names <= {"mul", "add", "add_any", "dot_general"}


def test_matrices_are_laid_out_for_their_product():
    kernel, errors = jnp.arange(6.0).reshape(2, 3), jnp.ones((5, 3))
    fun = lambda kernel, _, error: error @ kernel.T
    of_all, _, apply = prepare(fun, kernel, jnp.zeros(1), errors)
    assert [leaf.shape for leaf in of_all] == [(3, 2)]
    (eqn,) = jax.make_jaxpr(apply)(of_all, [], errors).eqns
    assert eqn.params["dimension_numbers"] == (((1,), (0,)), ((), ()))
    chex.assert_trees_all_equal(apply(of_all, [], errors), errors @ kernel.T)


FUNCTIONS = {
    "zero": lambda s, x, v: jnp.zeros_like(v),
    "itself": lambda s, x, v: (v, {"again": v}),
    "nested": lambda s, x, v: jax.jit(lambda v: jax.jit(lambda v: v * x + v)(v) * s)(v),
    "shared sum": lambda s, x, v: [(v + v * x) * s, (v + v * x) @ jnp.ones((3, 3))],
    "known matrix on the left": lambda s, x, v: jnp.outer(x, s) @ v,
    "stacked matrix": lambda s, x, v: v @ jnp.outer(x, s),
    "scalar": lambda s, x, v: jnp.sum(v) * 2.0 * s,
    "select": lambda s, x, v: jnp.where(x > 0.0, v, 0.0),
    "scan": lambda s, x, v: jax.lax.scan(lambda v, a: (v * a * s, v), v, x)[0],
    "checkpoint": jax.checkpoint(lambda s, x, v: jnp.sin(x) * v * s),
    "constant": lambda s, x, v: v * jnp.arange(3.0) * jnp.arange(3.0),
    "mixed sum": lambda s, x, v: v[::-1] * x - v * s + (v[::-1] * s + v),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("wrap", [jax.jit, lambda f: f])
def test_any_linear_function(name, wrap):
    fun = FUNCTIONS[name]
    shared, items, argument = (
        jnp.array([1.0, -2.0, 3.0]),
        jnp.arange(6.0).reshape(2, 3),
        jnp.ones(3),
    )

    @wrap
    def both(shared, items, argument):
        of_all, of_each, apply = prepared(fun, shared, items, argument)
        actual = jax.vmap(lambda of_one: apply(of_all, of_one, argument), axis_size=2)(of_each)
        return actual, jax.vmap(lambda item: fun(shared, item, argument))(items)

    chex.assert_trees_all_close(*both(shared, items, argument), rtol=1e-13, atol=1e-13)


def with_itself(value, factor):
    return value * factor + value


# Factors of which some are large, whose product overflows, as do the numbers they are made of.
LARGE = {
    "input": (jnp.float32, lambda c, x: c * jnp.float32(1e-30) * x * x, 1e20),
    "input in float16": (jnp.float16, lambda c, x: c * jnp.float16(1e-3) * x * x, 300.0),
    "negative": (jnp.float32, lambda c, x: c * jnp.float32(1e-30) * (-x) * (-x), 1e20),
    "sum": (jnp.float32, lambda c, x: c * jnp.float32(1e-30) * (x + x) * (x + x), 1e20),
    "literal": (jnp.float32, lambda c, x: c * (x * 1e-30) * 1e20 * 1e20, 1.0),
    "sum of factors": (jnp.float32, lambda c, x: with_itself(c * jnp.float32(1e-30) * x, x), 1e20),
    "bounded": (jnp.float32, lambda c, x: c * jnp.float32(1e-30) * x * x * jnp.tanh(x), 1e20),
    "complex sine": (jnp.complex64, lambda c, x: c * jnp.sin(x) * jnp.sin(x), 60j),
}


@pytest.mark.parametrize("name", LARGE)
def test_factors_do_not_overflow_where_their_products_with_the_argument_do_not(name):
    """The gradient is finite where that of lax.scan is, and the same."""
    dtype, product, large = LARGE[name]
    items = jnp.full((2,), large, dtype)

    def pull(_, x, error):
        return jax.vjp(lambda c: product(c, x), dtype(0.0))[1](error)[0]

    for error in (dtype(0.0), dtype(1e-4 if name != "complex sine" else 1e-30)):
        of_all, of_each, apply = prepared(pull, (), items, error)
        actual = jax.vmap(lambda of_one, e=error: apply(of_all, of_one, e))(of_each)
        expected = jax.vmap(lambda x, e=error: pull((), x, e))(items)
        assert jnp.all(jnp.isfinite(expected))
        chex.assert_trees_all_close(actual, expected, rtol=1e-2 if dtype == jnp.float16 else 1e-5)


def test_sums_of_large_factors_are_no_factor_in_float16():
    fun = lambda s, x, v: (v * x + v * x) * jnp.float16(1e-4)
    items, argument = jnp.full((2, 1), 60000.0, jnp.float16), jnp.full((1,), 0.5, jnp.float16)
    of_all, of_each, apply = prepared(fun, (), items, argument)
    actual = jax.vmap(lambda of_one: apply(of_all, of_one, argument))(of_each)
    chex.assert_trees_all_close(actual, jnp.full((2, 1), 6.0, jnp.float16), rtol=1e-2)


def test_settings_of_the_trace_come_along():
    """Here the bits that a key stands for, which a context decides."""

    def draw(s, x, v):
        with jax.threefry_partitionable(False):
            return v * jax.random.normal(x, (3,))

    keys, argument = jax.random.split(jax.random.key(0), 2), jnp.ones(3)
    of_all, of_each, apply = prepared(draw, (), keys, argument)
    actual = jax.vmap(lambda of_one: apply(of_all, of_one, argument))(of_each)
    expected = jnp.stack([draw((), key, argument) for key in keys])
    chex.assert_trees_all_close(actual, expected, rtol=1e-13)


def test_a_rule_that_multiplies_errors_with_each_other_still_runs():
    """It is not linear, so the merging does not apply; with one loss it is still lax.scan's."""

    @jax.custom_vjp
    def clip_norm(x):
        return x

    clip_norm.defvjp(
        lambda x: (x, None),
        lambda _, g: (g * jnp.minimum(1.0, 0.1 / jnp.linalg.norm(g)),),
    )
    step = lambda c, x: (clip_norm(jnp.sin(c + x)), None)
    last = lambda scan, **kwargs: jax.grad(
        lambda xs: jnp.sum(scan(step, jnp.ones(2), xs, **kwargs)[0])
    )(jnp.ones((4, 2)))
    actual = last(truncated_scan, horizon=3)
    chex.assert_trees_all_close(actual[1:], last(jax.lax.scan)[1:], rtol=1e-13)
