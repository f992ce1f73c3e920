"""Why is a dependency as long as the horizon learnt and then forgotten?

  python -m experiments.forgetting

At a delay equal to the horizon an error reaches the first step whose state holds the symbol, but
not the step that reads it: the recurrent weights get credit for it, the input weights get none. A
small RNN learns such a delay online (experiments.tasks.delay), d = 8, for 8000 updates. Measured at
each milestone: the share of the possible gain that is learnt, and the input's signal, half the
difference of its two rows (root mean square). Beside BPTT(8; 1), (8; 4) and (8; 8) stand longer
horizons, and interventions on BPTT(8; 1): horizon 9 for the input weights alone, or for the
recurrent weights alone, by a pass of its own (the gradient is taken leaf by leaf from two
horizons); input weights and bias frozen.

All seeds of a schedule learn in one program; a quarter of an hour on one CPU core. Each finished
schedule is a JSON in the folder forgetting of --scratch, and is not run again. What would refute
the explanation: horizon 9 for the input weights alone does not cure it, or for the recurrent
weights alone does.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import forgetting as forgetting_chart
from experiments.record import kept, launch, results, seeds
from experiments.tasks import delay
from experiments.tasks.delay import LEAVES, Pass

DELAY = 8
TASK = delay.Task(DELAY, milestones=(250, 500, 1000, 2000, 4000, 8000))
DEFAULTS = {"num_seeds": 20}

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)


def without(*leaves: str) -> tuple[str, ...]:
    """The other parameters."""
    return tuple(leaf for leaf in LEAVES if leaf not in leaves)


SCHEDULES = {
    "true": (Pass(8, 1),),
    "input, horizon 9": (Pass(8, 1, without("input")), Pass(9, 1, ("input",))),
    "recurrent, horizon 9": (Pass(8, 1, without("recurrent")), Pass(9, 1, ("recurrent",))),
    "input and bias frozen": (Pass(8, 1, without("input", "bias")),),
    "true, horizon 9": (Pass(9, 1),),
    "semi": (Pass(8, 4),),
    "epochwise": (Pass(8, 8),),
    "semi, horizon 16": (Pass(16, 8),),
}


def signal(params: dict[str, jax.Array]) -> jax.Array:
    """[seeds]: what tells the two symbols apart in the input, a root mean square."""
    zero, one = params["input"][:, 0], params["input"][:, 1]
    return jnp.sqrt(jnp.mean(((zero - one) / 2.0) ** 2, axis=-1))


def learn(passes: tuple[Pass, ...], num_seeds: int) -> dict[str, list]:
    """{"share", "input"}, each [seeds][milestones], of learners taught by these passes."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    keys, of_seeds = fold(jax.random.key(0), jnp.arange(num_seeds)), jax.vmap
    train = jax.jit(of_seeds(delay.make_train(TASK, *passes), (0, None, 0, None, None)))
    share = jax.jit(of_seeds(delay.make_share(TASK, *passes), (0, None, 0)))
    state = jax.jit(of_seeds(lambda key: delay.start(TASK, key, *passes)))(keys)
    found = {"share": [], "input": []}
    for first, stop in zip((0, *TASK.milestones), TASK.milestones, strict=False):
        state = train(state, jnp.int32(DELAY), keys, first, stop)
        found["share"].append(share(state, jnp.int32(DELAY), keys))
        found["input"].append(signal(state.params))
    return {name: results.rounded(np.stack(x, 1)) for name, x in found.items()}


def row(folder: Path, name: str, num_seeds: int) -> dict[str, Any]:
    """What a schedule learns, kept in `folder` once it is finished."""
    passes = SCHEDULES[name]
    config = {"name": name, "passes": [each._asdict() for each in passes]}
    where = folder / f"{name.replace(', ', '-').replace(' ', '-')}.json"
    whole = config | {"task": TASK._asdict(), "delay": DELAY, "num_seeds": num_seeds}
    shape = num_seeds, len(TASK.milestones)
    holds = {"share": shape, "input": shape}
    return config | kept.kept(where, whole, lambda: learn(passes, num_seeds), holds)


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    folder = kept.folder("forgetting")
    print(f"delay {DELAY}, {num_seeds} seeds; median share learnt, size of the input's signal")
    print(f"{'after updates':33s}{''.join(f'{updates:>12d}' for updates in TASK.milestones)}")
    rows = []
    for name in SCHEDULES:
        rows.append(row(folder, name, num_seeds))
        medians = [np.median(rows[-1][key], axis=0) for key in ("share", "input")]
        cells = "".join(f"{share:7.2f} {size:4.2f}" for share, size in zip(*medians, strict=True))
        print(f"{name:33s}{cells}", flush=True)
    found = {"task": TASK._asdict(), "delay": DELAY, "num_seeds": num_seeds, "rows": rows}
    results.write(out, "forgetting", found)
    forgetting_chart.draw(found, out / "forgetting.png")


if __name__ == "__main__":
    launch.run(main)
