"""A differentiable simulator whose long gradients explode: a policy trained through its rollouts.

What changes beside `jax.lax.scan`: one call. Short horizons are why short-horizon actor-critic
methods work where backpropagation through the whole rollout does not.

    -  state, costs = jax.lax.scan(step, state, None, length=200)
    +  state, costs = truncated_scan(step, state, None, length=200, horizon=10)

Look at: the gradient's norm grows with the horizon by orders of magnitude, since the system is
chaotic: full BPTT overflows, and horizons of 10 to 50 control the system.
"""

import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, make_train_loop, truncated_scan

HORIZONS = (1, 10, 50, None)
STEPS, BATCH, DT = 200, 16, 0.02
TARGET = jnp.array([8.485, 8.485, 27.0])  # an unstable fixed point of the Lorenz system


def lorenz(state, force):
    """One step of the forced system, [B, 3] each."""
    x, y, z = jnp.moveaxis(state, -1, 0)
    flow = jnp.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z], -1)
    return state + DT * (flow + force)


def batch_fn(key, i):
    """First states, [B, 3], near the attractor."""
    return 10.0 * jax.random.normal(jax.random.fold_in(key, i), (BATCH, 3)) + jnp.array(
        [0, 0, 25.0]
    )


def policy(params, state):
    """A small network that pushes the state, at most 30 in each direction."""
    hidden = jnp.tanh((state - TARGET) / 10.0 @ params["w"] + params["b"])
    return 30.0 * jnp.tanh(hidden @ params["v"])


def train(horizon, num_updates):
    """The mean cost of the last tenth of the updates, and their mean gradient norm."""

    def loss_fn(params, carry, state):
        def step(state, _):
            state = lorenz(state, policy(params, state))
            return state, jnp.mean(jnp.abs(state - TARGET))

        _, costs = truncated_scan(step, state, None, length=STEPS, horizon=horizon)
        return jnp.mean(costs), carry

    keys = jax.random.split(jax.random.key(0), 2)
    params = {"w": jax.random.normal(keys[0], (3, 32)), "b": jnp.zeros(32)}
    params["v"] = 0.1 * jax.random.normal(keys[1], (32, 3))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01))
    train_loop = make_train_loop(loss_fn, optimizer, batch_fn)
    first = num_updates * 9 // 10
    learner = LearnerState(params, optimizer.init(params), None)
    learner, _ = train_loop(learner, jax.random.key(1), 0, first)
    _, metrics = train_loop(learner, jax.random.key(1), first, num_updates)
    return float(metrics.loss), float(metrics.grad_norm)


def main(num_updates=300):
    for horizon in HORIZONS:
        loss, norm = train(horizon, num_updates)
        print(f"horizon {horizon or 'full'}: loss {loss:.2f}, gradient norm {norm:.1e}", flush=True)


if __name__ == "__main__":
    main()
