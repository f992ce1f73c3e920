"""Measures sequences whose carries do not fit: a million steps in one gradient, by `carry_every`.

    python -m benchmarks.long

A tanh RNN and a gated average of 256 units learn to add up their scalar inputs with decay; the loss
is a scalar per step, batch 1. First what it costs to keep every so-many-th carry alone at a tenth
of the length, in alternation beside keeping all. Then updates on the whole length, each recurrence
in a process of its own, whose peak of resident memory counts. Half an hour on two cores; the
numbers go into --out.
"""

import functools
import resource
import time

import jax
import jax.numpy as jnp
import optax
from absl import flags

from benchmarks.recurrence import compiled, measure
from benchmarks.worker import THREADS
from experiments.record import alternation, launch, results
from tbptt_jax import truncated_scan

flags.declare_key_flag("out")
flags.adopt_module_key_flags(alternation)

STATE, STEPS, CARRY_EVERY, UPDATES = 256, 1_000_000, 1024, 2
TENTH = STEPS // 10
EVERY = (1, 64, 256, 1024, 4096)


def rnn(params, carry, x):
    """One step, h = tanh(x u + h₋₁ W)."""
    return jnp.tanh(x * params["input"] + carry @ params["recurrent"])


def gated_average(params, carry, x):
    """One step, c = z c₋₁ + (1 - z) tanh(x u), with a gate z that reads the input."""
    gate = jax.nn.sigmoid(x * params["gate"] + 2.0)
    return gate * carry + (1.0 - gate) * jnp.tanh(x * params["input"])


CELLS = {"RNN": (rnn, 20), "gated average": (gated_average, 2048)}  # with their horizons


def problem(steps: int):
    """(parameters, (inputs, targets)), [steps] each."""
    keys = jax.random.split(jax.random.key(0), 5)
    normal = jax.random.normal
    params = {
        "input": normal(keys[0], (STATE,)),
        "recurrent": normal(keys[1], (STATE, STATE)) * 0.9 / STATE**0.5,
        "gate": normal(keys[2], (STATE,)),
        "readout": normal(keys[3], (STATE,)) / STATE,
    }
    xs = normal(keys[4], (steps,))
    decayed = lambda total, x: (0.9 * total + 0.1 * x,) * 2
    return params, (xs, jax.lax.scan(decayed, 0.0, xs)[1])


def loss_fn(name, carry_every, params, batch):
    """Mean squared error; each step's is its output, so no state leaves the scan."""
    cell, horizon = CELLS[name]

    def step(carry, x_and_target):
        x, target = x_and_target
        carry = cell(params, carry, x)
        return carry, (carry @ params["readout"] - target) ** 2

    schedule = {"horizon": horizon, "carry_every": carry_every}
    return jnp.mean(truncated_scan(step, jnp.zeros(STATE), batch, **schedule)[1])


def price(name: str, rounds: int) -> dict:
    """Time and temporary memory of a gradient by how many carries are kept."""
    args = problem(TENTH)
    variants = {
        str(every): compiled(functools.partial(loss_fn, name, every), args) for every in EVERY
    }
    return measure(variants, rounds)


def train(name: str) -> dict:
    """Some updates on the whole length in this process."""
    params, batch = problem(STEPS)
    optimizer = optax.adam(0.0001)
    value_and_grad = jax.value_and_grad(functools.partial(loss_fn, name, CARRY_EVERY))

    @jax.jit
    def update(params, state, batch):
        loss, grads = value_and_grad(params, batch)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    state, losses, began = optimizer.init(params), [], time.perf_counter()
    for _ in range(UPDATES):
        params, state, loss = update(params, state, batch)
        losses.append(float(loss))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"losses": losses, "seconds": round(seconds, 1), "peak_megabytes": round(peak / 1024)}


def main() -> None:
    """Measures, prints, writes."""
    out, rounds = results.folder(), flags.FLAGS.rounds
    report = {"state": STATE, "carry_every": CARRY_EVERY, "rounds": rounds, "cells": {}}
    for name, (_, horizon) in CELLS.items():
        whole = {"steps": STEPS} | alternation.in_new_process(train, name)
        print(f"{name}, horizon {horizon}: {whole}", flush=True)
        tenth = price(name, rounds)
        for every, of in tenth.items():
            print(f"  {TENTH} steps, every {every}: {of}", flush=True)
        report["cells"][name] = {"horizon": horizon, "whole": whole, "tenth": tenth}
    results.write(out, "long", report)


if __name__ == "__main__":
    launch.run(main, num_cores=THREADS)
