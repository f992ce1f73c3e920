"""What does not fit a stream fails in one line."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import init_stream, stream_scan


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"horizon": None}, "init_stream: a stream needs a finite horizon, got None."),
        ({"horizon": 0}, "init_stream: horizon must be >= 1, got 0."),
        ({"horizon": 2, "stride": 3}, "init_stream: stride must be in 1..horizon (2), got 3"),
        (
            {"horizon": 4, "stride": 3, "shortest_chunk": 4},
            "init_stream: shortest_chunk must be in 1..stride (3), got 4.",
        ),
        ({"horizon": 4, "stale": 1}, "init_stream: stale must be True or False, got 1."),
        ({"horizon": 4, "shortest_chunk": 0}, "init_stream: shortest_chunk must be >= 1, got 0."),
        ({"horizon": 4, "xs": jnp.float64(1.0)}, "init_stream: xs must be a chunk of inputs"),
        ({"horizon": 4, "xs": jnp.ones((0, 2))}, "[C, ...], got [0, 2]."),
    ],
)
def test_states_that_cannot_be_fail_in_one_line(kwargs, text):
    with pytest.raises((ValueError, TypeError), match="init_stream: ") as raised:
        init_stream(0.0, **({"xs": jnp.ones(3)} | kwargs))
    assert text in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "xs, kwargs, error, text",
    [
        (4, {}, ValueError, "a chunk of 4 steps is not a multiple of the stride (3)"),
        (2, {"last": True}, ValueError, "a last chunk of 2 steps is shorter than the state"),
        (0, {}, ValueError, "a chunk must have a step, got 0."),
        (3, {"length": 2.5}, TypeError, "length must be a static integer, got 2.5."),
        (3, {"last": 1}, TypeError, "last must be True or False, and static under jax.jit"),
        (3, {"length": 6}, ValueError, "xs and length must tell one number of steps, got [3, 6]"),
    ],
)
def test_chunks_that_do_not_fit_fail_in_one_line(xs, kwargs, error, text):
    state = init_stream(0.0, jnp.ones(3), horizon=5, stride=3)
    with pytest.raises(error) as raised:
        stream_scan(lambda c, x: (c, x), state, jnp.ones(xs), **kwargs)
    assert f"stream_scan: {text}" in str(raised.value) and "\n" not in str(raised.value)


def test_what_a_state_does_not_hold_fails_in_one_line():
    usual, without_inputs = init_stream(0.0, jnp.ones(3), horizon=3), init_stream(0.0, horizon=3)
    longer = dataclasses.replace(usual, horizon=6)
    for f, state, said in (
        (lambda c, x: c + x, usual, "f must return a pair, (carry, y), got float64[]."),
        (lambda c, x: (c, x), without_inputs, "init_stream was given no xs; give it a chunk"),
        (lambda c, x: (c, x), longer, "a state that keeps 2 steps has no horizon of 6 and stride"),
    ):
        with pytest.raises((TypeError, ValueError)) as raised:
            stream_scan(f, state, jnp.ones(3))
        assert str(raised.value).startswith(f"stream_scan: {said}")
        assert "\n" not in str(raised.value)


def test_nothing_follows_the_last_chunk():
    state = init_stream(0.0, jnp.ones(3), horizon=5, stride=3)
    state, _ = stream_scan(lambda c, x: (c + x, c), state, jnp.ones(4), last=True)
    with pytest.raises(TypeError, match="from a chunk that was not the last, got NoneType"):
        stream_scan(lambda c, x: (c + x, c), state, jnp.ones(3))


OTHER_INPUTS = {
    "structure": (lambda: (jnp.ones(3),), "xs must have the state's structure"),
    "dtype": (lambda: jnp.arange(3), "xs must be of the state's types, float64[C], got int64[C]."),
    "shape": (lambda: jnp.ones((3, 2)), "of the state's types, float64[C], got float64[C, 2]."),
    "scalar": (lambda: jnp.ones(()), "of the state's types, float64[C], got float64[]."),
}


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("name", OTHER_INPUTS)
def test_inputs_of_other_types_fail_in_one_line(horizon, name):
    """They are not promoted, also where no inputs are kept."""
    xs, text = OTHER_INPUTS[name]
    state = init_stream(0.0, jnp.ones(3), horizon=horizon)
    with pytest.raises(ValueError, match="stream_scan: xs must") as raised:
        stream_scan(lambda c, x: (c, c), state, xs())
    assert text in str(raised.value)


def test_last_is_static_under_jit():
    state = init_stream(0.0, jnp.ones(3), horizon=5, stride=3)
    run = functools.partial(stream_scan, lambda c, x: (c + x, c))
    with pytest.raises(TypeError, match="stream_scan: last must be True or False, and static"):
        jax.jit(run)(state, jnp.ones(4), last=True)
    state, ys = jax.jit(run, static_argnames="last")(state, jnp.ones(4), last=True)
    assert state is None and ys.shape == (4,)


@pytest.mark.parametrize("init, got", [(0, "int64[]"), (jnp.float32(0.0), "float32[]")])
def test_a_carry_of_other_types_names_init(init, got):
    """An integer zero, a carry of lower precision: a stream does not promote them."""
    state = init_stream(init, jnp.ones(3), horizon=5)
    step = lambda c, x: (jnp.asarray(c, float) + x, x)
    with pytest.raises(TypeError, match="give it an initial carry of the types") as raised:
        stream_scan(step, state, jnp.ones(3))
    said = f"f returns a carry of float64[] where init_stream was given {got}"
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_step_that_cannot_be_vmapped_names_stream_scan():
    def step(c, x):
        y = jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), float), jax.lax.stop_gradient(x))
        return c + x, y

    run = lambda xs: stream_scan(step, init_stream(0.0, xs, horizon=2), xs)[0].carry
    with pytest.raises(ValueError, match=r"^stream_scan: the step must be vmappable"):
        jax.grad(run)(jnp.ones(5))


def test_forward_mode_points_to_scan():
    step = lambda c, x: (c + x, c)
    run = lambda xs: stream_scan(step, init_stream(0.0, xs, horizon=2), xs)[1]
    with pytest.raises(TypeError, match=r"^stream_scan: forward-mode .* use jax.lax.scan"):
        jax.jacfwd(run)(jnp.ones(5))
