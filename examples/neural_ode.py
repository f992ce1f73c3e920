"""diffrax: a neural ODE driven by a long series, solved from one observation to the next.

What changes: the solve of one interval is the step of a scan, and the horizon counts intervals. The
solver's adjoint is its default one.

    -  for x in xs: y = diffrax.diffeqsolve(term, solver, 0.0, 1.0, dt, y, args=(params, x)).ys[-1]
    +  _, ys = truncated_scan(interval, y, xs, horizon=8)   # an error reaches 8 intervals back

Look at: the target is the input of 3 intervals ago, so an error must reach 4 intervals back.
"""

import functools

import diffrax
import jax
import jax.numpy as jnp
import optax

from tbptt_jax import LearnerState, make_train_loop, truncated_scan

HORIZONS = (1, 2, 8, None)
SIZE, DELAY, STEPS, BATCH = 16, 3, 24, 16


def vector_field(t, y, args):
    """dy/dt, [N], for an input that is constant over the interval."""
    params, x = args
    return jnp.tanh(params["w"] @ y + params["u"] * x) - y


def interval(params, y, x):
    """One unit of time from the state y, [N]: the state after it, and a prediction []."""
    term, solver, args = diffrax.ODETerm(vector_field), diffrax.Tsit5(), (params, x)
    solution = diffrax.diffeqsolve(term, solver, 0.0, 1.0, 0.5, y, args=args, max_steps=4)
    y = solution.ys[0]
    return y, params["readout"] @ y


def batch_fn(key, i):
    """Random signs [T, B]."""
    return jax.random.rademacher(jax.random.fold_in(key, i), (STEPS, BATCH), float)


def train(horizon, num_updates):
    """The mean squared error of the last tenth of the updates; 1 is guessing."""

    def loss_fn(params, carry, xs):
        step = jax.vmap(functools.partial(interval, params))
        _, ys = truncated_scan(step, jnp.zeros((BATCH, SIZE)), xs, horizon=horizon)
        return jnp.mean((ys[DELAY:] - xs[:-DELAY]) ** 2), carry

    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "w": 1.5 * jax.random.orthogonal(keys[0], SIZE),
        "u": jax.random.normal(keys[1], (SIZE,)),
        "readout": jnp.zeros(SIZE),
    }
    optimizer = optax.adam(0.01)
    train_loop = make_train_loop(loss_fn, optimizer, batch_fn)
    first = num_updates * 9 // 10
    learner = LearnerState(params, optimizer.init(params), None)
    learner, _ = train_loop(learner, jax.random.key(1), 0, first)
    return float(train_loop(learner, jax.random.key(1), first, num_updates)[1].loss)


def main(num_updates=200):
    for horizon in HORIZONS:
        print(f"horizon {horizon or 'full'}: loss {train(horizon, num_updates):.3f}", flush=True)


if __name__ == "__main__":
    main()
