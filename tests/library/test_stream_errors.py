"""What does not fit a stream fails in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import init_window, stream_scan, stream_value_and_grad


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"horizon": None}, "init_window: a stream needs a finite horizon, got None."),
        ({"horizon": 0}, "init_window: horizon must be >= 1, got 0."),
        ({"horizon": 2, "stride": 3}, "init_window: stride must be in 1..horizon (2), got 3"),
        (
            {"horizon": 4, "stride": 3, "shortest_chunk": 4},
            "init_window: shortest_chunk must be in 1..stride (3), got 4.",
        ),
        ({"horizon": 4, "stale": 1}, "init_window: stale must be True or False, got 1."),
        ({"horizon": 4, "shortest_chunk": 0}, "init_window: shortest_chunk must be >= 1, got 0."),
        ({"horizon": 4, "xs": np.float64(1.0)}, "init_window: xs must be a chunk of inputs"),
        ({"horizon": 4, "xs": jnp.ones((0, 2))}, "[C, ...], got [0, 2]."),
    ],
)
def test_windows_that_cannot_be_fail_in_one_line(kwargs, text):
    with pytest.raises((ValueError, TypeError), match="init_window: ") as raised:
        init_window(0.0, **({"xs": jnp.ones(3)} | kwargs))
    assert text in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "xs, kwargs, error, text",
    [
        (4, {}, ValueError, "a chunk of 4 steps is not a multiple of the stride (3)"),
        (2, {"last": True}, ValueError, "a last chunk of 2 steps is shorter than the window"),
        (0, {}, ValueError, "a chunk must have a step, got 0."),
        (3, {"length": 2.5}, TypeError, "length must be a static integer, got 2.5."),
        (3, {"last": 1}, TypeError, "last must be True or False, and static under jax.jit"),
        (3, {"length": 6}, ValueError, "xs and length must tell one number of steps, got [3, 6]"),
    ],
)
def test_chunks_that_do_not_fit_fail_in_one_line(xs, kwargs, error, text):
    window = init_window(0.0, jnp.ones(3), horizon=5, stride=3)
    with pytest.raises(error) as raised:
        stream_scan(lambda c, x: (c, x), window, jnp.ones(xs), **kwargs)
    assert f"stream_scan: {text}" in str(raised.value) and "\n" not in str(raised.value)


def test_nothing_follows_the_last_chunk():
    window = init_window(0.0, jnp.ones(3), horizon=5, stride=3)
    window, _ = stream_scan(lambda c, x: (c + x, c), window, jnp.ones(4), last=True)
    with pytest.raises(TypeError, match="from a chunk that was not the last, got NoneType"):
        stream_scan(lambda c, x: (c + x, c), window, jnp.ones(3))


OTHER_INPUTS = {
    "structure": (lambda: (jnp.ones(3),), "xs must have the window's structure"),
    "dtype": (lambda: jnp.arange(3), "xs must be of the window's types, float64[C], got int64[C]."),
    "shape": (lambda: jnp.ones((3, 2)), "of the window's types, float64[C], got float64[C, 2]."),
    "scalar": (lambda: jnp.ones(()), "of the window's types, float64[C], got float64[]."),
}


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("name", OTHER_INPUTS)
def test_inputs_of_other_types_fail_in_one_line(horizon, name):
    """They are not promoted, also where no inputs are kept."""
    xs, text = OTHER_INPUTS[name]
    window = init_window(0.0, jnp.ones(3), horizon=horizon)
    with pytest.raises(ValueError, match="stream_scan: xs must") as raised:
        stream_scan(lambda c, x: (c, c), window, xs())
    assert text in str(raised.value)


def test_last_is_static_under_jit():
    step, square = (lambda w, c, x: (w * c + x, c)), (lambda w, y, target: (y - target) ** 2)
    args = 0.5, init_window(0.0, jnp.ones(3), horizon=5, stride=3), jnp.ones(4), jnp.ones(4)
    run = stream_value_and_grad(step, square)
    with pytest.raises(TypeError, match="stream_scan: last must be True or False, and static"):
        jax.jit(run)(*args, last=True)
    (_, (window, ys)), _ = jax.jit(run, static_argnames="last")(*args, last=True)
    assert window is None and ys.shape == (4,)
