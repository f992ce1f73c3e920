"""The training steps take complex parameters, static leaves and shared arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from frameworks import needed

from tbptt_jax import (
    LearnerState,
    init_stream,
    make_eval_step,
    make_online_loop,
    make_train_loop,
    make_train_step,
    stream_scan,
)

optax = needed("optax")
pytestmark = pytest.mark.standard  # optax does not bear strict promotion


@pytest.mark.parametrize("make", ["step", "loop", "online"])
def test_complex_parameters_descend(make):
    """|w - (1 + 2i)|² from 0: JAX's gradient is the conjugate of the direction of ascent."""
    goal = 1.0 + 2.0j
    optimizer = optax.sgd(0.1)
    distance = lambda w: jnp.abs(w - goal) ** 2
    loss_fn = lambda w, carry, batch: (distance(w), carry)
    state = LearnerState(jnp.array(0j), optimizer.init(jnp.array(0j)), ())
    if make == "step":
        train_step = make_train_step(loss_fn, optimizer)
        for _ in range(100):
            state, metrics = train_step(state, None)
    elif make == "loop":
        loop = make_train_loop(loss_fn, optimizer, lambda source, i: None)
        state, metrics = loop(state, None, 0, 100)
    else:
        state = state._replace(carry=init_stream(jnp.array(0j), jnp.ones(1), horizon=1))
        loop = make_online_loop(
            lambda w, c, x: (c, w), lambda w, y, _: distance(y), optimizer, lambda s, t: (1.0, 0.0)
        )
        state, metrics = loop(state, None, 0, 100)
    np.testing.assert_allclose(state.params, goal, rtol=1e-5)
    assert metrics.grad_norm.dtype == metrics.loss.dtype == jnp.float32


def test_arrays_that_stand_twice_in_a_state_are_not_donated_twice():
    """One zeros array for h and c, an optimizer that keeps the first parameters, aliases."""
    sgd = optax.sgd(0.1)
    anchored = optax.GradientTransformation(
        lambda params: (sgd.init(params), params),
        lambda grads, state, params: (
            sgd.update(
                jax.tree.map(lambda g, p, first: g + p - first, grads, params, state[1]),
                state[0],
                params,
            )[0],
            state,
        ),
    )
    zeros, w = jnp.zeros(3), jnp.ones(3)
    loss_fn = lambda w, carry, x: (jnp.sum((w * x["x"] + carry[0]) ** 2), carry)
    alias = jax.make_array_from_single_device_arrays(w.shape, w.sharding, [w])
    assert alias is not w and alias.unsafe_buffer_pointer() == w.unsafe_buffer_pointer()
    batch = {"x": w, "keys": jax.random.split(jax.random.key(0))}
    state = LearnerState({"w": w, "alias": alias}, None, (zeros, zeros, batch["keys"]))
    state = state._replace(opt_state=anchored.init(state.params))
    loss = lambda params, carry, batch: loss_fn(params["w"], carry, batch)
    train_step = make_train_step(loss, anchored)
    for _ in range(3):
        state, _ = train_step(state, batch)
    np.testing.assert_array_equal(batch["x"], 1.0)
    np.testing.assert_array_equal(state.carry[1], 0.0)
    loop = make_train_loop(loss, anchored, lambda source, i: source)
    kept = LearnerState({"w": batch["x"], "alias": batch["x"]}, None, (jnp.zeros(3),) * 2)
    loop(kept._replace(opt_state=anchored.init(kept.params)), batch, 0, 2)
    np.testing.assert_array_equal(batch["x"], 1.0)


def test_equinox_models_with_static_leaves_train():
    """Activation functions are leaves there; they are neither traced nor trained."""
    eqx = needed("equinox")

    class Model(eqx.Module):
        cell: eqx.nn.GRUCell
        readout: eqx.nn.MLP
        dropout: eqx.nn.Dropout
        scale: float = 2.0

        def __call__(self, carry, x):
            carry = self.cell(x, carry)
            return carry, self.scale * self.dropout(self.readout(carry), inference=True)

    def loss_fn(model, stream, xs):
        stream, ys = stream_scan(model, stream, xs)
        return jnp.mean((ys - 1.0) ** 2), stream

    keys = jax.random.split(jax.random.key(0))
    model = Model(
        eqx.nn.GRUCell(2, 3, key=keys[0]), eqx.nn.MLP(3, 1, 4, 1, key=keys[1]), eqx.nn.Dropout(0.5)
    )
    optimizer = optax.adamw(0.03)
    first = optimizer.init(eqx.filter(model, eqx.is_inexact_array))
    stream = init_stream(jnp.zeros(3), jnp.ones((1, 2)), horizon=3)
    train_step = make_train_step(loss_fn, optimizer)
    state = LearnerState(model, first, stream)
    state, start = train_step(state, jnp.ones((4, 2)))
    for _ in range(30):
        state, metrics = train_step(state, jnp.ones((4, 2)))
    assert metrics.loss < 0.1 * start.loss
    assert state.params.readout.activation is model.readout.activation
    assert (state.params.scale, state.params.dropout.p) == (2.0, 0.5)
    batches = jnp.ones((5, 4, 2))
    loop = make_train_loop(loss_fn, optimizer, lambda source, i: source[i])
    state, _ = loop(state, batches, 0, 5)
    carry, metrics = make_eval_step(loss_fn)(state.params, state.carry, batches[0])
    assert metrics.loss < 0.1 * start.loss
    assert jax.tree.structure(carry) == jax.tree.structure(state.carry)


