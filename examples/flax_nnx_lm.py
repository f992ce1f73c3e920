"""Flax NNX: an LSTM language model with dropout and BatchNorm, trained with a gradient horizon.

What changes: the module is split once, its parameters are an argument of the step, and its
statistics are in the carry beside the LSTM's state.

    -  carry, ys = nnx.scan(Model.step, in_axes=(None, nnx.Carry, 0))(model, carry, xs)
    +  carry, ys = truncated_scan(functools.partial(step, params), carry, xs, horizon=16)

Look at: each token repeats the one 6 before it, so an error must reach 7 steps back. Horizons 1 and
4 fail; 16 learns what full BPTT learns.
"""

import functools

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from tbptt_jax import LearnerState, linear_softmax_cross_entropy, make_train_loop, truncated_scan

HORIZONS = (1, 4, 16, None)
VOCAB, SIZE, DELAY, BATCH, STEPS = 8, 32, 6, 16, 48


class Model(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(VOCAB, SIZE, rngs=rngs)
        self.cell = nnx.LSTMCell(SIZE, SIZE, rngs=rngs)
        self.norm = nnx.BatchNorm(SIZE, rngs=rngs)
        self.dropout = nnx.Dropout(0.1)
        self.readout = nnx.Linear(SIZE, VOCAB, rngs=rngs)


graphdef, init_params, init_stats = nnx.split(Model(nnx.Rngs(0)), nnx.Param, ...)


def step(params, carry, x):
    """One token: (LSTM state and statistics, (token [B], key)) -> (the same, output [B, N])."""
    (state, stats), (token, key) = carry, x
    model = nnx.merge(graphdef, params, stats)
    state, y = model.cell(state, model.embed(token))
    y = model.dropout(model.norm(y), rngs=nnx.Rngs(key))
    return (state, nnx.split(model, nnx.Param, ...)[2]), y


def batch_fn(key, i):
    """Tokens [T+1, B] of which each repeats the one DELAY before it, and keys [T]."""
    text_key, noise_key = jax.random.split(jax.random.fold_in(key, i))
    cycle = jax.random.randint(text_key, (DELAY, BATCH), 0, VOCAB)
    tokens = jnp.tile(cycle, (STEPS // DELAY + 1, 1))[: STEPS + 1]
    return tokens, jax.random.split(noise_key, STEPS)


def train(horizon, num_updates):
    """The mean loss of the last tenth of the updates, in nats per token."""

    def loss_fn(params, carry, batch):
        tokens, keys = batch
        f = functools.partial(step, params)
        (_, stats), ys = truncated_scan(f, carry, (tokens[:-1], keys), horizon=horizon)
        kernel, bias = params["readout"]["kernel"][...], params["readout"]["bias"][...]
        loss = linear_softmax_cross_entropy(ys, kernel, bias, tokens[1:])
        return loss, (carry[0], stats)  # each text begins with the same LSTM state

    optimizer, carry = optax.adam(0.01), ((jnp.zeros((BATCH, SIZE)),) * 2, init_stats)
    learner = LearnerState(init_params, optimizer.init(init_params), carry)
    train_loop = make_train_loop(loss_fn, optimizer, batch_fn, donate=False)
    key, first = jax.random.key(1), num_updates * 9 // 10
    learner, _ = train_loop(learner, key, 0, first)
    return float(train_loop(learner, key, first, num_updates)[1].loss)


def main(num_updates=300):
    for horizon in HORIZONS:
        print(f"horizon {horizon or 'full'}: loss {train(horizon, num_updates):.3f}", flush=True)


if __name__ == "__main__":
    main()
