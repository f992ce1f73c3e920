"""Do windows of n steps learn dependencies of n steps?

  python -m experiments.dependency

A small RNN learns, online, sequences whose next symbol depends on the one d steps back
(experiments.tasks.delay). Everything but the truncation is the same for all styles and horizons:
the stream, its exact seams, an update every 32 steps. For each d, style and horizon: the share of
the possible gain that is learnt after 250, 500, 1000 and 2000 updates, the median over seeds; 0 is
chance, 1 the entropy. Horizon 1 is the control: there no error passes from one step to another, and
what is learnt is what the states happen to hold of the past, as in a reservoir. An error reaches d
steps back where the horizon is at least d + 1; the epochwise style sends only one in `horizon` of
its errors as far as the horizon. Half an hour on two CPU cores.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.charts import dependency as dependency_chart
from experiments.record import launch, results, seeds
from experiments.tasks import delay

HORIZONS = (1, 2, 4, 8, 16, 32)
STYLES = {
    "true": lambda horizon: 1,
    "semi": lambda horizon: max(1, horizon // 2),
    "epochwise": lambda horizon: horizon,
}
MAX_DELAY = 32
MILESTONES = (250, 500, 1000, 2000)
DEFAULTS = {"num_seeds": 5}

flags.declare_key_flag("out")
flags.adopt_module_key_flags(seeds)


def learnt(task: delay.Task, horizon: int, stride: int, num_seeds: int) -> np.ndarray:
    """[delays, seeds, milestones]: the share of the possible gain, for every delay 1..32."""
    delays = jnp.arange(1, task.max_delay + 1)
    keys = jax.random.split(jax.random.key(0), (task.max_delay, num_seeds))
    learn = delay.make_learn(task, horizon, stride)
    of_seeds = jax.vmap(learn, (None, 0))
    return np.asarray(jax.jit(jax.vmap(of_seeds))(delays, keys))


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    task = delay.Task(MAX_DELAY, milestones=MILESTONES)
    rows, measured = [], {}
    print(f"{num_seeds} seeds; entropy {task.entropy:.4f}, possible gain {task.possible_gain:.4f}")
    print("style      horizon  stride  share learnt at d = 1, 2, 4, 8, 16, 32", flush=True)
    for style, stride_of in STYLES.items():
        for horizon in HORIZONS:
            stride, began = stride_of(horizon), time.perf_counter()
            if (horizon, stride) not in measured:  # styles meet at the smallest horizons
                measured[horizon, stride] = learnt(task, horizon, stride, num_seeds)
            shares = measured[horizon, stride]
            rows.append(
                {
                    "style": style,
                    "horizon": horizon,
                    "stride": stride,
                    "share": shares.astype(float).round(3).tolist(),
                }
            )
            medians = np.median(shares[..., -1], axis=1)[[0, 1, 3, 7, 15, 31]]
            cells = " ".join(f"{share:6.3f}" for share in medians)
            seconds = time.perf_counter() - began
            print(f"{style:9s}  {horizon:7d}  {stride:6d}  {cells}  ({seconds:.0f} s)", flush=True)
    found = {"task": task._asdict() | {"entropy": task.entropy}, "num_seeds": num_seeds}
    found["learnt"] = rows
    results.write(out, "dependency", found)
    dependency_chart.draw(found, out / "dependency.png")


if __name__ == "__main__":
    launch.run(main)
