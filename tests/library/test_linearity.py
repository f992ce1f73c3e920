"""A gradient rule that is not linear in the errors is refused; one that is, or may be, passes."""

import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tbptt_jax import lag_spectrum, truncated_scan

pytestmark = pytest.mark.standard

NONLINEAR = {
    "clip": lambda x, g: jnp.clip(g, -1.0, 1.0),
    "clip the norm": lambda x, g: g * jnp.minimum(1.0, 0.1 / jnp.linalg.norm(g)),
    "sign": lambda x, g: jnp.sign(g),
    "add a number": lambda x, g: g + 1.0,
    "activity penalty": lambda x, g: g + 1e-3 * x,
    "add constants": lambda x, g: np.arange(3.0) - g,
    "gate": lambda x, g: jnp.where(g > 0.0, g, 0.0),
    "guided": lambda x, g: jax.nn.relu(g) * (x > 0.0),
    "round": lambda x, g: jnp.round(g * 64.0) / 64.0,
    "normalise": lambda x, g: g / (1e-6 + jnp.linalg.norm(g)),
    "largest": lambda x, g: jnp.where(jnp.abs(g) >= jax.lax.top_k(g, 1)[0][0], g, 0.0),
    "scan": lambda x, g: jax.lax.scan(lambda c, _: (jnp.tanh(c), None), g, None, 3)[0],
    "cond": lambda x, g: jax.lax.cond(x[0] > 0.0, lambda g: g, lambda g: jnp.abs(g), g),
    "clip by a constant": lambda x, g: g / jnp.maximum(1.0, jax.lax.stop_gradient(jnp.abs(g))),
    "chosen": lambda x, g: jax.lax.cond(g[0] > 1.0, lambda g: 0.1 * g, lambda g: g, g),
    "while": lambda x, g: jax.lax.while_loop(lambda g: jnp.abs(g[0]) > 1.0, lambda g: 0.5 * g, g),
    "integers": lambda x, g: g.astype(jnp.int8).astype(g.dtype),
}
PASSES = {
    "scale": lambda x, g: 0.5 * g,
    "straight through": lambda x, g: g,
    "surrogate": lambda x, g: g / (1.0 + jnp.abs(x)) ** 2,
    "window": lambda x, g: jnp.where(jnp.abs(x) < 1.0, g, 0.0),
    "zero": lambda x, g: jnp.zeros_like(g),
    "nan guard": lambda x, g: jnp.nan_to_num(jnp.where(jnp.isfinite(g), g, 0.0)),
    "project": lambda x, g: g - x * jnp.vdot(x, g) / jnp.vdot(x, x),
    "permute": lambda x, g: jnp.roll(g, 1) + jnp.flip(g)[jnp.argsort(x)],
    "scan": lambda x, g: jnp.sum(jax.lax.scan(lambda c, _: (c * x, c), g, None, 3)[1], 0),
    "while": lambda x, g: jax.lax.fori_loop(0, jnp.int32(x[0]), lambda i, g: 0.5 * g, g),
    "chosen by nan": lambda x, g: jax.lax.cond(
        jnp.any(jnp.isnan(g)), lambda g: jnp.zeros_like(g), lambda g: g, g
    ),
    "add zeros of the step": lambda x, g: g + jnp.zeros_like(x),
    "add constant zeros": lambda x, g: g + np.zeros(3),
    "undecided": lambda x, g: jnp.concatenate([g, x])[:3],
}


def step_with(rule):
    @jax.custom_vjp
    def identity(x):
        return x

    identity.defvjp(lambda x: (x, x), lambda x, g: (rule(x, g),))

    def step(w, c, x):
        c = identity(jnp.tanh(w * c) + x)
        return c, c

    return step


def gradient(step, horizon):
    loss = lambda w: jnp.sum(
        truncated_scan(lambda c, x: step(w, c, x), jnp.ones(3), jnp.ones((4, 3)), horizon=horizon)[
            1
        ]
    )
    return jax.grad(loss)(0.5)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize("name", NONLINEAR)
def test_what_is_not_linear_is_refused(name, horizon, jit):
    step = step_with(NONLINEAR[name])
    step = jax.jit(step) if jit else step
    with pytest.raises(
        ValueError, match=r"^truncated_scan: a gradient rule in the step is not linear"
    ):
        gradient(step, horizon)
    spectrum = lag_spectrum(step, lambda w, ys, _: jnp.sum(ys), horizon=horizon)
    with pytest.raises(
        ValueError, match=r"^lag_spectrum: a gradient rule in the step is not linear"
    ):
        spectrum(0.5, jnp.ones(3), jnp.ones((4, 3)), None)


def test_a_rule_may_compare_complex_errors():
    step = step_with(lambda x, g: jnp.where(g == 0.0, 0.0, g))
    loss = lambda w: truncated_scan(
        lambda c, x: step(w, c, x), jnp.ones(3) + 0j, jnp.ones((4, 3)) + 0j, horizon=2
    )[1].real.sum()
    assert jnp.isfinite(jax.grad(loss)(0.5 + 0j))


@pytest.mark.parametrize("name", NONLINEAR)
def test_full_bptt_takes_any_rule(name):
    assert jnp.isfinite(gradient(step_with(NONLINEAR[name]), None))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", PASSES)
def test_what_is_linear_or_undecided_passes(name, jit):
    step = step_with(PASSES[name])
    step = jax.jit(step) if jit else step
    one = definition.truncated_gradients(
        step,
        0.5,
        jnp.ones(3),
        jnp.ones((4, 3)),
        jnp.zeros(3),
        jnp.ones((4, 3)),
        horizon=2,
        stride=1,
    )
    np.testing.assert_allclose(gradient(step, 2), one[0], rtol=1e-5)
