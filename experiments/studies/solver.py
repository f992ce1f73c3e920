"""How far must gradients pass an unrolled solver that a network corrects?

  python -m experiments.studies.solver

List, Chen, Bali and Thuerey (2024) train networks that correct coarse solvers, unrolled in time,
and compare no temporal gradients with full ones: full ones are better, but a network without them
comes close. Here horizons 1, 2, 4, ... to the full 64 steps fill in the curve between, for a small
network behind a coarse solver of the Kuramoto-Sivashinsky equation
(experiments.tasks.kuramoto_sivashinsky). Beside them, as their study has them, networks that learn
single steps, and unrolled steps fewer than forecasts last, without temporal gradients and with all;
all have as many losses an update. The first parameters are the same for a seed; each row has the
better of `RATES`, by forecasts from other states.

Measured on states that are not learnt: how long a forecast stays valid, in Lyapunov times, in which
a small difference grows e times; its error over time; the gradient's norm and bias by horizon; the
time of an update. List et al. are refuted if horizon 1 forecasts as long as the full gradient or
longer. The system is chaotic, so that errors grow on their way back: if that harms, a shorter
horizon forecasts longer than the full gradient. One to four minutes a row on one CPU core; each
finished one is a JSON in the folder solver of --scratch, and is not run again.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import solver as solver_chart
from experiments.record import alternation, kept, launch, results, seeds
from experiments.tasks import kuramoto_sivashinsky as solvers
from experiments.tasks.kuramoto_sivashinsky import Task

TASK = Task()
HORIZONS = 1, 2, 4, 8, 16, 32, 64
SHORT = 16  # steps, fewer than forecasts last
RATES = 0.003, 0.001
NUM_STREAMS, NUM_TRAIN, NUM_TEST = 64, 400, 128  # states of a stream, to learn and to forecast
NUM_TIMED = 10  # updates that are timed at once
DEFAULTS = {"num_seeds": 5}

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)
flags.adopt_module_key_flags(alternation)


class States(NamedTuple):
    """The reference's, [states, streams, N], each from a start of its own."""

    train: jax.Array
    choice: jax.Array  # where a rate is chosen
    test: jax.Array


def all_states(task: Task) -> States:
    """Made anew by each run."""
    make = jax.jit(solvers.reference, static_argnums=(0, 2, 3))
    nums = NUM_TRAIN, NUM_TEST + 1, NUM_TEST + 1
    keys = jax.random.split(jax.random.key(0), len(nums))
    return States(*(make(task, key, n, NUM_STREAMS) for key, n in zip(keys, nums, strict=True)))


class Plan(NamedTuple):
    """How a network is trained."""

    unrolled: int  # steps
    horizon: int


def plans() -> dict[str, Plan]:
    """By name: one for each row."""
    return {
        "single steps": Plan(1, 1),
        f"{SHORT} steps, horizon 1": Plan(SHORT, 1),
        f"{SHORT} steps, full": Plan(SHORT, SHORT),
        **{str(horizon): Plan(TASK.unrolled, horizon) for horizon in HORIZONS},
    }


