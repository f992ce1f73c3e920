"""What `lag_spectrum` refuses."""

import re

import jax
import jax.numpy as jnp
import pytest

from tbptt_jax import lag_spectrum


@pytest.mark.parametrize(
    ("params", "xs", "said"),
    [
        (1.0, None, "xs must be [T, ...] with one T >= 1, got []."),
        (1.0, jnp.ones(()), "xs must be [T, ...] with one T >= 1, got [()]."),
        (1.0, jnp.ones((0, 2)), "xs must be [T, ...] with one T >= 1, got [(0, 2)]."),
        (
            1.0,
            (jnp.ones(3), jnp.ones(2)),
            "xs must be [T, ...] with one T >= 1, got [(3,), (2,)].",
        ),
        (2, jnp.ones(3), "params must have a floating-point leaf, got none."),
    ],
)
def test_nothing_to_take_apart_fails(params, xs, said):
    run = lag_spectrum(lambda w, c, x: (c, c), lambda w, ys, _: jnp.sum(ys), horizon=2)
    with pytest.raises(ValueError, match=re.escape(f"lag_spectrum: {said}")):
        run(params, jnp.array(1.0), xs, None)


@pytest.mark.parametrize(
    ("horizon", "error", "said"),
    [
        (0, ValueError, "lag_spectrum: horizon must be >= 1, got 0."),
        (None, TypeError, "lag_spectrum: horizon must be a static integer, got None."),
    ],
)
def test_wrong_horizons_fail(horizon, error, said):
    with pytest.raises(error) as raised:
        lag_spectrum(None, None, horizon=horizon)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("loss_fn", "said"),
    [
        (lambda params, ys, _: ys, "got float64[4]."),
        (lambda params, ys, _: jnp.sum(ys).astype(int), "got int64[]."),
        (lambda params, ys, _: (jnp.sum(ys), ys), "got (float64[], float64[4])."),
        (lambda params, ys, _: None, "got None."),
    ],
)
def test_losses_that_are_no_real_scalar_fail(loss_fn, said):
    run = lag_spectrum(lambda w, c, x: (w * c, c), loss_fn, horizon=2)
    with pytest.raises(TypeError) as raised:
        run(jnp.array(0.5), jnp.array(1.0), jnp.ones(4), None)
    assert str(raised.value) == f"lag_spectrum: sequence_loss_fn must return a real scalar, {said}"


@pytest.mark.parametrize("cell", [lambda w, c, x: (c, c, c), lambda w, c, x: (w * c, c, c)])
def test_steps_that_return_no_pair_fail(cell):
    run = lag_spectrum(cell, lambda w, ys, _: jnp.sum(ys), horizon=2)
    with pytest.raises(TypeError, match=r"^lag_spectrum: cell must return a pair"):
        run(jnp.array(0.5), jnp.array(1.0), jnp.ones(4), None)


def test_rbg_keys_fail():
    step = lambda w, c, key: (w * c + jax.random.normal(key), c)
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 4)
    run = lag_spectrum(step, lambda w, ys, _: jnp.sum(ys), horizon=2)
    with pytest.raises(ValueError, match=r"lag_spectrum: .* rbg"):
        run(jnp.array(0.5), jnp.array(1.0), keys, None)


def test_steps_that_cannot_be_vmapped_fail():
    @jax.custom_batching.custom_vmap
    def alone(c):
        return c

    @alone.def_vmap
    def refuse(axis_size, in_batched, c):
        raise RuntimeError("not in a batch")

    run = lag_spectrum(lambda w, c, x: (w * alone(c), c), lambda w, ys, _: jnp.sum(ys), horizon=2)
    with pytest.raises(
        ValueError, match=r"lag_spectrum: the step must be vmappable, .* not in a batch"
    ):
        run(jnp.array(0.5), jnp.array(1.0), jnp.ones(4), None)
