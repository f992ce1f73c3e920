"""Which horizon does a language with long-range agreement need, for RNN, GRU and LSTM?

  python -m experiments.studies.brackets

Text of nested brackets of two kinds with fillers between them (experiments.tasks.brackets): a
closing bracket has the kind of the last that is open, often more than ten steps back, and its
entropy is known. True BPTT with horizons 4, 8, 16 and 32, an update every 32 steps, exact seams.
Measured after 500 to 4000 updates on text that is not learnt: the loss beyond what the language
itself leaves open, symbol by symbol; and for closing brackets, by the distance of their opening
ones, how many kinds are right and the loss of the kind. Chance is a half, log 2 = 0.69 nats.

What is asked is whether brackets further apart than the horizon are learnt. All seeds of a cell and
horizon learn in one program, about a minute each on one CPU core. Each finished one is a JSON in
the folder brackets of --scratch, and is not run again.
"""

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import brackets as brackets_chart
from experiments.record import kept, launch, results, seeds
from experiments.tasks import brackets

CELLS, HORIZONS = ("vanilla", "gru", "lstm"), (4, 8, 16, 32)
TASK = brackets.Task()
EDGES = (1, 4, 8, 16, 32, 64)  # distances: 1..3, 4..7, ...
EVALUATION_CHUNKS = 100
DEFAULTS = {"num_seeds": 5}

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)


def learn(cell: str, horizon: int, num_seeds: int) -> dict[str, list]:
    """{"excess" [seeds][milestones], "kind_loss" and "right" [seeds][milestones][bins]}."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(num_seeds))
    fold = jax.vmap(jax.random.fold_in, (0, None))
    of_start, of_text, of_test = (fold(keys, i) for i in range(3))
    train = jax.jit(jax.vmap(brackets.make_train(TASK, cell), (0, 0, None, None)))
    evaluate = brackets.make_evaluate(TASK, cell, EVALUATION_CHUNKS, EDGES)
    evaluate = jax.jit(jax.vmap(evaluate))
    state = jax.jit(jax.vmap(lambda key: brackets.start(TASK, cell, horizon, key)))(of_start)
    found = {"excess": [], "kind_loss": [], "right": []}
    for first, stop in itertools.pairwise((0, *TASK.milestones)):
        state = train(state, of_text, first, stop)
        seen = evaluate(state, of_test)
        found["excess"].append(seen.excess)
        for name in ("kind_loss", "right"):
            found[name].append(getattr(seen, name) / jnp.maximum(seen.total, 1))
    return {name: results.rounded(np.stack(x, 1)) for name, x in found.items()}


def row(folder: Path, cell: str, horizon: int, num_seeds: int) -> dict[str, Any]:
    """What a cell learns with a horizon, kept in `folder` once it is finished."""
    where = {"cell": cell, "horizon": horizon}
    config = where | {"task": TASK._asdict(), "edges": EDGES, "num_seeds": num_seeds}
    config |= {"evaluation_chunks": EVALUATION_CHUNKS}
    shape = num_seeds, len(TASK.milestones)
    holds = {"excess": shape} | dict.fromkeys(("kind_loss", "right"), (*shape, len(EDGES) - 1))
    path = folder / f"{cell}-{horizon}.json"
    return where | kept.kept(path, config, lambda: learn(cell, horizon, num_seeds), holds)


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    folder = kept.folder("brackets")
    spans = [f"{a}-{b - 1}" for a, b in itertools.pairwise(EDGES)]
    print(f"{num_seeds} seeds; entropy {TASK.entropy:.4f}; medians after {TASK.milestones[-1]}")
    print(f"cell     horizon  beyond it  kinds right at {', '.join(spans)} steps", flush=True)
    rows = []
    for cell, horizon in itertools.product(CELLS, HORIZONS):
        rows.append(row(folder, cell, horizon, num_seeds))
        excess, right = (np.median(rows[-1][key], axis=0)[-1] for key in ("excess", "right"))
        cells = " ".join(f"{share:5.2f}" for share in right)
        print(f"{cell:7s}  {horizon:7d}  {excess:9.4f}  {cells}", flush=True)
    found = {"task": TASK._asdict() | {"entropy": TASK.entropy}, "edges": EDGES}
    found |= {"num_seeds": num_seeds, "rows": rows}
    results.write(out, "brackets", found)
    brackets_chart.draw(found, out / "brackets.png")


if __name__ == "__main__":
    launch.run(main)
