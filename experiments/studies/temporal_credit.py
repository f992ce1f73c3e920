"""Does a horizon of one step with RMSprop learn as much as real-time recurrent learning?

  python -m experiments.studies.temporal_credit

A preprint of 2026 (Shalev Merin, Temporal Credit Is Free, arXiv 2603.28750) says so: the state
already carries what the past did, and a gradient through the current step alone is enough, if it is
normalised as RMSprop does. Here a tanh RNN learns streams online, one sequence and an update at
every step (experiments.tasks.online): a sine whose period shifts halfway, their kind of task with
their 64 units; and random bits asked for 2 and 8 steps later, where nothing but memory helps. For
horizons 1 to 16, for the full gradient, and for an untrained cell whose readout alone learns: the
loss over the last tenth of the steps, by Adam and RMSprop, each at the better of two rates.

The claim is that horizon 1 is as good, within a margin set beforehand; `experiments.compare` tests
it by the one rule of all claims. Everything but the truncation and the optimizer is the same for a
seed. The preprint's rates and lengths are not known to us. Each finished cell is a JSON in the
folder temporal_credit of --scratch, and is not measured again.
"""

import itertools
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from experiments.charts import temporal_credit as temporal_credit_chart
from experiments.record import kept, launch, results, seeds
from experiments.record.errors import UserError
from experiments.tasks import online

TASKS = {
    "delay 8": online.Task(8, state_size=32, num_steps=8000),
    "delay 2": online.Task(2, state_size=32, num_steps=8000),
    "sine": online.Task(None, state_size=64, num_steps=2000),
}
HORIZONS = (online.FROZEN, 1, 2, 4, 8, 16, online.FULL)
OPTIMIZERS = {"adam": optax.adam, "rmsprop": optax.rmsprop}
RATES = (0.001, 0.003)
MARGIN = 0.05  # of the targets' variance
DEFAULTS = {"num_seeds": 10}

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)


def losses(task: online.Task, horizon: int | str, optimizer: str, num_seeds: int) -> np.ndarray:
    """[rates, seeds, segments], the mean losses along the stream."""
    make = OPTIMIZERS[optimizer]
    learn = lambda rate, key: online.learn(task, horizon, make(rate), key)[1]
    keys = jax.random.split(jax.random.key(0), num_seeds)
    of_rates = jax.vmap(jax.vmap(learn, (None, 0)), (0, None))
    return np.asarray(jax.jit(of_rates)(jnp.array(RATES), keys)).astype(float)


def last_tenth(losses: np.ndarray) -> np.ndarray:
    """The mean over the last tenth of the segments, [..., segments] -> [...]."""
    return losses[..., -max(1, losses.shape[-1] // 10) :].mean(axis=-1)


def row(task: str, horizon: int | str, optimizer: str, found: np.ndarray) -> dict[str, Any]:
    """The losses at the better rate, which has the lower median over the seeds at the end.

    A rate at which a loss is not finite is the worst, as if its losses were float32's largest.

    Raises:
      UserError: so is every rate.
    """
    last = last_tenth(found)
    is_finite = np.isfinite(found).all(axis=(1, 2))
    if not is_finite.any():
        raise UserError(f"{task}, {optimizer}, horizon {horizon}: no rate has finite losses.")
    of_rates = np.where(is_finite, np.median(last, axis=1), np.finfo("f4").max)
    best = int(np.argmin(of_rates))
    return {
        "task": task,
        "horizon": horizon,
        "optimizer": optimizer,
        "rate": RATES[best],
        "last": results.rounded(last[best]),
        "median": results.rounded(np.median(found[best], axis=0)),
        "last_of_rates": results.rounded(of_rates),
    }


def cell(
    folder: Path, name: str, horizon: int | str, optimizer: str, num_seeds: int
) -> dict[str, Any]:
    """The row of a task, a horizon and an optimizer, kept in `folder` once it is finished."""
    task, where = TASKS[name], {"task": name, "horizon": horizon, "optimizer": optimizer}
    config = where | {"sizes": task._asdict(), "rates": RATES, "num_seeds": num_seeds}
    holds = {"rate": (), "last": (num_seeds,), "median": (task.num_segments,)}
    holds["last_of_rates"] = (len(RATES),)
    find = lambda: row(**where, found=losses(task, horizon, optimizer, num_seeds))
    path = folder / f"{name.replace(' ', '-')}-{optimizer}-{horizon}.json"
    return where | kept.kept(path, config, find, holds)


def print_row(row: dict[str, Any], seconds: float) -> None:
    """The loss at the end."""
    last = row["last"]
    print(
        f"{row['task']:8s}  {row['optimizer']:9s}  {row['horizon']!s:>7s}  {row['rate']:5g}  "
        f"{np.median(last):.4f} ({min(last):.4f}-{max(last):.4f})  {seconds:.0f} s",
        flush=True,
    )


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    sizes = {name: task._asdict() for name, task in TASKS.items()}
    plan = {"tasks": sizes, "rates": RATES, "num_seeds": num_seeds, "margin": MARGIN}
    folder, rows = kept.folder("temporal_credit"), []
    print("task      optimizer  horizon   rate  loss at the end, median (range)", flush=True)
    for name, optimizer, horizon in itertools.product(TASKS, OPTIMIZERS, HORIZONS):
        began = time.perf_counter()
        rows.append(cell(folder, name, horizon, optimizer, num_seeds))
        print_row(rows[-1], time.perf_counter() - began)
    found = plan | {"rows": rows}
    results.write(out, "temporal_credit", found)
    temporal_credit_chart.draw(found, out / "temporal_credit.png")


if __name__ == "__main__":
    launch.run(main)