def mixed_state():
    params = {"w": jnp.array(0.5), "n": jnp.ones(3, int)}
    return LearnerState(params, optax.adam(0.1).init(params), ())


REFUSED = {
    "a dict as the state": (
        lambda make, state: make()({"params": state.params}, 1.0),
        "state must be a LearnerState, got dict.",
    ),
    "an optimizer that was not called": (
        lambda make, state: make(optimizer=optax.adam),
        "optimizer must have init and update, got adam; was it called, as in optax.adam(1e-3)?",
    ),
    "a loss without carry": (
        lambda make, state: make(lambda w, carry, batch: w)(state, 1.0),
        "loss_fn must return a pair, (loss, carry), got float32[].",
    ),
    "aux without has_aux": (
        lambda make, state: make(lambda w, carry, batch: (w, carry, 0))(state, 1.0),
        "loss_fn must return a pair, (loss, carry), got (float32[], (), int).",
    ),
    "has_aux without aux": (
        lambda make, state: make(has_aux=True)(state, 1.0),
        "loss_fn with has_aux must return a pair, (loss, (carry, aux)), got ().",
    ),
    "aux with has_aux forgotten": (
        lambda make, state: make(lambda w, carry, batch: (w, (carry, {"n": 0})))(state, 1.0),
        "loss_fn must return a carry of the structure that it was given; has_aux=True is for "
        "(loss, (carry, aux)).",
    ),
    "an optimizer state of integers too": (
        lambda make, state: make(lambda w, *_: (w["w"], ()), optax.adam(0.1))(mixed_state(), 1.0),
        "opt_state must come from optimizer.init on the floating-point arrays of params alone, "
        "as in optimizer.init(eqx.filter(params, eqx.is_inexact_array)).",
    ),
    "a donated state": (
        lambda make, state: [train_step(state, 1.0) for train_step in [make()] * 2],
        "state has been donated to an earlier call; use what that returned, or donate=False.",
    ),
    "a loss that is no scalar": (
        lambda make, state: make(lambda w, carry, batch: (w * jnp.ones(2), carry))(state, 1.0),
        "loss_fn must return a real scalar, got float32[2].",
    ),
    "nothing to train": (
        lambda make, state: make()(state._replace(params={"w": 0.5, "n": jnp.ones(3, int)}), 1.0),
        "params must have a floating-point array, got none.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_fails_in_one_line(case):
    sgd = optax.sgd(0.1)

    def make(loss_fn=lambda w, carry, batch: (w * batch, carry), optimizer=sgd, **kwargs):
        return make_train_step(loss_fn, optimizer, **kwargs)

    run, said = REFUSED[case]
    with pytest.raises((TypeError, ValueError)) as raised:
        run(make, LearnerState(jnp.array(1.0), sgd.init(0.0), ()))
    assert str(raised.value) == f"make_train_step: {said}"


def test_online_loop_refuses_in_one_line():
    optimizer = optax.sgd(0.1)
    cell, square = (lambda w, c, x: (w * c + x, c)), (lambda w, y, target: (y - target) ** 2)
    state = LearnerState(jnp.array(1.0), optimizer.init(0.0), jnp.zeros(3))
    inputs = lambda source, t: (1.0, 2.0)
    with pytest.raises(TypeError, match=r"^make_online_loop: .* a StreamState, got float32\[3\]"):
        make_online_loop(cell, square, optimizer, inputs)(state, None, 0, 1)
    state = state._replace(carry=init_stream(0.0, jnp.ones(1), horizon=2))
    with pytest.raises(TypeError, match=r"inputs_fn must return a pair, \(x, target\), got float"):
        make_online_loop(cell, square, optimizer, lambda *_: 1.0)(state, None, 0, 1)
    with pytest.raises(TypeError, match=r"^make_online_loop: start and stop must be integers, got"):
        make_online_loop(cell, square, optimizer, inputs)(state, None, 0, 2.0)
    vector = lambda w, y, target: jnp.stack([y, target])
    with pytest.raises(TypeError, match="step_loss_fn must return a real scalar, got float32"):
        make_online_loop(cell, vector, optimizer, inputs)(state, None, 0, 1)
