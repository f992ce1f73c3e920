"""What `truncated_scan` cannot do fails in one line, or in the words of `lax.scan`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import (
    init_stream,
    lag_spectrum,
    stream_scan,
    truncated_scan,
    windowed_value_and_grad,
)


@pytest.mark.parametrize(
    "schedule, error, text",
    [
        ({"horizon": 0}, ValueError, "truncated_scan: horizon must be >= 1, got 0."),
        ({"horizon": -3}, ValueError, "truncated_scan: horizon must be >= 1, got -3."),
        ({"horizon": 3, "stride": 0}, ValueError, "truncated_scan: stride must be >= 1, got 0."),
        (
            {"horizon": 3, "stride": 4},
            ValueError,
            "truncated_scan: stride must be in 1..horizon (3), got 4; a larger stride would drop "
            "errors.",
        ),
        ({"horizon": 2.5}, TypeError, "truncated_scan: horizon must be a static integer, got 2.5."),
        ({"horizon": "3"}, TypeError, "truncated_scan: horizon must be a static integer, got '3'."),
        (
            {"horizon": True},
            TypeError,
            "truncated_scan: horizon must be a static integer, got True.",
        ),
        (
            {"horizon": 3, "stride": None},
            TypeError,
            "truncated_scan: stride must be a static integer, got None.",
        ),
    ],
)
def test_wrong_schedule_fails_in_one_line(schedule, error, text):
    with pytest.raises(error) as raised:
        truncated_scan(lambda c, x: (c, x), 0.0, jnp.ones(9), **schedule)
    assert str(raised.value) == text


@pytest.mark.parametrize("name", ["horizon", "stride"])
def test_traced_schedule_fails_in_one_line(name):
    def run(value):
        schedule = {"horizon": 3, "stride": 1} | {name: value}
        return truncated_scan(lambda c, x: (c, x), 0.0, jnp.ones(9), **schedule)

    with pytest.raises(TypeError) as raised:
        jax.jit(run)(2)
    assert str(raised.value).startswith(f"truncated_scan: {name} must be a static integer, got ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("transform", [jax.jacfwd, lambda f: lambda x: jax.jvp(f, (x,), (x,))])
def test_forward_mode_points_to_scan(transform):
    run = lambda xs: truncated_scan(lambda c, x: (c + x, c), 0.0, xs, horizon=2)[0]
    with pytest.raises(TypeError, match=r"truncated_scan: forward-mode .* use jax.lax.scan"):
        transform(run)(jnp.ones(5))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_step_that_cannot_be_vmapped_fails_in_one_line(stride):
    def f(c, x):
        y = jax.pure_callback(
            np.sin, jax.ShapeDtypeStruct(c.shape, c.dtype), jax.lax.stop_gradient(c)
        )
        return c + x, y

    run = lambda xs: truncated_scan(f, jnp.float64(0.0), xs, horizon=2, stride=stride)[0]
    assert run(jnp.ones(5)) == 5.0
    with pytest.raises(ValueError, match="truncated_scan: the step must be vmappable") as raised:
        jax.grad(run)(jnp.ones(5))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
@pytest.mark.parametrize("run", ["scan", "windows"])
def test_bits_that_vmap_changes_are_refused(impl, run):
    """XLA's own generator draws others beside other steps than alone."""
    keys = jax.random.split(jax.random.key(0, impl=impl), 4)

    @jax.jit
    def noisy(key):
        return jax.lax.cond(True, lambda: jax.random.normal(key), lambda: jnp.float64(0.0))

    if run == "scan":
        f = lambda c, key: (jnp.sin(c) + noisy(key), c)
        total = lambda c, horizon: truncated_scan(f, c, keys, horizon=horizon)[0]
        grad = lambda: jax.grad(total)(jnp.float64(1.0), horizon=2)
        assert jnp.isfinite(jax.grad(total)(jnp.float64(1.0), horizon=None))
    else:
        f = lambda params, c, key: (jnp.sin(params * c) + noisy(key), c)
        value_and_grad = windowed_value_and_grad(f, lambda p, y, t: y, horizon=2)
        grad = lambda: value_and_grad(jnp.float64(1.0), jnp.float64(1.0), keys, jnp.zeros(4))
    with pytest.raises(ValueError, match="the step draws from rbg keys") as raised:
        grad()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("schedule", [{"horizon": 2}, {"horizon": 3, "stride": 2}])
def test_a_traced_schedule_says_make_it_static(schedule):
    f = lambda c, x: (c + x, c)
    run = jax.jit(lambda schedule: truncated_scan(f, 0.0, jnp.ones(4), **{"horizon": 3} | schedule))
    with pytest.raises(TypeError, match="must be a static integer, got a traced value") as raised:
        run(schedule)
    said = str(raised.value)
    assert said.endswith("; make it static (static_argnames of jax.jit).") and "\n" not in said


def test_a_step_that_cannot_be_vmapped_and_says_nothing_fails_in_one_line():
    @jax.custom_batching.custom_vmap
    def stubborn(x):
        return x

    @stubborn.def_vmap
    def stubborn_rule(*_):
        raise RuntimeError

    f = lambda c, x: (stubborn(c) + x, c)
    with pytest.raises(ValueError, match=r"the step must be vmappable.*RuntimeError"):
        jax.grad(lambda xs: truncated_scan(f, 0.0, xs, horizon=2)[0])(jnp.ones(4))


def updating(scan):
    """Adds up the inputs in a mutable array."""
    total = jax.new_ref(jnp.float64(0.0))

    def step(c, x):
        total[...] += x
        return c + x, c

    scan(step, jnp.float64(0.0), jnp.arange(5.0))
    return total[...]


@pytest.mark.parametrize("jit", [False, True])
def test_mutable_arrays_are_refused_where_steps_are_run_again(jit):
    transform = jax.jit if jit else lambda f: f
    run = lambda scan: transform(lambda: updating(scan))()
    assert run(functools.partial(truncated_scan, horizon=5)) == 10.0
    with pytest.raises(ValueError, match=r"^truncated_scan: the step reads or updates a mutable"):
        run(functools.partial(truncated_scan, horizon=4))
    stream = lambda f, init, xs: stream_scan(f, init_stream(init, xs, horizon=9), xs)
    with pytest.raises(ValueError, match=r"^stream_scan: the step reads or updates a mutable"):
        run(stream)
    cell = lambda f: lambda _, c, x: f(c, x)
    spectrum = lambda f, init, xs: lag_spectrum(cell(f), lambda _, ys, __: jnp.sum(ys), horizon=3)(
        0.5, init, xs, None
    )
    with pytest.raises(ValueError, match=r"^lag_spectrum: the step reads or updates a mutable"):
        run(spectrum)
    windows = lambda f, init, xs: windowed_value_and_grad(cell(f), lambda _, y, __: y, horizon=3)(
        0.5, init, xs, xs
    )
    with pytest.raises(ValueError, match=r"^windowed_value_and_grad: the step reads or updates"):
        run(windows)


def test_an_error_inside_the_step_names_the_users_function():
    def my_step(carry, my_input):
        return (carry if my_input > 0.0 else -carry), carry

    for use in (
        lambda: truncated_scan(my_step, 0.0, jnp.ones(3), horizon=2),
        lambda: stream_scan(my_step, init_stream(0.0, jnp.ones(3), horizon=2), jnp.ones(3)),
    ):
        with pytest.raises(jax.errors.TracerBoolConversionError, match=r"my_step .*\n?.*my_input"):
            use()
