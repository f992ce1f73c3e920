"""Does a horizon below the memory fail, and does one find itself? Aicher's copy task.

  python -m experiments.studies.adaptive

Aicher, Foti and Fox (2019) train an LSTM to copy blocks of ten symbols, with an update every K
steps by BPTT(2K - 1; K). Their test perplexities stand in `RULES`: a cliff below the memory of ten
steps, no gain above it, and as good where K is chosen while it learns, as the least whose relative
bias is below δ. Here the same network and update rule (experiments.tasks.copying_lstm) learn for
fewer steps, in smaller batches, on streams that do not repeat; every fourth epoch K is chosen among
`KS` by `tbptt_jax.truncation_bias`, from K = 15 at first.

The claim is that K = 5 ends near chance, a perplexity of 1.87, and all else near 1. It would be
refuted by K = 5 below 1.2 or by anything else above it. One to three minutes a seed on one CPU
core; each finished one is a JSON in the folder adaptive of --scratch, and is not run again.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments.charts import adaptive as adaptive_chart
from experiments.lm import models
from experiments.record import kept, launch, results, seeds
from experiments.tasks import copying_lstm
from tbptt_jax import adaptive_horizon

TASK = copying_lstm.Task(batch_size=16)
KS, FIRST = (5, 10, 15, 20, 30), 15
NUM_LAGS = 40
NUM_EPOCHS, EVERY = 40, 4
DEFAULTS = {"num_seeds": 3}
OF_TEST, OF_BIAS = 10**6, 2 * 10**6  # no epoch has these numbers


class Rule(NamedTuple):
    """Which K."""

    theirs: float  # the paper's perplexity
    k: int | None = None
    delta: float | None = None  # of the K that is chosen

    @property
    def name(self) -> str:
        """For a table."""
        return f"K = {self.k}" if self.k else f"δ = {self.delta}"


THEIRS = dict(zip(KS, (1.646, 1.036, 1.039, 1.040, 1.043), strict=True))
THEIRS_CHOSEN = {0.9: 1.022, 0.5: 1.027, 0.1: 1.030}  # by δ
RULES = (
    *(Rule(theirs, k=k) for k, theirs in THEIRS.items()),
    *(Rule(theirs, delta=delta) for delta, theirs in THEIRS_CHOSEN.items()),
)

flags.declare_key_flag("out")
flags.declare_key_flag("scratch")
flags.adopt_module_key_flags(seeds)


@functools.cache
def epoch_of(k: int):
    """The compiled epoch of a K."""
    return jax.jit(copying_lstm.make_epoch(TASK, k))


def learn(rule: Rule, seed: int) -> dict[str, list]:
    """{"perplexity" [epochs] on a test stream, "k" [epochs]}."""
    key, model = jax.random.key(seed), copying_lstm.make_model(TASK)
    test = jax.jit(copying_lstm.make_test(TASK))
    bias_of = jax.jit(copying_lstm.make_bias(TASK, KS, NUM_LAGS))
    params, k, found, ks = models.init_params(model, key), rule.k or FIRST, [], []
    for i in range(NUM_EPOCHS):
        if rule.delta and i and i % EVERY == 0:
            bias = bias_of(params, jax.random.fold_in(key, OF_BIAS + i))
            k = int(adaptive_horizon(bias, tolerance=rule.delta).horizon)
        params = epoch_of(k)(params, jax.random.fold_in(key, i))
        found.append(float(test(params, jax.random.fold_in(key, OF_TEST))))
        ks.append(k)
    return {"perplexity": results.rounded(found), "k": ks}


def row(folder: Path, rule: Rule, num_seeds: int) -> dict[str, Any]:
    """What is learnt by a rule, each seed kept in `folder` once it is finished."""
    seeds_of = []
    for seed in range(num_seeds):
        config = {"rule": {"k": rule.k, "delta": rule.delta}, "seed": seed}
        config |= {"task": TASK._asdict(), "num_epochs": NUM_EPOCHS}
        config |= {"ks": KS, "first": FIRST, "every": EVERY, "num_lags": NUM_LAGS}
        config |= {"of_test": OF_TEST, "of_bias": OF_BIAS}
        path = folder / f"{rule.name.replace(' = ', '-')}-seed-{seed}.json"
        holds = {"perplexity": (NUM_EPOCHS,), "k": (NUM_EPOCHS,)}
        seeds_of.append(kept.kept(path, config, lambda seed=seed: learn(rule, seed), holds))
    found = {name: [each[name] for each in seeds_of] for name in ("perplexity", "k", "commit")}
    return {"name": rule.name, "theirs": rule.theirs} | found


def main():
    out, num_seeds = results.folder(), flags.FLAGS.num_seeds
    folder = kept.folder("adaptive")
    print(f"{num_seeds} seeds, {NUM_EPOCHS} epochs of {TASK.epoch} steps")
    print("rule      test perplexity: median (range)  theirs   K at the end", flush=True)
    rows = []
    for rule in RULES:
        rows.append(row(folder, rule, num_seeds))
        last = np.array(rows[-1]["perplexity"])[:, -1]
        said = f"{np.median(last):.3f} ({np.min(last):.3f} to {np.max(last):.3f})"
        ks = ", ".join(str(of[-1]) for of in rows[-1]["k"])
        print(f"{rule.name:8s}  {said:31s}  {rule.theirs:.3f}   {ks}", flush=True)
    found = {"task": TASK._asdict(), "num_epochs": NUM_EPOCHS, "num_seeds": num_seeds}
    results.write(out, "adaptive", found | {"rows": rows})
    adaptive_chart.draw(found | {"rows": rows}, out / "adaptive.png")


if __name__ == "__main__":
    launch.run(main)
