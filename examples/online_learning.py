"""Online learning: one update at every step of an endless stream, with a horizon of L steps.

What changes: the loop of single steps becomes one compiled loop whose memory does not grow.

    -  for t in range(num_steps):
    -      carry, loss, grads = one_step(params, carry, x[t])   # errors reach 1 step back
    +  online_loop = make_online_loop(cell, step_loss_fn, optimizer, inputs_fn)
    +  state, metrics = online_loop(state, source, 0, num_steps)   # they reach L steps back

Look at: which L is enough? The target is the input of 5 steps ago, so an error must reach 6 steps
back to the step that read it. L below 6 learns what a random recurrence happens to remember; from
6 on the loss falls, and longer horizons add little.
"""

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, init_stream, make_online_loop

HORIZONS = (1, 3, 6, 12, 24)
SIZE, DELAY = 24, 5


def cell(params, carry, x):
    """A GRU of one input: ([N], []) -> ([N], prediction [])."""
    joined = jnp.concatenate([x[None], carry, jnp.ones(1)])
    reset, update = jnp.split(jax.nn.sigmoid(params["gates"] @ joined), 2)
    joined = jnp.concatenate([x[None], reset * carry, jnp.ones(1)])
    carry = (1 - update) * carry + update * jnp.tanh(params["candidate"] @ joined)
    return carry, params["readout"] @ carry


def step_loss_fn(params, y, target):
    """Squared error; 1 for a prediction of 0."""
    return (y - target) ** 2


def inputs_fn(key, t):
    """A random sign at each step; the target is that of DELAY steps ago."""
    sign = lambda t: jax.random.rademacher(jax.random.fold_in(key, t), (), float)
    return sign(t), sign(t - DELAY)


def train(horizon, num_steps):
    """The mean squared error of the last tenth of the steps."""
    keys = jax.random.split(jax.random.key(0), 3)
    weights = lambda key, *shape: jax.random.normal(key, shape) / shape[-1] ** 0.5
    params = {
        "gates": weights(keys[0], 2 * SIZE, SIZE + 2),
        "candidate": weights(keys[1], SIZE, SIZE + 2),
        "readout": jnp.zeros(SIZE),
    }
    optimizer = optax.adam(0.002)
    stream = init_stream(jnp.zeros(SIZE), jnp.ones(1), horizon=horizon)
    state = LearnerState(params, optimizer.init(params), stream)
    online_loop = make_online_loop(cell, step_loss_fn, optimizer, inputs_fn)
    first = num_steps * 9 // 10
    state, _ = online_loop(state, keys[2], 0, first)
    return float(online_loop(state, keys[2], first, num_steps)[1].loss)


def main(num_steps=30_000):
    for horizon in HORIZONS:
        print(f"horizon {horizon}: squared error {train(horizon, num_steps):.3f}", flush=True)


if __name__ == "__main__":
    main()
