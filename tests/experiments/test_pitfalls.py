"""The recipe is ported as it is copied, and is exact only where no windows overlap twice."""

import jax
import jax.numpy as jnp
import pytest

from experiments import pitfalls

pytestmark = pytest.mark.standard


def copied_recipe(params, init, xs, errors, horizon):
    """Line by line: a list of (state, its gradient, pullback of its step)."""
    states, grads = [], jax.tree.map(jnp.zeros_like, params)
    state = init
    for x, error in zip(xs, errors, strict=True):
        new_state, pull = jax.vjp(lambda p, c, x=x: pitfalls.step(p, c, x), params, state)
        states.append({"grad": jnp.zeros_like(state), "pull": pull})
        del states[:-horizon]
        state = new_state
        for i in range(len(states)):
            back = error if i == 0 else states[-i]["grad"]
            for_params, for_state = states[-i - 1]["pull"](back)
            grads = jax.tree.map(jnp.add, grads, for_params)
            states[-i - 1]["grad"] += for_state
    return grads


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(pitfalls, "NUM_STEPS", 7)
    return pitfalls.problem(jax.random.key(0), 1.0)


@pytest.mark.parametrize("horizon", [1, 2, 3, 5])
def test_port_is_the_recipe(short, horizon):
    expected = copied_recipe(*short, horizon)
    actual = jax.jit(pitfalls.recipe, static_argnums=4)(*short, horizon)
    assert pitfalls.relative_error(actual, expected) < 1e-5


def test_recipe_is_exact_up_to_horizon_2_and_far_off_beyond(short):
    error = lambda horizon: pitfalls.relative_error(
        pitfalls.recipe(*short, horizon), pitfalls.definition(*short, horizon)
    )
    assert error(1) < 1e-5 and error(2) < 1e-5
    assert error(3) > 0.1 and error(5) > error(3)
