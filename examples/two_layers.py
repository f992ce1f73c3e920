"""Plain JAX: a two-layer LSTM language model in one carry, trained with a gradient horizon.

What changes beside `jax.lax.scan`: one call. Both layers are in one step, so that the horizon is
that of the whole stack; with a truncated scan for each layer errors reach 2 horizon - 1 steps back.

    -  carry, ys = jax.lax.scan(step, carry, xs)
    +  carry, ys = truncated_scan(step, carry, xs, horizon=16)

Look at: each token repeats the one 6 before it, so an error must reach 7 steps back: horizons 1 and
4 fail, and 16 learns what full BPTT learns.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, linear_softmax_cross_entropy, make_train_loop, truncated_scan

HORIZONS = (1, 4, 16, None)
VOCAB, SIZE, DELAY, BATCH, STEPS = 8, 32, 6, 16, 48


def init_params(key):
    keys = iter(jax.random.split(key, 4))
    weights = lambda *shape: jax.random.normal(next(keys), shape) / shape[0] ** 0.5
    layers = [{"kernel": weights(2 * SIZE, 4 * SIZE), "bias": jnp.zeros(4 * SIZE)} for _ in "ab"]
    readout = {"kernel": weights(SIZE, VOCAB), "bias": jnp.zeros(VOCAB)}
    return {"embed": weights(VOCAB, SIZE), "layers": layers, "readout": readout}


def lstm(layer, state, x):
    """(c, h), x -> (c, h), h; all [B, N]."""
    c, h = state
    i, f, g, o = jnp.split(jnp.concatenate([x, h], -1) @ layer["kernel"] + layer["bias"], 4, -1)
    c = jax.nn.sigmoid(f + 1.0) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def step(params, carry, token):
    """One token through both layers: (their states, [B]) -> (their states, output [B, N])."""
    y, new = params["embed"][token], []
    for layer, state in zip(params["layers"], carry, strict=True):
        state, y = lstm(layer, state, y)
        new.append(state)
    return new, y


def batch_fn(key, i):
    """Tokens [T+1, B] of which each repeats the one DELAY before it."""
    cycle = jax.random.randint(jax.random.fold_in(key, i), (DELAY, BATCH), 0, VOCAB)
    return jnp.tile(cycle, (STEPS // DELAY + 1, 1))[: STEPS + 1]


def train(horizon, num_updates):
    """The mean loss of the last tenth of the updates, in nats per token."""

    def loss_fn(params, carry, tokens):
        init, f = [(jnp.zeros((BATCH, SIZE)),) * 2] * 2, functools.partial(step, params)
        _, ys = truncated_scan(f, init, tokens[:-1], horizon=horizon)
        kernel, bias = params["readout"]["kernel"], params["readout"]["bias"]
        return linear_softmax_cross_entropy(ys, kernel, bias, tokens[1:]), carry

    params, optimizer = init_params(jax.random.key(0)), optax.adam(0.01)
    train_loop = make_train_loop(loss_fn, optimizer, batch_fn)
    learner = LearnerState(params, optimizer.init(params), None)
    key, first = jax.random.key(1), num_updates * 9 // 10
    learner, _ = train_loop(learner, key, 0, first)
    return float(train_loop(learner, key, first, num_updates)[1].loss)


def main(num_updates=300):
    for horizon in HORIZONS:
        print(f"horizon {horizon or 'full'}: loss {train(horizon, num_updates):.3f}", flush=True)


if __name__ == "__main__":
    main()
