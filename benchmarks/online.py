"""Measures that an endless stream learns in constant memory: 10 thousand steps against 10 million.

    python -m benchmarks.online

A tanh RNN of 8 units learns a sine from noisy inputs that are made inside the compiled loop, with
horizon 20 and an update every step, and every 5 steps. Each length runs in a process of its own,
whose peak of resident memory is what counts. Ten minutes on two cores, nearly all of it 10 million
updates one after the other; the numbers go into --out.
"""

import resource
import time

import jax
import jax.numpy as jnp
import optax
from absl import flags

from experiments.record import alternation, launch, results
from tbptt_jax import LearnerState, init_stream, make_online_loop

flags.declare_key_flag("out")

STATE, HORIZON, STRIDES = 8, 20, (1, 5)
SHORT, LONG = 10_000, 10_000_000


def cell(params, carry, x):
    """One step, h = tanh(x u + h₋₁ W), and its output."""
    carry = jnp.tanh(x * params["input"] + carry @ params["recurrent"])
    return carry, carry @ params["readout"]


def step_loss_fn(params, y, target):
    """Squared error."""
    return (y - target) ** 2


def inputs(key, t):
    """A noisy sine, and its next value without the noise."""
    phase = 0.3 * (t % 1000)
    noise = 0.1 * jax.random.normal(jax.random.fold_in(key, t))
    return jnp.sin(phase) + noise, jnp.sin(phase + 0.3)


def learn(num_steps: int, stride: int) -> dict:
    """Runs one stream in this process."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "input": jax.random.normal(keys[0], (STATE,)),
        "recurrent": jax.random.normal(keys[1], (STATE, STATE)) / STATE**0.5,
        "readout": jnp.zeros(STATE),
    }
    optimizer = optax.adam(0.001)
    stream = init_stream(jnp.zeros(STATE), jnp.zeros(1), horizon=HORIZON, stride=stride)
    run = make_online_loop(cell, step_loss_fn, optimizer, inputs)
    state = LearnerState(params, optimizer.init(params), stream)
    num_updates, began = num_steps // stride, time.perf_counter()
    state, first = run(state, keys[2], 0, num_updates // 2)
    state, second = run(state, keys[2], num_updates // 2, num_updates)
    losses = [float(first.loss), float(second.loss)]
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "num_steps": num_steps,
        "stride": stride,
        "loss_of_each_half": losses,
        "seconds": round(seconds, 1),
        "peak_megabytes": round(peak / 1024, 1),
    }


def main() -> None:
    """Measures, prints, writes."""
    out, rows = results.folder(), []
    for stride in STRIDES:
        for num_steps in (SHORT, LONG):
            rows.append(alternation.in_new_process(learn, num_steps, stride))
            print(rows[-1], flush=True)
    results.write(out, "online", {"horizon": HORIZON, "state": STATE, "runs": rows})


if __name__ == "__main__":
    launch.run(main)
