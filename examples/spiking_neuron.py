"""A leaky integrate-and-fire layer with a surrogate gradient, trained with a gradient horizon.

What changes beside `jax.lax.scan`: one call. The surrogate is a `jax.custom_vjp` rule inside the
step; it scales errors, so it is linear in them, and one pass may carry those of several losses.

    -  _, spikes = jax.lax.scan(neuron, init, currents)
    +  _, spikes = truncated_scan(neuron, init, currents, horizon=20)

Look at: the network is to keep firing at the rate that a short cue gave it some 10 steps ago. A
horizon below that leaves the loss where guessing is.
"""

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, make_train_loop, truncated_scan

HORIZONS = (1, 5, 20, None)
SIZE, STEPS, BATCH, CUE = 40, 30, 32, 5
LEAK = 0.9


@jax.custom_vjp
def spike(potential):
    """1 above the threshold of 1, else 0; the surrogate's slope is 1 / (1 + 5 |v - 1|)²."""
    return (potential > 1.0).astype(potential.dtype)


spike.defvjp(lambda v: (spike(v), v), lambda v, error: (error / (1 + 5 * jnp.abs(v - 1)) ** 2,))


def neuron(params, state, current):
    """Potentials and last spikes, [B, N] both; input current [B]."""
    potential, spikes = state
    drive = current[:, None] * params["input"] + spikes @ params["recurrent"]
    potential = LEAK * potential * (1 - spikes) + drive
    spikes = spike(potential)
    return (potential, spikes), spikes @ params["readout"]


def batch_fn(key, i):
    """Currents [T, B] of which only the first CUE are not zero, and the cue's size."""
    size = jax.random.uniform(jax.random.fold_in(key, i), (BATCH,))
    return jnp.where(jnp.arange(STEPS)[:, None] < CUE, 2.0 * size, 0.0), size


def train(horizon, num_updates):
    """The mean squared error of the last tenth of the updates; 1/12 is guessing the mean."""

    def loss_fn(params, carry, batch):
        currents, size = batch
        zeros = jnp.zeros((BATCH, SIZE))
        step = lambda state, current: neuron(params, state, current)
        _, ys = truncated_scan(step, (zeros, zeros), currents, horizon=horizon)
        return jnp.mean((ys[-10:] - size) ** 2), carry

    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "input": jnp.abs(jax.random.normal(keys[0], (SIZE,))),
        "recurrent": 0.6 * jax.random.normal(keys[1], (SIZE, SIZE)) / SIZE**0.5,
        "readout": jnp.full(SIZE, 0.5 / SIZE),
    }
    optimizer = optax.adam(0.003)
    train_loop = make_train_loop(loss_fn, optimizer, batch_fn)
    first = num_updates * 9 // 10
    learner = LearnerState(params, optimizer.init(params), None)
    learner, _ = train_loop(learner, jax.random.key(1), 0, first)
    return float(train_loop(learner, jax.random.key(1), first, num_updates)[1].loss)


def main(num_updates=500):
    for horizon in HORIZONS:
        print(f"horizon {horizon or 'full'}: loss {train(horizon, num_updates):.4f}", flush=True)


if __name__ == "__main__":
    main()
