"""Do windows of n steps learn dependencies of n steps?

  python -m experiments.dependency

A small RNN learns, online, sequences whose next symbol depends on the one d steps back
(experiments.tasks.delay). Everything but the truncation is the same for all styles and horizons:
the stream, its exact seams, an update every 32 steps. For each d, style and horizon: the share of
the possible gain that is learnt after 250 to 8000 updates, the median over seeds; 0 is chance, 1
the entropy. Horizon 1 is the control: there no error passes from one step to another, and what is
learnt of the past is what the states hold of it while each error teaches its own step alone. An
error reaches d steps back where the horizon is at least d + 1; the epochwise style sends only one
in `horizon` of its errors as far as the horizon.

All delays of a seed learn in one program: 9 to 12 ms an update at horizon 8, stride 1, on one CPU
core, where the whole takes five to eight hours. On an H100 all seeds of horizons 8 and 16 and of
BPTT(32; 1) took four minutes, with `--seeds_at_once=20` and a process for each horizon. Each
finished seed of a schedule is a JSON in the folder dependency of --scratch, and is not run again;
`--horizons=8,16` runs two of the horizons, and the result holds what is finished of the others too.
"""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import dependency as dependency_chart
from experiments.record import chosen, kept, launch, results, seeds
from experiments.tasks import delay

HORIZONS = (8, 16, 4, 2, 1, 32)  # in the order in which they are run
STYLES = {
    "true": lambda horizon: 1,
    "semi": lambda horizon: max(1, horizon // 2),
    "epochwise": lambda horizon: horizon,
}
TASK = delay.Task(32, milestones=(250, 500, 1000, 2000, 4000, 8000))
SHOWN = (1, 2, 4, 8, 16, 32)  # delays
DEFAULTS = {"num_seeds": 20}

flags.DEFINE_string("horizons", ",".join(map(str, HORIZONS)), "Horizons to run, with commas.")
flags.DEFINE_integer("seeds_at_once", 1, "Seeds that learn in one program.", lower_bound=1)
flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)


def make_of_seed(horizon: int, stride: int, at_once: int) -> Callable[[int], dict[str, Any]]:
    """Builds seed -> {"share": [delays][milestones]}: every delay 1..32 in one compiled program.

    With a seed those after it are found too, `at_once` in all, and held until they are asked for.
    """
    learn = jax.vmap(delay.make_learn(TASK, delay.Pass(horizon, stride)))
    learn = jax.jit(jax.vmap(learn, (None, 0)))
    delays = jnp.arange(1, TASK.max_delay + 1)
    of_delays = lambda seed: jax.random.split(_key(seed), TASK.max_delay)
    held = {}

    def of_seed(seed):
        if seed not in held:
            together = range(seed, seed + at_once)
            shares = learn(delays, jnp.stack([*map(of_delays, together)]))
            held.update(zip(together, _rounded(shares), strict=True))
        return {"share": held.pop(seed)}

    return of_seed


def _key(seed):
    return jax.random.fold_in(jax.random.key(0), seed)


def strides(horizon: int) -> dict[str, int]:
    """By style."""
    return {style: stride_of(horizon) for style, stride_of in STYLES.items()}


def piece(folder: Path, horizon: int, stride: int, seed: int) -> Path:
    """Where a seed of a schedule is kept."""
    return folder / f"{horizon}-{stride}-seed-{seed}.json"


def is_finished(folder: Path, horizon: int, num_seeds: int) -> bool:
    """Whether every seed of every style is there."""
    pieces = itertools.product({*strides(horizon).values()}, range(num_seeds))
    return all(piece(folder, horizon, *stride_and_seed).exists() for stride_and_seed in pieces)


def learnt(
    folder: Path, horizon: int, stride: int, num_seeds: int, at_once: int
) -> dict[str, list]:
    """{"share" [delays][seeds][milestones]} with its origin [seeds], kept in `folder`."""
    of_seed, each = make_of_seed(horizon, stride, at_once), []
    holds = {"share": (TASK.max_delay, len(TASK.milestones))}
    for seed in range(num_seeds):
        began = time.perf_counter()
        config = {"task": TASK._asdict(), "horizon": horizon, "stride": stride, "seed": seed}
        path = piece(folder, horizon, stride, seed)
        each.append(kept.kept(path, config, lambda seed=seed: of_seed(seed), holds))
        print(f"  {path.stem}: {time.perf_counter() - began:.0f} s", flush=True)
    share = np.stack([found["share"] for found in each], axis=1)
    origin = {name: [found[name] for found in each] for name in kept.ORIGIN}
    return {"share": share.tolist()} | origin


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    asked, folder = chosen.of_flag("horizons", HORIZONS), kept.folder("dependency")
    horizons = [h for h in HORIZONS if h in asked or is_finished(folder, h, num_seeds)]
    at_once = min(flags.FLAGS.seeds_at_once, num_seeds)
    measured = {}
    print(f"{num_seeds} seeds; entropy {TASK.entropy:.4f}, gain {TASK.possible_gain:.4f}")
    print(f"horizon  stride  share learnt at d = {', '.join(map(str, SHOWN))}", flush=True)
    for horizon in horizons:
        for stride in dict.fromkeys(strides(horizon).values()):
            measured[horizon, stride] = learnt(folder, horizon, stride, num_seeds, at_once)
            last = np.array(measured[horizon, stride]["share"])[..., -1]
            medians = np.median(last, axis=1)[[d - 1 for d in SHOWN]]
            cells = " ".join(f"{share:6.3f}" for share in medians)
            print(f"{horizon:7d}  {stride:6d}  {cells}", flush=True)
    rows = [
        {"style": style, "horizon": horizon, "stride": strides(horizon)[style]}
        | measured[horizon, strides(horizon)[style]]
        for style in STYLES
        for horizon in sorted(horizons)
    ]
    found = {"task": TASK._asdict() | {"entropy": TASK.entropy}, "num_seeds": num_seeds}
    found["learnt"] = rows
    results.write(out, "dependency", found)
    dependency_chart.draw(found, out / "dependency.png")


def _rounded(shares):
    return np.asarray(shares, float).round(3).tolist()


if __name__ == "__main__":
    launch.run(main)
