"""Does a horizon below the memory fail, and a longer one cost nothing? Aicher's copy task.

  python -m experiments.studies.adaptive

Aicher, Foti and Fox (2019) train an LSTM to copy blocks of ten symbols, with an update every K
steps by BPTT(2K - 1; K). Their test perplexities stand in `THEIRS`: a cliff below the memory of ten
steps, and no gain above it. Here the same network and update rule (experiments.tasks.copying_lstm)
learn for fewer steps, in smaller batches, on streams that do not repeat.

The claim is that K = 5 ends near chance, a perplexity of 1.87, and every K from 10 on near 1. It
would be refuted by K = 5 below 1.2 or by a K from 10 on above it. Two minutes a seed and K on one
CPU core; each finished one is a JSON in the folder adaptive of --scratch, and is not run again.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.charts import adaptive as adaptive_chart
from experiments.lm import models
from experiments.record import kept, launch, results, seeds
from experiments.tasks import copying_lstm

TASK = copying_lstm.Task(batch_size=16)
KS = (5, 10, 15, 20, 30)
THEIRS = {5: 1.646, 10: 1.036, 15: 1.039, 20: 1.040, 30: 1.043}
NUM_EPOCHS = 40
DEFAULTS = {"num_seeds": 3}
OF_TEST = 10**6  # no epoch has this number

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)


def learn(k: int, seed: int) -> dict[str, list]:
    """{"perplexity" [epochs]} on a test stream."""
    key, model = jax.random.key(seed), copying_lstm.make_model(TASK)
    epoch, test = jax.jit(copying_lstm.make_epoch(TASK, k)), jax.jit(copying_lstm.make_test(TASK))
    params, found = models.init_params(model, key), []
    for i in range(NUM_EPOCHS):
        params = epoch(params, jax.random.fold_in(key, i))
        found.append(test(params, jax.random.fold_in(key, OF_TEST)))
    return {"perplexity": np.array(found, float).round(4).tolist()}


def row(folder: Path, k: int, num_seeds: int) -> dict[str, Any]:
    """What is learnt with a K, each seed kept in `folder` once it is finished."""
    perplexity = []
    for seed in range(num_seeds):
        config = {"k": k, "seed": seed, "task": TASK._asdict(), "num_epochs": NUM_EPOCHS}
        path = folder / f"{k}-seed-{seed}.json"
        found = kept.kept(path, config, lambda seed=seed: learn(k, seed))
        perplexity.append(found["perplexity"])
    return {"k": k, "theirs": THEIRS[k], "perplexity": perplexity}


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    print(f"{num_seeds} seeds, {NUM_EPOCHS} epochs of {TASK.epoch} steps")
    print(" K  test perplexity: median (range)     theirs", flush=True)
    rows = []
    for k in KS:
        rows.append(row(Path(flags.FLAGS.scratch) / "adaptive", k, num_seeds))
        last = np.array(rows[-1]["perplexity"])[:, -1]
        said = f"{np.median(last):.3f} ({np.min(last):.3f} to {np.max(last):.3f})"
        print(f"{k:2d}  {said:34s}  {THEIRS[k]:.3f}", flush=True)
    found = {"task": TASK._asdict(), "num_epochs": NUM_EPOCHS, "num_seeds": num_seeds}
    results.write(out, "adaptive", found | {"rows": rows})
    adaptive_chart.draw(found | {"rows": rows}, out / "adaptive.png")


if __name__ == "__main__":
    launch.run(main)
