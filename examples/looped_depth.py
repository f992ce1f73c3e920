"""A looped-depth network: one block applied K times; the horizon truncates in depth.

What changes beside `jax.lax.scan`: one call. The scan is over iterations, not over time; it has no
inputs, and the loss is on the last carry alone, whose error belongs to the last iteration.

    -  carry, _ = jax.lax.scan(block, carry, None, length=K)
    +  carry, _ = truncated_scan(block, carry, None, length=K, horizon=4)

Look at: near a fixed point the last iterations give nearly the whole gradient. After 100 updates a
horizon of 4 of the 24 is where full depth is; horizon 1 is a little behind.
"""

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, make_train_loop, truncated_scan

HORIZONS = (1, 4, 12, None)
SIZE, DEPTH, BATCH = 32, 24, 64


def block(params, z, x):
    """Z ← z/2 + tanh(z W + x U + b)/2, [B, N]."""
    return 0.5 * z + 0.5 * jnp.tanh(z @ params["w"] + x @ params["u"] + params["b"])


def batch_fn(key, i):
    """Points [B, 2] and whether their spiral turns left, in {0, 1}."""
    keys = jax.random.split(jax.random.fold_in(key, i), 3)
    radius = jnp.sqrt(jax.random.uniform(keys[0], (BATCH,), minval=0.05))
    label = jax.random.bernoulli(keys[1], 0.5, (BATCH,))
    angle = 2.0 * jnp.pi * radius + jnp.pi * label
    points = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1)
    return 3.0 * (points + 0.02 * jax.random.normal(keys[2], points.shape)), label


def train(horizon, num_updates):
    """The mean cross-entropy of the last tenth of the updates; log 2 = 0.69 is guessing."""

    def loss_fn(params, carry, batch):
        points, label = batch
        step = lambda z, _: (block(params, z, points), None)
        z, _ = truncated_scan(step, jnp.zeros((BATCH, SIZE)), None, length=DEPTH, horizon=horizon)
        loss = optax.sigmoid_binary_cross_entropy(z @ params["readout"], label)
        return jnp.mean(loss), carry

    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "w": 0.8 * jax.random.orthogonal(keys[0], SIZE),
        "u": jax.random.normal(keys[1], (2, SIZE)),
        "b": jax.random.normal(keys[2], (SIZE,)),
        "readout": jnp.zeros(SIZE),
    }
    optimizer = optax.adam(0.005)
    train_loop = make_train_loop(loss_fn, optimizer, batch_fn)
    first = num_updates * 9 // 10
    learner = LearnerState(params, optimizer.init(params), None)
    learner, _ = train_loop(learner, jax.random.key(1), 0, first)
    return float(train_loop(learner, jax.random.key(1), first, num_updates)[1].loss)


def main(num_updates=100):
    for horizon in HORIZONS:
        print(f"horizon {horizon or 'full'}: loss {train(horizon, num_updates):.3f}", flush=True)


if __name__ == "__main__":
    main()
