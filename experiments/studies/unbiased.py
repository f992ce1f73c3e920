"""Where truncated gradients point the wrong way: does truncation without bias learn?

  python -m experiments.studies.unbiased

Influence balancing (experiments.tasks.balancing): what one parameter does soon, it undoes later.
Tallec and Ollivier (2017) report that truncated BPTT diverges on it and that their unbiased random
truncation converges. Here the true style and the epochwise one at several horizons stand beside
random boundary factors, a random horizon with lag weights, and the trace of a stream; the chain is
given to the trace as 23 carries of one unit each, since a carry of 23 units mixes them. 2000
updates, one every 16 steps, or at the end of each epochwise block. Measured: how far the parameter
is from the best, in units of its start.

What must come is known beforehand: the sum of the gains that errors reach, which is -6 without
truncation. Where it is above 0 every seed must end further away than it began; where it is below 0,
nearer. One seed the other way would refute it; so would an unbiased method that ends further away.
To expect: true at horizons 10 to 40 and epochwise in blocks of 10 to 100 end 26 times to 4e35 times
as far away, all others within 1e-4. Two minutes on one CPU core; each finished method is a JSON in
the folder unbiased of --scratch, and is not run again.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.charts import unbiased as unbiased_chart
from experiments.record import kept, launch, results, seeds
from experiments.tasks import balancing
from experiments.tasks.balancing import BOUNDARIES, HORIZON, TRACE, Method

TASK = balancing.Task()
LONGEST = 128  # the gain is -6 to seven digits from lag 100 on
METHODS = {
    **{f"true, {horizon}": Method(horizon) for horizon in (10, 20, 40, 50, 100)},
    **{f"epochwise, {length}": Method(length, length) for length in (10, 50, 100, 150, 200)},
    "random boundaries": Method(LONGEST, random=BOUNDARIES),
    "random horizon": Method(LONGEST, random=HORIZON),
    "trace": Method(1, tail=TRACE),
}
NUM_UPDATES, NUM_RECORDS = 2000, 50
DEFAULTS = {"num_seeds": 20}

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)


def learn(method: Method, num_seeds: int) -> dict[str, list]:
    """{"distance" [seeds][records]}; a seed has its start and its random truncations."""
    learn_from = balancing.make_learn(TASK, method, NUM_UPDATES, NUM_RECORDS)

    def learn_one(key):
        for_start, for_draws = jax.random.split(key)
        return learn_from(jax.random.uniform(for_start, minval=0.1, maxval=1.0), for_draws)

    keys = jax.random.split(jax.random.key(0), num_seeds)
    return {"distance": results.rounded(jax.jit(jax.vmap(learn_one))(keys))}


def row(folder: Path, name: str, num_seeds: int) -> dict[str, Any]:
    """What a method reaches, kept in `folder` once it is finished."""
    config = {"name": name, "method": METHODS[name]._asdict()}
    config |= {"gain": round(balancing.expected_gain(TASK, METHODS[name]), 4)}
    whole = config | {"task": TASK._asdict(), "num_updates": NUM_UPDATES, "num_seeds": num_seeds}
    whole |= {"num_records": NUM_RECORDS}
    path = folder / f"{name.replace(', ', '-').replace(' ', '-')}.json"
    holds = {"distance": (num_seeds, NUM_RECORDS)}
    return config | kept.kept(path, whole, lambda: learn(METHODS[name], num_seeds), holds)


def print_row(row: dict[str, Any]) -> None:
    """What must come, and what came."""
    last = np.array(row["distance"])[:, -1]
    print(
        f"{row['name']:18s}  {row['gain']:6.2f}  {np.median(last):9.3g} "
        f"({np.min(last):.3g} to {np.max(last):.3g})  {np.mean(last < 1.0):.0%}",
        flush=True,
    )


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    folder = kept.folder("unbiased")
    print(f"{num_seeds} seeds, {NUM_UPDATES} updates")
    print("method               gain  distance at the end: median (range), share that is nearer")
    rows = []
    for name in METHODS:
        rows.append(row(folder, name, num_seeds))
        print_row(rows[-1])
    found = {"task": TASK._asdict(), "num_updates": NUM_UPDATES, "num_seeds": num_seeds}
    results.write(out, "unbiased", found | {"rows": rows})
    unbiased_chart.draw(found | {"rows": rows}, out / "unbiased.png")


if __name__ == "__main__":
    launch.run(main)