def task_of(plan: Plan) -> Task:
    """All have as many losses an update."""
    num_losses = TASK.batch_size * TASK.unrolled
    return TASK._replace(unrolled=plan.unrolled, batch_size=num_losses // plan.unrolled)


@functools.cache
def forecast_of(task: Task):
    """Compiled for several networks at once."""
    return jax.jit(jax.vmap(solvers.make_forecast(task), (0, None)))


@functools.cache
def gradients_of(task: Task):
    """Compiled for several networks at once."""
    return jax.jit(jax.vmap(solvers.make_gradients(task), (0, None)))


def key_of(seed: jax.typing.ArrayLike) -> jax.Array:
    """Of a network and the batches it sees."""
    return jax.random.fold_in(jax.random.key(1), seed)


def learn(plan: Plan, states: States, num_seeds: int) -> dict[str, Any]:
    """{"rate", "choice" [rates][seeds] that chose it, and what is `seen` with it}."""
    train = jax.jit(jax.vmap(solvers.make_train(task_of(plan), plan.horizon), (0, 0, None)))
    keys = jax.vmap(key_of)(jnp.tile(jnp.arange(num_seeds), len(RATES)))
    params = train(jnp.repeat(jnp.array(RATES), num_seeds), keys, states.train)
    choice = forecast_of(TASK)(params, states.choice).valid.reshape(len(RATES), num_seeds)
    best = int(jnp.argmax(jnp.mean(choice, axis=1)))
    params = jax.tree.map(lambda x: x[best * num_seeds : (best + 1) * num_seeds], params)
    return {"rate": RATES[best], "choice": results.rounded(choice)} | seen(params, states)


def seen(params: solvers.Params, states: States) -> dict[str, list]:
    """Of networks, leaves [seeds, ...], on states that are not learnt.

    {"valid" [seeds], "errors" [seeds][steps], "norm" and "bias" [seeds][horizons]}
    """
    forecast = forecast_of(TASK)(params, states.test)
    gradients = gradients_of(TASK)(params, states.test[: TASK.unrolled + 1])
    at = np.array(HORIZONS) - 1
    found = {"valid": forecast.valid, "errors": forecast.errors}
    found |= {"norm": gradients.norm[:, at], "bias": gradients.bias[:, at]}
    return {name: results.rounded(x) for name, x in found.items()}


def before(states: States, num_seeds: int) -> dict[str, Any]:
    """What is seen of the solver alone, and its "growth", the largest Lyapunov exponent.

    Its networks are drawn as those that learn, from other keys.
    """
    params = jax.vmap(lambda seed: solvers.init_params(TASK, key_of(seed)))(jnp.arange(num_seeds))
    growth = jax.jit(functools.partial(solvers.growth, TASK))(states.train, jax.random.key(2))
    return {"growth": results.rounded(growth)} | seen(params, states)


def times(states: States, rounds: int) -> dict[str, Any]:
    """{"seconds" [horizons][rounds]}, of an update of one seed, timed in alternation."""
    calls = {}
    for horizon in HORIZONS:
        train = jax.jit(solvers.make_train(TASK._replace(num_updates=NUM_TIMED), horizon))
        args = RATES[-1], jax.random.key(0), states.train
        calls[str(horizon)] = functools.partial(train, *args)
    seconds = alternation.alternate(calls, rounds)
    return {"seconds": results.rounded(np.array([*seconds.values()]) / NUM_TIMED)}


def print_row(row: dict[str, Any], growth: float) -> None:
    """How long forecasts are valid."""
    valid = growth * np.array(row["valid"])
    print(
        f"{row['name']:19s}  {row['rate']:5g}  {np.median(valid):5.2f} "
        f"({np.min(valid):.2f} to {np.max(valid):.2f})  "
        f"{np.median(row['errors'], axis=0)[TASK.unrolled - 1]:.3f}",
        flush=True,
    )


def main():
    out, num_seeds, rounds = results.folder(), flags.FLAGS.num_seeds, flags.FLAGS.rounds
    folder, states = kept.folder("solver"), all_states(TASK)
    setup = {"task": TASK._asdict(), "horizons": HORIZONS, "rates": RATES, "num_seeds": num_seeds}
    setup |= {"num_states": [NUM_STREAMS, NUM_TRAIN, NUM_TEST]}

    def keep(name, find, holds, config=None):
        path = folder / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        return kept.kept(path, {"name": name} | setup | (config or {}), find, holds)

    what = {"valid": (num_seeds,), "errors": (num_seeds, NUM_TEST)}
    what |= dict.fromkeys(("norm", "bias"), (num_seeds, len(HORIZONS)))
    start = keep("before", lambda: before(states, num_seeds), {"growth": ()} | what)
    growth, alone = start["growth"], np.median(start["valid"])
    print(f"{num_seeds} seeds, {TASK.num_updates} updates; Lyapunov time {1.0 / growth:.1f}")
    print(f"not corrected: {growth * alone:.2f} Lyapunov times")
    print("horizon               rate  valid: median (range)  error at the end", flush=True)
    rows = []
    for name, plan in plans().items():
        find = lambda plan=plan: learn(plan, states, num_seeds)
        holds = {"rate": (), "choice": (len(RATES), num_seeds)} | what
        steps = plan._asdict()
        rows.append({"name": name} | steps | keep(name, find, holds, steps))
        print_row(rows[-1], growth)
    holds, timing = {"seconds": (len(HORIZONS), rounds)}, {"rounds": rounds, "num_timed": NUM_TIMED}
    timed = keep("times", lambda: times(states, rounds), holds, timing)
    found = setup | {"seconds": timed["seconds"], "commit_of_seconds": timed["commit"]}
    found |= {"before": start, "rows": rows}
    results.write(out, "solver", found)
    solver_chart.draw(found, out / "solver.png")


if __name__ == "__main__":
    launch.run(main)
