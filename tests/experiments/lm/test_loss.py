"""The loss of a batch and its gradient, in every style."""

import chex
import jax
import jax.numpy as jnp
import pytest
from small_model import B, build, corpus

from experiments.lm import models
from experiments.lm.loss import first_carry, make_loss
from experiments.lm.settings import BACKWARDS, Settings
from experiments.lm.styles import schedule
from experiments.text.sequences import sequences

pytestmark = pytest.mark.standard
SCHEDULES = [
    schedule("true", 3, seq_len=7),
    schedule("semi", 3, 2, 7),
    schedule("epochwise", 3, seq_len=7),
]
SCHEDULES += [schedule("full", seq_len=7)]


def loss_and_grad(model, settings):
    return jax.value_and_grad(make_loss(model, settings), has_aux=True)


@pytest.mark.parametrize(
    ("cell", "plan", "layers"),
    [("vanilla", plan, 1) for plan in SCHEDULES]
    + [("gru", SCHEDULES[0], 1), ("lstm", SCHEDULES[1], 1), ("vanilla", SCHEDULES[0], 2)],
)
def test_sweeps_and_windows_give_one_loss_and_gradient(cell, plan, layers):
    model, params = build(cell, layers)
    tokens = jax.random.randint(jax.random.key(1), (8, B), 0, 12)
    inputs = models.dropout_inputs(model, jax.random.key(2), tokens[:-1], 0.8)
    carry = jax.tree.map(lambda leaf: leaf + 0.3, models.init_carry(model, B))
    results = [
        jax.jit(loss_and_grad(model, Settings(plan, backward=backward)))(
            params, carry, (inputs, tokens[1:])
        )
        for backward in BACKWARDS
    ]
    chex.assert_trees_all_close(*results, rtol=1e-4, atol=1e-6)


def test_full_style_is_plain_backpropagation():
    model, params = build()
    tokens = jax.random.randint(jax.random.key(1), (8, B), 0, 12)
    carry = models.init_carry(model, B)

    def loss(params):
        c, total = carry, 0.0
        for t in range(7):
            c, y = models.step(model, params, c, models.Inputs(tokens[t]))
            total += models.mean_loss(params, y, tokens[t + 1]) / 7
        return total

    run = loss_and_grad(model, Settings(schedule("full", seq_len=7)))
    (value, _), grads = run(params, carry, (models.Inputs(tokens[:-1]), tokens[1:]))
    expected = jax.value_and_grad(loss)(params)
    chex.assert_trees_all_close((value, grads), expected, rtol=1e-4, atol=1e-6)


def test_sweeps_that_end_early_give_the_gradient_of_a_shorter_horizon():
    model, params = build()
    tokens = jax.random.randint(jax.random.key(1), (8, B), 0, 12)
    args = params, models.init_carry(model, B), (models.Inputs(tokens[:-1]), tokens[1:])
    of = lambda h, **options: loss_and_grad(
        model, Settings(schedule("true", h, seq_len=7), **options)
    )
    ended = of(6, tol=0.5)(*args)[1]["recurrence"]
    horizons = [of(horizon)(*args)[1]["recurrence"] for horizon in (2, 3, 4, 5, 6)]
    apart = [
        max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.max(abs(a - b)), ended, one)))
        for one in horizons
    ]
    assert sorted(apart)[0] < 1e-6 < 10 * sorted(apart)[1] and apart[-1] > 1e-5


@pytest.mark.parametrize("plan", [schedule("true", 9, None, 4, "exact"), SCHEDULES[0]])
def test_exact_seams_give_the_gradient_of_the_uncut_text(plan):
    """Summed over the sequences, with parameters that stand still."""
    model, params = build("lstm")
    settings = Settings(plan, batch_size=B, seams="exact")
    text = sequences(corpus().train, B, plan.seq_len, "train")
    inputs, targets, _ = jax.device_put(text.read(0, 6))
    run = jax.jit(loss_and_grad(model, settings))
    carry = first_carry(model, settings, models.Inputs(inputs[0]))
    total = jax.tree.map(jnp.zeros_like, params)
    for i in range(6):
        (_, carry), grads = run(params, carry, (models.Inputs(inputs[i]), targets[i]))
        total = jax.tree.map(jnp.add, total, grads)
    uncut = settings._replace(seams="cut", schedule=plan._replace(seq_len=6 * plan.seq_len))
    flat = lambda leaf: leaf[:6].reshape(-1, B)
    carry = models.init_carry(model, B)
    batch = models.Inputs(flat(inputs)), flat(targets)
    _, expected = jax.jit(loss_and_grad(model, uncut))(params, carry, batch)
    mean = jax.tree.map(lambda leaf: leaf / 6, total)
    chex.assert_trees_all_close(mean, expected, rtol=1e-4, atol=1e-6)
